"""Quantiles of a normal variance-mean mixture: safeguarded third-order steps."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._kernel import peak
from ._mixture_tail import log_upper_along, tail_sums

MAX_STEPS = 100
EARLY_STEPS = 8
# The search ends at these |z| over their inverse: what floats can hold of the tails.
FARTHEST = {"float64": 1e300, "float32": 1e37}


def _move(gap: Array, hazard: Array, change: Array) -> Array:
    """How far to go for the log tail to fall by `gap`.

    `change` is the derivative of the hazard over its square. Where it is positive the
    log tail is taken as a parabola, which a normal tail is; where it is negative, as
    that of a Pareto law with the exponent that fits. Both agree to third order.
    """
    inside = jnp.maximum(1.0 + 2.0 * change * gap, 0.0)
    light = 2.0 * gap / (1.0 + jnp.sqrt(inside))
    rate = jnp.minimum(change, -1e-6)
    heavy = jnp.expm1(jnp.clip(-rate * gap, -50.0, 50.0)) / -rate
    return jnp.where(change > -1e-6, light, heavy) / hazard


def _middle(low: Array, high: Array) -> Array:
    """Halves the bracket on the scale of log |z|; 0 where it holds both signs."""
    least = 1.0 / FARTHEST[str(low.dtype)]
    size = jnp.sqrt(jnp.maximum(jnp.abs(low), least))
    size = size * jnp.sqrt(jnp.maximum(jnp.abs(high), least))
    return jnp.where((low < 0) & (high > 0), 0.0, jnp.where(low < 0, -size, size))


def _step(z: Array, gap: Array, hazard: Array, change: Array) -> tuple[Array, Array]:
    """The next z, and its `change`, in z or in log |z|: where the log tail bends less.

    Near a pole of the density the log tail is smooth in log |z| alone.
    """
    safe = jnp.where(z == 0, 1.0, z)
    by_log = change + 1.0 / (hazard * safe)
    is_log = (z != 0) & (jnp.abs(by_log) < jnp.abs(change))
    rate = jnp.where(is_log, hazard * jnp.abs(safe), hazard)
    bend = jnp.where(is_log, by_log, change)
    move = _move(gap, rate, bend)
    scaled = z * jnp.exp(jnp.clip(jnp.sign(z) * move, -600.0, 600.0))
    return jnp.where(is_log, scaled, z + move), bend


# Outside of a compiled function each call would compile its loop again.
@jax.jit
def quantile(p: Array, a: Array, b: Array, t: Array, q: Array) -> Array:
    """The z with P(x < mu + sigma z) = q; the five have one shape."""
    return _quantile(p, a, b, t, q)


@jax.custom_jvp
def _quantile(p: Array, a: Array, b: Array, t: Array, q: Array) -> Array:
    is_upper = q > 0.5
    is_proper = (q > 0) & (q < 1)
    target = jnp.where(is_upper, jnp.log1p(-q), jnp.log(q))
    target = jnp.where(is_proper, target, -1.0)
    # The lower tail is the upper one of -x.
    sign = jnp.where(is_upper, 1.0, -1.0)
    tilt = sign * t
    top = peak(p, a, b)
    epsilon = jnp.finfo(q.dtype).eps
    end = jnp.full_like(q, FARTHEST[str(q.dtype)])

    def step(state):
        count, z, low, high, before, is_done = state
        sums = tail_sums(top, p, a, b, z, tilt)
        gap = sums.log_tail - target
        # The tail falls in z: a gap above 0 says that the root lies to the right.
        low, high = jnp.where(gap > 0, z, low), jnp.where(gap > 0, high, z)
        inverse_root = jnp.exp(-0.5 * sums.v)
        xi = z * inverse_root - tilt / inverse_root
        hazard = jnp.sum(sums.normal * inverse_root, axis=0)
        bend = jnp.sum(sums.normal * xi * (inverse_root / hazard) ** 2, axis=0)
        moved, bend = _step(z, gap, hazard, 1.0 - bend)
        fits = jnp.isfinite(moved) & (moved > low) & (moved < high)
        tolerance = 8.0 * epsilon * (1.0 + jnp.abs(target))
        size = jnp.abs(gap)
        # Late steps that leave half of the gap follow a curve of another shape.
        fits &= (size < 0.5 * before) | (count < EARLY_STEPS)
        is_close = size <= tolerance
        after = jnp.where(is_close, z, jnp.where(fits, moved, _middle(low, high)))
        # What a step of the third order leaves; the step before tells its constant.
        constant = jnp.maximum(1.0 + bend * bend, size / before**3)
        # A pole at 0 has no derivatives there.
        is_last = fits & (z != 0) & (4.0 * constant * size**3 < tolerance)
        largest = jnp.maximum(jnp.abs(low), jnp.abs(high))
        is_narrow = high - low <= 2.0 * epsilon * largest
        # What is done stays.
        after = jnp.where(is_done, z, after)
        is_done = is_done | is_close | is_last | is_narrow
        return count + 1, after, low, high, jnp.where(fits, size, jnp.inf), is_done

    def is_open(state):
        return (state[0] < MAX_STEPS) & ~jnp.all(state[5])

    center = tilt * jnp.exp(top.mode)
    start = (0, center, -end, end, jnp.full_like(q, jnp.inf), ~is_proper)
    z = sign * lax.while_loop(is_open, step, start)[1]
    z = jnp.where(q == 0, -jnp.inf, jnp.where(q == 1, jnp.inf, z))
    return jnp.where((q >= 0) & (q <= 1), z, jnp.nan)


@_quantile.defjvp
def _quantile_jvp(primals, tangents):
    p, a, b, t, q = primals
    z = _quantile(p, a, b, t, q)
    sign = jnp.where(q > 0.5, 1.0, -1.0)
    primals = p, a, b, sign * z, sign * t
    tangents_in = (*tangents[:3], sign * tangents[3])
    log_tail, moved, log_f = log_upper_along(primals, tangents_in)
    by_parameters = sign * moved * jnp.exp(log_tail - log_f)
    return z, by_parameters + tangents[4] * jnp.exp(-log_f)
