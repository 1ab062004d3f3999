"""Models whose posterior is known: mean, covariance and evidence in closed form.

Each posterior is Gaussian in the unconstrained space, so that every engine, exact or
approximate, has to give it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy.stats import multivariate_normal

from numpyro_ext.inference import ModelSpec

RNG = np.random.default_rng(20)
X = np.column_stack([np.ones(12), RNG.normal(size=12), RNG.normal(size=12)])
# Nearly collinear, so that the posterior is correlated.
X[:, 2] += 1.5 * X[:, 1]
NOISE = 0.7
Y = X @ [0.4, -1.0, 0.6] + NOISE * RNG.normal(size=12)
LOG_Y = np.array([0.9, 1.4, 0.2])
LOG_SD, PRIOR_SD = 0.8, 0.5


@dataclass(frozen=True)
class Target:
    """A spec and the truth about its posterior, over the unconstrained coordinates.

    Attributes:
        spec: the model with its data.
        mean: the posterior mean, which is the mode, in the order of `ravel_pytree`.
        covariance: the posterior covariance.
        log_evidence: log p(y).
    """

    spec: ModelSpec
    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float


def regression() -> Target:
    """Three correlated coefficients, the first alone at its site; known noise."""

    def model(x, y):
        beta = numpyro.sample("beta", dist.Normal(0.0, 2.0))
        slopes = numpyro.sample("slopes", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
        mean = beta * x[:, 0] + x[:, 1:] @ slopes
        numpyro.sample("y", dist.Normal(mean, NOISE), obs=y)

    precision = X.T @ X / NOISE**2 + np.eye(3) / 4.0
    covariance = np.linalg.inv(precision)
    marginal = multivariate_normal(np.zeros(12), 4.0 * X @ X.T + NOISE**2 * np.eye(12))
    return Target(
        ModelSpec(model, X, Y),
        covariance @ X.T @ Y / NOISE**2,
        covariance,
        float(marginal.logpdf(Y)),
    )


def lognormal() -> Target:
    """One positive scale with lognormal data: Gaussian in its logarithm."""

    def model(y):
        size = numpyro.sample("size", dist.LogNormal(0.3, PRIOR_SD))
        numpyro.sample("y", dist.LogNormal(jnp.log(size), LOG_SD), obs=y)

    n = LOG_Y.size
    precision = n / LOG_SD**2 + 1 / PRIOR_SD**2
    mean = (LOG_Y.sum() / LOG_SD**2 + 0.3 / PRIOR_SD**2) / precision
    marginal = multivariate_normal(
        np.full(n, 0.3), LOG_SD**2 * np.eye(n) + PRIOR_SD**2 * np.ones((n, n))
    )
    # The density of y itself, not of its logarithm.
    log_evidence = marginal.logpdf(LOG_Y) - LOG_Y.sum()
    return Target(
        ModelSpec(model, np.exp(LOG_Y)),
        np.array([mean]),
        np.array([[1 / precision]]),
        float(log_evidence),
    )


TARGETS: dict[str, Callable[[], Target]] = {
    "regression": regression,
    "lognormal": lognormal,
}
