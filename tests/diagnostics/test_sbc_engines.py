"""Every engine that draws from a posterior, through simulation-based calibration."""

import warnings

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from numpyro_ext.diagnostics import sbc
from numpyro_ext.inference import (
    HMC,
    NUTS,
    SMC,
    AdjustedMCLMC,
    ChEES,
    EnsembleVI,
    Laplace,
    ModelSpec,
    NestedSampler,
    Pathfinder,
)

pytestmark = pytest.mark.slow
X = np.random.default_rng(0).normal(size=(8, 2))
# Holm's bound that a right engine passes at 199 of 200 keys.
MIN_P_VALUE = 0.005


def regression(X, y=None):
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Normal(X @ weights, noise), obs=y)


def known_noise(X, y=None):
    """A posterior that is normal, so that normal approximations are exact."""
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Normal(X @ weights, 0.8), obs=y)


def run(model, engine, num=150, **options):
    spec = ModelSpec(model, X, y=X[:, 0])
    with warnings.catch_warnings():
        # Some of many fits diverge, or are far from normal; ranks say what it does.
        warnings.simplefilter("ignore")
        return sbc(spec, engine, jax.random.key(1), num_simulations=num, **options)


def bound(result):
    return result.table["p_value"].min() * len(result.table)


SAMPLERS = {
    "NUTS": NUTS(num_warmup=300, num_samples=300, num_chains=2),
    "HMC": HMC(num_warmup=300, num_samples=300, num_chains=2),
    "AdjustedMCLMC": AdjustedMCLMC(num_warmup=300, num_samples=300, num_chains=2),
    "ChEES": ChEES(num_warmup=200, num_samples=50, num_chains=16),
    "SMC": SMC(num_particles=200, num_populations=1),
    "NestedSampler": NestedSampler(100, num_samples=200),
}
APPROXIMATIONS = {
    "Laplace": Laplace(num_samples=99, num_starts=1),
    "Laplace-ggn": Laplace("ggn", num_samples=99, num_starts=1),
    "Pathfinder": Pathfinder(num_paths=4, num_samples=99),
    "EnsembleVI": EnsembleVI("full_rank", num_members=1, num_steps=500, num_samples=99),
}


@pytest.mark.parametrize("engine", SAMPLERS)
def test_samplers_are_calibrated_on_a_skewed_posterior(engine):
    result = run(regression, SAMPLERS[engine])
    assert bound(result) > MIN_P_VALUE, result
    assert not result.failures
    assert set(result.ranks) == {"weights[0]", "weights[1]", "noise", "log_likelihood"}


@pytest.mark.parametrize("engine", APPROXIMATIONS)
def test_approximations_are_calibrated_on_a_normal_posterior(engine):
    result = run(known_noise, APPROXIMATIONS[engine])
    assert bound(result) > MIN_P_VALUE, result
    assert not result.failures


def test_an_approximation_that_is_wrong_is_found():
    # Two slopes that the data correlate, and a guide without correlation.
    def correlated(X, y=None):
        weights = numpyro.sample("weights", dist.Normal(0, 1).expand([2]).to_event(1))
        column = X[:, 0]
        mean = column * weights[0] + (column + 0.3 * X[:, 1]) * weights[1]
        with numpyro.plate("rows", X.shape[0]):
            numpyro.sample("y", dist.Normal(mean, 0.3), obs=y)

    engine = EnsembleVI("mean_field", num_members=1, num_steps=500, num_samples=99)
    result = run(correlated, engine)
    assert not result.is_calibrated
    assert "too narrow" in result.verdict


def test_posterior_calibration_of_a_sampler():
    engine = SAMPLERS["NUTS"]
    spec = ModelSpec(known_noise, X, y=X[:, 0])
    fit = engine.run(spec, jax.random.key(0))
    assert bound(run(known_noise, engine, posterior=fit)) > MIN_P_VALUE
