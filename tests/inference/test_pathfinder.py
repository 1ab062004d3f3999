"""Pathfinder: the paper's formulas, weights over several modes, failures by path."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from blackjax.optimizers.lbfgs import lbfgs_recover_alpha
from blackjax.vi import multipathfinder
from scipy.stats import multivariate_normal

from numpyro_ext._checks import InitializationError
from numpyro_ext.inference import NUTS, ModelSpec, Pathfinder, Status
from numpyro_ext.inference._path_normal import (
    add_pair,
    draw,
    local_normal,
    log_prob,
    no_pairs,
)
from numpyro_ext.inference._pathfinder import _resample

from .test_laplace import glm_spec

RNG = np.random.default_rng(11)
SMALL = {"num_paths": 4, "num_path_draws": 100, "num_samples": 200}


def quadratic_path(num_coordinates, num_steps, num_pairs):
    """Random steps on a quadratic; returns the pairs, and them as a NumPy list."""
    root = RNG.normal(size=(num_coordinates, num_coordinates))
    hessian = root @ root.T + np.eye(num_coordinates)
    pairs, listed = no_pairs(num_pairs, jnp.zeros(num_coordinates)), []
    for _ in range(num_steps):
        step = RNG.normal(size=num_coordinates)
        pairs = add_pair(pairs, jnp.asarray(step), jnp.asarray(hessian @ step))
        listed.append((step, hessian @ step))
    return pairs, listed


def bfgs_inverse(diagonal, listed):
    """The textbook update, one dense pair after another."""
    inverse = np.diag(diagonal)
    for step, change in listed:
        rho = 1.0 / (step @ change)
        left = np.eye(len(step)) - rho * np.outer(step, change)
        inverse = left @ inverse @ left.T + rho * np.outer(step, step)
    return inverse


# More and fewer pairs than coordinates, full and half-empty memories.
SHAPES = [(3, 2, 6), (3, 7, 6), (12, 3, 4), (12, 9, 4), (1, 1, 2)]


@pytest.mark.parametrize(("num_coordinates", "num_steps", "num_pairs"), SHAPES)
def test_the_covariance_is_that_of_dense_bfgs(num_coordinates, num_steps, num_pairs):
    pairs, listed = quadratic_path(num_coordinates, num_steps, num_pairs)
    position, gradient = RNG.normal(size=(2, num_coordinates))
    normal = local_normal(jnp.asarray(position), jnp.asarray(gradient), pairs)
    covariance = bfgs_inverse(np.asarray(pairs.diagonal), listed[-num_pairs:])
    columns = jax.vmap(lambda u: draw(normal, u) - normal.loc)(jnp.eye(num_coordinates))
    np.testing.assert_allclose(columns.T @ columns, covariance, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(normal.loc, position + covariance @ gradient, rtol=1e-8)
    at = position + RNG.normal(size=num_coordinates)
    expected = multivariate_normal(normal.loc, covariance).logpdf(at)
    np.testing.assert_allclose(log_prob(normal, jnp.asarray(at)), expected, rtol=1e-8)


def test_the_diagonal_is_that_of_blackjax():
    alpha = jnp.ones(5)
    pairs, listed = quadratic_path(5, 6, 3)
    for step, change in listed:
        alpha, _ = lbfgs_recover_alpha(alpha, jnp.asarray(step), jnp.asarray(change))
    np.testing.assert_allclose(pairs.diagonal, alpha, rtol=1e-10)


@pytest.mark.parametrize("change", [-1.0, 0.0, np.nan, np.inf])
def test_a_pair_without_curvature_is_left_out(change):
    pairs, _ = quadratic_path(2, 1, 3)
    same = add_pair(pairs, jnp.array([1.0, 0.0]), jnp.array([change, 0.0]))
    for new, old in zip(same, pairs, strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("num", [7, 40])
def test_resampling_takes_each_draw_as_often_as_its_weight_says(num, key):
    weights = np.append(RNG.dirichlet(np.ones(20)), [0.0, 0.0])
    counts = np.bincount(_resample(key, jnp.asarray(weights), num), minlength=22)
    assert counts.sum() == num
    assert (np.abs(counts - num * weights) < 1.0).all()
    assert (counts[-2:] == 0).all()


# -- several modes -------------------------------------------------------------------

MODES, SCALES, SHARES = np.array([-6.0, 5.0]), np.array([0.5, 1.0]), (0.3, 0.7)


def two_modes():
    """A mixture of two far normal laws, with total mass e^-2."""
    position = numpyro.sample(
        "position", dist.ImproperUniform(dist.constraints.real, (), ())
    )
    laws = norm_log_density(position)
    numpyro.factor("mass", jax.nn.logsumexp(laws + jnp.log(jnp.array(SHARES))) - 2.0)


def norm_log_density(x):
    return -0.5 * ((x - MODES) / SCALES) ** 2 - jnp.log(SCALES * jnp.sqrt(2 * jnp.pi))


def test_a_mode_that_many_paths_find_counts_once(key):
    spec = ModelSpec(two_modes, observed=())
    starts = {"position": np.append(np.full(7, -7.0), 6.0)}
    engine = Pathfinder(num_paths=8, num_samples=4000, num_path_draws=1000)
    fit = engine.run(spec, key, init=starts)
    draws = np.asarray(fit.draws["position"])[0]
    np.testing.assert_allclose(np.mean(draws < 0), SHARES[0], atol=0.02)
    np.testing.assert_allclose(fit.log_evidence, -2.0, atol=0.02)
    np.testing.assert_allclose(
        fit.diagnostics["path_weight"], [SHARES[0] / 7] * 7 + [SHARES[1]], rtol=0.05
    )
    # The weights against the own path alone count the left mode seven times.
    assert np.mean(draws < 0) < 0.5 < 7 * SHARES[0] / (7 * SHARES[0] + SHARES[1])
    assert set(np.unique(fit.stats["path"])) == set(range(8))


def test_a_law_with_heavy_tails_is_reported(key):
    def model():
        numpyro.sample("x", dist.Cauchy(0.0, 1.0).expand([6]).to_event(1))

    fit = Pathfinder().run(ModelSpec(model, observed=()), key)
    assert fit.diagnostics["pareto_k"] > 0.7
    assert fit.log_evidence is None
    assert "far from it" in repr(fit.summary())


# -- failures ------------------------------------------------------------------------


def broken_below(limit):
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)
        numpyro.factor("broken", jnp.where(mean < limit, jnp.nan, 0.0))

    return ModelSpec(model, np.array([1.0, 2.0, 3.0]))


def test_a_path_with_nan_leaves_the_others_alone(key):
    starts = np.array([0.0, 1.0, 4.0, 9.0])
    engine = Pathfinder(**SMALL)
    sound = engine.run(broken_below(-50.0), key, init={"mean": starts})
    starts[2] = -99.0
    fit = engine.run(broken_below(-50.0), key, init={"mean": starts})
    codes = [s.code for s in fit.status]
    assert codes[2] is Status.NONFINITE_VALUE
    assert "path 2: no normal law along its 0 iterations" in fit.status[2].message
    assert all(codes[i] is Status.CONVERGED for i in (0, 1, 3))
    others = np.array([0, 1, 3])
    for name in ("elbo", "log_density"):
        np.testing.assert_array_equal(
            fit.history[name][others], sound.history[name][others]
        )
    assert fit.diagnostics["path_weight"][2] == 0.0
    assert 2 not in np.asarray(fit.stats["path"])
    np.testing.assert_allclose(fit.log_evidence, sound.log_evidence, atol=0.02)
    assert "1 of 4 did not end well ([2])" in repr(fit.summary())
    assert np.isfinite(jax.tree.leaves(fit.starts(3))).all()


def test_all_paths_failing_raises_with_the_cause(key):
    with pytest.raises(InitializationError, match="All 4 paths failed; path 0: no"):
        Pathfinder(**SMALL).run(broken_below(50.0), key, init={"mean": 0.0})


def test_a_path_that_has_no_time_says_so(key):
    fit = Pathfinder(max_iterations=2, **SMALL).run(broken_below(-99.0), key)
    assert {s.code for s in fit.status} == {Status.MAX_STEPS}
    assert "still climbing" in fit.status[0].message


def test_params_are_refused(key):
    def model(y):
        mean = numpyro.param("mean", 0.0)
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Normal(mean, scale), obs=y)

    with pytest.raises(ValueError, match=r"Pathfinder samples.*params \['mean'\]"):
        Pathfinder().run(ModelSpec(model, np.ones(3)), key)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_paths": 0}, "`num_paths` must be an integer of at least 1"),
        ({"num_samples": 1.5}, "`num_samples` must be an integer"),
        ({"num_path_draws": 0}, "`num_path_draws` must be"),
        ({"num_elbo_draws": -1}, "`num_elbo_draws` must be"),
        ({"max_iterations": True}, "`max_iterations` must be"),
        ({"history_size": 0}, "`history_size` must be"),
        ({"tolerance": 0.0}, r"`tolerance` must lie in the open interval \(0, 1\)"),
        ({"init_strategy": "priors"}, "did you mean `prior`"),
    ],
)
def test_a_setting_out_of_range_is_named(settings, words):
    with pytest.raises(ValueError, match=words):
        Pathfinder(**settings)


# -- what users see ------------------------------------------------------------------


def test_starts_at_the_mode_learn_the_curvature(key):
    fit = Pathfinder(**SMALL).run(broken_below(-99.0), key, init={"mean": 2.0})
    sd = (3.0 + 0.01) ** -0.5
    np.testing.assert_allclose(np.std(fit.draws["mean"]), sd, rtol=0.2)
    assert fit.diagnostics["pareto_k"] < 0.5


def test_progress_shows_and_changes_nothing(key, capsys):
    spec = broken_below(-99.0)
    quiet = Pathfinder(**SMALL).run(spec, key)
    assert capsys.readouterr().err == ""
    shown = Pathfinder(progress=True, **SMALL).run(spec, key)
    assert "4/4" in capsys.readouterr().err
    np.testing.assert_array_equal(quiet.draws["mean"], shown.draws["mean"])


@pytest.mark.usefixtures("float32")
@pytest.mark.slow
def test_float32_stays_float32(key):
    fit = Pathfinder(**SMALL).run(broken_below(-99.0), key)
    assert fit.draws["mean"].dtype == fit.stats["lp"].dtype == jnp.float32
    np.testing.assert_allclose(np.mean(fit.draws["mean"]), 6.0 / 3.01, atol=0.2)
    assert {s.code for s in fit.status} == {Status.CONVERGED}


# -- against the peer, and against NUTS ----------------------------------------------


def logistic_spec(num_rows=200, num_columns=4, collinear=0.0):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(num_rows, num_columns))
    x[:, 1] += collinear * x[:, 0]
    y = rng.uniform(size=num_rows) < 1 / (1 + np.exp(-x @ rng.normal(size=num_columns)))

    def model(x, y):
        law = dist.Normal(0.0, 2.0).expand([x.shape[1]]).to_event(1)
        slopes = numpyro.sample("slopes", law)
        numpyro.sample("y", dist.Bernoulli(logits=x @ slopes), obs=y)

    return ModelSpec(model, x, y.astype(float))


@pytest.mark.slow
def test_the_draws_have_the_law_of_blackjaxs(key):
    spec = logistic_spec()
    fit = Pathfinder(num_samples=4000, num_path_draws=1000).run(spec, key)
    starts = spec.init(key, 8, strategy="uniform")
    state, _ = jax.jit(
        lambda key: multipathfinder.multi_approximate(
            key, spec.log_density, starts, 1000
        )
    )(key)
    log_weights, pareto_k = multipathfinder.psis_weights(state)
    weights = np.exp(log_weights)
    theirs = np.asarray(state.samples["slopes"]).reshape(-1, 4)
    mean = weights @ theirs
    sd = np.sqrt(weights @ (theirs - mean) ** 2)
    assert max(pareto_k, fit.diagnostics["pareto_k"]) < 0.5
    ours = np.asarray(fit.draws["slopes"])[0]
    # Four standard errors of the difference of two means and of two sds.
    size = 1 / np.mean([1 / len(ours), np.sum(weights**2)]) / 2
    assert (np.abs(ours.mean(0) - mean) / sd * np.sqrt(size)).max() < 4.0
    assert (np.abs(ours.std(0) / sd - 1) * np.sqrt(2 * size)).max() < 4.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bernoulli", "collinear", "poisson", "gamma"])
def test_the_spread_on_a_glm_is_that_of_nuts(name, key):
    collinear = {"bernoulli": 0.0, "collinear": 3.0}
    if name in collinear:
        spec = logistic_spec(collinear=collinear[name])
    else:
        spec = glm_spec(name)
    (site,) = spec.sites.coordinates
    sd = np.std(NUTS(num_samples=2000).run(spec, key).draws[site], axis=(0, 1))
    fit = Pathfinder(num_samples=4000).run(spec, key)
    ratio = np.std(fit.draws[site], axis=(0, 1)) / sd
    assert (np.abs(np.log(ratio)) < np.log(1.25)).all()
    assert fit.diagnostics["pareto_k"] < 0.7
