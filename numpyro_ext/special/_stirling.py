"""What Stirling's formulas leave of log gamma and digamma, for x > 0.

log Gamma(x + 1) = (x + 1/2) log x - x + log(2 pi) / 2 + S(x) and
digamma(x) = log x - 1 / (2 x) - P(x), with S' = -P. Differences of log gamma functions
of large arguments cancel; the same differences in S do not, because S is small.

From 1 on, (x + 1) S and x^2 P are polynomials in (x - 3) / (x + 1); below, they follow
from x + 1 by the recurrences of the two functions.
"""

import jax
import jax.numpy as jnp

from . import _stirling_tables as tables
from ._elementary import Mask, Real, exp, log, polynomial
from ._formats import format_of

Pair = tuple[Real, Real]

LOG_GAMMA = {"float32": tables.LOG_GAMMA_32, "float64": tables.LOG_GAMMA_64}
DIGAMMA = {"float32": tables.DIGAMMA_32, "float64": tables.DIGAMMA_64}


@jax.custom_jvp
def stirling_error_from_one(x: Real) -> Real:
    """S(x) for x >= 1, to 1e-16, without a logarithm."""
    inverse = 1.0 / (x + 1.0)
    return inverse * polynomial(LOG_GAMMA[x.dtype.name], 1.0 - 4.0 * inverse)


@stirling_error_from_one.defjvp
def _stirling_error_from_one_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return stirling_error_from_one(x), -digamma_error(x) / x * dx


def digamma_error_scaled_from_one(x: Real) -> Real:
    """x^2 P(x) for x >= 1, which is near 1/12."""
    return polynomial(DIGAMMA[x.dtype.name], 1.0 - 4.0 / (x + 1.0))


def _raised(x: Real) -> tuple[Mask, Real, Real]:
    """Whether x < 1; x + 1 there, and x elsewhere; and x there, or 1."""
    is_small = x < 1.0
    return is_small, jnp.where(is_small, x + 1.0, x), jnp.minimum(x, 1.0)


@jax.custom_jvp
def stirling_error(x: Real) -> Real:
    """S(x), to 1e-15; x normal and positive."""
    is_small, raised, near = _raised(x)
    small = (near + 0.5) * (log(near + 1.0) - log(near)) - 1.0
    return stirling_error_from_one(raised) + jnp.where(is_small, small, 0.0)


@stirling_error.defjvp
def _stirling_error_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return stirling_error(x), -digamma_error(x) / x * dx


def _digamma_step(x: Real) -> Real:
    """P(x) - 1 / (2 x) for x <= 1."""
    above = x + 1.0
    rest = digamma_error_scaled_from_one(above) / (above * above)
    return log(x) - log(above) + 0.5 / above + rest


def digamma_error(x: Real) -> Real:
    """X P(x), which falls from 1/2 at 0 like 1 / (12 x); x normal and positive."""
    is_small, raised, near = _raised(x)
    large = digamma_error_scaled_from_one(raised) / raised
    return jnp.where(is_small, 0.5 + near * _digamma_step(near), large)


def digamma_error_scaled(x: Real) -> Real:
    """x^2 P(x), which rises like x / 2 from 0 to 1/12."""
    is_small, raised, near = _raised(x)
    small = near * (0.5 + near * _digamma_step(near))
    return jnp.where(is_small, small, digamma_error_scaled_from_one(raised))


@jax.custom_jvp
def log_gamma_defect(log_x: Real) -> Real:
    """Q = log(x) / 2 - S(x) as a function of log x.

    log Gamma(x) is x log x - x + log(2 pi) / 2 - Q. Where x underflows, Q is finite:
    about log x + log(2 pi) / 2.
    """
    is_small, raised, near = _raised(_positive(log_x))
    small = (near + 1.0) * log_x - (near + 0.5) * log(near + 1.0) + 1.0
    return jnp.where(is_small, small, 0.5 * log_x) - stirling_error_from_one(raised)


def _positive(log_x: Real) -> Real:
    return jnp.maximum(exp(log_x), format_of(log_x.dtype).tiny)


@log_gamma_defect.defjvp
def _log_gamma_defect_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (log_x,), (tangent,) = primals, tangents
    return log_gamma_defect(log_x), (0.5 + digamma_error(_positive(log_x))) * tangent
