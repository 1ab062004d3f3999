r"""Normaliser and expectations of $x^{p-1}\exp(-(a x + b/x)/2)$, edges included.

With $\omega = \sqrt{ab}$ the integral is $2 K_p(\omega) (b/a)^{p/2}$; at $a = 0$ and at
$b = 0$ it is that of the inverse gamma and of the gamma law. Everything that the family
needs of the Bessel function passes through this file.
Source: Jørgensen (1982), Statistical Properties of the Generalized Inverse Gaussian
Distribution, section 2.1.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln

from ..special._kv_parts import FAR, KvParts, kv_parts
from ._kernel import times_exp

Order = Array | float

LOG_2 = math.log(2.0)
LOG_HALF_PI = math.log(0.5 * math.pi)


def root(x: Array) -> Array:
    """Square root with derivative 0, not infinite, at 0."""
    is_positive = x > 0
    return jnp.where(is_positive, jnp.sqrt(jnp.where(is_positive, x, 1.0)), 0.0)


def log_normalizer(p: Order, a: Array, b: Array, *, edges: bool = True) -> Array:
    r"""Log integral of $x^{p-1}\exp(-(ax + b/x)/2)$, plus $\sqrt{ab}$.

    The derivative is that of the integral alone, $-E[x]/2$ in a and $-E[1/x]/2$ in b:
    the added exponent is for the caller to take away in a form that does not cancel,
    and its derivative never enters. (Where a is small it would drown the moments.)
    At an edge (one of a, b is 0) the value is the limit, and so is the first derivative
    where it is finite; where the integral diverges, the value is infinite.
    `edges=False` leaves the edges out, for laws that cannot meet them.
    """
    if not edges:
        return _inside_value(*split_order(p), a, b)
    is_inside = (a > 0) & (b > 0)
    a_in, b_in = jnp.where(is_inside, a, 1.0), jnp.where(is_inside, b, 1.0)
    value = _inside_value(*split_order(p), a_in, b_in)
    return jnp.where(is_inside, value, edge_value(p, a, b))


class Inside(NamedTuple):
    r"""A law with a > 0 and b > 0, in parts that keep their digits.

    With `middle` $m = \sqrt{b/a}$, E[x] = m up and E[1/x] = down / m.

    Attributes:
        value: The log normaliser plus omega.
        mean_log: E[log x] - log m.
        log_middle: log m.
        omega: The square root of ab.
        middle: m.
        up: K_{p+1} / K_p.
        down: K_{p-1} / K_p.
        up_excess: `up` - 1.
        down_excess: `down` - 1.
        balance: 1 + 2 omega - omega (up + down), for omega >= FAR.
    """

    value: Array
    mean_log: Array
    log_middle: Array
    omega: Array
    middle: Array
    up: Array
    down: Array
    up_excess: Array
    down_excess: Array
    balance: Array

    @property
    def mean(self) -> Array:
        """E[x]."""
        return self.middle * self.up

    @property
    def mean_inverse(self) -> Array:
        """E[1/x]."""
        return self.down / self.middle

    @property
    def product(self) -> Array:
        """E[x] E[1/x] - 1."""
        # Of nearly opposite excesses, the sum is one of the parts.
        far = (1.0 - self.balance) / self.omega + self.up_excess * self.down_excess
        return jnp.where(self.omega > FAR, far, self.up * self.down - 1.0)


def _half_parts(omega: Array) -> KvParts:
    """The parts at order 1/2, without the derivative in the order."""
    one, none = jnp.ones_like(omega), jnp.zeros_like(omega)
    return KvParts(0.5 * (LOG_HALF_PI - jnp.log(omega)), none, one, none, none)


def inside(p: Order, a: Array, b: Array) -> Inside:
    """The law with positive a and b. A number p has no derivative in the order."""
    root_a, root_b = jnp.sqrt(a), jnp.sqrt(b)
    omega, middle = root_a * root_b, root_b / root_a
    log_middle = 0.5 * (jnp.log(b) - jnp.log(a))
    # Not `jnp.abs`, whose derivative at 0 is that of neither side.
    size = abs(p) if isinstance(p, float | int) else jnp.where(p > 0, p, -p)
    if isinstance(size, float | int) and size == 0.5:
        parts = _half_parts(omega)
    else:
        parts = kv_parts(jnp.asarray(size, omega.dtype), omega)
    # K_{v-1} / K_v is the lesser of the two ratios, and K_{v+1} / K_v follows.
    rest = 2.0 * size / omega
    lesser = parts.ratio, parts.excess
    greater = rest + parts.ratio, rest + parts.excess
    is_right = p > 0
    if isinstance(p, float | int):
        up, down = (greater, lesser) if is_right else (lesser, greater)
    else:
        up, down = (
            tuple(jnp.where(is_right, x, y) for x, y in zip(*pair, strict=True))
            for pair in ((greater, lesser), (lesser, greater))
        )
    sign = jnp.where(is_right, 1.0, -1.0)
    value = LOG_2 + parts.scaled + p * log_middle
    return Inside(
        value,
        sign * parts.by_v,
        log_middle,
        omega,
        middle,
        up[0],
        down[0],
        up[1],
        down[1],
        parts.balance,
    )


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _inside_value(number: float | None, p: Order, a: Array, b: Array) -> Array:
    return inside(p if number is None else number, a, b).value


@_inside_value.defjvp
def _inside_value_jvp(number, primals, tangents):
    p, a, b = primals
    law = inside(p if number is None else number, a, b)
    moved = -0.5 * (law.mean * tangents[1] + law.mean_inverse * tangents[2])
    if number is None:
        moved = moved + (law.mean_log + law.log_middle) * tangents[0]
    return law.value, moved


def split_order(p: Order) -> tuple[float | None, Order]:
    """A number apart from an array: a derivative in a number is not asked for."""
    return (float(p), 0.0) if isinstance(p, float | int) else (None, p)


def edge_value(p: Order, a: Array, b: Array) -> Array:
    is_gamma = a > 0
    order = jnp.where(is_gamma, p, -p)
    rate, other = 0.5 * jnp.where(is_gamma, a, b), 0.5 * jnp.where(is_gamma, b, a)
    exists = (order > 0) & (rate > 0)
    safe = jnp.where(order > 0, order, 1.0)
    value = gammaln(safe) - safe * jnp.log(jnp.where(rate > 0, rate, 1.0))
    # `other` is 0 here. The term carries the derivative across the edge.
    mean = jnp.where(order > 1, rate / jnp.where(order > 1, order - 1.0, 1.0), 0.0)
    return jnp.where(exists, value - other * mean, jnp.inf)


def edge_moments(p: Order, a: Array, b: Array) -> tuple[Array, Array]:
    """E[x] and E[1/x] where one of a and b is 0; 0 where they are infinite."""
    is_gamma = a > 0
    order = jnp.where(is_gamma, p, -p)
    rate = 0.5 * jnp.where(is_gamma, a, b)
    rate = jnp.where(rate > 0, rate, 1.0)
    own = jnp.where(order > 0, order / rate, 0.0)
    other = jnp.where(order > 1, rate / jnp.where(order > 1, order - 1.0, 1.0), 0.0)
    return jnp.where(is_gamma, own, other), jnp.where(is_gamma, other, own)


def log_mean(p: Order, a: Array, b: Array) -> Array:
    """Log of E[x]; of E[1/x] when called with (-p, b, a)."""
    is_inside = (a > 0) & (b > 0)
    law = inside(p, jnp.where(is_inside, a, 1.0), jnp.where(is_inside, b, 1.0))
    # Gamma(p, a / 2), or inverse gamma (-p, b / 2) which has a mean from -p > 1 on.
    gamma = jnp.log(2.0 * jnp.where(p > 0, p, 1.0)) - jnp.log(jnp.where(a > 0, a, 1.0))
    has_mean = p < -1
    inverse = jnp.log(jnp.where(b > 0, b, 1.0)) - jnp.log(
        2.0 * jnp.where(has_mean, -p - 1.0, 1.0)
    )
    edge = jnp.where(a > 0, gamma, jnp.where(has_mean, inverse, jnp.inf))
    return jnp.where(is_inside, jnp.log(law.up) + law.log_middle, edge)


def mean_log(p: Order, a: Array, b: Array) -> Array:
    """E[log x], the derivative of the log normaliser in the order."""
    p = jnp.broadcast_to(jnp.asarray(p, a.dtype), jnp.broadcast_shapes(jnp.shape(p)))
    return jax.jvp(lambda q: log_normalizer(q, a, b), (p,), (jnp.ones_like(p),))[1]


def is_proper(p: Order, a: Array, b: Array) -> Array:
    """True where the kernel can be integrated."""
    return (a >= 0) & (b >= 0) & ((a > 0) | (p < 0)) & ((b > 0) | (p > 0))


def log_density_of_log(p: Order, a: Array, b: Array, v: Array, log_z: Array) -> Array:
    r"""Log density of $v = \log x$; `log_z` is what `log_normalizer` returns.

    $-(\sqrt{a x} - \sqrt{b/x})^2/2$ is the exponent plus $\sqrt{ab}$ without the
    cancellation of three large terms. Its derivative is taken of the plain form, which
    is finite at a = 0 and b = 0.
    """
    up, down = times_exp(a, v), times_exp(b, -v)
    gap = jnp.sqrt(jax.lax.stop_gradient(up)) - jnp.sqrt(jax.lax.stop_gradient(down))
    plain = -0.5 * (up + down)
    exponent = -0.5 * gap * gap + (plain - jax.lax.stop_gradient(plain))
    return p * v + exponent - log_z
