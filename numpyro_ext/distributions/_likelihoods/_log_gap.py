"""log y - eta to the last digit of their difference."""

import jax
import jax.numpy as jnp
from jax import Array

from ...special._elementary import log_ratio_pair
from ...special._formats import format_of


@jax.custom_jvp
def log_gap(y: Array, eta: Array) -> Array:
    """Log y - eta for y > 0; the log is rounded after the subtraction, not before.

    Where a law is narrow its log density multiplies this difference by a large number,
    and half an ulp of log y would be seen.
    """
    dtype = jnp.result_type(y, eta)
    tiny = format_of(dtype).tiny
    safe = jnp.maximum(y.astype(dtype), tiny)
    zero = jnp.zeros_like(safe)
    high, low = log_ratio_pair((safe, zero), jnp.ones_like(safe))
    return (high - eta) + low


@log_gap.defjvp
def _log_gap_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (y, eta), (dy, deta) = primals, tangents
    return log_gap(y, eta), dy / y - deta
