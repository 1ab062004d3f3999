"""Members of a GIG family with a fixed order from E[x] and E[1/x]."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._gig_normalizer import inside

MAX_STEPS = 60


def _gap(p: float, log_omega: Array, spread: Array) -> tuple[Array, Array]:
    """Log of (log E[x] E[1/x]) over its aim, and the derivative in log omega."""

    def log_product(y: Array) -> Array:
        omega = jnp.exp(y)
        return jnp.log(jnp.log1p(inside(p, omega, omega).product))

    value, slope = jax.jvp(log_product, (log_omega,), (jnp.ones_like(log_omega),))
    return value - jnp.log(spread), slope


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _log_omega(p: float, spread: Array) -> Array:
    """The log of omega with log E[x] E[1/x] = spread > 0; NaN for others."""
    is_valid = spread > 0
    safe = jnp.where(is_valid, spread, 1.0)
    tolerance = 4.0 * jnp.finfo(spread.dtype).eps
    # Close to 1 / omega for large omega; E[1/x] grows like -log omega for small.
    low = -jnp.minimum(jnp.exp(safe), 600.0) - 5.0
    high = jnp.maximum(-jnp.log(safe), 0.0) + 5.0
    start = -jnp.log(jnp.expm1(jnp.minimum(safe, 3.0)))

    def step(state):
        count, y, low, high, is_done = state
        gap, slope = _gap(p, y, safe)
        # The spread falls in omega.
        low, high = jnp.where(gap > 0, y, low), jnp.where(gap > 0, high, y)
        moved = y - gap / slope
        is_inside = (moved > low) & (moved < high)
        is_close = jnp.abs(gap / slope) <= tolerance * (1.0 + jnp.abs(y))
        after = jnp.where(is_inside, moved, jnp.where(is_close, y, 0.5 * (low + high)))
        return count + 1, after, low, high, is_done | is_close

    def is_open(state):
        return (state[0] < MAX_STEPS) & ~jnp.all(state[4])

    state = (0, start, low, high, ~is_valid)
    y = lax.while_loop(is_open, step, state)[1]
    return jnp.where(is_valid, y, jnp.nan)


@_log_omega.defjvp
def _log_omega_jvp(p, primals, tangents):
    (spread,) = primals
    y = _log_omega(p, spread)
    # Of the log of the spread, in log omega.
    return y, tangents[0] / (spread * _gap(p, y, spread)[1])


# Outside of a compiled function each call would compile its loop again.
@partial(jax.jit, static_argnums=0)
def rates_of_fixed_order(p: float, mean: Array, inverse: Array) -> tuple[Array, Array]:
    """The (a, b) of the GIG law of order p >= 0 with this E[x] and E[1/x]."""
    spread = jnp.log(mean) + jnp.log(inverse)
    log_omega = _log_omega(p, spread)
    omega = jnp.exp(log_omega)
    # E[x] = K_{p+1} / K_p sqrt(b / a)
    log_scale = jnp.log(mean) - jnp.log(inside(p, omega, omega).up)
    return omega * jnp.exp(-log_scale), omega * jnp.exp(log_scale)
