r"""Distribution function of the generalized inverse Gaussian law, both tails, in logs.

A tail is the integral of the log-concave density of $v = \log x$ from the point to
where it has fallen by $e^{-40}$. It is cut at the mode, and each piece again where the
fall begins; a Gauss-Legendre rule serves each panel. All terms are positive and are
taken relative to the largest, so the logarithm keeps its digits as far out as the
exponent itself can be written.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._gig_normalizer import log_density_of_log, log_normalizer
from ._kernel import DROP, KNEE, fall, legendre, log_mode, reach, times_exp

NUM_NODES = 32


def _panels(p: Array, up: Array, down: Array, longest: Array) -> Array:
    """Integral of exp(kernel(v + d) - kernel(v)) over d from 0 to `longest`.

    `up` and `down` are a e^v / 2 and b e^-v / 2 at a point v at or beyond the mode.
    """
    nodes, weights = legendre(NUM_NODES, up.dtype)
    slope = up - down - p
    still, grow, shrink = lax.stop_gradient((jnp.maximum(slope, 0.0), up, down))
    knee, end = (lax.stop_gradient(reach(still, grow, shrink, x)) for x in (KNEE, DROP))
    # A plain minimum keeps the derivative in `longest` where it is what binds.
    knee, end = jnp.minimum(knee, longest), jnp.minimum(end, longest)
    total = jnp.zeros_like(up)
    for low, width in ((jnp.zeros_like(knee), knee), (knee, end - knee)):
        d = low[..., None] + width[..., None] * nodes
        loss = fall(slope[..., None], up[..., None], down[..., None], d)
        total = total + width * jnp.sum(weights * jnp.exp(-loss), axis=-1)
    return total


def log_upper(p: Array, a: Array, b: Array, v: Array) -> Array:
    """Log of P(log x > v). The four have one shape, and a + b > 0."""
    mode = lax.stop_gradient(log_mode(p, a, b))
    start = jnp.maximum(v, mode)
    log_z = log_normalizer(p, a, b)
    height = log_density_of_log(p, a, b, start, log_z)
    up, down = 0.5 * times_exp(a, start), 0.5 * times_exp(b, -start)
    endless = jnp.full_like(v, jnp.inf)
    right = _panels(p, up, down, endless)
    # On the other side of the mode the same integral, mirrored.
    left = _panels(-p, down, up, jnp.maximum(mode - v, 0.0))
    return height + jnp.log(right + jnp.where(v < mode, left, 0.0))


def log_lower(p: Array, a: Array, b: Array, v: Array) -> Array:
    """Log of P(log x < v)."""
    return log_upper(-p, b, a, -v)


def log_tails(p: Array, a: Array, b: Array, v: Array) -> tuple[Array, Array]:
    """Log of P(log x < v) and of P(log x > v), never above 0."""
    return jnp.minimum(log_lower(p, a, b, v), 0.0), jnp.minimum(
        log_upper(p, a, b, v), 0.0
    )


def score_of_draw(
    p: Array, a: Array, b: Array, v: Array, tangents: tuple[Array, Array, Array]
) -> Array:
    r"""How a draw moves with the parameters: $-\dot F(v) / f(v)$ for $v = \log x$.

    Taken from the tail that is the smaller, where the difference loses least.
    Source: Figurnov, Mohamed, Mnih (2018), Implicit Reparameterization Gradients.
    """
    is_right = v > log_mode(p, a, b)
    q = jnp.where(is_right, p, -p)
    up, down = jnp.where(is_right, a, b), jnp.where(is_right, b, a)
    t_p, t_a, t_b = tangents
    t_q = jnp.where(is_right, t_p, -t_p)
    t_up, t_down = jnp.where(is_right, t_a, t_b), jnp.where(is_right, t_b, t_a)
    u = jnp.where(is_right, v, -v)
    log_tail, moved = jax.jvp(
        lambda q, x, y: log_upper(q, x, y, u),
        (q, up, down),
        (t_q, t_up, t_down),
    )
    log_z = log_normalizer(p, a, b)
    density = log_density_of_log(p, a, b, v, log_z)
    size = moved * jnp.exp(log_tail - density)
    return jnp.where(is_right, size, -size)
