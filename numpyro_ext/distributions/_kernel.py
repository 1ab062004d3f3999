r"""The log-concave kernel $\exp(p v - (a e^v + b e^{-v})/2)$ and where it ends.

It is the density of a generalized inverse Gaussian law in $v = \log x$, up to its
constant. Every quadrature of the family is a Gauss-Legendre rule on panels of $v$; the
functions here say where the panels begin and end, by bounds and a few Newton steps of
fixed number, so that nothing branches.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

# Panels end where the integrand has fallen by these amounts. The last is below the last
# bit of the sum in float64, and above the underflow of float32.
LEVELS = (4.0, 15.0, 38.0)
DROP = LEVELS[-1]
KNEE = LEVELS[0]
# A term a e^v that is tiny at the mode is a wall far away: panels end where it has
# taken these amounts.
WALLS = (1e-5, 0.1)
# The part that shrinks by e^-d is gone after these distances.
STEPS = (3.0, 16.0)
NUM_FEATURES = len(LEVELS) + len(WALLS) + len(STEPS)
NUM_NODES = 12
NEWTON_STEPS = 4


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


def _series(first: int) -> list[float]:
    """Coefficients of sum y^k / (first + 2 k)!, for y up to 1."""
    return [1.0 / math.factorial(first + 2 * k) for k in range(9)]


def _polynomial(coefficients: list[float], y: Array) -> Array:
    # Of products and sums only: XLA's simplifier goes in circles over quotients here.
    total = jnp.full_like(y, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * y + c
    return total


def exp_remainders(x: Array) -> tuple[Array, Array]:
    """Returns e^x - 1 - x and e^-x - 1 + x for x >= 0, without cancellation near 0."""
    is_small = x < 1.0
    small, large = jnp.where(is_small, x, 0.0), jnp.where(is_small, 1.0, x)
    y = small * small
    even, odd = y * _polynomial(_series(2), y), small * y * _polynomial(_series(3), y)
    growth = jnp.where(is_small, even + odd, _expm1(large) - large)
    decay = jnp.where(is_small, even - odd, jnp.expm1(-large) + large)
    return growth, decay


def log_mode(p: Array, a: Array, b: Array) -> Array:
    """The v that maximises the kernel; it exists where the kernel is integrable."""
    return log_mode_of_roots(p, jnp.sqrt(a), jnp.sqrt(b))


def log_mode_of_roots(p: Array, root_a: Array, root_b: Array) -> Array:
    """`log_mode` from the square roots of a and b, which do not overflow."""
    kappa = jnp.hypot(p, root_a * root_b)
    is_left = p < 0
    right = jnp.log(jnp.where(is_left, 1.0, p + kappa))
    right = right - 2.0 * jnp.log(jnp.where(is_left, 1.0, root_a))
    left = 2.0 * jnp.log(jnp.where(is_left, root_b, 1.0))
    left = left - jnp.log(jnp.where(is_left, kappa - p, 1.0))
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
    ratio_down = drop / jnp.maximum(down, tiny)
    bound = jnp.minimum(wall(up, drop), ratio_down + jnp.sqrt(2.0 * ratio_down))
    bound = jnp.minimum(bound, drop / jnp.maximum(slope, tiny))
    for _ in range(NEWTON_STEPS):
        growth, decay = exp_remainders(bound)
        rate = slope + up * _expm1(bound) - down * jnp.expm1(-bound)
        excess = slope * bound + up * growth + down * decay - drop
        bound = jnp.maximum(bound - excess / jnp.maximum(rate, tiny), 0.0)
    return bound


def wall(up: Array, drop: Array | float) -> Array:
    """A distance by which the growing term alone has taken at least `drop`."""
    tiny = jnp.finfo(up.dtype).tiny * 1e4
    ratio = drop / jnp.maximum(up, tiny)
    root = jnp.sqrt(2.0 * ratio)
    return jnp.minimum(root, jnp.log1p(ratio + root))


def features(
    slope: Array,
    up: Array,
    down: Array,
    extra: Array | float = 0.0,
    slack: float = 0.0,
) -> Array:
    """Distances at which panels end, on a new first axis; the last is the end.

    The levels count from `extra` above the point; the last has `slack` more.
    """
    shape = (len(LEVELS), *(1 for _ in slope.shape))
    levels = jnp.asarray((*LEVELS[:-1], LEVELS[-1] + slack), slope.dtype)
    drops = jnp.maximum(levels.reshape(shape) + extra, 1e-30)
    ends = reach(slope[None], up[None], down[None], drops)
    others = [wall(up, drop) for drop in WALLS]
    others += [jnp.full_like(up, step) for step in STEPS]
    inner = jnp.minimum(jnp.stack(others), ends[-1])
    return jnp.concatenate([inner, ends])


def panels(ends: Array) -> tuple[Array, Array]:
    """Places and weights of Gauss-Legendre rules between `ends`, along the first axis.

    The first axis is that of the sum, so that the sum runs over whole vectors.
    """
    nodes, weights = legendre(NUM_NODES, ends.dtype)
    width = jnp.diff(ends, axis=0)[:, None]
    column = (1, NUM_NODES, *(1 for _ in ends.shape[1:]))
    places = ends[:-1, None] + width * nodes.reshape(column)
    sizes = width * weights.reshape(column)
    shape = (-1, *ends.shape[1:])
    return places.reshape(shape), sizes.reshape(shape)


def _row_sums(
    slope: Array, up: Array, down: Array, longest: Array
) -> tuple[Array, list[Array]]:
    """The integral of `row`, and its moments that are its slopes in the first three."""
    still = lax.stop_gradient((jnp.maximum(slope, 0.0), up, down))
    # A plain minimum keeps the derivative in `longest` where it is what binds.
    ends = jnp.minimum(lax.stop_gradient(features(*still)), longest)
    ends = jnp.sort(jnp.concatenate([jnp.zeros_like(longest)[None], ends]), axis=0)
    d, sizes = panels(ends)
    growth, decay = exp_remainders(d)
    terms = sizes * jnp.exp(-(slope * d + up * growth + down * decay))
    total = jnp.sum(terms, axis=0)
    return total, [jnp.sum(terms * x, axis=0) for x in (d, growth, decay)]


@jax.custom_jvp
def row(slope: Array, up: Array, down: Array, longest: Array) -> Array:
    """Integral of exp(-fall(d)) over d from 0 to `longest`, which may be infinite."""
    return _row_sums(slope, up, down, longest)[0]


@row.defjvp
def _row_jvp(primals, tangents):
    slope, up, down, longest = primals
    total, moments = _row_sums(slope, up, down, longest)
    is_finite = jnp.isfinite(longest)
    last = fall(slope, up, down, jnp.where(is_finite, longest, 0.0))
    moved = jnp.where(is_finite, jnp.exp(-last) * tangents[3], 0.0)
    for moment, tangent in zip(moments, tangents[:3], strict=True):
        moved = moved - moment * tangent
    return total, moved


class Peak(NamedTuple):
    """The kernel about its mode: place, a e^v / 2 and b e^-v / 2 there, and sums.

    `slope` is 0, with the derivative that the fixed place leaves; `left` and `right`
    are the integrals on the two sides relative to the peak.
    """

    mode: Array
    slope: Array
    up: Array
    down: Array
    left: Array
    right: Array


def peak(p: Array, a: Array, b: Array) -> Peak:
    """The peak of the kernel; the three have one shape."""
    mode = lax.stop_gradient(log_mode(p, a, b))
    up, down = 0.5 * times_exp(a, mode), 0.5 * times_exp(b, -mode)
    return _peak_at(mode, p, up, down)


def peak_of_roots(p: Array, root_a: Array, root_b: Array) -> Peak:
    """`peak` from the square roots of a and b; without a derivative in them."""
    mode = log_mode_of_roots(p, root_a, root_b)
    up = 0.5 * jnp.square(times_exp(root_a, 0.5 * mode))
    down = 0.5 * jnp.square(times_exp(root_b, -0.5 * mode))
    return _peak_at(mode, p, up, down)


def _peak_at(mode: Array, p: Array, up: Array, down: Array) -> Peak:
    slope = up - down - p
    slope = slope - lax.stop_gradient(slope)
    endless = jnp.full_like(up, jnp.inf)
    sides = (
        jnp.stack(x) for x in ((-slope, slope), (down, up), (up, down), (endless,) * 2)
    )
    left, right = row(*sides)
    return Peak(mode, slope, up, down, left, right)


def peak_and_means(p: Array, a: Array, b: Array) -> tuple[Peak, tuple[Array, ...]]:
    """The peak, and the means of d, e^d - 1 and e^-d - 1 for d = v - mode.

    They are the derivatives of the log of the whole: no derivative goes through.
    """
    mode = log_mode(p, a, b)
    up, down = 0.5 * times_exp(a, mode), 0.5 * times_exp(b, -mode)
    slope = jnp.zeros_like(up)
    endless = jnp.full_like(up, jnp.inf)
    left, (d_left, grow_left, shrink_left) = _row_sums(slope, down, up, endless)
    right, (d_right, grow, shrink) = _row_sums(slope, up, down, endless)
    total = left + right
    distance = d_right - d_left
    means = (
        distance / total,
        (grow + shrink_left + distance) / total,
        (shrink + grow_left - distance) / total,
    )
    return Peak(mode, slope, up, down, left, right), means


def fall_from(peak: Peak, v: Array) -> Array:
    """What the log kernel loses from its peak to v."""
    d = v - peak.mode
    is_right = d > 0
    up = jnp.where(is_right, peak.up, peak.down)
    down = jnp.where(is_right, peak.down, peak.up)
    slope = jnp.where(is_right, peak.slope, -peak.slope)
    return fall(slope, up, down, jnp.abs(d))
