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
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import erfc

from ._kernel import (
    Peak,
    fall_from,
    features,
    log_mode_of_roots,
    panels,
    peak,
    peak_and_means,
    peak_of_roots,
    times_exp,
)

# Panels end where |xi| takes these values. At the first the normal tail is all but 0
# or 1, and the Mills ratio 1 / xi; at the last the normal tail is all but a half.
BENDS = (6.0, 1.5, 0.1, 1e-4, 1e-8)
# Mills' ratio by its asymptotic series: 4e-15 here, with that many terms.
MILLS_FROM = 12.0
MILLS_TERMS = 12
# It adds at most some units of log to the fall of the kernel.
MILLS_SLACK = 6.0
INVERSE_ROOT_2PI = 1.0 / math.sqrt(2.0 * math.pi)


class Sums(NamedTuple):
    """Quadrature of one tail: its log, and what the derivatives need.

    `share` are the parts of the tail that fall on the places v, adding to 1; `normal`
    are the same with the normal density of xi in place of its upper tail.
    """

    log_tail: Array
    v: Array
    share: Array
    normal: Array


def _bends(z: Array, t: Array) -> Array:
    """The v with |xi(v)| in `BENDS`, by the size of z and of t, and v of the middle.

    With z t < 0 xi keeps its sign, and does not take the values below its least; what
    stands for them then is harmless.
    """
    shape = (len(BENDS) + 1, *(1 for _ in z.shape))
    level = jnp.asarray((*BENDS, 0.0), z.dtype).reshape(shape)
    # xi = level is t y^2 + level y - z = 0 with y = e^(v/2).
    root = jnp.sqrt(jnp.maximum(level * level + 4.0 * (t * z), 0.0))
    half = jnp.log(0.5 * (level + root))
    by_z = 2.0 * (jnp.log(jnp.abs(z)) - half)
    by_t = 2.0 * (half - jnp.log(jnp.abs(t)))
    return jnp.concatenate([by_z, by_t[:-1]])


def _xi(z: Array, t: Array, v: Array) -> Array:
    return z * jnp.exp(-0.5 * v) - t * jnp.exp(0.5 * v)


def _xi_at_mode(p: Array, a: Array, b: Array, z: Array, t: Array, mode: Array) -> Array:
    """The xi at the mode of the kernel (p, a + t^2, b + z^2), which is near its zero.

    Where z t is large the two terms of xi agree in all their digits.
    """
    size, tilt = jnp.abs(z), jnp.abs(t)
    is_close = z * t > 0
    size = jnp.where(is_close, size, 1.0)
    root_a, root_b = jnp.hypot(jnp.sqrt(a), t), jnp.hypot(jnp.sqrt(b), z)
    kappa = jnp.hypot(p, root_a * root_b)
    # Both over |z|, whose square can overflow.
    above = a * size - 2.0 * p * tilt - b * tilt * (tilt / size)
    below = jnp.where(is_close, root_a * root_a + tilt * ((kappa - p) / size), 1.0)
    near = above / below * jnp.exp(-0.5 * mode)
    return jnp.where(is_close, jnp.sign(z) * near, _xi(z, t, mode))


def _breaks(top: Peak, p: Array, a: Array, b: Array, z: Array, t: Array) -> Array:
    """Ends of the panels, in order, on a new first axis."""
    root_a, root_b = jnp.hypot(jnp.sqrt(a), t), jnp.hypot(jnp.sqrt(b), z)
    near, far = top.mode, log_mode_of_roots(p, root_a, root_b)
    # The concave bound has its mode in the half where that half's kernel has its own.
    is_far = _xi(z, t, near) > 0
    mode = jnp.where(is_far, far, near)
    # Log height of the bound at `far`, relative to the near kernel's peak.
    xi = _xi_at_mode(p, a, b, z, t, far)
    base = -fall_from(top, far)
    far_value = base - 0.5 * jnp.square(xi)
    highest = jnp.where(is_far, base - 0.5 * jnp.square(jnp.maximum(xi, 0.0)), 0.0)
    # Axes: near or far kernel, left or right of it.
    up, down = 0.5 * times_exp(a, near), 0.5 * times_exp(b, -near)
    far_up = 0.5 * jnp.square(times_exp(root_a, 0.5 * far))
    far_down = 0.5 * jnp.square(times_exp(root_b, -0.5 * far))
    grow = jnp.stack([jnp.stack([down, up]), jnp.stack([far_down, far_up])])
    shrink = jnp.stack([jnp.stack([up, down]), jnp.stack([far_up, far_down])])
    extra = jnp.stack([-highest, far_value - highest])
    extra = jnp.broadcast_to(extra[:, None], grow.shape)
    away = features(jnp.zeros_like(grow), grow, shrink, extra, MILLS_SLACK)
    near_ends = jnp.stack([near - away[:, 0, 0], near + away[:, 0, 1]], axis=1)
    far_ends = jnp.stack([far - away[:, 1, 0], far + away[:, 1, 1]], axis=1)
    # The far kernel can be narrower than the last digit of its place; the near is not.
    ends = jnp.where(_xi(z, t, near_ends) > 0, far_ends, near_ends)
    low, high = ends[-1, 0], ends[-1, 1]
    points = [mode[None], ends.reshape((-1, *mode.shape))]
    # At z = 0 or t = 0 some are infinite: they go to the ends.
    bends = _bends(z, t)
    points.append(jnp.where(jnp.isnan(bends), mode, bends))
    return jnp.sort(jnp.clip(jnp.concatenate(points), low, high), axis=0)


def tail_sums(top: Peak, p: Array, a: Array, b: Array, z: Array, t: Array) -> Sums:
    """The upper tail at z; the peak is that of the kernel (p, a, b)."""
    ends = lax.stop_gradient(_breaks(top, p, a, b, z, t))
    v, sizes = panels(ends)
    xi = _xi(z, t, v)
    height = -fall_from(top, v) - 0.5 * jnp.square(jnp.maximum(xi, 0.0))
    highest = lax.stop_gradient(jnp.max(height, axis=0))
    weight = sizes * jnp.exp(height - highest)
    share = weight * scaled_upper(xi)
    total = jnp.sum(share, axis=0)
    below = jnp.minimum(xi, 0.0)
    normal = weight * (INVERSE_ROOT_2PI * jnp.exp(-0.5 * below * below)) / total
    log_tail = highest + jnp.log(total) - jnp.log(top.left + top.right)
    return Sums(log_tail, v, share / total, normal)


@jax.custom_jvp
def log_upper(p: Array, a: Array, b: Array, z: Array, t: Array) -> Array:
    """Log of P(x > mu + sigma z), for skew / scale = t; the five have one shape."""
    return tail_sums(peak(p, a, b), p, a, b, z, t).log_tail


def log_upper_along(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
    """Log of the upper tail, its derivative along (p, a, b, t), and the log density."""
    p, a, b, z, t = primals
    t_p, t_a, t_b, t_t = tangents

    top, means = peak_and_means(p, a, b)
    sums = tail_sums(top, *primals)
    # The peak is a fixed place: the kernel is relative to its value there.
    d = sums.v - top.mode
    # Sums first, tangents after: one sweep serves all tangents.
    given = (jnp.sum(sums.share * x, axis=0) for x in (d, jnp.expm1(d), jnp.expm1(-d)))
    by_p, by_a, by_b = (x - y for x, y in zip(given, means, strict=True))
    by_a, by_b = 0.5 * jnp.exp(top.mode) * by_a, 0.5 * jnp.exp(-top.mode) * by_b
    moved = t_p * by_p - t_a * by_a - t_b * by_b
    by_tilt = jnp.sum(sums.normal * jnp.exp(0.5 * sums.v), axis=0)
    return sums.log_tail, moved + by_tilt * t_t, log_density(top, p, a, b, z, t)


@log_upper.defjvp
def _log_upper_jvp(primals, tangents):
    t_z = tangents[3]
    value, moved, log_f = log_upper_along(primals, (*tangents[:3], tangents[4]))
    return value, moved - jnp.exp(log_f - value) * t_z


def log_density(top: Peak, p: Array, a: Array, b: Array, z: Array, t: Array) -> Array:
    """Log density of (x - mu) / sigma at z, by quadrature too.

    It compiles faster than two Bessel functions, and shares the peak.
    """
    root_a, root_b = jnp.hypot(jnp.sqrt(a), t), jnp.hypot(jnp.sqrt(b), z)
    given = peak_of_roots(p - 0.5, root_a, root_b)
    xi = _xi_at_mode(p - 0.5, a, b, z, t, given.mode)
    loss = fall_from(top, given.mode) + 0.5 * jnp.square(xi)
    log_ratio = jnp.log(given.left + given.right) - jnp.log(top.left + top.right)
    return log_ratio - loss - 0.5 * given.mode + math.log(INVERSE_ROOT_2PI)


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


@jax.jit
def log_tails(p: Array, a: Array, b: Array, z: Array, t: Array) -> tuple[Array, Array]:
    """Log of P(x < mu + sigma z) and of P(x > mu + sigma z), never above 0."""
    lower, upper = log_upper(p, a, b, -z, -t), log_upper(p, a, b, z, t)
    return jnp.minimum(lower, 0.0), jnp.minimum(upper, 0.0)
