"""Negative binomial fits against the best of several optimizations, over a grid."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import gammaln

from numpyro_ext import glm

ALPHAS = [1e-3, 1e-2, 0.1, 1.0, 3.0, 10.0]
MEANS = [0.1, 0.5, 2.0, 10.0, 50.0]
REPEATS = 5


def loss_and_slope(theta, X, y):
    """Minus the log-likelihood of NB2 in beta and log(alpha), with its gradient.

    The ratio of gamma functions is a product over counts, which loses nothing at small
    alpha.
    """
    beta, alpha = theta[:-1], np.exp(theta[-1])
    mu = np.exp(np.clip(X @ beta, -700.0, 300.0))
    rising = np.arange(y.max() + 1.0)
    below = y.astype(int)
    logs = np.concatenate([[0.0], np.cumsum(np.log1p(alpha * rising))])[below]
    slopes = np.concatenate([[0.0], np.cumsum(rising / (1.0 + alpha * rising))])[below]
    log_tail = np.log1p(alpha * mu)
    rows = logs - (y + 1.0 / alpha) * log_tail + y * np.log(mu) - gammaln(y + 1.0)
    by_eta = (y - mu) / (1.0 + alpha * mu)
    by_alpha = (
        slopes + log_tail / alpha**2 - (y + 1.0 / alpha) * mu / (1.0 + alpha * mu)
    )
    slope = np.append(X.T @ by_eta, alpha * np.sum(by_alpha))
    return -np.sum(rows), -slope


def best_found(X, y):
    """The largest log-likelihood from several starts, the Poisson limit among them."""
    level = np.log(max(y.mean(), 1e-3))
    best = -np.inf
    for log_alpha in (-18.0, -3.0, 0.0, 2.0):
        start = np.array([level, *np.zeros(X.shape[1] - 1), log_alpha])
        bounds = [(-40.0, 40.0)] * X.shape[1] + [(-20.0, 12.0)]
        found = minimize(
            loss_and_slope,
            start,
            (X, y),
            method="L-BFGS-B",
            jac=True,
            bounds=bounds,
            options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 2000},
        )
        best = max(best, -found.fun)
    return best


@pytest.mark.parametrize(
    "n",
    [30, *(pytest.param(n, marks=pytest.mark.slow) for n in (100, 300, 1000))],
)
def test_fits_reach_the_best_found(n):
    rng = np.random.default_rng(n)
    X = np.column_stack([np.ones(n), rng.normal(size=n), rng.random(n) < 0.4])
    cases = list(itertools.product(ALPHAS, MEANS, range(REPEATS)))
    data = []
    for alpha, mean, _ in cases:
        mu = mean * np.exp(0.4 * X[:, 1] - 0.3 * X[:, 2])
        data.append(rng.poisson(mu * rng.gamma(1.0 / alpha, alpha, n)).astype(float))
    family = glm.NegativeBinomial()
    fits = eqx.filter_vmap(lambda y: glm.fit(family, X, y))(jnp.stack(data))
    betas, alphas, statuses = jax.device_get((
        fits.params.beta, fits.params.aux, fits.status,
    ))  # fmt: skip
    allowed = (glm.Status.CONVERGED, glm.Status.BOUNDARY)
    for case, y, beta, alpha, status in zip(
        cases, data, betas, alphas, statuses, strict=True
    ):
        assert status in allowed, case
        theta = np.append(beta, np.log(alpha))
        assert -loss_and_slope(theta, X, y)[0] > best_found(X, y) - 1e-6, case


def test_the_reference_has_the_slope_of_its_value():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(20), rng.normal(size=20)])
    y = rng.poisson(3.0, 20).astype(float)
    theta = np.array([1.0, 0.2, -0.5])
    value, slope = loss_and_slope(theta, X, y)
    for j, step in enumerate(1e-6 * np.eye(3)):
        up, down = (loss_and_slope(theta + s * step, X, y)[0] for s in (1.0, -1.0))
        assert slope[j] == pytest.approx((up - down) / 2e-6, rel=1e-6)
    eta, alpha = X @ theta[:2], np.exp(theta[2])
    law = glm.NegativeBinomial()(eta, alpha=alpha)
    assert value == pytest.approx(-float(np.sum(law.log_prob(y))), rel=1e-12)
