"""Quantiles of the generalized inverse Gaussian law: Newton's method on a log tail."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._gig_normalizer import log_density_of_log, log_normalizer
from ._gig_tail import log_lower, log_upper
from ._kernel import log_mode

MAX_STEPS = 60


def _tail(p: Array, a: Array, b: Array, v: Array, is_upper: Array) -> Array:
    """Log of the tail asked for: the upper one is the lower one of 1/x."""
    return log_lower(
        jnp.where(is_upper, -p, p),
        jnp.where(is_upper, b, a),
        jnp.where(is_upper, a, b),
        jnp.where(is_upper, -v, v),
    )


@jax.custom_jvp
def log_quantile(p: Array, a: Array, b: Array, q: Array) -> Array:
    """The v with P(log x < v) = q; all of one shape."""
    is_upper = q > 0.5
    target = jnp.where(is_upper, jnp.log1p(-q), jnp.log(q))
    log_z = log_normalizer(p, a, b)
    tolerance = 4.0 * jnp.finfo(q.dtype).eps
    is_proper = (q > 0) & (q < 1)
    target = jnp.where(is_proper, target, -1.0)
    sign = jnp.where(is_upper, -1.0, 1.0)

    def step(state):
        count, v, is_done = state
        tail = _tail(p, a, b, v, is_upper)
        hazard = jnp.exp(log_density_of_log(p, a, b, v, log_z) - tail)
        # The log of a tail is concave in log x: from the second step on, the iterates
        # approach from one side. The first may be cut short.
        move = sign * (target - tail) / hazard
        move = jnp.clip(move, -700.0, 700.0)
        is_done = is_done | ~(jnp.abs(move) > tolerance * (1.0 + jnp.abs(v)))
        return count + 1, jnp.where(jnp.isfinite(move), v + move, v), is_done

    def is_open(state):
        return (state[0] < MAX_STEPS) & ~jnp.all(state[2])

    v = lax.while_loop(is_open, step, (0, log_mode(p, a, b), ~is_proper))[1]
    v = jnp.where(q == 0, -jnp.inf, jnp.where(q == 1, jnp.inf, v))
    return jnp.where((q >= 0) & (q <= 1), v, jnp.nan)


@log_quantile.defjvp
def _log_quantile_jvp(primals, tangents):
    p, a, b, q = primals
    v = log_quantile(*primals)
    is_upper = q > 0.5
    log_z = log_normalizer(p, a, b)
    density = log_density_of_log(p, a, b, v, log_z)

    def lower(p, a, b):
        tails = log_lower(p, a, b, v), log_upper(p, a, b, v)
        return jnp.where(is_upper, -jnp.exp(tails[1]), jnp.exp(tails[0]))

    moved = jax.jvp(lower, (p, a, b), tangents[:3])[1]
    return v, (tangents[3] - moved) * jnp.exp(-density)
