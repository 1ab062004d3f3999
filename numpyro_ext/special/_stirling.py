"""What Stirling's formulas leave of log gamma and digamma, for x > 0.

log Gamma(x + 1) = (x + 1/2) log x - x + log(2 pi) / 2 + S(x) and
digamma(x) = log x - 1 / (2 x) - P(x), with S' = -P. Differences of log gamma functions
of large arguments cancel; the same differences in S do not, because S is small.
"""

import jax
import jax.numpy as jnp

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
# Below it, arguments are raised by as much.
SHIFT = 8.0


def _shifted(x: Real) -> tuple[Real, Real, Real]:
    """x, or x + 8 where x is below 8; its inverse; and the square of that."""
    z = x + jnp.where(x < SHIFT, SHIFT, 0.0).astype(x.dtype)
    inverse = 1.0 / z
    return z, inverse, inverse * inverse


def _small_part(x: Real) -> Real:
    """(x + 17/2) log(x + 8) - 8 - log((x + 1) ... (x + 8))."""
    w = x * (x + 8.0)
    product = (w + 7.0) * (w + 12.0) * (w + 15.0) * (x + 4.0)
    log_z = log(x + 8.0)
    return (x + 7.5) * log_z - 8.0 - log(product)


@jax.custom_jvp
def stirling_error(x: Real) -> Real:
    """S(x), to 1e-14 absolute; x normal and positive."""
    tiny = format_of(x.dtype).tiny
    x = jnp.maximum(x, tiny)
    _, inverse, square = _shifted(x)
    series = inverse * polynomial(LOG_GAMMA, square)
    near = jnp.minimum(x, SHIFT)
    small = _small_part(near) - (near + 0.5) * log(near)
    return series + jnp.where(x < SHIFT, small, 0.0)


@stirling_error.defjvp
def _stirling_error_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return stirling_error(x), -digamma_error(x) / x * dx


def _digamma_parts(x: Real) -> tuple[Real, Real]:
    """The sums A and B with x P = A / x for large x and 1/2 + x B for small x."""
    _, inverse, square = _shifted(x)
    series = square * polynomial(DIGAMMA, square)
    near = jnp.minimum(x, SHIFT)
    w = near * (near + 8.0)
    first, second, third = w + 7.0, w + 12.0, w + 15.0
    pairs = (first * second + first * third + second * third) / (first * second * third)
    harmonic = 2.0 * (near + 4.0) * pairs + 1.0 / (near + 4.0)
    small = log(near) - log(near + 8.0) + 0.5 / (near + 8.0) + harmonic
    return series, small


def digamma_error(x: Real) -> Real:
    """X P(x), which falls from 1/2 at 0 like 1 / (12 x); x normal and positive."""
    series, small = _digamma_parts(x)
    near = jnp.minimum(x, SHIFT)
    return jnp.where(x < SHIFT, 0.5 + near * (small + series), x * series)


def digamma_error_scaled(x: Real) -> Real:
    """x^2 P(x), which rises like x / 2 from 0 to 1/12."""
    series, small = _digamma_parts(x)
    near = jnp.minimum(x, SHIFT)
    _, _, square = _shifted(x)
    large = polynomial(DIGAMMA, square)
    return jnp.where(x < SHIFT, near * (0.5 + near * (small + series)), large)


@jax.custom_jvp
def log_gamma_defect(log_x: Real) -> Real:
    """Q = log(x) / 2 - S(x) as a function of log x.

    log Gamma(x) is x log x - x + log(2 pi) / 2 - Q. Where x underflows, Q is finite:
    about log x + log(2 pi) / 2.
    """
    tiny = format_of(log_x.dtype).tiny
    x = jnp.maximum(jnp.exp(log_x), tiny)
    _, inverse, square = _shifted(x)
    series = inverse * polynomial(LOG_GAMMA, square)
    near = jnp.minimum(x, SHIFT)
    small = (near + 1.0) * log_x - _small_part(near)
    return jnp.where(x < SHIFT, small, 0.5 * log_x) - series


@log_gamma_defect.defjvp
def _log_gamma_defect_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (log_x,), (tangent,) = primals, tangents
    tiny = format_of(log_x.dtype).tiny
    x = jnp.maximum(jnp.exp(log_x), tiny)
    return log_gamma_defect(log_x), (0.5 + digamma_error(x)) * tangent
