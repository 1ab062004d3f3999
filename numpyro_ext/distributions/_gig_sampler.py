r"""Draws of the generalized inverse Gaussian law, a different member for each draw.

Devroye's rejection sampler for the log-concave density of $\log x$ about its mode, with
an envelope of a constant and two exponentials. It needs no regimes, and its rejection
rate is bounded over the whole family; the gamma and inverse gamma edges are ordinary
points of it. Draws are differentiable in the parameters by implicit reparametrization.
Source: Devroye (2014), Statistics and Computing 24, 239-246.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._gig_tail import score_of_draw
from ._kernel import log_mode

MAX_ROUNDS = 200


class _Envelope(NamedTuple):
    """Flat between -s and t; beyond, exponentials of rates `left` and `right`."""

    s: Array
    t: Array
    height_left: Array
    height_right: Array
    rate_left: Array
    rate_right: Array


def _psi(alpha: Array, order: Array, x: Array) -> Array:
    half = jnp.sinh(0.5 * x)
    return -2.0 * alpha * half * half - order * (jnp.expm1(x) - x)


def _slope(alpha: Array, order: Array, x: Array) -> Array:
    return -alpha * jnp.sinh(x) - order * jnp.expm1(x)


def _envelope(alpha: Array, order: Array) -> _Envelope:
    """Devroye's choice of the two points where the fall is about 1."""
    tiny = jnp.finfo(alpha.dtype).tiny
    one = jnp.ones_like(alpha)
    fall = -_psi(alpha, order, one)
    t = jnp.where(fall > 2.0, jnp.sqrt(2.0 / (alpha + order)), 1.0)
    t = jnp.where(fall < 0.5, jnp.log(4.0 / (alpha + 2.0 * order)), t)
    fall = -_psi(alpha, order, -one)
    s = jnp.where(fall > 2.0, jnp.sqrt(4.0 / (alpha * jnp.cosh(1.0) + order)), 1.0)
    inverse = 1.0 / jnp.maximum(alpha, tiny * 1e4)
    flat = jnp.log1p(inverse + jnp.sqrt(inverse) * jnp.sqrt(inverse + 2.0))
    s = jnp.where(
        fall < 0.5, jnp.minimum(1.0 / jnp.maximum(order, tiny * 1e4), flat), s
    )
    return _Envelope(
        s,
        t,
        -_psi(alpha, order, -s),
        -_psi(alpha, order, t),
        _slope(alpha, order, -s),
        -_slope(alpha, order, t),
    )


@jax.jit
def _draw(key: Array, order: Array, omega: Array) -> Array:
    """Log x minus its mode, for order >= 0."""
    shape, dtype = omega.shape, omega.dtype
    alpha = omega * (omega / jnp.maximum(jnp.hypot(omega, order) + order, 1e-30))
    e = _envelope(alpha, order)
    p, r = 1.0 / e.rate_left, 1.0 / e.rate_right
    left, right = e.s - p * e.height_left, e.t - r * e.height_right
    flat = left + right
    total = flat + p + r

    def propose(state):
        step, x, is_done = state
        k = jax.random.split(jax.random.fold_in(key, step))
        # One uniform picks the piece and, rescaled, the place within it.
        place = jax.random.uniform(k[0], shape, dtype) * total
        is_flat, is_right = place < flat, place < flat + r
        share = jnp.where(is_right, (place - flat) / r, (place - flat - r) / p)
        # 1 - u lies in (0, 1], so the logarithm is finite.
        away = -jnp.log1p(-jnp.clip(share, 0.0, 1.0 - jnp.finfo(dtype).epsneg))
        candidate = jnp.where(
            is_flat,
            place - left,
            jnp.where(is_right, right + r * away, -left - p * away),
        )
        lid = jnp.where(
            candidate > right,
            -e.height_right - e.rate_right * (candidate - e.t),
            jnp.where(
                candidate < -left, -e.height_left + e.rate_left * (candidate + e.s), 0.0
            ),
        )
        chance = jnp.exp(_psi(alpha, order, candidate) - lid)
        accept = jax.random.uniform(k[1], shape, jnp.float32) <= chance
        return step + 1, jnp.where(is_done, x, candidate), is_done | accept

    def is_open(state):
        return (state[0] < MAX_ROUNDS) & ~jnp.all(state[2])

    # NaN parameters never accept; they are done from the start.
    is_lost = ~(jnp.isfinite(alpha) & jnp.isfinite(order))
    start = jnp.where(is_lost, jnp.nan, jnp.zeros(shape, dtype))
    return lax.while_loop(is_open, propose, (0, start, is_lost))[1]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def sample_log(key: Array, p: Array, a: Array, b: Array) -> Array:
    """Draws log x, one for each element of the parameters, which have one shape."""
    offset = _draw(key, jnp.abs(p), jnp.sqrt(a) * jnp.sqrt(b))
    # The law of 1/x has order -p; mirrored, it is drawn by the same code.
    return log_mode(p, a, b) + jnp.where(p < 0, -offset, offset)


@sample_log.defjvp
def _sample_log_jvp(key, primals, tangents):
    p, a, b = primals
    v = sample_log(key, p, a, b)
    return v, score_of_draw(p, a, b, v, tangents)
