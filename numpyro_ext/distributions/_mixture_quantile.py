"""Quantiles of a normal variance-mean mixture: safeguarded third-order steps."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._kernel import peak
from ._mixture_tail import log_upper_along, tail_sums

MAX_STEPS = 100
# Of the coordinate asinh(z / unit): covers what floats can hold of the tails.
FARTHEST = {"float64": 350.0, "float32": 80.0}
# A step from a gap below this leaves no more than its third power.
LAST_GAP = {"float64": 1e-5, "float32": 1e-2}


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


@jax.custom_jvp
def quantile(p: Array, a: Array, b: Array, t: Array, q: Array) -> Array:
    """The z with P(x < mu + sigma z) = q; the five have one shape."""
    is_upper = q > 0.5
    is_proper = (q > 0) & (q < 1)
    target = jnp.where(is_upper, jnp.log1p(-q), jnp.log(q))
    target = jnp.where(is_proper, target, -1.0)
    # The lower tail is the upper one of -x.
    sign = jnp.where(is_upper, 1.0, -1.0)
    tilt = sign * t
    top = peak(p, a, b)
    unit = jnp.exp(0.5 * top.mode)
    center = tilt * unit * unit
    tolerance = 8.0 * jnp.finfo(q.dtype).eps
    last_gap = LAST_GAP[str(q.dtype)]
    end = jnp.full_like(q, FARTHEST[str(q.dtype)])

    def step(state):
        count, s, low, high, before, is_done = state
        z = center + unit * jnp.sinh(s)
        sums = tail_sums(top, p, a, b, z, tilt)
        gap = sums.log_tail - target
        # The tail falls in s: a gap above 0 says that the root lies to the right.
        low, high = jnp.where(gap > 0, s, low), jnp.where(gap > 0, high, s)
        inverse_root = jnp.exp(-0.5 * sums.v)
        xi = z * inverse_root - tilt / inverse_root
        hazard = jnp.sum(sums.normal * inverse_root, axis=0)
        bend = jnp.sum(sums.normal * xi * inverse_root * inverse_root, axis=0)
        move = _move(gap, hazard, 1.0 - bend / (hazard * hazard))
        moved = jnp.arcsinh((z + move - center) / unit)
        fits = jnp.isfinite(moved) & (moved > low) & (moved < high)
        is_close = jnp.abs(gap) <= tolerance * (1.0 + jnp.abs(target))
        after = jnp.where(is_close, s, jnp.where(fits, moved, 0.5 * (low + high)))
        # The step before tells the constant of the third order.
        left = jnp.abs(gap) ** 3 * jnp.maximum(jnp.abs(gap) / before**3, 1.0)
        is_last = fits & (jnp.abs(gap) < last_gap) & (left < tolerance)
        is_narrow = high - low <= 0.5 * tolerance * (1.0 + jnp.abs(s))
        # What is done stays.
        after = jnp.where(is_done, s, after)
        is_done = is_done | is_close | is_last | is_narrow
        return count + 1, after, low, high, jnp.abs(gap), is_done

    def is_open(state):
        return (state[0] < MAX_STEPS) & ~jnp.all(state[5])

    start = (0, jnp.zeros_like(q), -end, end, jnp.zeros_like(q), ~is_proper)
    z = sign * (center + unit * jnp.sinh(lax.while_loop(is_open, step, start)[1]))
    z = jnp.where(q == 0, -jnp.inf, jnp.where(q == 1, jnp.inf, z))
    return jnp.where((q >= 0) & (q <= 1), z, jnp.nan)


@quantile.defjvp
def _quantile_jvp(primals, tangents):
    p, a, b, t, q = primals
    z = quantile(p, a, b, t, q)
    sign = jnp.where(q > 0.5, 1.0, -1.0)
    primals = p, a, b, sign * z, sign * t
    tangents_in = (*tangents[:3], sign * tangents[3])
    log_tail, moved, log_f = log_upper_along(primals, tangents_in)
    by_parameters = sign * moved * jnp.exp(log_tail - log_f)
    return z, by_parameters + tangents[4] * jnp.exp(-log_f)
