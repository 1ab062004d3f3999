"""Quantiles of the generalized inverse Gaussian law, in third-order steps."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._gig_tail import log_upper_from
from ._kernel import peak

MAX_STEPS = 60


def _mirrored(p: Array, a: Array, b: Array, q: Array) -> tuple[Array, Array, Array]:
    """The order and rates of 1/x where the lower tail is asked for."""
    is_upper = q > 0.5
    return (
        jnp.where(is_upper, p, -p),
        jnp.where(is_upper, a, b),
        jnp.where(is_upper, b, a),
    )


# Outside of a compiled function each call would compile its loop again.
@jax.jit
def log_quantile(p: Array, a: Array, b: Array, q: Array) -> Array:
    """The v with P(log x < v) = q; all of one shape."""
    return _log_quantile(p, a, b, q)


@jax.custom_jvp
def _log_quantile(p: Array, a: Array, b: Array, q: Array) -> Array:
    is_proper = (q > 0) & (q < 1)
    is_upper = q > 0.5
    target = jnp.where(is_upper, jnp.log1p(-q), jnp.log(q))
    target = jnp.where(is_proper, target, -1.0)
    order, up, down = _mirrored(p, a, b, q)
    top = peak(order, up, down)
    tolerance = 4.0 * jnp.finfo(q.dtype).eps

    def step(state):
        count, v, is_done = state
        tail, log_density = log_upper_from(top, order, up, down, v)
        hazard = jnp.exp(log_density - tail)
        gap = tail - target
        # The log tail is concave in v. Its second derivative is -bend; the parabola
        # gives the move, and has no root only far to the right of it.
        slope = order - 0.5 * (up * jnp.exp(v) - down * jnp.exp(-v))
        bend = jnp.maximum(hazard * (hazard + slope), 0.0)
        inside = jnp.maximum(1.0 + 2.0 * (bend / hazard) * (gap / hazard), 0.0)
        move = jnp.clip(2.0 * (gap / hazard) / (1.0 + jnp.sqrt(inside)), -700.0, 700.0)
        is_close = ~(jnp.abs(move) > tolerance * (1.0 + jnp.abs(v)))
        is_done = is_done | is_close | (jnp.abs(gap) < tolerance)
        return count + 1, jnp.where(jnp.isfinite(move), v + move, v), is_done

    def is_open(state):
        return (state[0] < MAX_STEPS) & ~jnp.all(state[2])

    v = lax.while_loop(is_open, step, (0, top.mode, ~is_proper))[1]
    v = jnp.where(is_upper, v, -v)
    v = jnp.where(q == 0, -jnp.inf, jnp.where(q == 1, jnp.inf, v))
    return jnp.where((q >= 0) & (q <= 1), v, jnp.nan)


@_log_quantile.defjvp
def _log_quantile_jvp(primals, tangents):
    p, a, b, q = primals
    v = _log_quantile(*primals)
    sign = jnp.where(q > 0.5, 1.0, -1.0)
    u = sign * v

    def upper(p, a, b):
        mirrored = _mirrored(p, a, b, q)
        return log_upper_from(peak(*mirrored), *mirrored, u)

    (tail, log_density), (moved, _) = jax.jvp(upper, (p, a, b), tangents[:3])
    by_parameters = sign * moved * jnp.exp(tail - log_density)
    return v, by_parameters + tangents[3] * jnp.exp(-log_density)
