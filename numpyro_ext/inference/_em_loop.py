"""The EM iteration of one start: one compiled loop.

A body holds one E step, at a candidate. An accepted candidate gets an M step, and from
time to time the last steps are extrapolated (SQUAREM). An extrapolation that is worse
is replaced by the step that it extends, so that accepted values never fall.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._completion import AbstractCompletion, Position
from ._newton import minimise

RUNNING, CONVERGED, EXHAUSTED, DECREASED, BROKEN = range(5)
# Plain steps before an extrapolation: two gains are needed to see the end.
NUM_PLAIN = 3
# A fall of this many units of rounding is one.
ROUNDING = 1e5
# Gains are taken to shrink by one part in that many at least.
SLOWEST = 1e4
# Of an M step.
MAX_NEWTON = 20
# An M step ends when this part of the tolerance is left to gain.
M_SHARE = 1e-2


class Climb(NamedTuple):
    """What the loop carries, and where it ends."""

    candidate: Float[Array, " n"]
    is_jump: Bool[Array, ""]
    # Where to go if the extrapolation is worse.
    fallback: Float[Array, " n"]
    safe: Float[Array, " n"]
    expectation: PyTree[Array]
    last: PyTree[Array]
    value: Float[Array, ""]
    gain: Float[Array, ""]
    slowness: Float[Array, ""]
    # The last accepted points, the latest at the end.
    points: Float[Array, "2 n"]
    num_plain: Int[Array, ""]
    # E steps at the start that only look for the centre of the latents.
    num_passes: Int[Array, ""]
    num_iterations: Int[Array, ""]
    drop: Float[Array, ""]
    status: Int[Array, ""]
    trace: Float[Array, " iterations"]


@eqx.filter_jit
def climb(
    completion: AbstractCompletion,
    starts: Position,
    tol: Float[Array, ""],
    max_iterations: int,
    acceleration: str,
) -> tuple[Climb, Position, Position]:
    """Runs EM from each start, one after the other.

    Returns how each ended, its position among the coordinates that stay, and one of the
    user's spec.
    """

    def one(start: Position) -> tuple[Climb, Position, Position]:
        flat, unravel = ravel_pytree(start)
        begun = _begin(completion, unravel, flat, max_iterations)

        def body(state: Climb) -> Climb:
            return _body(completion, unravel, tol, max_iterations, acceleration, state)

        end = jax.lax.while_loop(lambda s: s.status == RUNNING, body, begun)
        theta = unravel(end.safe)
        return end, theta, completion.whole(theta, end.expectation)

    return jax.lax.map(one, starts)


def _begin(completion, unravel, flat: Array, max_iterations: int) -> Climb:
    last = completion.begin(unravel(flat))
    # Only its shape counts; the first body replaces it.
    shapes = jax.eval_shape(lambda: completion.expect(unravel(flat), last)[0])
    empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    zero = jnp.zeros((), jnp.int32)
    infinite = jnp.full((), jnp.inf, flat.dtype)
    return Climb(
        candidate=flat,
        is_jump=jnp.zeros((), bool),
        fallback=flat,
        safe=flat,
        expectation=empty,
        last=last,
        value=-infinite,
        gain=infinite,
        slowness=jnp.zeros((), flat.dtype),
        points=jnp.stack([flat, flat]),
        num_plain=zero,
        num_passes=zero,
        num_iterations=zero,
        drop=jnp.zeros((), flat.dtype),
        status=zero,
        trace=jnp.full((max_iterations + 1,), jnp.nan, flat.dtype),
    )


def _body(
    completion: AbstractCompletion,
    unravel,
    tol: Array,
    max_iterations: int,
    acceleration: str,
    state: Climb,
) -> Climb:
    found, value = completion.expect(unravel(state.candidate), state.last)
    is_first = state.num_iterations == 0
    slack = ROUNDING * jnp.finfo(value.dtype).eps * (1.0 + jnp.abs(state.value))
    is_finite = jnp.isfinite(value)
    is_up = is_finite & (value >= state.value - jnp.where(state.is_jump, 0.0, slack))
    accepted = _accept(state, found, value, tol)
    status = jnp.where(is_first, BROKEN, DECREASED)
    lost = state._replace(
        status=jnp.where(is_finite | is_first, status, BROKEN).astype(jnp.int32),
        drop=state.value - value,
    )
    fallen = state._replace(candidate=state.fallback, is_jump=jnp.zeros((), bool))
    looking = state._replace(
        last=_centre(found, state.last), num_passes=state.num_passes + 1
    )
    is_looking = is_finite & (state.num_passes < completion.first_passes)
    which = jnp.where(is_up, 0, jnp.where(state.is_jump, 1, 2))
    which = jnp.where(is_looking, 3, which)
    return jax.lax.switch(
        which,
        [
            lambda: _go_on(
                completion, unravel, tol, max_iterations, acceleration, accepted
            ),
            lambda: fallen,
            lambda: lost,
            lambda: looking,
        ],
    )


def _accept(state: Climb, found: PyTree[Array], value: Array, tol: Array) -> Climb:
    """The candidate becomes the safe point, and it is judged."""
    is_known = jnp.isfinite(state.value) & ~state.is_jump
    gain = jnp.where(is_known, jnp.abs(value - state.value), jnp.inf)
    has_two = jnp.isfinite(gain) & jnp.isfinite(state.gain)
    rate = jnp.clip(gain / state.gain, 0.0, 1.0 - 1.0 / SLOWEST)
    rest = gain * jnp.maximum(rate / (1.0 - rate), 0.5 * state.slowness)
    # Gains that are rounding have no rate.
    floor = 4.0 * jnp.finfo(value.dtype).eps * (1.0 + jnp.abs(value))
    is_over = has_two & ((jnp.maximum(gain, rest) <= tol) | (gain <= floor))
    return state._replace(
        safe=state.candidate,
        expectation=found,
        last=_centre(found, state.last),
        value=value,
        gain=gain,
        points=jnp.stack([state.points[1], state.candidate]),
        num_plain=jnp.where(state.is_jump, 0, state.num_plain),
        status=jnp.where(is_over, CONVERGED, RUNNING).astype(jnp.int32),
        trace=state.trace.at[state.num_iterations].set(value, mode="drop"),
    )


def _centre(found: PyTree[Array], last: PyTree[Array]) -> PyTree[Array]:
    """Where the next E step starts: at the first of what this one found, if at all."""
    return last if last is None else found[0]


def _go_on(
    completion: AbstractCompletion,
    unravel,
    tol: Array,
    max_iterations: int,
    acceleration: str,
    state: Climb,
) -> Climb:
    """The M step, and the extrapolation when it is due; or the end."""
    is_out = state.num_iterations >= max_iterations
    ended = jnp.where(is_out & (state.status == RUNNING), EXHAUSTED, state.status)

    def step() -> Climb:
        def loss(flat: Array) -> Array:
            return -completion.expected(unravel(flat), state.expectation)

        new = minimise(loss, state.safe, tol=M_SHARE * tol, max_steps=MAX_NEWTON)
        num_plain = state.num_plain + 1
        jumped, length = _extrapolate(state.points, new)
        is_due = (num_plain >= NUM_PLAIN) & jnp.all(jnp.isfinite(jumped))
        is_due = is_due & (acceleration != "none")
        slowness = jnp.where(
            is_due, jnp.maximum(length, 0.5 * state.slowness), state.slowness
        )
        return state._replace(
            candidate=jnp.where(is_due, jumped, new),
            is_jump=is_due,
            fallback=new,
            num_plain=jnp.where(is_due, 0, num_plain),
            slowness=slowness,
            num_iterations=state.num_iterations + 1,
        )

    return jax.lax.cond(
        ended == RUNNING, step, lambda: state._replace(status=ended.astype(jnp.int32))
    )


def _extrapolate(points: Float[Array, "2 n"], new: Float[Array, " n"]):
    """SQUAREM of two steps, with the length that Varadhan and Roland call S3."""
    first, second = points[1] - points[0], new - points[1]
    bend = second - first
    size = jnp.sqrt(jnp.sum(first * first) / jnp.sum(bend * bend))
    length = jnp.maximum(size, 1.0)
    jumped = points[0] + 2.0 * length * first + length * length * bend
    return jumped, length
