"""The normal distribution function on the log scale, with its derivatives."""

import math

import jax
import jax.numpy as jnp

from ._elementary import Real
from ._erfcx_tables import DEFECT, ERFCX
from ._one_argument import in_floats

# What a coefficient must exceed to matter in the format.
SMALLEST = {"float32": 1e-9, "float64": 1e-18}


def _chebyshev(coefficients: tuple[float, ...], z: Real) -> Real:
    """The series at (z - 3) / (z + 3), by Clenshaw's recurrence."""
    t = (z - 3.0) / (z + 3.0)
    least = SMALLEST[z.dtype.name]
    kept = [i for i, c in enumerate(coefficients) if abs(c) > least]
    b1 = b2 = jnp.zeros_like(z)
    for c in reversed(coefficients[1 : kept[-1] + 1]):
        b1, b2 = 2.0 * t * b1 - b2 + c, b1
    return t * b1 - b2 + coefficients[0]


@jax.custom_jvp
def _erfcx(z: Real) -> Real:
    """exp(z^2) erfc(z) for z >= 0."""
    return _chebyshev(ERFCX, z) / (1.0 + 2.0 * z)


@jax.custom_jvp
def _defect(z: Real) -> Real:
    """1 - sqrt(pi) z erfcx(z) for z >= 0, which falls like 1 / (2 z^2)."""
    return _chebyshev(DEFECT, z) / (1.0 + 2.0 * z * z)


@_erfcx.defjvp
def _erfcx_jvp(primals: tuple[Real], tangents: tuple[Real]) -> tuple[Real, Real]:
    (z,), (dz,) = primals, tangents
    return _erfcx(z), -2.0 / math.sqrt(math.pi) * _defect(z) * dz


@_defect.defjvp
def _defect_jvp(primals: tuple[Real], tangents: tuple[Real]) -> tuple[Real, Real]:
    (z,), (dz,) = primals, tangents
    value = _defect(z)
    return value, (2.0 * z * value - math.sqrt(math.pi) * _erfcx(z)) * dz


def _density_ratio(x: Real, z: Real) -> Real:
    """phi(x) / Phi(x), for z = |x| / sqrt(2)."""
    lower = math.sqrt(2.0 / math.pi) / _erfcx(z)
    tail = jnp.exp(-z * z)
    upper = tail / (math.sqrt(2.0 * math.pi) * (1.0 - 0.5 * tail * _erfcx(z)))
    return jnp.where(x < 0, lower, upper)


def _half_width(x: Real) -> Real:
    return jnp.where(x < 0, -x, x) * math.sqrt(0.5)


@jax.custom_jvp
def _hazard(x: Real) -> Real:
    return _density_ratio(x, _half_width(x))


@_hazard.defjvp
def _hazard_jvp(primals: tuple[Real], tangents: tuple[Real]) -> tuple[Real, Real]:
    (x,), (dx,) = primals, tangents
    value = _hazard(x)
    # x + phi / Phi is phi / Phi times the defect, which does not cancel, below zero.
    defect = _defect(_half_width(jnp.minimum(x, 0.0)))
    shifted = jnp.where(x < 0, value * defect, x + value)
    return value, -value * shifted * dx


@jax.custom_jvp
def _log_ndtr(x: Real) -> Real:
    z = _half_width(x)
    small = 0.5 * _erfcx(z)
    lower = jnp.log(small) - 0.5 * x * x
    upper = jnp.log1p(-small * jnp.exp(-z * z))
    return jnp.where(x < 0, lower, upper)


@_log_ndtr.defjvp
def _log_ndtr_jvp(primals: tuple[Real], tangents: tuple[Real]) -> tuple[Real, Real]:
    (x,), (dx,) = primals, tangents
    return _log_ndtr(x), _hazard(x) * dx


@in_floats
def log_ndtr(x: Real) -> Real:
    r"""Log of the standard normal distribution function, $\log\Phi(x)$.

    Both tails keep full relative accuracy, and so do the derivatives $\phi/\Phi$ and
    $-(\phi/\Phi)(x + \phi/\Phi)$: below zero they come from the scaled complementary
    error function, without exponentials that overflow or sums that cancel.
    Differentiable to any order.

    Accuracy: relative error 1e-14 of the value and of the first two derivatives in
    float64.

    Source: Chebyshev series in the variable of Shepherd and Laframboise (1981), Math.
    Comp. 36, 249-253.
    """
    return _log_ndtr(x)
