"""Posteriors that samplers are timed on; data are simulated where they can be."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.handlers import reparam
from numpyro.infer.reparam import LocScaleReparam


class Posterior(NamedTuple):
    model: Callable[..., Any]
    args: tuple[Any, ...]
    bar: float  # wall time of a second run against the best of NumPyro's drivers


def schools(y, sigma):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", 8):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def logistic(X, y):
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.5).expand([10]).to_event(1))
    level = numpyro.sample("level", dist.Normal(0.0, 2.5))
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=level + X @ slope), obs=y)


def gaussian(scale_tril):
    law = dist.MultivariateNormal(jnp.zeros(100), scale_tril=scale_tril)
    numpyro.sample("x", law)


def mixed(X, group, y):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    with numpyro.plate("groups", 500):
        effect = numpyro.sample("effect", dist.Normal(0.0, 1.0))
    eta = level + X @ slope + spread * effect[group]
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Poisson(jnp.exp(eta)), obs=y)


def volatility(returns):
    step = numpyro.sample("step", dist.Exponential(20.0))
    tail = numpyro.sample("tail", dist.Exponential(0.1))
    walk = dist.GaussianRandomWalk(scale=step, num_steps=returns.shape[0])
    log_scale = numpyro.sample("log_scale", walk)
    with numpyro.plate("days", returns.shape[0]):
        law = dist.StudentT(tail, 0.0, jnp.exp(log_scale))
        numpyro.sample("returns", law, obs=returns)


def _posteriors() -> dict[str, Posterior]:
    rng = np.random.default_rng(8)
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    noncentred = reparam(schools, config={"theta": LocScaleReparam(centered=0.0)})

    X = rng.normal(size=(1000, 10))
    odds = X @ rng.normal(size=10)
    binary = (rng.random(1000) < 1 / (1 + np.exp(-odds))).astype(int)

    lags = np.abs(np.subtract.outer(np.arange(100), np.arange(100)))
    sds = np.logspace(-1.0, 1.0, 100)
    scale_tril = np.linalg.cholesky(0.9**lags * np.outer(sds, sds))

    Z, group = rng.normal(size=(2000, 3)), rng.integers(0, 500, size=2000)
    eta = Z @ np.array([0.5, -0.3, 0.2]) + 0.7 * rng.normal(size=500)[group]
    counts = rng.poisson(np.exp(eta))

    log_scale = -1.0 + np.cumsum(0.05 * rng.normal(size=500))
    returns = np.exp(log_scale) * rng.standard_t(8.0, size=500)
    return {
        "schools": Posterior(noncentred, (y, sigma), 0.05),
        "logistic": Posterior(logistic, (X, binary), 0.25),
        "gaussian": Posterior(gaussian, (scale_tril,), 0.85),
        "mixed": Posterior(mixed, (Z, group, counts), 0.65),
        "volatility": Posterior(volatility, (returns,), 0.6),
    }


POSTERIORS = _posteriors()
