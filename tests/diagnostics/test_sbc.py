"""Simulation-based calibration passes right posteriors and finds wrong ones."""

import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from scipy import stats

from numpyro_ext.diagnostics import SBCResult, sbc
from numpyro_ext.inference import (
    NUTS,
    AbstractEngine,
    EnsembleMAP,
    Laplace,
    MemberStatus,
    ModelSpec,
    Status,
)
from numpyro_ext.inference._independent import independent_fit

N, SD = 6, 1.3


def model(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean, SD).expand([N]), obs=y)


SPEC = ModelSpec(model, np.linspace(-1, 1, N))


class Conjugate(AbstractEngine):
    """The exact posterior of `model`, or one that is wrong on purpose."""

    factor: float = 1.0
    shift: float = 0.0
    ignores_data: bool = eqx.field(static=True, default=False)
    num_samples: int = eqx.field(static=True, default=99)

    def run(self, spec, key, *, init=None):
        data = spec.model.kwargs.get("_simulated_data")
        y = spec.model.args[0] if data is None else data["y"]
        mean, sd = _posterior(jnp.asarray(y), self.ignores_data)
        draws = mean + sd * (
            self.shift + self.factor * jax.random.normal(key, (1, self.num_samples))
        )
        status = (MemberStatus(Status.OK, "exact"),)
        return independent_fit(
            self, spec, key, {"mean": draws}, status, log_density=draws
        )


@jax.jit
def _exact(y):
    variance = 1.0 / (1.0 + N / SD**2)
    return variance * y.sum() / SD**2, jnp.sqrt(variance)


def _posterior(y, ignores_data):
    return (0.0, 1.0) if ignores_data else _exact(y)


@functools.cache
def calibration(*settings, num=200, seed=0):
    return sbc(SPEC, Conjugate(*settings), jax.random.key(seed), num_simulations=num)


def test_an_exact_posterior_passes():
    result = calibration()
    assert result.is_calibrated
    assert set(result.ranks) == {"mean", "log_likelihood"}
    assert result.ranks["mean"].shape == (200,)
    assert stats.kstest(result.ranks["mean"], "uniform").pvalue > 1e-3
    assert "No departure" in result.verdict
    tree = result.to_datatree()
    assert tree["prior_sbc"]["mean"].shape == (1, 200)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((0.7,), "`(mean|log_likelihood)` .*narrow|`log_likelihood`"),
        ((1.3,), "`(mean|log_likelihood)` .*wide|`log_likelihood`"),
        ((1.0, 0.5), "`mean` lies too high"),
        ((1.0, 0.0, True), "`log_likelihood`"),
    ],
)
def test_a_wrong_posterior_is_found_and_described(settings, words):
    result = calibration(*settings)
    assert not result.is_calibrated
    assert re.search(words, result.verdict)


def test_a_posterior_that_ignores_the_data_is_seen_by_the_likelihood_alone():
    table = calibration(1.0, 0.0, True).table
    assert table.loc["mean", "p_value"] > 0.01
    assert table.loc["log_likelihood", "p_value"] < 1e-6


def test_a_run_can_be_resumed_and_gives_the_same():
    half = calibration(num=60)
    whole = sbc(SPEC, Conjugate(), jax.random.key(0), num_simulations=100, resume=half)
    np.testing.assert_array_equal(
        whole.ranks["mean"], calibration(num=100).ranks["mean"]
    )


def test_a_run_can_be_resumed_from_the_disk(tmp_path):
    half = calibration(num=60)
    half = SBCResult(
        **(vars(half) | {"failures": {60: "no start"}, "warned": {"W": 2}})
    )
    half.to_datatree().to_netcdf(tmp_path / "sbc.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "sbc.nc", engine="h5netcdf") as tree:
        back = SBCResult.from_datatree(tree.load())
    assert (back.numbers, back.failures, back.warned) == (
        half.numbers,
        half.failures,
        half.warned,
    )
    assert repr(back) == repr(half)
    whole = sbc(SPEC, Conjugate(), jax.random.key(0), num_simulations=62, resume=back)
    assert whole.numbers == (*range(60), 61)
    expected = calibration(num=100).ranks["mean"][[*range(60), 61]]
    np.testing.assert_array_equal(whole.ranks["mean"], expected)
    with pytest.raises(ValueError, match=r"no `prior_sbc`"):
        SBCResult.from_datatree(xr.DataTree())


def test_further_quantities_are_ranked():
    result = sbc(
        SPEC,
        Conjugate(),
        jax.random.key(1),
        num_simulations=20,
        quantities={"square": lambda values: values["mean"] ** 2},
    )
    assert set(result.ranks) == {"mean", "log_likelihood", "square"}


def test_engines_of_the_package_pass_without_recompiling():
    engine = NUTS(num_warmup=100, num_samples=100, num_chains=1)
    sbc(SPEC, engine, jax.random.key(0), num_simulations=2)
    compiled = []

    def listen(event, duration_secs, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        few = sbc(SPEC, engine, jax.random.key(1), num_simulations=2)
        # Another call of the same size finds all that was compiled.
        assert not compiled
        many = sbc(SPEC, engine, jax.random.key(2), num_simulations=12)
        # The draws of another number of data sets are a program or a few; ten more
        # simulations are none.
        assert len(compiled) < 4
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(few.numbers) == 2
    assert len(many.numbers) == 12
    laplace = Laplace(num_samples=99, num_starts=1)
    assert len(sbc(SPEC, laplace, jax.random.key(0), num_simulations=3).numbers) == 3


def test_posterior_calibration_uses_the_real_data_too():
    class Both(Conjugate):
        def run(self, spec, key, *, init=None):
            y = spec.model.args[0]
            new = spec.model.kwargs["_simulated_data"]["y"]
            variance = 1.0 / (1.0 + 2 * N / SD**2)
            mean = variance * (jnp.sum(y) + jnp.sum(new)) / SD**2
            z = jax.random.normal(key, (1, self.num_samples))
            status = (MemberStatus(Status.OK, "exact"),)
            return independent_fit(
                self, spec, key, {"mean": mean + variance**0.5 * z}, status
            )

    fit = Conjugate(num_samples=400).run(SPEC, jax.random.key(5))
    right = sbc(SPEC, Both(), jax.random.key(0), num_simulations=60, posterior=fit)
    assert right.is_calibrated
    # An engine that forgets the real data is found.
    wrong = sbc(SPEC, Conjugate(), jax.random.key(0), num_simulations=60, posterior=fit)
    assert not wrong.is_calibrated


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(ValueError, match=r"`EnsembleMAP` holds points"):
        sbc(SPEC, EnsembleMAP(num_members=2), jax.random.key(0), num_simulations=2)
    with pytest.raises(ValueError, match=r"num_draws=99\).*1 x 20"):
        sbc(SPEC, Conjugate(num_samples=20), jax.random.key(0), num_simulations=2)

    def improper(y):
        a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.sample("y", dist.Normal(a, 1.0).expand([3]), obs=y)

    with pytest.raises(ValueError, match="prior of site `a` is improper"):
        sbc(
            ModelSpec(improper, np.zeros(3)),
            Conjugate(),
            jax.random.key(0),
            num_simulations=2,
        )


@pytest.mark.slow
def test_false_alarms_are_rare_and_errors_are_found():
    alarms = [not calibration(seed=i + 1).is_calibrated for i in range(200)]
    assert np.mean(alarms) <= 0.09
    for settings, power in (
        ((0.7,), 0.99),
        ((1.3,), 0.85),
        ((1.0, 0.3), 0.95),
        ((1.0, 0.0, True), 0.99),
    ):
        found = [
            not calibration(*settings, seed=i + 1).is_calibrated for i in range(100)
        ]
        assert np.mean(found) >= power
