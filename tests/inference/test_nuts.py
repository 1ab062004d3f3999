"""NUTS: known posteriors, the same draws by every road, and honest reports."""

import functools
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from numpyro_ext._checks import DivergenceWarning, InitializationError
from numpyro_ext.inference import NUTS, Fit, ModelSpec, Status
from numpyro_ext.inference import _chains as chains_module

from .zoo import EIGHT, ZOO, X, Y, eight_schools, eight_schools_noncentred, linear

ARMA = Path(__file__).parent / "data" / "arma.json"
SMALL = NUTS(num_warmup=100, num_samples=60, num_chains=3, chunk_size=40)


def conjugate(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 2.0))
    numpyro.deterministic("double", 2.0 * mean)
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


@functools.cache
def small_fit():
    return SMALL.run(ModelSpec(linear, X, y=Y), jax.random.key(0))


def assert_same_draws(one, other):
    for ours, theirs in zip(
        jax.tree.leaves((one.positions, one.draws, one.stats)),
        jax.tree.leaves((other.positions, other.draws, other.stats)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def within_mcse(fit, site, mean, sd):
    row = fit.summary().table.loc[site]
    assert row["r_hat"] < 1.02
    assert abs(row["mean"] - mean) < 4 * row["mcse_mean"]
    assert abs(row["sd"] - sd) < 4 * row["mcse_sd"]


def test_a_conjugate_posterior_is_met_within_monte_carlo_error(key):
    y = np.array([0.5, 1.5, 1.0, 2.0])
    fit = NUTS(num_warmup=500).run(ModelSpec(conjugate, y), key)
    precision = 4 + 0.25
    within_mcse(fit, "mean", y.sum() / precision, precision**-0.5)
    np.testing.assert_allclose(fit.draws["double"], 2 * fit.draws["mean"])
    assert {s.code for s in fit.status} == {Status.OK}


def test_a_beta_binomial_posterior_is_met_in_the_users_space(key):
    def model(successes):
        p = numpyro.sample("p", dist.Beta(2.0, 3.0))
        numpyro.sample("y", dist.Binomial(20, p), obs=successes)

    fit = NUTS(num_warmup=500).run(ModelSpec(model, np.array(14)), key)
    a, b = 16.0, 9.0
    sd = np.sqrt(a * b / (a + b) ** 2 / (a + b + 1))
    within_mcse(fit, "p", a / (a + b), sd)


def test_a_dense_metric_learns_the_correlation(key):
    covariance = np.array([[1.0, 0.95, 0.0], [0.95, 1.0, 0.0], [0.0, 0.0, 25.0]])

    def model():
        numpyro.sample("x", dist.MultivariateNormal(jnp.zeros(3), covariance))

    spec = ModelSpec(model, observed=())
    engine = NUTS(num_warmup=600, num_samples=500, dense_mass=True)
    fit = engine.run(spec, key)
    within_mcse(fit, "x[0]", 0.0, 1.0)
    within_mcse(fit, "x[2]", 0.0, 5.0)
    learned = fit.state["chains"]["warmup"]["metric"]["inverse_mass"]
    np.testing.assert_allclose(learned.mean(0), covariance, rtol=0.35, atol=0.6)
    diagonal = NUTS(num_warmup=600, num_samples=500).run(spec, key)
    assert fit.stats["n_steps"].sum() < 0.7 * diagonal.stats["n_steps"].sum()


@pytest.mark.parametrize(
    "chunk_size", [pytest.param(7, marks=pytest.mark.slow), 40, 250]
)
def test_the_size_of_chunks_changes_no_draw(chunk_size):
    engine = NUTS(num_warmup=100, num_samples=60, num_chains=3, chunk_size=chunk_size)
    assert_same_draws(engine.run(small_fit().spec, jax.random.key(0)), small_fit())


def test_chains_in_sequence_are_the_chains_in_threads():
    engine = NUTS(
        num_warmup=100, num_samples=60, num_chains=3, chain_method="sequential"
    )
    assert_same_draws(engine.run(small_fit().spec, jax.random.key(0)), small_fit())


def test_vectorized_chains_sample_the_same_law(key):
    engine = NUTS(num_warmup=300, num_samples=500, chain_method="vectorized")
    fit = engine.run(ModelSpec(conjugate, np.array([0.5, 1.5, 1.0, 2.0])), key)
    within_mcse(fit, "mean", 5.0 / 4.25, 4.25**-0.5)


def test_a_chain_does_not_depend_on_how_many_there_are():
    engine = NUTS(num_warmup=100, num_samples=60, num_chains=2, chunk_size=40)
    fit = engine.run(small_fit().spec, jax.random.key(0))
    expected = small_fit().draws["noise"][:2]
    np.testing.assert_array_equal(fit.draws["noise"], expected)


@pytest.mark.slow
def test_devices_give_the_draws_of_threads():
    code = """
        import jax, numpy as np
        jax.config.update("jax_enable_x64", True)
        from numpyro_ext.inference import NUTS, ModelSpec
        from tests.inference.zoo import X, Y, linear
        assert len(jax.devices()) == 2
        spec, key = ModelSpec(linear, X, y=Y), jax.random.key(0)
        sizes = dict(num_warmup=60, num_samples=30, num_chains=4)
        fits = [
            NUTS(**sizes, chain_method=method).run(spec, key)
            for method in ("threads", "devices", "auto")
        ]
        for fit in fits[1:]:
            for name in ("weights", "noise"):
                np.testing.assert_array_equal(fits[0].draws[name], fit.draws[name])
        print("same")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "2"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("same\n"), done.stderr


@pytest.mark.parametrize("thinning", [1, 3])
def test_a_resumed_run_has_the_draws_of_a_longer_one(tmp_path, thinning):
    sizes = {"num_warmup": 100, "num_chains": 2, "thinning": thinning}
    spec, key = small_fit().spec, jax.random.key(2)
    whole = NUTS(num_samples=100, **sizes).run(spec, key)
    engine = NUTS(num_samples=40, **sizes)
    part = engine.run(spec, key)
    assert_same_draws(part.resume(35).resume(25), whole)
    part.save(tmp_path / "part.npz")
    loaded = Fit.load(tmp_path / "part.npz", spec, engine)
    assert_same_draws(loaded.resume(60), whole)


def test_thinning_keeps_every_so_manyth_draw():
    engine = NUTS(num_warmup=100, num_samples=60, num_chains=3, thinning=4)
    fit = engine.run(small_fit().spec, jax.random.key(0))
    expected = small_fit().draws["noise"][:, 3::4]
    np.testing.assert_array_equal(fit.draws["noise"], expected)


def test_warmup_is_kept_on_request():
    engine = NUTS(num_warmup=100, num_samples=60, num_chains=3, keep_warmup=True)
    fit = engine.run(small_fit().spec, jax.random.key(0))
    assert_same_draws(fit, small_fit())
    assert fit.warmup["draws"]["noise"].shape == (3, 100)
    tree = fit.to_datatree()
    assert tree["warmup_sample_stats"]["step_size"].shape == (3, 100)
    assert len(np.unique(fit.warmup["stats"]["step_size"])) > 100
    assert small_fit().warmup is None


def test_statistics_have_arviz_names_and_tell_the_truth():
    fit = small_fit()
    tree = fit.to_datatree()["sample_stats"]
    names = {"lp", "diverging", "energy", "acceptance_rate", "n_steps", "tree_depth"}
    names |= {"step_size", "reached_max_treedepth", "reached_max_tree_depth"}
    assert names == set(tree.data_vars)
    log_density = jax.jit(jax.vmap(jax.vmap(fit.spec.log_density)))(fit.positions)
    np.testing.assert_allclose(fit.stats["lp"], log_density, rtol=1e-12)
    steps, depth = np.asarray(fit.stats["n_steps"]), np.asarray(fit.stats["tree_depth"])
    assert (steps >= 1).all()
    assert (steps < 2**depth + 1).all()
    assert len(np.unique(fit.stats["step_size"])) == 3


def test_a_second_run_compiles_nothing():
    fit = small_fit()
    compiled = []

    def count(name, *args, **kwargs):
        if name == "/jax/core/compile/backend_compile_duration":
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        SMALL.run(fit.spec, jax.random.key(1))
        SMALL.run(fit.spec.with_data(X + 1.0, y=Y), jax.random.key(1))
        other = NUTS(num_warmup=30, num_samples=50, num_chains=2, chunk_size=40)
        other.run(fit.spec, jax.random.key(1))
        assert compiled == []
        SMALL.run(fit.spec.with_data(X[:20], y=Y[:20]), jax.random.key(1))
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


def test_starts_may_be_values_or_a_fit():
    spec = small_fit().spec
    engine = NUTS(num_warmup=5, num_samples=5, num_chains=2, keep_warmup=True)
    values = {"weights": np.array([1.0, -0.5, 0.2]), "noise": 0.3}
    fit = engine.run(spec, jax.random.key(0), init=values)
    first = fit.warmup["draws"]["noise"][:, 0]
    np.testing.assert_allclose(first, 0.3, rtol=0.5)
    again = engine.run(spec, jax.random.key(0), init=small_fit())
    assert {s.code for s in again.status} == {Status.OK}
    with pytest.raises(
        ValueError, match=r"`init` gives -1.0 at site `noise`.*positive"
    ):
        engine.run(spec, jax.random.key(0), init={**values, "noise": -1.0})
    with pytest.raises(ValueError, match=r"`nois`.*did you mean `noise`"):
        engine.run(spec, jax.random.key(0), init={**values, "nois": 1.0})
    with pytest.raises(ValueError, match=r"lacks the sites \['weights'\]"):
        engine.run(spec, jax.random.key(0), init={"noise": 1.0})


def cliff(y):
    # To the left of -1 the density is NaN: no draw may come from there.
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    numpyro.factor("cliff", jnp.where(a < -1.0, jnp.nan, 0.0))
    numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


@pytest.mark.filterwarnings("ignore::numpyro_ext._checks.DivergenceWarning")
def test_a_region_of_nan_stays_empty():
    fit = NUTS(num_warmup=100, num_samples=100).run(
        ModelSpec(cliff, np.array([-1.0])), jax.random.key(0)
    )
    assert (fit.draws["a"] >= -1.0).all()
    assert np.isfinite(fit.stats["lp"]).all()


@pytest.mark.filterwarnings("ignore:.*(diverged|max_tree_depth):UserWarning")
def test_one_bad_chain_leaves_the_others_alone():
    def spike():
        a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.real, (), ()))
        # One chain starts where all that it can reach is NaN.
        needle = jnp.where(a == 60.0, 0.0, jnp.nan)
        numpyro.factor("law", jnp.where(a > 30.0, needle, -0.5 * a**2))

    spec = ModelSpec(spike, observed=())
    sizes = {"num_warmup": 50, "num_samples": 50}
    init = np.array([0.1, 0.2, 60.0])
    good = NUTS(num_chains=2, **sizes).run(
        spec, jax.random.key(0), init={"a": init[:2]}
    )
    fit = NUTS(num_chains=3, **sizes).run(spec, jax.random.key(0), init={"a": init})
    np.testing.assert_array_equal(fit.draws["a"][:2], good.draws["a"])
    assert [s.code for s in fit.status] == [Status.OK, Status.OK, Status.STUCK]
    assert "chain 2 never moved" in repr(fit.summary())


def test_divergences_are_counted_with_the_site_and_the_remedy():
    engine = NUTS(num_warmup=200, num_samples=300, num_chains=2, target_accept=0.6)
    spec = ModelSpec(eight_schools, *EIGHT)
    with pytest.warns(
        DivergenceWarning, match=r"transitions diverged \(.*%\).*site `tau`.*LocScale"
    ):
        engine.run(spec, jax.random.key(0))


def test_shallow_trees_are_reported():
    engine = NUTS(num_warmup=50, num_samples=20, num_chains=1, max_tree_depth=1)
    with pytest.warns(UserWarning, match=r"reached max_tree_depth=1 before"):
        fit = engine.run(small_fit().spec, jax.random.key(0))
    assert fit.stats["reached_max_treedepth"].all()


def test_risky_float32_is_reported(float32):
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mean, 1e-3), obs=y)

    spec = ModelSpec(model, np.linspace(-1.0, 1.0, 50))
    engine = NUTS(num_warmup=20, num_samples=10, num_chains=1)
    with pytest.warns(UserWarning, match=r"in float32, where.*jax_enable_x64"):
        engine.run(spec, jax.random.key(0))


def test_float32_stays_float32(float32, key):
    y = np.array([0.5, 1.5, 1.0, 2.0])
    fit = NUTS(num_warmup=500).run(ModelSpec(conjugate, y), key)
    within_mcse(fit, "mean", 5.0 / 4.25, 4.25**-0.5)
    for leaf in jax.tree.leaves((fit.positions, fit.draws)):
        assert leaf.dtype == jnp.float32


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_samples": 0}, r"num_samples=0.*at least 1"),
        ({"num_chains": 0}, r"num_chains=0"),
        ({"num_warmup": 0}, r"num_warmup=0.*step_size.*inverse_mass_matrix"),
        ({"target_accept": 1.5}, r"target_accept=1.5.*\(0, 1\)"),
        ({"step_size": float("nan")}, r"step_size=nan"),
        ({"chain_method": "thread"}, r"'thread'.*did you mean `threads`"),
        ({"thinning": 2000}, r"thinning=2000.*num_samples=1000"),
    ],
)
def test_bad_settings_are_refused_with_their_value(settings, words):
    with pytest.raises(ValueError, match=words):
        NUTS(**settings)


def test_a_metric_must_fit_and_be_positive():
    spec, key = small_fit().spec, jax.random.key(0)
    with pytest.raises(ValueError, match=r"shape \(3,\); 4 coordinates.*need \(4,\)"):
        NUTS(inverse_mass_matrix=np.ones(3)).run(spec, key)
    with pytest.raises(ValueError, match=r"not positive definite.*-1"):
        NUTS(inverse_mass_matrix=-np.ones(4)).run(spec, key)
    sizes = {"num_warmup": 0, "num_samples": 20, "num_chains": 1}
    fit = NUTS(**sizes, step_size=0.1, inverse_mass_matrix=np.full(4, 0.1)).run(
        spec, key
    )
    np.testing.assert_allclose(fit.stats["step_size"], 0.1)


def test_a_model_that_starts_nowhere_names_the_site():
    def nowhere(y):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(a, jnp.sqrt(-1.0 - a**2)), obs=y)

    with pytest.raises(InitializationError, match=r"`y` \(nan\)"):
        SMALL.run(ModelSpec(nowhere, Y), jax.random.key(0))
    bad = Y.copy()
    bad[3] = np.nan
    with pytest.raises(ValueError, match=r"site `y`.*index 3 holds nan"):
        SMALL.run(ModelSpec(linear, X, y=bad), jax.random.key(0))


def test_params_are_refused_by_name():
    entry = ZOO["module-params"]
    with pytest.raises(ValueError, match=r"params \['net\$params'\] have no prior"):
        SMALL.run(ModelSpec(entry.model, *entry.args), jax.random.key(0))


class InterruptingBar:
    """A progress bar that presses Ctrl-C once all chains are past their warm-up."""

    def __init__(self, **_):
        self.num_updates = 0

    def update(self, _):
        self.num_updates += 1
        if self.num_updates == 12:
            os.kill(os.getpid(), signal.SIGINT)

    def close(self):
        pass


@pytest.fixture
def interrupts():
    """Python's own handler, which a job in the background of a shell lacks."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupted_run_keeps_what_is_drawn_and_can_go_on(monkeypatch):
    spec, key = small_fit().spec, jax.random.key(0)
    engine = NUTS(num_warmup=100, num_samples=1_000_000, num_chains=3, chunk_size=40)
    with monkeypatch.context() as patch:
        patch.setattr(chains_module, "tqdm", InterruptingBar)
        with pytest.warns(UserWarning, match=r"interrupted after \d+ kept draws"):
            fit = engine.run(spec, key)
    assert {s.code for s in fit.status} == {Status.INTERRUPTED}
    num_draws = fit.stats["lp"].shape[1]
    assert 0 < num_draws < 1_000_000
    whole = NUTS(
        num_warmup=100, num_samples=num_draws + 10, num_chains=3, chunk_size=40
    )
    assert_same_draws(fit.resume(10), whole.run(spec, key))


def arma(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.0))
    memory = numpyro.sample("memory", dist.Normal(0.0, 2.0))
    sd = numpyro.sample("sd", dist.HalfCauchy(2.5))

    def step(error, pair):
        now, before = pair
        error = now - mean - slope * before - memory * error
        return error, error

    first = y[0] - mean - slope * mean
    _, rest = jax.lax.scan(step, first, (y[1:], y[:-1]))
    errors = jnp.append(rest, first)
    numpyro.factor("likelihood", dist.Normal(0.0, sd).log_prob(errors).sum())


@pytest.mark.filterwarnings("ignore:.*diverged")
@pytest.mark.slow
def test_all_chains_find_the_mode_of_a_moving_average(key):
    y = np.array(json.loads(ARMA.read_text())["y"])
    engine = NUTS(num_chains=16, num_warmup=300, num_samples=100)
    fit = engine.run(ModelSpec(arma, y), key)
    # A chain that starts far out stays there, at log densities below -1e20.
    assert np.ptp(np.median(fit.stats["lp"], axis=1)) < 2.0


@pytest.mark.slow
def test_eight_schools_meets_its_reference(key):
    engine = NUTS(num_samples=10_000)
    fit = engine.run(ModelSpec(eight_schools_noncentred, *EIGHT), key)
    # By quadrature over tau of the conjugate posterior of mu: computed below.
    mean, sd = eight_schools_by_quadrature()
    within_mcse(fit, "mu", mean, sd)


def eight_schools_by_quadrature():
    y, sigma = EIGHT
    tau = np.tan(np.linspace(1e-6, np.pi / 2 - 1e-6, 200_001)[:-1]) * 5.0
    variance = sigma**2 + tau[:, None] ** 2
    precision = 1 / 25 + (1 / variance).sum(1)
    centre = (y / variance).sum(1) / precision
    log_weight = (
        -0.5 * np.log(variance).sum(1)
        - 0.5 * (y**2 / variance).sum(1)
        + 0.5 * centre**2 * precision
        - 0.5 * np.log(precision)
    )
    # The grid is uniform in atan(tau / 5), where the half-Cauchy prior is flat.
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = (weight * centre).sum()
    second = (weight * (centre**2 + 1 / precision)).sum()
    return mean, np.sqrt(second - mean**2)
