"""Log density of normal variance-mean mixtures, free of cancellation."""

import math

import jax.numpy as jnp
from jax import Array, lax

from ._gig_normalizer import Order, log_normalizer

TINY = 1e-37
LOG_2PI = math.log(2.0 * math.pi)


def exponent(
    a: Array, b: Array, tilt2: Array, z2: Array, cross: Array, off: Array
) -> Array:
    r"""Returns $\sqrt{AB} - \sqrt{ab} - t\cdot z \ge 0$ without cancellation.

    `cross` is $t\cdot z$ and `off` is $|t|^2|z|^2 - (t\cdot z)^2$. Where the product is
    positive the three terms nearly cancel, and the difference is
    $(|\sqrt a z - \sqrt b t|^2 + off) / (\sqrt{AB} + \sqrt{ab} + t\cdot z)$; elsewhere
    the conjugate of the first two suffices. The derivative is that of $-t\cdot z$: see
    `log_normalizer`, which leaves out that of the two roots.
    """
    cross_now = cross
    a, b, tilt2, z2, cross, off = lax.stop_gradient((a, b, tilt2, z2, cross, off))
    omega, total = jnp.sqrt(a) * jnp.sqrt(b), jnp.sqrt(a + tilt2) * jnp.sqrt(b + z2)
    o, s, c = omega, total, cross
    qa, qb = a * z2, b * tilt2
    # |sqrt(a) z - sqrt(b) t|^2, where |t||z| - t.z is what the angle adds.
    gap = jnp.square(jnp.sqrt(qa) - jnp.sqrt(qb))
    product = jnp.sqrt(jnp.square(c) + off)
    angle = jnp.where(
        c + product > 0, off / jnp.where(c + product > 0, c + product, 1.0), 0.0
    )
    with_plus = (gap + 2.0 * o * angle + off) / jnp.maximum(s + o + c, TINY)
    apart = (qa + qb + z2 * tilt2) / jnp.maximum(s + o, TINY) - c
    return jnp.where(c > 0, with_plus, apart) - (cross_now - c)


def mixture_log_prob(
    p: Order,
    a: Array,
    b: Array,
    tilt2: Array,
    z2: Array,
    cross: Array,
    off: Array,
    dim: int,
    *,
    edges: bool,
) -> Array:
    """Log density of the mixture, less the log determinant of its scale."""
    loss = exponent(a, b, tilt2, z2, cross, off)
    data = log_normalizer(p - 0.5 * dim, a + tilt2, b + z2, edges=edges)
    return data - log_normalizer(p, a, b, edges=edges) - loss - 0.5 * dim * LOG_2PI
