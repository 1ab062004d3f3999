"""Small real posteriors of posteriordb's kind as NumPyro models: `POSTERIORS[name]`.

The likelihoods are those of posteriordb's models. Flat priors have become wide proper
ones, since an evidence needs them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import lax

from numpyro_ext.inference import ModelSpec

from .zoo import EIGHT, eight_schools_noncentred

DATA = Path(__file__).parent / "data" / "posteriordb"


def read(name: str) -> dict[str, Any]:
    raw = json.loads((DATA / f"{name}.json").read_text())
    return {key: np.asarray(value, float) for key, value in raw.items()}


def ark(lags, y):
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 10.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand([5]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("y", dist.Normal(alpha + lags @ beta, sigma), obs=y)


def regression(X, y, scales, noise):
    beta = numpyro.sample("beta", dist.Normal(0.0, scales).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(noise))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def garch(y, first):
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    alpha0 = numpyro.sample("alpha0", dist.HalfNormal(5.0))
    alpha1 = numpyro.sample("alpha1", dist.Uniform(0.0, 1.0))
    beta1 = numpyro.sample("beta1", dist.Uniform(0.0, 1.0 - alpha1))

    def step(variance, before):
        variance = alpha0 + alpha1 * (before - mu) ** 2 + beta1 * variance
        return variance, variance

    _, variances = lax.scan(step, first**2, y[:-1])
    variances = jnp.concatenate([jnp.asarray(first**2)[None], variances])
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(variances)), obs=y)


def gauss_mix(y):
    """Without an order of the components, so each has either label."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0).expand([2]).to_event(1))
    theta = numpyro.sample("theta", dist.Beta(5.0, 5.0))
    weights = jnp.stack([theta, 1.0 - theta])
    law = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(mu, sigma))
    numpyro.sample("y", law, obs=y)


def unlabel(draws: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Calls the component of lower mean the first, in every draw."""
    order = np.argsort(draws["mu"], axis=-1)
    theta = np.where(order[..., 0] == 0, draws["theta"], 1.0 - draws["theta"])
    both = {n: np.take_along_axis(draws[n], order, axis=-1) for n in ("mu", "sigma")}
    return {**both, "theta": theta}


def make_ark() -> ModelSpec:
    y = read("arK")["y"]
    lags = np.column_stack([y[4 - k : len(y) - 1 - k] for k in range(5)])
    return ModelSpec(ark, lags, y[5:])


def make_kidiq() -> ModelSpec:
    data = read("kidiq")
    hs, iq = data["mom_hs"], data["mom_iq"]
    X = np.column_stack([np.ones(len(hs)), hs, iq])
    scales = np.array([100.0, 50.0, 5.0])
    return ModelSpec(regression, X, data["kid_score"], scales, 50.0)


def make_earnings() -> ModelSpec:
    data = read("earnings")
    X = np.column_stack([np.ones(len(data["earn"])), data["height"]])
    scales = np.array([20.0, 1.0])
    return ModelSpec(regression, X, np.log(data["earn"]), scales, 5.0)


def make_mesquite() -> ModelSpec:
    data = read("mesquite")
    names = ("diam1", "diam2", "canopy_height", "total_height", "density")
    logs = [np.log(data[name]) for name in names]
    X = np.column_stack([np.ones(len(logs[0])), *logs, data["group"]])
    return ModelSpec(regression, X, np.log(data["weight"]), np.full(7, 10.0), 5.0)


def make_sblri() -> ModelSpec:
    data = read("sblri")
    return ModelSpec(regression, data["X"], data["y"], np.full(5, 10.0), 10.0)


def make_garch() -> ModelSpec:
    data = read("garch")
    return ModelSpec(garch, data["y"], data["sigma1"])


POSTERIORS: dict[str, Callable[[], ModelSpec]] = {
    "arK": make_ark,
    "earnings": make_earnings,
    "eight_schools_noncentred": lambda: ModelSpec(eight_schools_noncentred, *EIGHT),
    "garch": make_garch,
    "kidiq": make_kidiq,
    "low_dim_gauss_mix": lambda: ModelSpec(gauss_mix, read("low_dim_gauss_mix")["y"]),
    "mesquite": make_mesquite,
    "sblri": make_sblri,
}
