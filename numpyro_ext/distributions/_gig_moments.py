"""Moments and entropy of the generalized inverse Gaussian law, edges included."""

import jax.numpy as jnp
from jax import Array, lax

from ._closed_moments import gamma_moments, inverse_gamma_moments
from ._gig_normalizer import (
    Order,
    inside,
    log_density_of_log,
    log_mean,
    log_normalizer,
    mean_log,
    root,
)
from ._kernel import DROP, KNEE, legendre, log_mode, reach, times_exp

NUM_NODES = 48
# Above, raw moments cancel and the quadrature about the mode takes over.
CONCENTRATED = 20.0


def raw_log_moment(p: Order, a: Array, b: Array, k: int) -> Array:
    """Log of E[x^k]; infinite where the moment is."""
    # The scaled normalisers carry the same sqrt(ab), which drops out.
    return log_normalizer(p + k, a, b) - log_normalizer(p, a, b)


def mean(p: Order, a: Array, b: Array) -> Array:
    """E[x]."""
    return jnp.exp(log_mean(p, a, b))


def mean_and_variance(p: Order, a: Array, b: Array) -> tuple[Array, Array]:
    r"""E[x] and Var[x], from one Bessel function; infinite where they are.

    Under the law of order p + 1, E[1/x] is 1 / E[x] here, and E[x] E[1/x] - 1 the
    relative variance.
    """
    shape = jnp.broadcast_shapes(jnp.shape(p), a.shape, b.shape)
    p, a, b = (jnp.broadcast_to(jnp.asarray(x, a.dtype), shape) for x in (p, a, b))
    is_inside = (a > 0) & (b > 0)
    law = inside(p + 1.0, jnp.where(is_inside, a, 1.0), jnp.where(is_inside, b, 1.0))
    first = law.middle / law.down
    own = first, first * first * law.product
    is_gamma = a > 0
    gamma = gamma_moments(
        jnp.where(is_gamma, p, 1.0), 0.5 * jnp.where(is_gamma, a, 1.0)
    )
    inverse = inverse_gamma_moments(jnp.where(is_gamma, 1.0, -p), 0.5 * b)
    return tuple(
        jnp.where(is_inside, x, jnp.where(is_gamma, y, z))
        for x, y, z in zip(own, gamma[:2], inverse[:2], strict=True)
    )  # pyright: ignore[reportReturnType]


def central_moments(p: Order, a: Array, b: Array) -> tuple[Array, Array, Array, Array]:
    """E[x] and the second, third and fourth central moments."""
    first, variance = mean_and_variance(p, a, b)
    # Orders -1/2 and lower lack moments at a = 0; the raw ones say so.
    ratios = [jnp.exp(raw_log_moment(p, a, b, k) - k * jnp.log(first)) for k in (3, 4)]
    three, four = ratios
    two = 1.0 + variance / (first * first)
    raw = (three - 3.0 * two + 2.0, four - 4.0 * three + 6.0 * two - 3.0)
    raw = tuple(
        jnp.where(jnp.isfinite(r), m, r) for r, m in zip(ratios, raw, strict=True)
    )
    kappa = jnp.hypot(jnp.asarray(p, a.dtype), root(a) * root(b))
    is_concentrated = (kappa > CONCENTRATED) & jnp.isfinite(four)
    near = _quadrature(p, a, b, first)
    out = [
        jnp.where(is_concentrated, n, r) * first**k
        for k, (n, r) in enumerate(zip(near, raw, strict=True), start=3)
    ]
    return first, variance, out[0], out[1]


def _quadrature(p: Order, a: Array, b: Array, first: Array) -> list[Array]:
    """E[(x / E[x] - 1)^k] for k = 3, 4, without cancellation."""
    shape = jnp.broadcast_shapes(jnp.shape(p), a.shape, b.shape)
    p, a, b = (jnp.broadcast_to(jnp.asarray(x, a.dtype), shape) for x in (p, a, b))
    mode = log_mode(p, a, b)
    up, down = 0.5 * times_exp(a, mode), 0.5 * times_exp(b, -mode)
    log_z = log_normalizer(p, a, b)
    nodes, weights = legendre(NUM_NODES, a.dtype)
    totals = [jnp.zeros(shape, a.dtype) for _ in range(2)]
    rest = jnp.zeros_like(up)
    for sign, one, other in ((1.0, up, down), (-1.0, down, up)):
        knee, end = reach(rest, one, other, KNEE), reach(rest, one, other, DROP)
        for low, width in ((jnp.zeros_like(knee), knee), (knee, end - knee)):
            v = mode[..., None] + sign * (low[..., None] + width[..., None] * nodes)
            density = jnp.exp(
                log_density_of_log(
                    p[..., None], a[..., None], b[..., None], v, log_z[..., None]
                )
            )
            gap = jnp.expm1(v - jnp.log(first)[..., None])
            totals = [
                t + width * jnp.sum(weights * density * gap**k, axis=-1)
                for k, t in enumerate(totals, start=3)
            ]
    return totals


def entropy(p: Order, a: Array, b: Array) -> Array:
    r"""$\log Z - (p - 1) E[\log x] + (a E[x] + b E[1/x])/2$."""
    up = jnp.where(a > 0, a * mean(p, a, b), 0.0)
    down = jnp.where(b > 0, b * mean(-p, b, a), 0.0)
    # `log_normalizer` has the derivative of the integral, without the root.
    omega = lax.stop_gradient(root(a) * root(b))
    return (
        log_normalizer(p, a, b)
        - (p - 1.0) * mean_log(p, a, b)
        + (0.5 * (up + down) - omega)
    )
