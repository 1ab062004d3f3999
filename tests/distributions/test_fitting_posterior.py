"""One panel, one law: EM, MAP and NUTS agree."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from numpyro_ext import distributions as distx
from numpyro_ext.inference import NUTS, EnsembleMAP, ModelSpec

LAW = distx.MultivariateNormalInverseGaussian
N = 2000


def panel():
    rng = np.random.default_rng(12)
    w = rng.wald(1.0, 0.8, N)[:, None]
    tril = np.array([[1.0, 0.0], [0.5, 0.8]])
    return 0.1 + w * [0.2, -0.3] + np.sqrt(w) * (rng.normal(size=(N, 2)) @ tril.T)


def model(x):
    """The identified parameters, without bounds, under priors that hardly pull."""
    wide = dist.Normal(0.0, 10.0)
    shape = numpyro.sample("shape", wide)
    loc = numpyro.sample("loc", wide.expand([2]).to_event(1))
    skew = numpyro.sample("skew", wide.expand([2]).to_event(1))
    log_scale = numpyro.sample("log_scale", wide.expand([2]).to_event(1))
    below = numpyro.sample("below", wide)
    tril = jnp.diag(jnp.exp(log_scale)).at[1, 0].set(below)
    law = LAW.from_alpha_bar(jnp.exp(shape), loc, skew, tril)
    numpyro.sample("x", law.expand([N]).to_event(1), obs=x)


def by_em(x):
    fit = LAW.fit(x)
    law = fit.law
    tril = np.asarray(law.scale_tril)
    values = {
        "shape": np.log(np.sqrt(law.a * law.b)),
        "loc": law.loc,
        "skew": law.skew,
        "log_scale": np.log(np.diag(tril)),
        "below": tril[1, 0],
    }
    return fit, {k: np.asarray(v) for k, v in values.items()}


@pytest.mark.slow
def test_the_mode_without_priors_is_that_of_em(key):
    x = panel()
    fit, values = by_em(x)
    ensemble = EnsembleMAP(num_members=2, prior_weight=0.0, init_strategy="uniform")
    found = ensemble.run(ModelSpec(model, x), key)
    best = int(np.argmax(found.stats["log_likelihood"]))
    top = float(np.ravel(found.stats["log_likelihood"])[best])
    assert fit.log_likelihood / N == pytest.approx(top / N, abs=1e-6)
    for name, value in values.items():
        np.testing.assert_allclose(found.draws[name][best, 0], value, atol=2e-3)


@pytest.mark.slow
def test_the_posterior_is_where_em_ends(key):
    x = panel()
    fit, values = by_em(x)
    engine = NUTS(num_warmup=400, num_samples=500, num_chains=4)
    draws = engine.run(ModelSpec(model, x), key).draws
    for name, value in values.items():
        spread = np.std(draws[name], axis=(0, 1))
        shift = np.mean(draws[name], axis=(0, 1)) - value
        assert (np.abs(shift) < 0.25 * spread).all(), name
    # The same spread, too: the standard errors are those of the posterior.
    for name in ("loc", "skew"):
        spread = np.std(draws[name], axis=(0, 1))
        np.testing.assert_allclose(fit.standard_errors[name], spread, rtol=0.1)
