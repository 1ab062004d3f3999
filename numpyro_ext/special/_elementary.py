"""exp, log and double-word arithmetic made of operations that XLA fuses.

XLA on CPU keeps the result of its own `exp`, `log`, division or square root in memory
when several sums use it, which costs more than the function itself. The polynomial
forms here fuse. Their bit operations have no derivative, so that each function that
is differentiated states its own.

Double-word numbers are pairs (high, low) whose sum is the number. Every product that
enters an error-free sum is itself exact, because its factors are short; whether the
compiler contracts products and sums into fused operations then changes nothing.
Source of the algorithms: Dekker (1971), Numer. Math. 18, 224-242.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ._formats import Format, Row, format_of

Real = Float[Array, "..."]
Mask = Bool[Array, "..."]
Pair = tuple[Real, Real]
# Orders of differentiation in v and in z.
Order = tuple[int, int]


def polynomial(coefficients: Row, x: Real) -> Real:
    """Evaluates coefficients of rising powers by Horner's rule."""
    result = jnp.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = result * x + c
    return result


def _to_bits(x: Real, form: Format) -> Array:
    return lax.bitcast_convert_type(x, form.integer)


def _from_bits(bits: Array, form: Format) -> Real:
    return lax.bitcast_convert_type(bits, form.dtype)


def _exponent(bits: Array, form: Format) -> Real:
    """The exponent of a positive normal number, as a float, without a conversion.

    The biased exponent becomes the low mantissa bits of 2^mantissa.
    """
    large = float(2**form.mantissa)
    offset = (form.bias + form.mantissa) << form.mantissa
    return _from_bits((bits >> form.mantissa) | offset, form) - (large + form.bias)


def _significand(bits: Array, form: Format) -> Real:
    """The significand in [1, 2) of a positive normal number."""
    low = (1 << form.mantissa) - 1
    return _from_bits((bits & low) | (form.bias << form.mantissa), form)


def _inverse_power(bits: Array, form: Format) -> Real:
    """2^-e for a positive normal number of exponent e below the largest."""
    biased = bits >> form.mantissa
    return _from_bits((2 * form.bias - biased) << form.mantissa, form)


def leading(x: Real, form: Format) -> Real:
    """The leading half of the significand; `x` minus it is exact too."""
    return _from_bits(_to_bits(x, form) & ~((1 << form.split) - 1), form)


def two_sum(a: Real, b: Real) -> Pair:
    """The rounded sum and its rounding error."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


@jax.custom_jvp
def exp(x: Real) -> Real:
    """The exponential to 1 ulp; saturates instead of reaching 0 or infinity."""
    form = format_of(x.dtype)
    bound = (form.bias - 1) * 0.6931
    x = jnp.clip(x, -bound, bound)
    # Adding 1.5 * 2^mantissa leaves the nearest integer in the low bits.
    magic = 1.5 * 2.0**form.mantissa
    shifted = x * 1.4426950408889634 + magic
    k = shifted - magic
    rest = (x - k * form.log2[0]) - k * form.log2[1]
    bits = _to_bits(polynomial(form.exp, rest), form)
    return _from_bits(bits + (_to_bits(shifted, form) << form.mantissa), form)


@exp.defjvp
def _exp_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    value = exp(*primals)
    return value, value * tangents[0]


def significand_and_exponent(x: Real, form: Format) -> Pair:
    """F in [sqrt(1/2), sqrt(2)] and k with x = 2^k f, for positive normal x."""
    bits = _to_bits(x, form)
    f = _significand(bits, form)
    is_large = f > 1.4142135623730951
    k = _exponent(bits, form) + jnp.where(is_large, 1.0, 0.0).astype(form.dtype)
    return jnp.where(is_large, 0.5 * f, f), k


def log_significand(f: Real, k: Real, form: Format) -> Real:
    """Log of 2^k f less the leading part of k log 2."""
    r = (f - 1.0) / (f + 1.0)
    square = r * r
    tail = r * square * polynomial(form.atanh, square)
    return 2.0 * r + (2.0 * tail + k * form.log2[1])


@jax.custom_jvp
def log(x: Real) -> Real:
    """The logarithm of a positive normal number, to 1 ulp."""
    form = format_of(x.dtype)
    f, k = significand_and_exponent(x, form)
    return k * form.log2[0] + log_significand(f, k, form)


@log.defjvp
def _log_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    return log(*primals), tangents[0] / primals[0]


@jax.custom_jvp
def log1p(x: Real) -> Real:
    """log(1 + x) to 2 ulp, for 1 + x positive and normal."""
    u = 1.0 + x
    # What was lost in the sum.
    return log(u) + (x - (u - 1.0)) / u


@log1p.defjvp
def _log1p_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    return log1p(*primals), tangents[0] / (1.0 + primals[0])


# Of (e^x - 1) / x, by Taylor's series: enough for |x| < 0.35.
EXPM1 = tuple(1.0 / math.factorial(k) for k in range(1, 14))


@jax.custom_jvp
def expm1(x: Real) -> Real:
    """e^x - 1 to 4 ulp; saturates instead of reaching infinity."""
    return jnp.where(jnp.abs(x) < 0.35, x * polynomial(EXPM1, x), exp(x) - 1.0)


@expm1.defjvp
def _expm1_jvp(primals: tuple[Real], tangents: tuple[Real]) -> Pair:
    return expm1(*primals), exp(*primals) * tangents[0]


def hypot_pair(v: Real, z: Real) -> Pair:
    """sqrt(v^2 + z^2) as a double word, without overflow; v >= 0, z > 0 normal."""
    form = format_of(z.dtype)
    a, b = jnp.maximum(v, z), jnp.minimum(v, z)
    inverse = _inverse_power(_to_bits(a, form), form)
    significand = a * inverse
    b = b * inverse
    root = jnp.sqrt(significand * significand + b * b)
    # root^2 - a^2 - b^2 from exact products: 2 a d + d^2 - b^2 with d = root - a.
    d = root - significand
    a1, b1, d1 = (leading(x, form) for x in (significand, b, d))
    a2, b2, d2 = significand - a1, b - b1, d - d1
    first = (b1 * b1 - 2.0 * a1 * d1) - d1 * d1
    middle = 2.0 * (b1 * b2 - a1 * d2 - a2 * d1 - d1 * d2)
    last = b2 * b2 - 2.0 * a2 * d2 - d2 * d2
    correction = (first + middle + last) / (2.0 * root)
    # Dividing by a power of two is exact.
    return root / inverse, correction / inverse


@jax.custom_jvp
def hypot(v: Real, z: Real) -> Real:
    """sqrt(v^2 + z^2) without overflow; differentiable."""
    return hypot_pair(v, z)[0]


@hypot.defjvp
def _hypot_jvp(primals: Pair, tangents: Pair) -> Pair:
    (v, z), root = primals, hypot(*primals)
    return root, (v / root) * tangents[0] + (z / root) * tangents[1]


def log_ratio_pair(numerator: Pair, denominator: Real) -> Pair:
    """Log of a quotient as a double word; both positive and normal.

    The low part holds all but the leading terms k log 2 + 2 r of the logarithm, so
    that the absolute error is about 2^-60 (2^-31 in float32) however large or small.
    """
    form = format_of(denominator.dtype)
    high, low = numerator
    top_bits, bottom_bits = _to_bits(high, form), _to_bits(denominator, form)
    top, bottom = _significand(top_bits, form), _significand(bottom_bits, form)
    low = low * _inverse_power(top_bits, form)
    k = _exponent(top_bits, form) - _exponent(bottom_bits, form)
    # Bring top / bottom into [sqrt(1/2), sqrt(2)], where the difference is exact.
    up = top > 1.4142135623730951 * bottom
    down = bottom > 1.4142135623730951 * top
    bottom = jnp.where(up, 2.0 * bottom, bottom)
    double = jnp.where(down, 2.0, 1.0).astype(form.dtype)
    top, low = top * double, low * double
    k = k + jnp.where(up, 1.0, jnp.where(down, -1.0, 0.0)).astype(form.dtype)
    difference = top - bottom
    total, total_low = two_sum(top, bottom)
    total_low = total_low + low
    r = (difference + low) / total
    r1, t1 = leading(r, form), leading(total, form)
    r2, t2 = r - r1, total - t1
    remainder = ((difference - r1 * t1) - (r1 * t2 + r2 * t1)) - r2 * t2
    r_low = (remainder + (low - r * total_low)) / total
    square = r * r
    tail = r * square * polynomial(form.atanh, square)
    high, low = two_sum(k * form.log2[0], 2.0 * r)
    return high, low + (k * form.log2[1] + 2.0 * (r_low + tail))


@jax.custom_jvp
def log_ratio(numerator: Real, denominator: Real) -> Real:
    """Log of a quotient of positive normal numbers; differentiable."""
    high, low = log_ratio_pair((numerator, jnp.zeros_like(numerator)), denominator)
    return high + low


@log_ratio.defjvp
def _log_ratio_jvp(primals: Pair, tangents: Pair) -> Pair:
    (a, b), (da, db) = primals, tangents
    return log_ratio(a, b), da / a - db / b


def product_pair(x: Real, pair: Pair) -> Pair:
    """`x` times a double word, the high part being an exact short product."""
    form = format_of(x.dtype)
    high, low = pair
    x1, h1 = leading(x, form), leading(high, form)
    rest = x1 * (high - h1) + (x - x1) * high
    return x1 * h1, rest + x * low
