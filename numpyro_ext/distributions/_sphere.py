r"""The integral of $e^{t\cdot z}$ over the directions of z, in d dimensions.

With $\kappa = |t||z|$ and $\nu = d/2 - 1$ it is
$(2\pi)^{d/2}\,J_\nu$, $J_\nu = \kappa^{-\nu} I_\nu(\kappa)$, the normaliser of the von
Mises-Fisher law. The ratios $g_k = J_{k+1}/J_k = 1/(2(k + 1) + \kappa^2 g_{k+1})$ are
sums of positive terms when taken downwards, and errors die out on the way.
Source: Mardia and Jupp (2000), Directional Statistics, section 9.3.2; DLMF 10.29.1.
"""

import math

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import i0e

# So many orders above the last one that is wanted, the start's error of about
# kappa^-5 has died out in float64.
EXTRA = 32
# The third term of the series is below 1e-10 from here on.
FAR = 1e5
LOG_2PI = math.log(2.0 * math.pi)
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


def _remainder(order: float, kappa: Array) -> Array:
    """What Olver's expansion of I (DLMF 10.41.3) adds to its leading term 1."""
    m = order * order / (kappa * kappa)
    total = jnp.zeros_like(kappa)
    for coefficients in reversed(OLVER):
        w = jnp.zeros_like(m)
        for c in reversed(coefficients):
            w = w * m + c
        total = (total + w) / kappa
    return total


def _start(order: float, square: Array) -> Array:
    """Ratio g of a large order, by Olver's expansion of both of its terms."""
    low = jnp.sqrt(order * order + square)
    high = jnp.sqrt((order + 1.0) ** 2 + square)
    step = (2.0 * order + 1.0) / (low + high)
    log_ratio = (
        step
        - jnp.log(order + 1.0 + high)
        - order * jnp.log1p((1.0 + step) / (order + low))
        - 0.5 * jnp.log(high / low)
        + jnp.log1p(_remainder(order + 1.0, high))
        - jnp.log1p(_remainder(order, low))
    )
    return jnp.exp(log_ratio)


def log_directions(square: Array, dim: int) -> tuple[Array, Array]:
    r"""Log of the integral, less $\kappa$, and $\kappa$ less the mean of $t\cdot z$.

    The first has the derivative of the integral without its scaling, the second that
    of the mean of $-t\cdot z$.

    Args:
        square: $\kappa^2 \ge 0$.
        dim: d, at least 1.
    """
    nu = 0.5 * dim - 1.0
    base = -0.5 if dim % 2 else 0.0
    fixed = lax.stop_gradient(square)
    kappa = jnp.sqrt(fixed)
    if dim % 2:
        # J_{-1/2} = sqrt(2 / pi) cosh(kappa)
        log_j = 0.5 * math.log(0.5 / math.pi) + jnp.log1p(jnp.exp(-2.0 * kappa))
    else:
        log_j = jnp.log(i0e(kappa))
    top = round(nu - base) + EXTRA
    g = _start(base + top, square)
    log_product = jnp.zeros_like(kappa)
    for k in range(top, round(nu - base), -1):
        g = 1.0 / (2.0 * (base + k) + square * g)
    last = g
    for k in range(round(nu - base), 0, -1):
        g = 1.0 / (2.0 * (base + k) + square * g)
        log_product = log_product + jnp.log(lax.stop_gradient(g))
    value = 0.5 * dim * LOG_2PI + log_j + log_product
    slope = 0.5 * lax.stop_gradient(last)
    value = value + slope * (square - fixed)
    mean = square * last
    gap = kappa * (1.0 - kappa * lax.stop_gradient(last))
    # The difference loses digits; its series (DLMF 10.40.1) takes over.
    is_far = kappa > FAR * (1.0 + nu * nu)
    series = nu + 0.5 - (nu * nu - 0.25) / (2.0 * jnp.where(is_far, kappa, 1.0))
    gap = jnp.where(is_far, series, gap)
    if dim == 1:
        gap = 2.0 * kappa / (jnp.expm1(2.0 * kappa) + 2.0)
    return value, gap - (mean - lax.stop_gradient(mean))
