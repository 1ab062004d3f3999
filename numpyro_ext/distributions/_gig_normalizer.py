r"""Normaliser and expectations of $x^{p-1}\exp(-(a x + b/x)/2)$, edges included.

With $\omega = \sqrt{ab}$ the integral is $2 K_p(\omega) (b/a)^{p/2}$; at $a = 0$ and at
$b = 0$ it is that of the inverse gamma and of the gamma law. Everything that the family
needs of the Bessel function passes through this file.
Source: Jørgensen (1982), Statistical Properties of the Generalized Inverse Gaussian
Distribution, section 2.1.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln

from ..special import log_kv, log_kv_ratio
from ._kernel import times_exp

Order = Array | float

LOG_2 = math.log(2.0)
LOG_HALF_PI = math.log(0.5 * math.pi)
# Above, `log_kv(v, z) + z` loses more than the expansion below leaves out.
SERIES_FROM = {"float64": 200.0, "float32": 16.0}
# DLMF 10.41.10 divided by p^k: polynomials in m = (v / kappa)^2.
OLVER = (
    (3 / 24, -5 / 24),
    (81 / 1152, -462 / 1152, 385 / 1152),
    (30375 / 414720, -369603 / 414720, 765765 / 414720, -425425 / 414720),
    (
        4465125 / 39813120,
        -94121676 / 39813120,
        349922430 / 39813120,
        -446185740 / 39813120,
        185910725 / 39813120,
    ),
)


def log_kve(v: Order, z: Array) -> Array:
    r"""Returns $\log K_v(z) + z$ for $z > 0$, to full accuracy however large z is."""
    if isinstance(v, float | int) and abs(v) == 0.5:
        return 0.5 * (LOG_HALF_PI - jnp.log(z))
    start = SERIES_FROM[str(z.dtype)]
    is_large = z > start
    near = jnp.where(is_large, 1.0, z)
    return jnp.where(
        is_large, _large(v, jnp.where(is_large, z, start)), log_kv(v, near) + near
    )


def _large(v: Order, z: Array) -> Array:
    """Olver's uniform expansion (DLMF 10.41.4) of log K_v(z) + z."""
    kappa = jnp.sqrt(z * z + v * v)
    m = v * v / (kappa * kappa)
    total = jnp.zeros_like(z)
    for coefficients in reversed(OLVER):
        w = jnp.zeros_like(m)
        for c in reversed(coefficients):
            w = w * m + c
        total = -(total + w) / kappa
    ratio = v / z
    growth = jnp.arcsinh(ratio)
    exponent = v * growth - v * v / (kappa + z)
    return exponent + 0.5 * (LOG_HALF_PI - jnp.log(kappa)) + jnp.log1p(total)


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
        return _inside(p, a, b)
    is_inside = (a > 0) & (b > 0)
    inside = _inside(p, jnp.where(is_inside, a, 1.0), jnp.where(is_inside, b, 1.0))
    return jnp.where(is_inside, inside, _edge(p, a, b))


def _inside(p: Order, a: Array, b: Array) -> Array:
    if isinstance(p, float | int):
        return _inside_static(float(p), a, b)
    return _inside_traced(p, a, b)


def _value(p: Order, a: Array, b: Array) -> Array:
    omega = jnp.sqrt(a) * jnp.sqrt(b)
    return LOG_2 + log_kve(p, omega) + 0.5 * p * (jnp.log(b) - jnp.log(a))


def _log_means(p: Order, a: Array, b: Array) -> tuple[Array, Array]:
    """Log of E[x] and of E[1/x], each a sum of positive terms, from one ratio."""
    size = abs(p) if isinstance(p, float) else jnp.abs(p)
    omega = jnp.sqrt(a) * jnp.sqrt(b)
    # K_{v-1} / K_v is the lesser of the two ratios, and K_{v+1} / K_v follows.
    lesser = log_kv_ratio(-size, omega)
    greater = jnp.log(2.0 * size / omega + jnp.exp(lesser))
    log_scale = 0.5 * (jnp.log(b) - jnp.log(a))
    is_right = p > 0
    return (
        jnp.where(is_right, greater, lesser) + log_scale,
        jnp.where(is_right, lesser, greater) - log_scale,
    )


@jax.custom_jvp
def _inside_traced(p: Array, a: Array, b: Array) -> Array:
    return _value(p, a, b)


@_inside_traced.defjvp
def _inside_traced_jvp(primals, tangents):
    p, a, b = primals
    log_x, log_inverse = _log_means(p, a, b)
    value, by_order = jax.jvp(lambda q: _value(q, a, b), (p,), (jnp.ones_like(p),))
    by_a, by_b = -0.5 * jnp.exp(log_x), -0.5 * jnp.exp(log_inverse)
    return value, by_order * tangents[0] + by_a * tangents[1] + by_b * tangents[2]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _inside_static(p: float, a: Array, b: Array) -> Array:
    return _value(p, a, b)


@_inside_static.defjvp
def _inside_static_jvp(p, primals, tangents):
    log_x, log_inverse = _log_means(p, *primals)
    by_a, by_b = -0.5 * jnp.exp(log_x), -0.5 * jnp.exp(log_inverse)
    return _value(p, *primals), by_a * tangents[0] + by_b * tangents[1]


def _edge(p: Order, a: Array, b: Array) -> Array:
    is_gamma = a > 0
    order = jnp.where(is_gamma, p, -p)
    rate, other = 0.5 * jnp.where(is_gamma, a, b), 0.5 * jnp.where(is_gamma, b, a)
    exists = (order > 0) & (rate > 0)
    safe = jnp.where(order > 0, order, 1.0)
    value = gammaln(safe) - safe * jnp.log(jnp.where(rate > 0, rate, 1.0))
    # `other` is 0 here. The term carries the derivative across the edge.
    mean = jnp.where(order > 1, rate / jnp.where(order > 1, order - 1.0, 1.0), 0.0)
    return jnp.where(exists, value - other * mean, jnp.inf)


def log_mean(p: Order, a: Array, b: Array) -> Array:
    """Log of E[x]; of E[1/x] when called with (-p, b, a)."""
    is_inside = (a > 0) & (b > 0)
    inside = _log_means(p, jnp.where(is_inside, a, 1.0), jnp.where(is_inside, b, 1.0))[
        0
    ]
    # Gamma(p, a / 2), or inverse gamma (-p, b / 2) which has a mean from -p > 1 on.
    gamma = jnp.log(2.0 * jnp.where(p > 0, p, 1.0)) - jnp.log(jnp.where(a > 0, a, 1.0))
    has_mean = p < -1
    inverse = jnp.log(jnp.where(b > 0, b, 1.0)) - jnp.log(
        2.0 * jnp.where(has_mean, -p - 1.0, 1.0)
    )
    edge = jnp.where(a > 0, gamma, jnp.where(has_mean, inverse, jnp.inf))
    return jnp.where(is_inside, inside, edge)


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
