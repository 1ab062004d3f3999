"""HMC, AdjustedMCLMC and metrics of low rank: exact laws, same draws by every road."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from scipy.stats import halfcauchy, halfnorm, truncnorm

from numpyro_ext.diagnostics._sample_stats import sample_stats
from numpyro_ext.inference import (
    HMC,
    NUTS,
    AdjustedMCLMC,
    ChEES,
    Fit,
    ModelSpec,
    Status,
    constrain_draws,
)
from numpyro_ext.inference._low_rank_metric import low_rank_metric
from numpyro_ext.inference._metric import LowRankMetric

from ..slow import slow_beside
from .posteriors import POSTERIORS
from .test_evidence import by_site, reference
from .zoo import X, Y, linear

SIZES = {"num_warmup": 100, "num_samples": 60, "num_chains": 3, "chunk_size": 40}
ENGINES = {
    "HMC": functools.partial(HMC, **SIZES),
    "AdjustedMCLMC": functools.partial(AdjustedMCLMC, **SIZES),
    "NUTS-low_rank": functools.partial(NUTS, mass_rank=2, **SIZES),
    "ChEES": functools.partial(ChEES, **SIZES),
}
# Their chains do not know of each other, and run in any way.
APART = [name for name in ENGINES if name != "ChEES"]
# One engine stands for all of a skeleton in what compiles once more for each.
FIRST = "HMC"


def mostly_slow(names):
    return slow_beside((FIRST,), names)


STATS = {"lp", "diverging", "acceptance_rate", "n_steps", "step_size"}
OWN_STATS = {
    "HMC": {"energy", "reached_max_num_steps"},
    "AdjustedMCLMC": {"reached_max_num_steps"},
    "ChEES": {"energy", "reached_max_num_steps"},
    "NUTS-low_rank": {
        "energy",
        "tree_depth",
        "reached_max_treedepth",
        "reached_max_tree_depth",
    },
}


@functools.cache
def small_fit(name):
    return ENGINES[name]().run(ModelSpec(linear, X, y=Y), jax.random.key(0))


def assert_same_draws(one, other):
    for ours, theirs in zip(
        jax.tree.leaves((one.positions, one.draws, one.stats)),
        jax.tree.leaves((other.positions, other.draws, other.stats)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", mostly_slow(ENGINES))
def test_the_road_changes_no_draw(name, tmp_path):
    spec, key, whole = small_fit(name).spec, jax.random.key(0), small_fit(name)
    way = {"chain_method": "sequential"} if name in APART else {}
    assert_same_draws(ENGINES[name](chunk_size=7, **way).run(spec, key), whole)
    engine = ENGINES[name](num_samples=20)
    part = engine.run(spec, key)
    part.save(tmp_path / "part.npz")
    loaded = Fit.load(tmp_path / "part.npz", spec, engine)
    assert_same_draws(loaded.resume(25).resume(15), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", APART)
def test_vectorized_chains_sample_the_same_law(name):
    engine = ENGINES[name](num_samples=2000, chain_method="vectorized")
    fit = engine.run(small_fit(name).spec, jax.random.key(1))
    other = ENGINES[name](num_samples=2000).run(fit.spec, jax.random.key(2))
    one, two = (f.summary().table.loc["weights[0]"] for f in (fit, other))
    error = math.hypot(one["mcse_mean"], two["mcse_mean"])
    assert abs(one["mean"] - two["mean"]) < 4 * error


@pytest.mark.parametrize("name", mostly_slow(ENGINES))
def test_statistics_have_arviz_names_and_tell_the_truth(name):
    fit = small_fit(name)
    assert set(fit.stats) == STATS | OWN_STATS[name]
    log_density = jax.jit(jax.vmap(jax.vmap(fit.spec.log_density)))(fit.positions)
    np.testing.assert_allclose(fit.stats["lp"], log_density, rtol=1e-10)
    again = constrain_draws(fit.spec, fit.positions)
    np.testing.assert_allclose(fit.draws["noise"], again["noise"])
    assert (np.asarray(fit.stats["n_steps"]) >= 1).all()
    rate = np.asarray(fit.stats["acceptance_rate"])
    assert (rate >= 0.0).all()
    assert (rate <= 1.0).all()
    if "energy" in fit.stats:
        assert (fit.stats["energy"] > -fit.stats["lp"]).all()


def spike():
    a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.real, (), ()))
    # To the left there is no density; a chain may start where all else is NaN.
    needle = jnp.where(a == 60.0, 0.0, jnp.nan)
    law = jnp.where(a > 30.0, needle, -0.5 * a**2)
    numpyro.factor("law", jnp.where(a < -1.0, jnp.nan, law))


@pytest.mark.filterwarnings("ignore:.*(diverged|max_tree_depth|max_num_steps)")
@pytest.mark.parametrize("name", mostly_slow(APART))
def test_one_bad_chain_leaves_the_others_alone(name):
    spec, key = ModelSpec(spike, observed=()), jax.random.key(0)
    init = np.array([0.1, 0.2, 60.0])
    good = ENGINES[name](num_chains=2).run(spec, key, init={"a": init[:2]})
    fit = ENGINES[name](num_chains=3).run(spec, key, init={"a": init})
    np.testing.assert_array_equal(fit.draws["a"][:2], good.draws["a"])
    assert [s.code for s in fit.status] == [Status.OK, Status.OK, Status.STUCK]
    assert (good.draws["a"] >= -1.0).all()
    assert np.isfinite(good.stats["lp"]).all()


@pytest.mark.filterwarnings("ignore:.*diverged")
def test_chains_that_adapt_together_learn_nothing_from_a_bad_one():
    spec = ModelSpec(spike, observed=())
    init = np.linspace(-0.5, 0.5, 8)
    init[5] = 60.0
    engine = ChEES(num_warmup=200, num_samples=500, num_chains=8)
    fit = engine.run(spec, jax.random.key(0), init={"a": init})
    codes = [s.code for s in fit.status]
    assert codes == [Status.OK] * 5 + [Status.STUCK] + [Status.OK] * 2
    moments = truncnorm(-1.0, np.inf)
    stats = sample_stats(
        np.delete(np.asarray(fit.draws["a"]), 5, 0)[..., None], ci_prob=0.9
    )
    assert abs(stats.mean[0] - moments.mean()) < 4.5 * stats.mcse_mean[0]
    assert abs(stats.sd[0] - moments.std()) < 4.5 * stats.mcse_sd[0]
    learned = fit.state["chains"]["warmup"]["metric"]["inverse_mass"]
    np.testing.assert_allclose(learned, moments.var(), rtol=0.2)
    assert np.ptp(fit.stats["step_size"]) == 0.0
    assert (fit.stats["n_steps"] == fit.stats["n_steps"][:1]).all()


def test_chains_find_the_length_that_a_wide_direction_needs():
    covariance = np.full((4, 4), 0.99) + 0.01 * np.eye(4)
    spec = ModelSpec(gaussian, np.linalg.inv(covariance))
    fit = ChEES(num_chains=16, num_warmup=600, num_samples=200).run(
        spec, jax.random.key(0)
    )
    log_length = fit.state["chains"]["warmup"]["length"]["log_average"]
    # In the units of the variances, the wide direction has sd 2: its half period is
    # the longest that a trajectory may usefully be, uniform lengths being twice their
    # mean at most.
    wide = math.sqrt(3.97)
    assert 0.5 * math.pi * wide < np.exp(log_length[0]) < 2.0 * math.pi * wide
    fixed = HMC(num_samples=800).run(spec, jax.random.key(0))
    per_step = [
        fit.summary().table["ess_bulk"].min() / fit.stats["n_steps"].sum()
        for fit in (fit, fixed)
    ]
    assert per_step[0] > 0.7 * per_step[1]


def rosette():
    numpyro.sample("x", dist.Normal(jnp.arange(3.0), 2.0).to_event(1))


@pytest.mark.parametrize("name", mostly_slow(ENGINES))
def test_float32_stays_float32(name, float32):
    fit = ENGINES[name](num_samples=1000).run(
        ModelSpec(rosette, observed=()), jax.random.key(0)
    )
    for leaf in jax.tree.leaves((fit.positions, fit.draws, fit.stats["lp"])):
        assert leaf.dtype == jnp.float32
    table = fit.summary().table
    for i in range(3):
        row = table.loc[f"x[{i}]"]
        assert abs(row["mean"] - i) < 4.5 * row["mcse_mean"]
        assert abs(row["sd"] - 2.0) < 4.5 * row["mcse_sd"]


def test_jitter_keeps_trajectories_off_periodic_orbits():
    def one():
        numpyro.sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1))

    spec = ModelSpec(one, observed=())
    memory = {}
    for jitter in (0.0, 0.5):
        engine = HMC(
            num_warmup=0,
            num_samples=500,
            num_chains=1,
            trajectory_length=2 * math.pi,
            jitter=jitter,
            step_size=2 * math.pi / 60,
            inverse_mass_matrix=np.ones(2),
        )
        x = np.asarray(engine.run(spec, jax.random.key(0)).draws["x"])[0, :, 0]
        memory[jitter] = np.corrcoef(x[1:], x[:-1])[0, 1]
    assert memory[0.0] > 0.95
    assert memory[0.5] < 0.5


@pytest.mark.parametrize("engine", [HMC, AdjustedMCLMC, ChEES])
def test_cut_trajectories_are_reported(engine):
    cut = engine(**SIZES, max_num_steps=1)
    with pytest.warns(UserWarning, match=r"were cut at max_num_steps=1, so draws"):
        fit = cut.run(small_fit(engine.__name__).spec, jax.random.key(0))
    assert fit.stats["reached_max_num_steps"].all()


@pytest.mark.parametrize("engine", [HMC, AdjustedMCLMC])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_samples": 0}, r"num_samples=0.*at least 1"),
        ({"trajectory_length": 0.0}, r"trajectory_length=0.0.*open interval"),
        ({"jitter": 1.5}, r"jitter=1.5.*from 0 to 1"),
        ({"max_num_steps": 0}, r"max_num_steps=0"),
        ({"mass_rank": -1}, r"mass_rank=-1"),
        ({"dense_mass": True, "mass_rank": 2}, r"mass_rank=2.*one of the two"),
        ({"num_warmup": 0}, r"num_warmup=0.*step_size.*inverse_mass_matrix"),
    ],
)
def test_bad_settings_are_refused_with_their_value(engine, settings, words):
    with pytest.raises(ValueError, match=rf"`{engine.__name__}\(.*{words}"):
        engine(**settings)


def test_one_chain_has_nobody_to_adapt_with():
    with pytest.raises(ValueError, match=r"`ChEES\(num_chains=1\)`.*at least 2"):
        ChEES(num_chains=1)


# -- metrics of low rank ---------------------------------------------------------------


def spiked_covariance(dim, key=0):
    """Three directions that are wide or narrow, in coordinates of other scales."""
    rng = np.random.default_rng(key)
    directions = np.linalg.qr(rng.normal(size=(dim, 3)))[0]
    values = np.array([400.0, 100.0, 0.002])
    covariance = np.eye(dim) + directions @ np.diag(values - 1.0) @ directions.T
    scale = np.exp(rng.normal(size=dim))
    return covariance * scale[:, None] * scale


def condition(covariance, metric):
    """The condition number that a sampler with this metric meets."""
    root = np.linalg.cholesky(covariance)
    values = np.linalg.eigvalsh(root.T @ np.linalg.inv(metric) @ root)
    return values[-1] / values[0]


def dense(metric: LowRankMetric):
    directions = np.asarray(metric.directions, float)
    inner = np.eye(directions.shape[1])
    inner += directions.T @ np.diag(np.asarray(metric.values) - 1.0) @ directions
    scale = np.asarray(metric.scale)
    return inner * scale[:, None] * scale


def gaussian_draws(covariance, num):
    rng = np.random.default_rng(1)
    draws = rng.multivariate_normal(np.zeros(len(covariance)), covariance, size=num)
    return draws, -np.linalg.solve(covariance, draws.T).T


def estimate(draws, grads, num, rank):
    rows = jnp.asarray(draws), jnp.asarray(grads)
    return jax.jit(low_rank_metric, static_argnums=3)(*rows, jnp.asarray(num), rank)


@pytest.mark.parametrize(("num", "worst"), [(40, 100.0), (400, 20.0)])
def test_the_metric_finds_the_directions_in_few_draws(num, worst):
    covariance = spiked_covariance(100)
    draws, grads = gaussian_draws(covariance, num)
    # What lies below the rows in use is left over from other windows.
    left_over = np.full((440 - num, 100), 7.0)
    rows = np.vstack([draws, left_over]), np.vstack([grads, left_over])
    metric = estimate(*rows, num, 6)
    assert condition(covariance, np.diag(np.diag(covariance))) > 1e4
    assert condition(covariance, dense(metric)) < worst


def test_a_full_rank_recovers_a_covariance():
    covariance = spiked_covariance(5)
    metric = estimate(*gaussian_draws(covariance, 50), 50, 5)
    # Values within a factor of 2 of 1 are left at 1.
    assert condition(covariance, dense(metric)) < 4.0


def test_rows_that_tell_nothing_leave_the_identity():
    rows = np.ones((20, 4))
    grads = rows.copy()
    grads[3] = np.nan
    np.testing.assert_allclose(dense(estimate(rows, grads, 20, 2)), np.eye(4))


def test_a_metric_of_low_rank_moves_as_its_matrix_does():
    rng = np.random.default_rng(2)
    directions = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    metric = LowRankMetric(
        jnp.asarray(rng.uniform(0.5, 2.0, 6)),
        jnp.asarray(directions),
        jnp.array([9.0, 0.1]),
    )
    matrix = dense(metric)
    momenta = jax.vmap(metric.momentum)(jnp.eye(6)).T
    np.testing.assert_allclose(momenta @ momenta.T @ matrix, np.eye(6), atol=1e-12)
    velocities = jax.vmap(metric.velocity)(jnp.eye(6))
    np.testing.assert_allclose(velocities, matrix, atol=1e-12)


def gaussian(precision):
    shape = precision.shape[:1]
    law = dist.ImproperUniform(dist.constraints.real, (), shape)
    x = numpyro.sample("x", law)
    numpyro.factor("law", -0.5 * x @ precision @ x)


@pytest.mark.slow
def test_a_metric_of_low_rank_takes_fewer_gradients():
    covariance = spiked_covariance(100)
    spec = ModelSpec(gaussian, np.linalg.inv(covariance))
    sizes = {"num_warmup": 600, "num_samples": 500, "num_chains": 2}
    fits = [
        HMC(**sizes, mass_rank=rank).run(spec, jax.random.key(0)) for rank in (0, 6)
    ]
    ess = [fit.summary().table["ess_bulk"].min() for fit in fits]
    num_gradients = [fit.stats["n_steps"].sum() for fit in fits]
    assert num_gradients[1] < 0.8 * num_gradients[0]
    assert ess[1] > 10 * ess[0]
    stats = sample_stats(np.asarray(fits[1].draws["x"]), ci_prob=0.9)
    assert np.abs(stats.mean / stats.mcse_mean).max() < 4.5
    sd = np.sqrt(np.diag(covariance))
    assert np.abs((stats.sd - sd) / stats.mcse_sd).max() < 4.5


# -- slow: real posteriors -------------------------------------------------------------

LINEAR = ("arK", "earnings", "kidiq", "mesquite", "sblri")
LONG = {
    "NUTS": NUTS(num_samples=5000),
    "HMC": HMC(num_samples=5000),
    "AdjustedMCLMC": AdjustedMCLMC(num_samples=5000),
    "NUTS-low_rank": NUTS(num_samples=5000, mass_rank=3),
    "ChEES": ChEES(num_samples=1000),
}


def linear_moments(spec):
    """Moments of a Gaussian regression, by quadrature over the log noise."""
    args = [np.asarray(x, float) for x in spec.model.args]
    if len(args) == 2:
        lags, y = args
        X = np.column_stack([np.ones(len(y)), lags])
        scales, prior = np.full(6, 10.0), halfcauchy(scale=2.5)
    else:
        (X, y, scales), prior = args[:3], halfnorm(scale=args[3])
    grid = np.linspace(math.log(y.std()) - 8, math.log(y.std()) + 6, 8001)
    log_weights, means, variances = [], [], []
    for log_noise in grid:
        noise = math.exp(log_noise)
        scaled, target = X * scales / noise, y / noise
        precision = np.eye(len(scales)) + scaled.T @ scaled
        mean = np.linalg.solve(precision, scaled.T @ target)
        log_weights.append(
            -len(y) * log_noise
            - 0.5 * (target @ target - mean @ precision @ mean)
            - 0.5 * np.linalg.slogdet(precision)[1]
            + prior.logpdf(noise)
            + log_noise
        )
        means.append([*(mean * scales), noise])
        variances.append([*(np.diag(np.linalg.inv(precision)) * scales**2), 0.0])
    weights = np.exp(np.array(log_weights) - logsumexp(log_weights))
    mean = weights @ np.array(means)
    return mean, np.sqrt(weights @ (np.array(variances) + (means - mean) ** 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("engine", LONG)
def test_a_real_posterior_has_its_exact_moments(engine, name):
    spec = POSTERIORS[name]()
    fit = LONG[engine].run(spec, jax.random.key(2))
    assert {s.code for s in fit.status} == {Status.OK}
    sites = ["alpha", "beta", "sigma"] if name == "arK" else ["beta", "sigma"]
    draws = [np.asarray(fit.draws[site]) for site in sites]
    flat = np.concatenate([x.reshape(*x.shape[:2], -1) for x in draws], axis=2)
    stats = sample_stats(flat, ci_prob=0.9)
    mean, sd = linear_moments(spec)
    assert np.abs((stats.mean - mean) / stats.mcse_mean).max() < 4.0
    assert np.abs(stats.sd / sd - 1.0).max() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in POSTERIORS if n not in LINEAR])
@pytest.mark.parametrize("engine", LONG)
def test_a_real_posterior_has_the_moments_of_long_chains(engine, name):
    spec, reference_draws = reference(name)
    fit = LONG[engine].run(spec, jax.random.key(2))
    assert {s.code for s in fit.status} == {Status.OK}
    ours, theirs = (
        sample_stats(
            np.concatenate([x.reshape(*x.shape[:2], -1) for x in draws.values()], 2),
            ci_prob=0.9,
        )
        for draws in (by_site(spec, fit.draws, name), reference_draws)
    )
    error = np.hypot(ours.mcse_mean, theirs.mcse_mean)
    assert np.abs((ours.mean - theirs.mean) / error).max() < 4.0
    assert np.abs(ours.sd / theirs.sd - 1.0).max() < 0.05
