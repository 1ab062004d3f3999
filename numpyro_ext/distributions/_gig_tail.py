r"""Distribution function of the generalized inverse Gaussian law, both tails, in logs.

A tail is the integral of the log-concave density of $v = \log x$ from the point to
where it has fallen by $e^{-40}$, over the same integral of the whole. It is cut at the
mode and where the fall changes its pace; a Gauss-Legendre rule serves each panel. All
terms are positive and relative to the peak, so the logarithm keeps its digits as far
out as the exponent itself can be written.
"""

import jax
import jax.numpy as jnp
from jax import Array

from ._kernel import Peak, fall_from, log_mode, peak, row, times_exp


def log_upper(p: Array, a: Array, b: Array, v: Array) -> Array:
    """Log of P(log x > v). The four have one shape, and a + b > 0."""
    return log_upper_from(peak(p, a, b), p, a, b, v)[0]


def log_upper_from(
    top: Peak, p: Array, a: Array, b: Array, v: Array
) -> tuple[Array, Array]:
    """Log of P(log x > v), and the log density of log x at v."""
    is_beyond = v > top.mode
    # Beyond the mode the rest of the tail, else the part between v and the mode.
    start = jnp.where(is_beyond, v, top.mode)
    up, down = 0.5 * times_exp(a, start), 0.5 * times_exp(b, -start)
    slope = jnp.where(is_beyond, up - down - p, -top.slope)
    up, down = jnp.where(is_beyond, up, down), jnp.where(is_beyond, down, up)
    longest = jnp.where(is_beyond, jnp.inf, top.mode - v)
    rest = row(slope, up, down, longest)
    height = -fall_from(top, v)
    log_all = jnp.log(top.left + top.right)
    near = jnp.log(rest + jnp.where(is_beyond, 0.0, top.right))
    return jnp.where(is_beyond, height, 0.0) + near - log_all, height - log_all


def log_lower(p: Array, a: Array, b: Array, v: Array) -> Array:
    """Log of P(log x < v)."""
    return log_upper(-p, b, a, -v)


@jax.jit
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
    (log_tail, log_density), (moved, _) = jax.jvp(
        lambda q, x, y: log_upper_from(peak(q, x, y), q, x, y, u),
        (q, up, down),
        (t_q, t_up, t_down),
    )
    size = moved * jnp.exp(log_tail - log_density)
    return jnp.where(is_right, size, -size)
