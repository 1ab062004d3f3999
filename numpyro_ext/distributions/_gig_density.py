r"""Log density of the generalized inverse Gaussian law, to its last digits.

The exponent $\sqrt{ab} - (ax + b/x)/2 = -(ax^2 - b)^2 / (2x(\sqrt{ax} + \sqrt{b/x})^2)$
is small against its terms in the normal limit; there the difference of products is
taken in double words.
"""

import jax
import jax.numpy as jnp
from jax import Array

from ..special._elementary import leading, product_pair
from ..special._formats import format_of
from ._gig_normalizer import Order, log_normalizer

# Squares of this and of its inverse are far from the ends of the floats.
LARGEST = {"float64": 1e100, "float32": 1e12}


def _difference(a: Array, b: Array, x: Array) -> Array:
    """A x^2 - b, with a relative error of the last digit."""
    form = format_of(x.dtype)
    part = leading(x, form)
    square = part * part, (x - part) * (x + part)
    high, low = product_pair(a, square)
    return (high - b) + low


@jax.custom_jvp
def _exponent(a: Array, b: Array, x: Array) -> Array:
    up, down = a * x, b / x
    plain = jnp.sqrt(up) - jnp.sqrt(down)
    largest = LARGEST[str(x.dtype)]
    is_moderate = (x < largest) & (x * largest > 1.0) & (a < largest)
    is_near = is_moderate & (up < 4.0 * down) & (down < 4.0 * up)
    a_near, b_near, x_near = (jnp.where(is_near, y, 1.0) for y in (a, b, x))
    below = x_near * (jnp.sqrt(a_near * x_near) + jnp.sqrt(b_near / x_near))
    gap = jnp.where(is_near, _difference(a_near, b_near, x_near) / below, plain)
    return -0.5 * gap * gap


@_exponent.defjvp
def _exponent_jvp(primals, tangents):
    a, b, x = primals
    ratio = 1.0 / x
    by_x = a - b * ratio * ratio
    moved = x * tangents[0] + ratio * tangents[1] + by_x * tangents[2]
    return _exponent(*primals), -0.5 * moved


def gig_log_prob(p: Order, a: Array, b: Array, x: Array) -> Array:
    """Log density at x > 0."""
    a, b = jnp.asarray(a, x.dtype), jnp.asarray(b, x.dtype)
    return (p - 1.0) * jnp.log(x) + _exponent(a, b, x) - log_normalizer(p, a, b)
