r"""Draws of the generalized inverse Gaussian law, a different member for each draw.

Devroye's rejection sampler for the log-concave density of $\log x$ about its mode, with
an envelope of a constant and two exponentials. It needs no regimes, and its rejection
rate is bounded over the whole family; the gamma and inverse gamma edges are ordinary
points of it. Draws are differentiable in the parameters by implicit reparametrization.
Source: Devroye (2014), Statistics and Computing 24, 239-246.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ..special._elementary import log
from ._gig_tail import score_of_draw
from ._kernel import log_mode

MAX_ROUNDS = 200
# About a quarter of the proposals is refused. What is left after a round is gathered
# into an array of these shares of the first one, where rounds cost less.
SHARES = (3, 32)
# Below, gathering costs more than it saves.
LEAST = 64


class _Envelope(NamedTuple):
    """Flat between -s and t; beyond, exponentials of rates `left` and `right`."""

    s: Array
    t: Array
    height_left: Array
    height_right: Array
    rate_left: Array
    rate_right: Array


class _Member(NamedTuple):
    """The law of log x about its mode, for order >= 0, and its envelope."""

    alpha: Array
    order: Array
    envelope: _Envelope


def _psi(alpha: Array, order: Array, x: Array) -> Array:
    # cosh x - 1 and e^x - 1 from two exponentials, whose squares are finite: 0 times
    # them is 0.
    bound = 0.49 * math.log(jnp.finfo(x.dtype).max)
    half = jnp.clip(0.5 * x, -bound, bound)
    e = jnp.expm1(half)
    twice = e - jnp.expm1(-half)
    return -0.5 * alpha * twice * twice - order * (e * (e + 2.0) - x)


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


def _propose(key: Array, member: _Member) -> tuple[Array, Array]:
    """A candidate for each member, and whether it is accepted."""
    e = member.envelope
    shape, dtype = e.s.shape, e.s.dtype
    p, r = 1.0 / e.rate_left, 1.0 / e.rate_right
    left, right = e.s - p * e.height_left, e.t - r * e.height_right
    flat = left + right
    key_place, key_accept = jax.random.split(key)
    # One uniform picks the piece and, rescaled, the place within it.
    place = jax.random.uniform(key_place, shape, dtype) * (flat + p + r)
    is_flat, is_right = place < flat, place < flat + r
    beyond = jnp.where(is_right, place - flat, place - flat - r)
    share = beyond * jnp.where(is_right, e.rate_right, e.rate_left)
    # 1 - u lies in (0, 1], so the logarithm is finite.
    away = -log(1.0 - jnp.clip(share, 0.0, 1.0 - jnp.finfo(dtype).epsneg))
    # In the exponential pieces the envelope is exp(-away).
    away = jnp.where(is_flat, 0.0, away)
    outer = jnp.where(is_right, right + r * away, -left - p * away)
    candidate = jnp.where(is_flat, place - left, outer)
    chance = jnp.exp(_psi(member.alpha, member.order, candidate) + away)
    return candidate, jax.random.uniform(key_accept, shape, jnp.float32) <= chance


class _State(NamedTuple):
    """How many rounds were played, the draws so far, and which are done."""

    rounds: Array
    x: Array
    is_done: Array


def _is_open(state: _State) -> Array:
    return (state.rounds < MAX_ROUNDS) & ~jnp.all(state.is_done)


def _play(key: Array, member: _Member, state: _State, sizes: tuple[int, ...]) -> _State:
    """Rounds until all are done: one with all, the others with those left."""

    def play_round(state: _State) -> _State:
        candidate, accept = _propose(jax.random.fold_in(key, state.rounds), member)
        x = jnp.where(state.is_done, state.x, candidate)
        return _State(state.rounds + 1, x, state.is_done | accept)

    if not sizes:
        return lax.while_loop(_is_open, play_round, state)
    size = state.x.size

    def play_rest(state: _State) -> _State:
        # More may be left than fit; they have their turn in the next pass.
        spots = jnp.nonzero(~state.is_done, size=sizes[0], fill_value=size)[0]
        rest = jax.tree.map(lambda y: y.at[spots].get(mode="clip"), member)
        empty = jnp.zeros(sizes[0], state.x.dtype)
        start = _State(state.rounds, empty, spots >= size)
        end = _play(key, rest, start, sizes[1:])
        x = state.x.at[spots].set(end.x, mode="drop")
        is_done = state.is_done.at[spots].set(end.is_done, mode="drop")
        return _State(end.rounds, x, is_done)

    return lax.while_loop(_is_open, play_rest, play_round(state))


@jax.jit
def _draw(key: Array, order: Array, omega: Array) -> Array:
    """Log x minus its mode, for order >= 0."""
    shape, dtype = omega.shape, omega.dtype
    order, omega = order.ravel(), omega.ravel()
    alpha = omega * (omega / jnp.maximum(jnp.hypot(omega, order) + order, 1e-30))
    member = _Member(alpha, order, _envelope(alpha, order))
    # NaN parameters never accept; they are done from the start.
    is_lost = ~(jnp.isfinite(alpha) & jnp.isfinite(order))
    start = jnp.where(is_lost, jnp.nan, jnp.zeros(omega.shape, dtype))
    sizes = tuple(omega.size // n for n in SHARES)
    sizes = tuple(n for n in sizes if n >= LEAST)
    state = _State(jnp.zeros((), jnp.int32), start, is_lost)
    return _play(key, member, state, sizes).x.reshape(shape)


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
