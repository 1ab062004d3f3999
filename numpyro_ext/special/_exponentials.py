"""Sums and differences of exponentials and logarithms that do not cancel."""

import math

import jax
import jax.numpy as jnp

from ._elementary import Real, exp, log1p, polynomial
from ._formats import format_of
from ._one_argument import in_floats

Pair = tuple[Real, Real]
# Of (e^x - 1 - x) / x^2, by Taylor's series: enough for |x| < 0.7.
EXPM1_MINUS = tuple(1.0 / math.factorial(k) for k in range(2, 16))


@jax.custom_jvp
def bounded_exp(x: Real) -> Real:
    """e^x, or about the largest number instead of infinity, so that 0 e^x is 0."""
    bound = (format_of(x.dtype).bias - 1) * 0.6931
    return jnp.where(x < -bound, 0.0, exp(x))


@bounded_exp.defjvp
def _bounded_exp_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    value = bounded_exp(*primals)
    return value, value * tangents[0]


@jax.custom_jvp
def expit(x: Real) -> Real:
    """1 / (1 + e^-x), by the one exponential that its relatives take as well."""
    small = jnp.exp(-jnp.abs(x))
    return jnp.where(x < 0.0, small, 1.0) / (1.0 + small)


@expit.defjvp
def _expit_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return expit(x), expit_slope(x) * dx


@jax.custom_jvp
def expit_slope(x: Real) -> Real:
    """1 / (e^(x/2) + e^(-x/2))^2."""
    small = jnp.exp(-jnp.abs(x))
    return small / jnp.square(1.0 + small)


@expit_slope.defjvp
def _expit_slope_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    slope = expit_slope(x)
    return slope, -jnp.tanh(0.5 * x) * slope * dx


@jax.custom_jvp
def _log_expit(x: Real) -> Real:
    return jnp.minimum(x, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(x)))


@_log_expit.defjvp
def _log_expit_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return _log_expit(x), expit(-x) * dx


@in_floats
def log_expit(x: Real) -> Real:
    r"""Log of the logistic function, $-\log(1 + e^{-x})$.

    The value and every derivative keep their relative accuracy in both tails, and at
    0, where the usual form $\max(x, 0) + \log(1 + e^{-|x|})$ has the derivative of a
    kink.
    """
    return _log_expit(x)


@jax.custom_jvp
def _log1mexp(x: Real) -> Real:
    is_small = x < 0.6931471805599453
    near = jnp.log(-jnp.expm1(-jnp.where(is_small, x, 0.5)))
    far = jnp.log1p(-jnp.exp(-jnp.where(is_small, 1.0, x)))
    return jnp.where(is_small, near, far)


@_log1mexp.defjvp
def _log1mexp_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return _log1mexp(x), dx / jnp.expm1(x)


@in_floats
def log1mexp(x: Real) -> Real:
    r"""$\log(1 - e^{-x})$ for x > 0; -inf at 0 and NaN below.

    Source: Maechler (2012), Accurately computing log(1 - exp(-|a|)).
    """
    return _log1mexp(x)


@jax.custom_jvp
def expm1_minus(x: Real) -> Real:
    """e^x - 1 - x, which is nonnegative, without cancellation near 0."""
    is_small = jnp.abs(x) < 0.7
    safe = jnp.where(is_small, x, 0.0)
    near = safe * safe * polynomial(EXPM1_MINUS, safe)
    return jnp.where(is_small, near, bounded_exp(x) - (1.0 + x))


@expm1_minus.defjvp
def _expm1_minus_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return expm1_minus(x), jnp.expm1(x) * dx


def log1p_minus_near(x: Real) -> Real:
    """(x - log(1 + x)) / x^2 for |x| < 0.4, which is 1/2 at 0."""
    # log(1 + x) = 2 artanh(r), r = x / (2 + x), |r| <= 1/4.
    inverse = 1.0 / (2.0 + x)
    r = x * inverse
    tail = polynomial(tuple(2.0 / (2 * k + 3) for k in range(12)), r * r)
    return inverse * (1.0 - r * inverse * tail)


def log1p_minus(x: Real) -> Real:
    """(x - log(1 + x)) / x^2 for x > -1, which is 1/2 at 0."""
    is_small = jnp.abs(x) < 0.4
    near, far = jnp.where(is_small, x, 0.0), jnp.where(is_small, 1.0, x)
    far_value = (far - jnp.log1p(far)) / (far * far)
    return jnp.where(is_small, log1p_minus_near(near), far_value)


@jax.custom_jvp
def log1p_ratio(x: Real) -> Real:
    """log(1 + x) / x for x > -1, which is 1 at 0."""
    is_zero = x == 0
    return jnp.where(is_zero, 1.0, log1p(x) / jnp.where(is_zero, 1.0, x))


@log1p_ratio.defjvp
def _log1p_ratio_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return log1p_ratio(x), (log1p_minus(x) - 1.0 / (1.0 + x)) * dx


@jax.custom_jvp
def _expm1_quotient(x: Real) -> Real:
    """exp(x) / (exp(exp(x)) - 1), the derivative of log(1 - exp(-exp(x)))."""
    u = jnp.exp(x)
    safe = jnp.where((u > 0) & (u < 700.0), u, 1.0)
    inside = safe / jnp.expm1(safe)
    return jnp.where(u == 0, 1.0, jnp.where(u < 700.0, inside, 0.0))


@_expm1_quotient.defjvp
def _expm1_quotient_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    value = _expm1_quotient(x)
    # At most 700 where the quotient is not zero, and finite where it is.
    u = jnp.exp(jnp.minimum(x, 7.0))
    return value, value * (1.0 - value - u) * dx


@jax.custom_jvp
def _log1mexpexp(x: Real) -> Real:
    u = jnp.exp(x)
    # log((1 - e^-u) / u) = -u / 2 + u^2 / 24 - ... for small u.
    small = u < 0.1
    v = jnp.where(small, u, 0.0)
    series = polynomial((-1 / 2, 1 / 24, 0.0, -1 / 2880, 0.0, 1 / 181440), v) * v
    return jnp.where(small, x + series, _log1mexp(jnp.where(small, 1.0, u)))


@_log1mexpexp.defjvp
def _log1mexpexp_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    (x,), (dx,) = primals, tangents
    return _log1mexpexp(x), _expm1_quotient(x) * dx


@in_floats
def log1mexpexp(x: Real) -> Real:
    r"""$\log(1 - e^{-e^x})$: the log probability of the complementary log-log link.

    About x for very negative x, where $e^x$ may underflow, and $-e^{-e^x}$ for large
    x; the first two derivatives keep their accuracy.
    """
    return _log1mexpexp(x)
