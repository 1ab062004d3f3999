"""Comparisons of an observation with exp(eta), to the last digit."""

import jax
import jax.numpy as jnp
from jax import Array

from ._elementary import expm1, log_significand, significand_and_exponent
from ._exponentials import bounded_exp
from ._formats import format_of

Pair = tuple[Array, Array]


@jax.custom_jvp
def log_gap(y: Array, eta: Array) -> Array:
    """The gap log y - eta for y > 0, rounded after the subtraction, not before.

    Where a law is narrow its log density multiplies this difference by a large number,
    and half an ulp of log y would be seen.
    """
    form = format_of(y.dtype)
    f, k = significand_and_exponent(jnp.maximum(y, form.tiny), form)
    # The product with k is exact, and so is the difference where it cancels.
    return (k * form.log2[0] - eta) + log_significand(f, k, form)


@log_gap.defjvp
def _log_gap_jvp(primals: Pair, tangents: Pair) -> Pair:
    (y, eta), (dy, deta) = primals, tangents
    return log_gap(y, eta), dy / y - deta


@jax.custom_jvp
def residual(y: Array, eta: Array) -> Array:
    """The difference y - exp(eta), for y >= 0."""
    is_zero = y == 0
    safe = jnp.where(is_zero, 1.0, y)
    gap = -log_gap(safe, eta)
    is_near = jnp.abs(gap) < 1.0
    near = -safe * expm1(jnp.where(is_near, gap, 0.0))
    return jnp.where(is_near & ~is_zero, near, y - bounded_exp(eta))


@residual.defjvp
def _residual_jvp(primals: Pair, tangents: Pair) -> Pair:
    (y, eta), (dy, deta) = primals, tangents
    return residual(y, eta), dy - bounded_exp(eta) * deta


@jax.custom_jvp
def ratio(y: Array, eta: Array) -> Array:
    """The ratio y exp(-eta), for y >= 0; the largest number instead of infinity."""
    is_zero = y == 0
    return jnp.where(
        is_zero, 0.0, bounded_exp(log_gap(jnp.where(is_zero, 1.0, y), eta))
    )


@ratio.defjvp
def _ratio_jvp(primals: Pair, tangents: Pair) -> Pair:
    (y, eta), (dy, deta) = primals, tangents
    value = ratio(y, eta)
    return value, bounded_exp(-eta) * dy - value * deta


@jax.custom_jvp
def relative_residual(y: Array, eta: Array) -> Array:
    """The relative difference y exp(-eta) - 1, for y >= 0."""
    is_zero = y == 0
    gap = log_gap(jnp.where(is_zero, 1.0, y), eta)
    return jnp.where(is_zero, -1.0, expm1(gap))


@relative_residual.defjvp
def _relative_residual_jvp(primals: Pair, tangents: Pair) -> Pair:
    (y, eta), (dy, deta) = primals, tangents
    return relative_residual(y, eta), bounded_exp(-eta) * dy - ratio(y, eta) * deta
