"""Quantiles of a normal variance-mean mixture: safeguarded Newton on a log tail."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._kernel import log_mode
from ._mixture_density import univariate_log_prob
from ._mixture_tail import log_upper

MAX_STEPS = 80
# Of the coordinate asinh(z / unit): covers what floats can hold of the tails.
FARTHEST = {"float64": 350.0, "float32": 80.0}


def _log_density(p: Array, a: Array, b: Array, z: Array, t: Array) -> Array:
    none, one = jnp.zeros_like(z), jnp.ones_like(z)
    return univariate_log_prob(p, a, b, none, one, t, z, edges=True)


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
    unit = jnp.exp(0.5 * log_mode(p, a, b))
    center = tilt * unit * unit
    tolerance = 8.0 * jnp.finfo(q.dtype).eps
    end = jnp.full_like(q, FARTHEST[str(q.dtype)])

    def step(state):
        count, s, low, high, is_done = state
        z = center + unit * jnp.sinh(s)
        tail = log_upper(p, a, b, z, tilt)
        gap = tail - target
        # The tail falls in s: a gap above 0 says that the root lies to the right.
        low, high = jnp.where(gap > 0, s, low), jnp.where(gap > 0, high, s)
        hazard = jnp.exp(_log_density(p, a, b, z, tilt) - tail) * unit * jnp.cosh(s)
        move = gap / hazard
        moved = s + move
        fits = jnp.isfinite(move) & (moved > low) & (moved < high)
        is_close = jnp.abs(move) <= tolerance * (1.0 + jnp.abs(s))
        after = jnp.where(fits, moved, jnp.where(is_close, s, 0.5 * (low + high)))
        is_done = is_done | is_close | (high - low <= tolerance * (1.0 + jnp.abs(s)))
        return count + 1, after, low, high, is_done

    def is_open(state):
        return (state[0] < MAX_STEPS) & ~jnp.all(state[4])

    start = (0, jnp.zeros_like(q), -end, end, ~is_proper)
    z = sign * (center + unit * jnp.sinh(lax.while_loop(is_open, step, start)[1]))
    z = jnp.where(q == 0, -jnp.inf, jnp.where(q == 1, jnp.inf, z))
    return jnp.where((q >= 0) & (q <= 1), z, jnp.nan)


@quantile.defjvp
def _quantile_jvp(primals, tangents):
    p, a, b, t, q = primals
    z = quantile(p, a, b, t, q)
    sign = jnp.where(q > 0.5, 1.0, -1.0)

    def lower(p, a, b, t):
        tail = jnp.exp(log_upper(p, a, b, sign * z, sign * t))
        return -sign * tail

    moved = jax.jvp(lower, (p, a, b, t), tangents[:4])[1]
    return z, (tangents[4] - moved) * jnp.exp(-_log_density(p, a, b, z, t))
