"""Hand-written derivatives of tails and quantiles against differences."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_ext import distributions as distx

# (p, a, b, x, q): both sides of the mode, the gamma and inverse gamma edges.
GIG = [
    (1.5, 1.0, 2.0, 0.4, 0.3),
    (1.5, 1.0, 2.0, 9.0, 0.999),
    (-3.0, 0.5, 4.0, 0.2, 1e-3),
    (-3.0, 0.5, 4.0, 6.0, 0.97),
    (0.0, 1.0, 1.0, 1.0, 0.5),
    (1e-3, 1e-2, 3e-2, 20.0, 0.7),
    (0.2, 1e-4, 1e-4, 50.0, 0.4),
    (-0.2, 1e-4, 1e-4, 1e-3, 0.6),
    (40.0, 2.0, 3.0, 30.0, 1e-20),
    (-40.0, 3.0, 200.0, 4.0, 0.9),
    (0.5, 30.0, 30.0, 1.03, 0.2),
    (2.5, 3.0, 0.0, 0.9, 0.1),
    (0.3, 2.0, 0.0, 30.0, 0.8),
    (-6.0, 0.0, 3.0, 0.2, 0.3),
    (-0.7, 0.0, 3.0, 1e3, 0.95),
]
# (p, a, b, loc, scale, skew, x, q)
MIXTURE = [
    (-0.5, 1.0, 2.0, 0.3, 2.0, 0.5, 1.0, 0.3),
    (-0.5, 1.0, 2.0, 0.3, 2.0, 0.5, -30.0, 1e-20),
    (-0.5, 1.0, 2.0, 0.3, 2.0, -0.5, 30.0, 0.9999),
    (0.7, 0.9, 3.0, 0.2, 1.5, -0.4, 0.0, 0.5),
    (0.7, 0.9, 3.0, 0.2, 1.5, -4.0, -20.0, 0.1),
    (1.0, 1.0, 1e-3, 0.0, 1.0, 0.0, 0.3, 0.6),
    (1e-3, 1e-2, 1e-2, 0.0, 1.0, 1.0, 3.0, 0.7),
    (3.0, 1e-3, 2.0, 1.0, 0.5, 0.1, 40.0, 0.2),
    (-0.5, 0.01, 1.0, 0.0, 1.0, 30.0, 50.0, 0.3),
    (-0.5, 0.01, 1.0, 0.0, 1.0, 30.0, 2.0, 1e-3),
    (10.0, 5.0, 2.0, -1.0, 0.2, 0.3, 0.5, 0.4),
    (-10.0, 5.0, 20.0, -1.0, 0.2, 0.3, -0.2, 0.8),
    (1.0, 1e3, 1e3, 0.0, 1.0, 1.0, 2.0, 0.7),
    (-0.3, 1e-3, 1e-2, 0.0, 1.0, 0.2, -3.0, 0.45),
    (2.0, 1.5, 0.0, 0.5, 2.0, 0.7, 3.0, 0.9),
    (1.2, 2.0, 0.0, 0.0, 1.0, 0.0, -2.0, 0.2),
    (0.8, 2.0, 0.0, 0.0, 1.0, -0.5, 0.4, 0.01),
    (-0.5, 0.0, 1.0, 0.0, 1.0, 0.3, -5.0, 0.6),
    (-4.5, 0.0, 9.0, 0.5, 2.0, 0.7, 8.0, 0.99),
    (-2.0, 0.0, 4.0, 0.0, 1.0, -0.3, 3.0, 1e-8),
]
LAWS = {
    "gig": (distx.GeneralizedInverseGaussian, GIG),
    "mixture": (distx.GeneralizedHyperbolic, MIXTURE),
}
# Differences of the sixth order.
STEPS = np.asarray([1.0, 2.0, 3.0, -1.0, -2.0, -3.0])
WEIGHTS = np.asarray([45.0, -9.0, 1.0, -45.0, 9.0, -1.0]) / 60.0


def differences(
    function: Callable, inputs: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The slopes along all inputs, and a bound of what rounding makes of them."""
    h = 2e-3 * size
    moves = STEPS[:, None, None] * np.eye(inputs.shape[1])
    points = inputs[:, None, None] + moves * h[:, None, None]
    values = np.asarray(function(jnp.asarray(points)))
    slopes = np.einsum("nkjf,k->nfj", values, WEIGHTS) / h[:, None]
    largest = np.maximum(np.max(np.abs(values), axis=1), 1.0)
    noise = 1e-12 * largest.swapaxes(1, 2) / h[:, None]
    return slopes, noise


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.slow
def test_slopes_are_differences(name):
    build, places = LAWS[name]

    def of_row(row):
        *parameters, x, q = row
        law = build(*parameters, validate_args=False)
        return jnp.stack([law.log_cdf(x), law.log_sf(x), law.icdf(q)])

    inputs = np.asarray(places)
    size = np.maximum(np.abs(inputs), 1e-3)
    # Locations, tilts and orders move on a scale of their own.
    if name == "mixture":
        size[:, [3, 5]] = np.maximum(size[:, [3, 5]], 0.1)
    size[:, 0] = np.maximum(size[:, 0], 0.02)
    size[:, -1] = np.minimum(inputs[:, -1], 1.0 - inputs[:, -1])
    every = jax.jit(jax.vmap(jax.vmap(jax.vmap(of_row))))
    slopes, noise = differences(every, inputs, size)
    # Parameters at an edge move one way only.
    is_free = np.broadcast_to((inputs != 0) | (size >= 0.02), inputs.shape)
    got = np.asarray(jax.jit(jax.vmap(jax.jacfwd(of_row)))(jnp.asarray(inputs)))
    bar = 1e-7 * np.abs(slopes) + noise
    error = np.where(is_free[:, None], np.abs(got - slopes) / bar, 0.0)
    error = np.where(np.isnan(error), np.inf, error)
    spot = np.unravel_index(np.argmax(error), error.shape)
    assert error[spot] < 1.0, (
        f"{places[spot[0]]}: function {spot[1]} by input {spot[2]} is {got[spot]}, "
        f"by differences {slopes[spot]}, {error[spot]:.3g} bars"
    )
    assert np.all(np.isfinite(got))
