"""Draws of the generalized inverse Gaussian law, over its whole domain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

from numpyro_ext.distributions import GeneralizedInverseGaussian

# (p, a, b): gamma and inverse gamma edges, |p| up to 100, omega from 1e-8 to 1e4.
SETTINGS = [
    (0.01, 1.0, 0.0),
    (0.7, 3.0, 0.0),
    (30.0, 2.0, 0.0),
    (-0.2, 0.0, 1.0),
    (-5.0, 0.0, 4.0),
    (100.0, 1.0, 2.0),
    (-100.0, 3.0, 1.0),
    (100.0, 1e-4, 1e-4),
    (-100.0, 1e4, 1e4),
    (0.0, 1e-8, 1e-8),
    (0.01, 1e-4, 1e-12),
    (-0.3, 1e-8, 1e-8),
    (0.5, 1e-3, 1e-3),
    (-0.5, 1.0, 1.0),
    (1.0, 0.1, 0.2),
    (0.0, 1.0, 1.0),
    (-2.0, 10.0, 0.01),
    (7.0, 0.01, 1e3),
    (0.3, 1e4, 1e4),
    (-20.0, 1e2, 1e4),
]
NUM_DRAWS = 4000


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    p, a, b = (jnp.asarray(x) for x in np.transpose(SETTINGS))
    law = GeneralizedInverseGaussian(p, a, b)
    sample = jax.jit(lambda key: law.sample(key, (NUM_DRAWS,)))
    return np.asarray(sample(jax.random.key(11)))


def integrals(p: float, a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """A grid of log x, and the probability below each of its points."""
    root = np.hypot(p, np.sqrt(a * b))
    mode = np.log((p + root) / a) if p > 0 or root > -p else np.log(b / (root - p))
    ends = []
    for sign in (-1, 1):
        step = 1e-3

        def drop(s, sign=sign):
            v = mode + sign * s
            exponent = p * v - (a * np.exp(v) + b * np.exp(-v)) / 2
            return exponent - (p * mode - (a * np.exp(mode) + b * np.exp(-mode)) / 2)

        while step < 700 and drop(step) > -45:
            step *= 1.1
        ends.append(np.clip(mode + sign * step, -708.0, 708.0))
    v = np.linspace(*ends, 100_001)
    exponent = p * v - (a * np.exp(v) + b * np.exp(-v)) / 2
    density = np.exp(exponent - exponent.max())
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    if b == 0:
        # What lies under the grid: the density is a power there.
        below += density[0] / (p * (v[1] - v[0]))
    return v, below / below[-1]


@pytest.mark.parametrize("index", range(len(SETTINGS)), ids=map(str, SETTINGS))
def test_draws_follow_the_integral_of_the_density(index, draws):
    v, below = integrals(*SETTINGS[index])
    with np.errstate(divide="ignore"):
        logs = np.log(draws[:, index])
    levels = np.interp(logs, v, below)
    assert st.kstest(levels, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("index", range(1, len(SETTINGS)), ids=map(str, SETTINGS[1:]))
def test_the_moments_of_log_x_are_those_of_the_density(index, draws):
    v, below = integrals(*SETTINGS[index])
    weights, middle = np.diff(below), (v[1:] + v[:-1]) / 2
    mean = np.sum(weights * middle) / np.sum(weights)
    two, four = (np.sum(weights * (middle - mean) ** k) for k in (2, 4))
    logs = np.log(draws[:, index])
    assert abs(logs.mean() - mean) < 5 * np.sqrt(two / NUM_DRAWS)
    error = np.sqrt((four - two**2) / NUM_DRAWS)
    assert abs(np.mean((logs - mean) ** 2) - two) < 5 * error
