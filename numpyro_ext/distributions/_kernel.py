r"""The log-concave kernel $\exp(p v - (a e^v + b e^{-v})/2)$ and where it ends.

It is the density of a generalized inverse Gaussian law in $v = \log x$, up to its
constant. Every quadrature of the family is a Gauss-Legendre rule on panels of $v$; the
functions here say where the panels begin and end, by bounds and a few Newton steps of
fixed number, so that nothing branches.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

# A panel ends where the integrand has fallen by exp(-DROP): below the last bit of the
# sum in float64, and above the underflow of float32.
DROP = 40.0
# Where a panel is cut in two: a plateau before, a fall after.
KNEE = 3.0
NEWTON_STEPS = 5


def legendre(num_nodes: int, dtype) -> tuple[Array, Array]:
    """Nodes and weights of the Gauss-Legendre rule on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    return jnp.asarray(0.5 * (nodes + 1.0), dtype), jnp.asarray(0.5 * weights, dtype)


def _expm1(x: Array) -> Array:
    """Finite, so that a factor 0 in front gives 0."""
    return jnp.expm1(jnp.minimum(x, math.log(jnp.finfo(x.dtype).max) - 1.0))


def times_exp(factor: Array, v: Array) -> Array:
    """Returns factor e^v; 0 where the factor is 0, however large v is."""
    is_zero = factor == 0
    return factor * jnp.exp(jnp.where(is_zero, 0.0, v))


def exp_remainders(x: Array) -> tuple[Array, Array]:
    """Returns e^x - 1 - x and e^-x - 1 + x for x >= 0, without cancellation near 0."""
    is_small = x < 1.0
    small, large = jnp.where(is_small, x, 0.0), jnp.where(is_small, 1.0, x)
    y = small * small
    even, odd = jnp.ones_like(x), jnp.ones_like(x)
    for k in range(8, 0, -1):
        even = 1.0 + y / ((2 * k + 1) * (2 * k + 2)) * even
        odd = 1.0 + y / ((2 * k + 2) * (2 * k + 3)) * odd
    even, odd = 0.5 * y * even, small * y / 6.0 * odd
    growth = jnp.where(is_small, even + odd, _expm1(large) - large)
    decay = jnp.where(is_small, even - odd, jnp.expm1(-large) + large)
    return growth, decay


def log_mode(p: Array, a: Array, b: Array) -> Array:
    """The v that maximises the kernel; it exists where the kernel is integrable."""
    ab = a * b
    # hypot(p, sqrt(ab)) without the square of p
    kappa = jnp.hypot(p, jnp.sqrt(ab))
    is_left = p < 0
    a_safe = jnp.where(is_left, 1.0, a)
    right = jnp.log(jnp.where(is_left, 1.0, p + kappa)) - jnp.log(a_safe)
    left = jnp.log(jnp.where(is_left, b, 1.0)) - jnp.log(
        jnp.where(is_left, kappa - p, 1.0)
    )
    return jnp.where(is_left, left, right)


def fall(slope: Array, up: Array, down: Array, distance: Array) -> Array:
    """What the log kernel loses over `distance`, from a point at or beyond its mode.

    `slope` is minus its derivative at the point, `up` and `down` are the parts that
    grow and shrink by exp(distance): a e^v / 2 and b e^-v / 2 when going right.
    """
    growth, decay = exp_remainders(distance)
    return slope * distance + up * growth + down * decay


def reach(slope: Array, up: Array, down: Array, drop: Array | float) -> Array:
    """The distance over which `fall` equals `drop`.

    Each of the three terms alone gives an upper bound in closed form. `fall` is convex,
    so Newton's method comes down from the least of them without overshooting.
    """
    tiny = jnp.finfo(slope.dtype).tiny * 1e4
    ratio_up = drop / jnp.maximum(up, tiny)
    ratio_down = drop / jnp.maximum(down, tiny)
    root_up = jnp.sqrt(2.0 * ratio_up)
    bound = jnp.minimum(root_up, jnp.log1p(ratio_up + root_up))
    bound = jnp.minimum(bound, ratio_down + jnp.sqrt(2.0 * ratio_down))
    bound = jnp.minimum(bound, drop / jnp.maximum(slope, tiny))
    for _ in range(NEWTON_STEPS):
        growth = _expm1(bound)
        decay = -jnp.expm1(-bound)
        rate = slope + up * growth + down * decay
        excess = fall(slope, up, down, bound) - drop
        bound = jnp.maximum(bound - excess / jnp.maximum(rate, tiny), 0.0)
    return bound
