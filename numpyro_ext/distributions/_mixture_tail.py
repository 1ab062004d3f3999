r"""Distribution function of a normal variance-mean mixture, both tails, in logs.

$$P(x > \mu + \sigma z) = \int \Phi(-\xi(v))\,f(v)\,dv,\qquad
  \xi(v) = z e^{-v/2} - t e^{v/2},$$
with f the density of $v = \log w$. Every term is positive. Where $\xi < 0$ the
integrand is within a factor 2 of the GIG kernel (p, a, b); where $\xi > 0$ it is
(p, a + t^2, b + z^2), times $e^{tz}$ and a Mills ratio that varies slowly. The two meet
in a concave bound, whose mode and edges are known, so the panels of a Gauss-Legendre
rule are laid without a search and without a branch.
"""

import math

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import erfc

from ._gig_normalizer import log_density_of_log, log_normalizer
from ._kernel import DROP, KNEE, fall, legendre, log_mode, reach, times_exp

NUM_NODES = 20
# The Mills ratio is all but 1 / xi beyond.
BEND = 6.0
# Mills' ratio by its asymptotic series: 4e-15 here, with that many terms.
MILLS_FROM = 12.0
MILLS_TERMS = 12
# It adds at most some units of log to the fall of the kernel.
REACH = DROP + 6.0


def _level(p: Array, a: Array, b: Array, mode: Array, v: Array) -> Array:
    """Log kernel at v relative to its own mode."""
    up, down = 0.5 * times_exp(a, mode), 0.5 * times_exp(b, -mode)
    rest = jnp.zeros_like(up)
    is_right = v > mode
    one, other = jnp.where(is_right, up, down), jnp.where(is_right, down, up)
    return -fall(rest, one, other, jnp.abs(v - mode))


def _edges(p: Array, a: Array, b: Array, mode: Array, drop: Array) -> tuple[Array, ...]:
    """Where the kernel is `drop` below its mode, on the left and on the right."""
    up, down = 0.5 * times_exp(a, mode), 0.5 * times_exp(b, -mode)
    rest, drop = jnp.zeros_like(up), jnp.maximum(drop, 1e-30)
    return mode - reach(rest, down, up, drop), mode + reach(rest, up, down, drop)


def _crossing(z: Array, t: Array, level: float) -> Array:
    """The v with xi(v) = level for xi falling in v, or NaN."""
    # t y^2 + level y - z = 0 with y = e^(v/2)
    root = jnp.sqrt(level * level + 4.0 * t * z)
    y = 2.0 * z / (level + root) if level >= 0 else (root - level) / (2.0 * t)
    return 2.0 * jnp.log(y)


def _breaks(p: Array, a: Array, b: Array, z: Array, t: Array) -> Array:
    """Ends of the panels, in order, on a new last axis."""
    far_a, far_b = a + t * t, b + z * z
    near, far = log_mode(p, a, b), log_mode(p, far_a, far_b)

    def xi(v):
        return z * jnp.exp(-0.5 * v) - t * jnp.exp(0.5 * v)

    # The concave bound has its mode in the half where that half's kernel has its own.
    is_far = xi(near) > 0
    mode = jnp.where(is_far, far, near)
    # How much lower the far kernel's mode is than the near one's, and the reverse.
    far_top = _level(p, a, b, near, far) - 0.5 * jnp.square(jnp.maximum(xi(far), 0.0))
    # xi may be negative at `far` only where the near kernel holds the mode.
    far_value = _level(p, a, b, near, far) - 0.5 * jnp.square(xi(far))
    top = jnp.where(is_far, far_top, 0.0)
    points = [mode]
    for drop in (KNEE, REACH):
        near_edges = _edges(p, a, b, near, drop - top)
        far_edges = _edges(p, far_a, far_b, far, drop - top + far_value)
        for near_edge, far_edge in zip(near_edges, far_edges, strict=True):
            has_far = drop - top + far_value > 0
            points.append(jnp.where(has_far & (xi(far_edge) > 0), far_edge, near_edge))
    low, high = points[3], points[4]
    for level in (BEND, 0.0, -BEND):
        # A falling crossing when both are positive, its mirror image when negative.
        right = _crossing(z, t, level)
        left = -_crossing(-t, -z, level)
        both = jnp.where(t > 0, right, left)
        points.append(jnp.where(jnp.isfinite(both), jnp.clip(both, low, high), mode))
    return jnp.sort(jnp.stack(points, axis=-1), axis=-1)


def log_upper(p: Array, a: Array, b: Array, z: Array, t: Array) -> Array:
    """Log of P(x > mu + sigma z), for skew / scale = t; the five have one shape."""
    ends = lax.stop_gradient(_breaks(p, a, b, z, t))
    nodes, weights = legendre(NUM_NODES, z.dtype)
    width = jnp.diff(ends, axis=-1)
    v = ends[..., :-1, None] + width[..., None] * nodes
    v = v.reshape((*z.shape, -1))
    log_weight = jnp.log(
        jnp.maximum(width[..., None] * weights, jnp.finfo(z.dtype).tiny)
    )
    p, a, b, z, t = (x[..., None] for x in (p, a, b, z, t))
    height, ratio = _integrand(p, a, b, z, t, v)
    terms = height + log_weight.reshape(v.shape)
    top = lax.stop_gradient(jnp.max(terms, axis=-1, keepdims=True))
    return jnp.log(jnp.sum(ratio * jnp.exp(terms - top), axis=-1)) + top[..., 0]


def _integrand(
    p: Array, a: Array, b: Array, z: Array, t: Array, v: Array
) -> tuple[Array, Array]:
    """Log of the integrand's exponential part, and the slowly varying rest of it."""
    xi = z * jnp.exp(-0.5 * v) - t * jnp.exp(0.5 * v)
    log_f = log_density_of_log(p, a, b, v, log_normalizer(p, a, b))
    return log_f - 0.5 * jnp.square(jnp.maximum(xi, 0.0)), scaled_upper(xi)


def scaled_upper(x: Array) -> Array:
    r"""$\Phi(-x)$ for x < 0, and $\Phi(-x) e^{x^2/2}$ for x > 0."""
    is_far = x > MILLS_FROM
    near = jnp.where(is_far, 0.0, x)
    bulk = 0.5 * erfc(near * math.sqrt(0.5))
    bulk = bulk * jnp.exp(0.5 * jnp.square(jnp.maximum(near, 0.0)))
    far = jnp.where(is_far, x, MILLS_FROM)
    y = 1.0 / (far * far)
    series = 1.0 - (2 * MILLS_TERMS - 1) * y
    for k in range(MILLS_TERMS - 1, 0, -1):
        series = 1.0 - (2 * k - 1) * y * series
    return jnp.where(is_far, series / (far * math.sqrt(2.0 * math.pi)), bulk)


def log_tails(p: Array, a: Array, b: Array, z: Array, t: Array) -> tuple[Array, Array]:
    """Log of P(x < mu + sigma z) and of P(x > mu + sigma z), never above 0."""
    lower, upper = log_upper(p, a, b, -z, -t), log_upper(p, a, b, z, t)
    return jnp.minimum(lower, 0.0), jnp.minimum(upper, 0.0)
