"""Ensemble VI: closed-form optima, weights, NumPyro guides, failures by member."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from jax.flatten_util import ravel_pytree
from numpyro.infer import autoguide
from scipy.stats import multivariate_normal, norm

from numpyro_ext._checks import ConvergenceWarning, InitializationError
from numpyro_ext.inference import (
    NUTS,
    EarlyStopping,
    EnsembleMAP,
    EnsembleVI,
    ModelSpec,
    Status,
)
from numpyro_ext.inference._independent import sd_ratio, weigh
from numpyro_ext.inference._normal_guides import NormalGuide
from numpyro_ext.inference._path_normal import PathNormal

from ..slow import slow_beside
from .targets import LOG_SD, LOG_Y, PRIOR_SD, lognormal, regression
from .test_pathfinder import broken_below, logistic_spec

SMALL = {"num_members": 2, "num_samples": 400}


def flat(fit):
    """The draws as (member, draw, coordinate)."""
    return np.asarray(jax.vmap(jax.vmap(lambda z: ravel_pytree(z)[0]))(fit.positions))


# -- the normal guides ---------------------------------------------------------------


def random_frame(n):
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.normal(size=(n, 2)))[0]
    root = np.tril(rng.normal(size=(2, 2))) + 2 * np.eye(2)
    arrays = rng.normal(size=n), np.exp(rng.normal(size=n)), basis, root
    return PathNormal(*map(jnp.asarray, arrays))


@pytest.mark.parametrize("form", ["mean_field", "full_rank", "low_rank"])
def test_the_density_is_that_of_the_draws(form, key):
    spec, guide = regression().spec, NormalGuide(form, 2)
    frame = random_frame(3)
    start = guide.start(spec, key, frame)
    rng = np.random.default_rng(3)
    params = {name: jnp.asarray(rng.normal(size=x.shape)) for name, x in start.items()}
    draws = jax.vmap(lambda k: guide.draw(spec, frame, params, k))(
        jax.random.split(key, 20_000)
    )
    values = np.asarray(jax.vmap(lambda z: ravel_pytree(z)[0])(draws.position))
    # The law that the definition gives, from its own matrices.
    n, d = 3, np.diag(np.exp(params["log_scale"]))
    spread = np.eye(n)
    if form == "full_rank":
        spread += np.tril(params["factor"], -1) / np.sqrt(n)
    elif form == "low_rank":
        spread = np.hstack([spread, params["factor"]])
    inside = np.eye(n)
    if form == "full_rank":
        q = np.asarray(frame.basis)
        inside += q @ (np.asarray(frame.root) - np.eye(2)) @ q.T
    linear = np.diag(frame.scale) @ inside
    mean = frame.loc + linear @ params["loc"]
    covariance = linear @ d @ spread @ (linear @ d @ spread).T
    law = multivariate_normal(mean, covariance)
    np.testing.assert_allclose(draws.log_prob, law.logpdf(values), rtol=1e-8)
    white = (values - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    assert np.abs(white.mean(axis=0)).max() < 5 / np.sqrt(20_000)
    assert np.abs(np.cov(white.T) - np.eye(n)).max() < 8 / np.sqrt(20_000)


@pytest.mark.slow
def test_mean_field_has_the_variances_of_the_precision():
    # Of all independent normal laws, the nearest one has the posterior's mean and the
    # inverse diagonal of its precision: Bishop (2006), section 10.1.2.
    truth = regression()
    # With the default number of steps the means are within 0.1 of these narrow sds.
    engine = EnsembleVI(num_members=4, num_samples=4000, num_steps=8000)
    fit = engine.run(truth.spec, jax.random.key(0))
    draws = flat(fit).reshape(-1, 3)
    sd = np.diag(np.linalg.inv(truth.covariance)) ** -0.5
    np.testing.assert_allclose((draws.mean(axis=0) - truth.mean) / sd, 0.0, atol=0.06)
    np.testing.assert_allclose(draws.std(axis=0) / sd, 1.0, atol=0.04)
    # The ELBO falls short by half the log ratio of the two determinants.
    gap = 0.5 * (np.sum(np.log(sd**2)) - np.linalg.slogdet(truth.covariance)[1])
    elbo, error = (np.asarray(fit.diagnostics[n]) for n in ("elbo", "elbo_error"))
    assert (np.abs(elbo - (truth.log_evidence + gap)) < 4 * error + 0.02).all()
    assert fit.diagnostics["pareto_k"] > 0.5
    assert fit.log_evidence is None


@pytest.mark.slow
@pytest.mark.parametrize("kl_weight", [0.25, 3])
def test_the_weight_falls_on_the_prior_and_its_jacobian(kl_weight):
    # Maximal is q(z) in proportion to p(z) p(y | z)^(1 / w): normal in log(size).
    engine = EnsembleVI(kl_weight=kl_weight, num_members=2, num_samples=2000)
    fit = engine.run(lognormal().spec, jax.random.key(1))
    likelihood = LOG_Y.size / LOG_SD**2 / kl_weight
    precision = likelihood + 1 / PRIOR_SD**2
    mean = (likelihood * LOG_Y.mean() + 0.3 / PRIOR_SD**2) / precision
    draws = flat(fit).ravel() * precision**0.5
    np.testing.assert_allclose(draws.mean(), mean * precision**0.5, atol=0.07)
    np.testing.assert_allclose(draws.std(), 1.0, atol=0.06)
    # The answer without a weight is elsewhere by more than the tolerance.
    assert (
        abs(draws.std() - (precision / (lognormal().covariance[0, 0] ** -1)) ** 0.5)
        > 0.1
    )


@pytest.mark.slow
def test_mini_batches_reach_the_posterior(key):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 2))
    y = x @ [1.0, -2.0] + 0.5 * rng.normal(size=400)

    def model(x, y):
        slopes = numpyro.sample("slopes", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        numpyro.sample("y", dist.Normal(x @ slopes, 0.5), obs=y)

    spec = ModelSpec(model, x, y, batch=("x", "y"))
    engine = EnsembleVI("full_rank", batch_size=80, num_particles=2, **SMALL)
    draws = flat(engine.run(spec, key)).reshape(-1, 2)
    covariance = np.linalg.inv(x.T @ x / 0.25 + np.eye(2))
    sd, mean = np.sqrt(np.diag(covariance)), covariance @ x.T @ y / 0.25
    np.testing.assert_allclose((draws.mean(axis=0) - mean) / sd, 0.0, atol=0.4)
    np.testing.assert_allclose(draws.std(axis=0) / sd, 1.0, atol=0.25)


@pytest.mark.slow
def test_a_narrow_posterior_under_a_wide_prior_is_found(key):
    """Posterior sds of a 5000th of the prior's, two collinear columns."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(500, 3))
    x[:, 1] += 3 * x[:, 0]
    y = x @ [3.0, -2.0, 8.0] + 0.05 * rng.normal(size=500)

    def model(x, y):
        slopes = numpyro.sample("slopes", dist.Normal(0.0, 10).expand([3]).to_event(1))
        numpyro.sample("y", dist.Normal(x @ slopes, 0.05), obs=y)

    fit = EnsembleVI("full_rank", num_steps=1000, **SMALL).run(
        ModelSpec(model, x, y), key
    )
    covariance = np.linalg.inv(x.T @ x / 0.05**2 + np.eye(3) / 100)
    mean = covariance @ x.T @ y / 0.05**2
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    white = (flat(fit).reshape(-1, 3) - mean) @ root.T
    np.testing.assert_allclose(white.mean(axis=0), 0.0, atol=0.15)
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=0.2)


# -- guides of NumPyro ---------------------------------------------------------------


def exact_guide(y):
    loc = numpyro.param("loc", 0.0)
    scale = numpyro.param("scale", 1.0, constraint=dist.constraints.positive)
    numpyro.sample("size", dist.LogNormal(loc, scale))


GUIDES = {
    "class": lambda model: autoguide.AutoNormal,
    "instance": lambda model: autoguide.AutoNormal(model),
    "continuous": lambda model: autoguide.AutoDiagonalNormal,
    "function": lambda model: exact_guide,
}


@pytest.mark.parametrize("name", slow_beside(GUIDES.keys() - {"class"}, GUIDES))
def test_a_guide_of_numpyro_finds_the_posterior(name):
    truth = lognormal()
    guide = GUIDES[name](truth.spec.model.model)
    fit = EnsembleVI(guide, **SMALL).run(truth.spec, jax.random.key(2))
    sd = truth.covariance[0, 0] ** 0.5
    draws = (flat(fit).ravel() - truth.mean) / sd
    assert abs(draws.mean()) < 4.5 / np.sqrt(800) + 0.02
    assert abs(draws.std() - 1.0) < 4.5 / np.sqrt(1600) + 0.02
    np.testing.assert_allclose(fit.diagnostics["elbo"], truth.log_evidence, atol=0.01)
    assert fit.diagnostics["pareto_k"] < 0.7


@pytest.mark.slow
def test_a_guide_with_correlations_finds_them():
    truth = regression()
    guide = autoguide.AutoMultivariateNormal
    fit = EnsembleVI(guide, num_members=2).run(truth.spec, jax.random.key(3))
    root = np.linalg.inv(np.linalg.cholesky(truth.covariance))
    white = (flat(fit).reshape(-1, 3) - truth.mean) @ root.T
    assert np.abs(np.cov(white.T) - np.eye(3)).max() < 0.25


def test_the_users_guide_stays_as_it_is(key):
    spec = lognormal().spec
    guide = autoguide.AutoNormal(spec.model.model)
    EnsembleVI(guide, num_steps=5, **SMALL).run(spec, key)
    assert guide.prototype_trace is None


@pytest.mark.slow
def test_members_of_an_automatic_guide_begin_apart(key):
    spec = regression().spec
    engine = EnsembleVI(
        autoguide.AutoNormal, num_climb_steps=0, num_steps=1, num_members=3
    )
    fit = engine.run(spec, key, init={"beta": [0.0, 1.0, 2.0], "slopes": [0.0, 0.0]})
    np.testing.assert_allclose(fit.state["beta_auto_loc"], [0.0, 1.0, 2.0], atol=0.11)


def missing_guide(y):
    numpyro.sample("other", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})


def extra_guide(y):
    exact_guide(y)
    numpyro.sample("other", dist.Normal(0.0, 1.0))


def rough_guide(y):
    rate = numpyro.param("rate", 1.0, constraint=dist.constraints.positive)
    mixed = dist.MixtureSameFamily(
        dist.Categorical(jnp.ones(2) / 2), dist.Gamma(jnp.array([1.0, 4.0]), rate)
    )
    numpyro.sample("size", mixed)


@pytest.mark.parametrize(
    ("guide", "words"),
    [
        (missing_guide, r"`missing_guide` does not draw the sites \['size'\]"),
        (extra_guide, "`extra_guide` draws `other`, which is no latent site"),
        (rough_guide, "`rough_guide` draws `size` from MixtureSameFamily"),
        (autoguide.AutoDelta, "`AutoDelta` is no law.*`EnsembleMAP`"),
        (autoguide.AutoLaplaceApproximation, "is no law.*`Laplace`"),
    ],
)
def test_a_guide_that_does_not_fit_is_named(guide, words, key):
    with pytest.raises(ValueError, match=words):
        EnsembleVI(guide, **SMALL).run(lognormal().spec, key)


def function_spec():
    def log_joint(params, y):
        rest = (y - params["w"]) / 0.5
        return -0.5 * jnp.sum(rest**2), -0.5 * params["w"] ** 2

    return ModelSpec.from_log_density(
        log_joint, lambda key: {"w": jax.random.normal(key)}, np.array([1.0, 2.0])
    )


def test_a_plain_function_has_a_normal_guide_and_no_other(key):
    fit = EnsembleVI(**SMALL).run(function_spec(), key)
    np.testing.assert_allclose(np.mean(fit.draws["w"]), 12 / 9, atol=0.07)
    np.testing.assert_allclose(np.std(fit.draws["w"]), 1 / 3, rtol=0.12)
    with pytest.raises(ValueError, match="`AutoNormal` is one for NumPyro models"):
        EnsembleVI(autoguide.AutoNormal, **SMALL).run(function_spec(), key)


# -- early stopping, layouts, progress -----------------------------------------------


@pytest.mark.slow
def test_early_stopping_ends_a_member_and_gives_back_its_best(key):
    stopping = EarlyStopping(patience=200, check_every=50, min_delta=0.05)
    engine = EnsembleVI("full_rank", early_stopping=stopping, **SMALL)
    fit = engine.run(regression().spec, key)
    assert {s.code for s in fit.status} == {Status.STOPPED_EARLY}
    num_steps = np.isfinite(fit.history["elbo"]).sum(axis=1)
    assert (num_steps < 2000).all()
    assert f"stopped early after {num_steps[0]} steps" in fit.status[0].message
    np.testing.assert_allclose(
        fit.diagnostics["elbo"], regression().log_evidence, atol=0.3
    )


def test_held_out_data_decide_when_to_stop(key):
    spec = lognormal().spec
    far = spec.with_data(np.array([9.0, 9.0, 9.0]))
    stopping = EarlyStopping(patience=20, check_every=10, held_out=far)
    options = {"num_climb_steps": 0, "num_members": 2}
    engine = EnsembleVI(early_stopping=stopping, **options)
    fit = engine.run(spec, key, init={"size": 9.0})
    # The data pull the guide away from where the held-out ones are.
    assert (np.isfinite(fit.history["elbo"]).sum(axis=1) < 200).all()
    assert np.mean(fit.draws["size"]) > 5.0


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["map", "vmap", 2])
def test_the_layout_does_not_change_the_answer(layout, key):
    options = {"num_members": 4, "num_steps": 50, "num_samples": 20}
    reference = EnsembleVI("low_rank", **options).run(regression().spec, key)
    fit = EnsembleVI("low_rank", layout=layout, **options).run(regression().spec, key)
    np.testing.assert_allclose(flat(fit), flat(reference), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        fit.history["elbo"], reference.history["elbo"], rtol=1e-6
    )


def test_progress_shows_and_changes_nothing(key, capsys):
    options = {"num_members": 2, "num_steps": 20}
    quiet = EnsembleVI(**options).run(lognormal().spec, key)
    assert capsys.readouterr().err == ""
    shown = EnsembleVI(progress=True, **options).run(lognormal().spec, key)
    assert "2/2" in capsys.readouterr().err
    np.testing.assert_array_equal(quiet.draws["size"], shown.draws["size"])


def test_any_optimizer_may_be_given(key):
    engine = EnsembleVI(optimizer=optax.sgd(0.05), num_particles=4, **SMALL)
    fit = engine.run(lognormal().spec, key)
    np.testing.assert_allclose(
        fit.diagnostics["elbo"], lognormal().log_evidence, atol=0.05
    )


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("guide", ["full_rank", autoguide.AutoNormal])
def test_float32_stays_float32(guide, key):
    fit = EnsembleVI(guide, **SMALL).run(lognormal().spec, key)
    assert fit.draws["size"].dtype == fit.stats["lp"].dtype == jnp.float32
    assert fit.history["elbo"].dtype == jnp.float32
    np.testing.assert_allclose(
        fit.diagnostics["elbo"], lognormal().log_evidence, atol=0.02
    )


# -- failures ------------------------------------------------------------------------


def test_a_member_with_nan_leaves_the_others_alone(key):
    starts = np.array([0.0, 1.0, 4.0, 9.0])
    engine = EnsembleVI(num_members=4, num_steps=300, num_climb_steps=0, layout="map")
    sound = engine.run(broken_below(-50.0), key, init={"mean": starts})
    starts[2] = -99.0
    with pytest.warns(
        ConvergenceWarning, match=r"1 of 4 members failed: 2\. Member 2:"
    ):
        fit = engine.run(broken_below(-50.0), key, init={"mean": starts})
    codes = [s.code for s in fit.status]
    assert codes == [Status.OK, Status.OK, Status.NONFINITE_VALUE, Status.OK]
    others = np.array([0, 1, 3])
    for name in ("elbo",):
        np.testing.assert_array_equal(
            fit.history[name][others], sound.history[name][others]
        )
    np.testing.assert_array_equal(
        fit.draws["mean"][others], sound.draws["mean"][others]
    )
    assert np.isfinite(fit.diagnostics["pareto_k"])


def test_a_step_that_is_not_finite_is_left_out(key):
    # The posterior is 2 +- 0.58; about one draw in a hundred is below 0.66.
    fit = EnsembleVI(num_steps=500, **SMALL).run(broken_below(0.66), key)
    assert {s.code for s in fit.status} == {Status.OK}
    assert "steps left out, since they were not finite" in fit.status[0].message
    assert np.isnan(fit.history["elbo"]).any()
    np.testing.assert_allclose(np.mean(fit.draws["mean"]), 2.0, atol=0.3)


def test_all_members_failing_raises_with_the_cause(key):
    with pytest.raises(InitializationError, match="2 of 2 members failed"):
        EnsembleVI(**SMALL).run(broken_below(50.0), key, init={"mean": 0.0})


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"guide": "meanfield"}, "did you mean `mean_field`"),
        ({"guide": 3}, "an `AutoGuide` of NumPyro, or a guide function"),
        ({"num_members": 0}, "`num_members` must be an integer of at least 1"),
        ({"num_steps": 2.5}, "`num_steps` must be an integer"),
        ({"num_particles": 0}, "`num_particles` must be"),
        ({"num_samples": 0}, "`num_samples` must be"),
        ({"num_climb_steps": -1}, "`num_climb_steps` must be an integer of at least 0"),
        ({"rank": 0}, "`rank` must be"),
        ({"batch_size": 0}, "`batch_size` must be"),
        ({"kl_weight": 0.0}, "`kl_weight` must be a weight above 0"),
        ({"kl_weight": float("nan")}, "`kl_weight` must be a weight above 0"),
        ({"optimizer": "adam"}, "`optimizer` must be an optax optimizer"),
        ({"early_stopping": 100}, "`early_stopping` must be `EarlyStopping"),
        ({"layout": 3}, "does not divide `num_members=16`"),
        ({"init_strategy": "Prior"}, "did you mean `prior`"),
    ],
)
def test_a_setting_out_of_range_is_named(settings, words):
    with pytest.raises(ValueError, match=words):
        EnsembleVI(**settings)


def test_more_rows_than_there_are_is_refused(key):
    spec = ModelSpec(
        regression().spec.model.model, *regression().spec.model.args, batch=("x", "y")
    )
    with pytest.raises(ValueError, match=r"EnsembleVI\(batch_size=99\)` is larger"):
        EnsembleVI(batch_size=99).run(spec, key)
    with pytest.raises(ValueError, match="does not say which arguments hold rows"):
        EnsembleVI(batch_size=9).run(regression().spec, key)


# Of the widest law, most draws have weights that underflow.
@pytest.mark.parametrize(("scale", "rtol"), [(0.8, 0.03), (1.25, 0.03), (30.0, 0.1)])
def test_the_sd_ratio_is_that_of_the_coordinate_which_is_furthest_off(scale, rtol, key):
    draws = np.asarray(jax.random.normal(key, (4, 5000, 3))) * [1.02, scale, 1.0]
    log_law = norm.logpdf(draws, scale=[1.02, scale, 1.0]).sum(axis=2)
    log_ratio = norm.logpdf(draws).sum(axis=2) - log_law
    # Draws that have no weight are not part of either sd.
    draws[0, :100], log_ratio[0, :100] = np.nan, -np.inf
    positions = {"a": draws[..., :1], "b": draws[..., 1:], "c": np.full((4, 5000), 0.1)}
    found = sd_ratio(positions, weigh(jnp.asarray(log_ratio)).log_weights)
    np.testing.assert_allclose(found, scale, rtol=rtol)


# -- against NUTS --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("collinear", [0.0, 3.0])
@pytest.mark.parametrize("guide", ["mean_field", "full_rank"])
def test_the_spread_on_a_glm_is_reported(guide, collinear, key):
    spec = logistic_spec(collinear=collinear)
    sd = np.std(NUTS(num_samples=2000).run(spec, key).draws["slopes"], axis=(0, 1))
    fit = EnsembleVI(guide, num_members=4).run(spec, key)
    ratio = np.std(fit.draws["slopes"], axis=(0, 1)) / sd
    furthest = ratio[np.argmax(np.abs(np.log(ratio)))]
    reported = fit.diagnostics["sd_ratio"]
    # Independent coordinates cannot hold the posterior of collinear columns.
    if guide == "full_rank" or collinear == 0.0:
        np.testing.assert_allclose([furthest, reported], 1.0, atol=0.08)
        # Of one member: all draws together see tails that no normal law has.
        assert np.median(fit.diagnostics["pareto_k_member"]) < 0.7
    else:
        assert furthest < 0.6
        assert reported < 0.8
        assert fit.diagnostics["pareto_k"] > 0.7


@pytest.mark.slow
def test_an_ensemble_map_is_a_start(key):
    spec = logistic_spec()
    modes = EnsembleMAP(num_members=2, jacobian=True).run(spec, key)
    fit = EnsembleVI("full_rank", **SMALL).run(spec, key, init=modes)
    assert fit.diagnostics["pareto_k"] < 0.7
