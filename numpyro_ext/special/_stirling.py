"""What Stirling's formulas leave of log gamma and digamma, for x > 0.

log Gamma(x + 1) = (x + 1/2) log x - x + log(2 pi) / 2 + S(x) and
digamma(x) = log x - 1 / (2 x) - P(x), with S' = -P. Differences of log gamma functions
of large arguments cancel; the same differences in S do not, because S is small.
"""

import jax
import jax.numpy as jnp

from . import _stirling_tables as tables
from ._elementary import Real, log, polynomial
from ._formats import format_of

Pair = tuple[Real, Real]

# Bernoulli numbers over k (k - 1), and over k: coefficients in 1 / x^2.
# fmt: off
LOG_GAMMA = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156,
             -3617 / 122400)
DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12,
           -3617 / 8160)
# fmt: on
# Arguments below it are raised by as much: enough for the format's digits.
SHIFT = {"float32": 3, "float64": 8}


def _shifted(x: Real) -> tuple[Real, Real, Real]:
    """Whether x is small; the inverse of x, or of x shifted; and its square."""
    shift = SHIFT[x.dtype.name]
    is_small = x < shift
    inverse = 1.0 / (x + jnp.where(is_small, shift, 0).astype(x.dtype))
    return is_small, inverse, inverse * inverse


def _near(x: Real) -> Real:
    return jnp.minimum(x, SHIFT[x.dtype.name])


def _product(x: Real) -> tuple[Real, Real]:
    """(x + 1) ... (x + shift - 1) and its derivative."""
    product, slope = x + 1.0, jnp.ones_like(x)
    for k in range(2, SHIFT[x.dtype.name]):
        slope = slope * (x + k) + product
        product = product * (x + k)
    return product, slope


def _small_part(x: Real) -> Real:
    """(x + s + 1/2) log(x + s) - s - log((x + 1) ... (x + s)) for the shift s."""
    shift = SHIFT[x.dtype.name]
    return (x + (shift - 0.5)) * log(x + shift) - shift - log(_product(x)[0])


@jax.custom_jvp
def stirling_error(x: Real) -> Real:
    """S(x), to 1e-14 absolute; x normal and positive."""
    tiny = format_of(x.dtype).tiny
    x = jnp.maximum(x, tiny)
    is_small, inverse, square = _shifted(x)
    series = inverse * polynomial(LOG_GAMMA, square)
    near = _near(x)
    small = _small_part(near) - (near + 0.5) * log(near)
    return series + jnp.where(is_small, small, 0.0)


@stirling_error.defjvp
def _stirling_error_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return stirling_error(x), -digamma_error(x) / x * dx


def _digamma_small(x: Real) -> Real:
    """P(x) - P(x + s) - 1 / (2 x) for the shift s."""
    shift = SHIFT[x.dtype.name]
    product, slope = _product(x)
    raised = x + shift
    return log(x) - log(raised) + 0.5 / raised + slope / product


def digamma_error(x: Real) -> Real:
    """X P(x), which falls from 1/2 at 0 like 1 / (12 x); x normal and positive."""
    is_small, inverse, square = _shifted(x)
    series = polynomial(DIGAMMA, square)
    near = _near(x)
    small = 0.5 + near * (_digamma_small(near) + square * series)
    return jnp.where(is_small, small, inverse * series)


def digamma_error_scaled(x: Real) -> Real:
    """x^2 P(x), which rises like x / 2 from 0 to 1/12."""
    is_small, _, square = _shifted(x)
    series = polynomial(DIGAMMA, square)
    near = _near(x)
    small = near * (0.5 + near * (_digamma_small(near) + square * series))
    return jnp.where(is_small, small, series)


@jax.custom_jvp
def log_gamma_defect(log_x: Real) -> Real:
    """Q = log(x) / 2 - S(x) as a function of log x.

    log Gamma(x) is x log x - x + log(2 pi) / 2 - Q. Where x underflows, Q is finite:
    about log x + log(2 pi) / 2.
    """
    tiny = format_of(log_x.dtype).tiny
    x = jnp.maximum(jnp.exp(log_x), tiny)
    is_small, inverse, square = _shifted(x)
    series = inverse * polynomial(LOG_GAMMA, square)
    near = _near(x)
    small = (near + 1.0) * log_x - _small_part(near)
    return jnp.where(is_small, small, 0.5 * log_x) - series


@log_gamma_defect.defjvp
def _log_gamma_defect_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (log_x,), (tangent,) = primals, tangents
    tiny = format_of(log_x.dtype).tiny
    x = jnp.maximum(jnp.exp(log_x), tiny)
    return log_gamma_defect(log_x), (0.5 + digamma_error(x)) * tangent


# For x >= 1 alone, without a logarithm: (x + 1) S and x^2 P, in (x - 3) / (x + 1).
FROM_ONE = {
    "float32": (tables.LOG_GAMMA_32, tables.DIGAMMA_32),
    "float64": (tables.LOG_GAMMA_64, tables.DIGAMMA_64),
}


@jax.custom_jvp
def stirling_error_from_one(x: Real) -> Real:
    """S(x) for x >= 1."""
    inverse = 1.0 / (x + 1.0)
    row = FROM_ONE[x.dtype.name][0]
    return inverse * polynomial(row, 1.0 - 4.0 * inverse)


@stirling_error_from_one.defjvp
def _stirling_error_from_one_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return stirling_error_from_one(x), -digamma_error(x) / x * dx


def digamma_error_scaled_from_one(x: Real) -> Real:
    """x^2 P(x) for x >= 1."""
    row = FROM_ONE[x.dtype.name][1]
    return polynomial(row, 1.0 - 4.0 / (x + 1.0))
