"""A stretch of one Markov chain as one compiled program.

The same kernel serves warm-up and sampling, so it is compiled once; the number
of a step, shared by all chains, says what is adapted. The search for a start and the
map to constrained draws are part of the program too.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Integer, Key, PyTree

from ._flat import unravel_position
from ._kernel import AbstractKernel, Point, Tuned
from ._metric import LowRankMetric, Metric, MetricState, host
from ._model_spec import ModelSpec
from ._starts import find_start
from ._warmup import (
    History,
    LengthState,
    StepSizeState,
    WarmupState,
    WindowState,
    start_history,
    start_warmup,
    update_warmup,
)

MAX_START_TRIES = 100


class ChainState(NamedTuple):
    """Where a chain is; all that it needs to go on."""

    position: Float[Array, " n"]
    log_density: Float[Array, ""]
    grad: Float[Array, " n"]
    warmup: WarmupState
    start_is_finite: Bool[Array, ""]
    data_are_valid: Bool[Array, ""]
    history: History | None = None


# What the state of a chain is made of, for those who read it from disk.
_STATES = (
    ChainState,
    WarmupState,
    StepSizeState,
    WindowState,
    LengthState,
    MetricState,
    LowRankMetric,
)


class ChunkInput(NamedTuple):
    """What each step of the chunk does; the same for all chains."""

    step: Int[Array, " steps"]
    is_active: Bool[Array, " steps"]
    is_warmup: Bool[Array, " steps"]
    is_slow: Bool[Array, " steps"]
    is_window_end: Bool[Array, " steps"]
    row: Int[Array, " steps"]


class ChunkSettings(NamedTuple):
    """How starts are found; compiled into the program."""

    init_strategy: str
    num_candidates: int


class Draw(NamedTuple):
    """What is kept of one step; `counts` is what the kernel counts."""

    position: Float[Array, " n"]
    lp: Float[Array, ""]
    energy: Float[Array, ""] | None
    acceptance_rate: Float[Array, ""]
    step_size: Float[Array, ""]
    diverging: Bool[Array, ""]
    counts: dict[str, Int[Array, ""]]


def run_chunk(
    spec: ModelSpec,
    key: Key[Array, ""],
    chain: Integer[Array, ""],
    state: ChainState,
    inputs: ChunkInput,
    kernel: AbstractKernel,
    target_accept: Float[Array, ""],
    finds_start: Bool[Array, ""],
    settings: ChunkSettings,
) -> tuple[ChainState, Draw, PyTree[Array], dict[str, PyTree[Array]]]:
    """Runs the chunk's steps.

    Returns:
        The state after them, and for each step what it left, its position, and the
        values of its sites.
    """
    key = jax.random.fold_in(key, chain)
    unravel = unravel_position(spec)

    def log_density(position: Float[Array, " n"]) -> Float[Array, ""]:
        return spec.log_density(unravel(position))

    def begin() -> ChainState:
        return _begin(spec, key, state, settings, finds_start)

    def one(
        carry: tuple[ChainState, History | None], step: ChunkInput
    ) -> tuple[tuple[ChainState, History | None], Draw]:
        state, history = carry
        state, drawn = jax.lax.cond(
            step.is_active,
            lambda: _step(
                log_density, key, state, history, step, kernel, target_accept
            ),
            lambda: (state, _no_draw(state, kernel)),
        )
        if history is not None:
            history = history.record(step.row, state.position, state.grad)
        return (state, history), drawn

    history, state = state.history, state._replace(history=None)
    state = jax.lax.cond(inputs.step[0] == 0, begin, lambda: state)
    (state, history), drawn = jax.lax.scan(one, (state, history), inputs)
    positions = jax.vmap(unravel)(drawn.position)
    constrain = functools.partial(spec.constrain, deterministic=True)
    state = state._replace(history=history)
    return state, drawn, positions, jax.vmap(constrain)(positions)


def _begin(
    spec: ModelSpec,
    key: Key[Array, ""],
    state: ChainState,
    settings: ChunkSettings,
    finds_start: Bool[Array, ""],
) -> ChainState:
    """Finds a start, or checks the one that was given."""
    start = find_start(
        spec,
        # Steps use the numbers from 0 on.
        jax.random.fold_in(key, jnp.uint32(2**32 - 1)),
        strategy=settings.init_strategy,
        num_candidates=settings.num_candidates,
        max_tries=jnp.where(finds_start, MAX_START_TRIES, 1),
        given=unravel_position(spec)(state.position),
        is_given=~finds_start,
    )
    return ChainState(
        ravel_pytree(start.position)[0],
        start.log_density,
        ravel_pytree(start.grad)[0],
        state.warmup,
        start.is_finite,
        start.data_are_valid,
    )


def _step(
    log_density: Callable[[Array], Array],
    key: Key[Array, ""],
    state: ChainState,
    history: History | None,
    step: ChunkInput,
    kernel: AbstractKernel,
    target_accept: Float[Array, ""],
) -> tuple[ChainState, Draw]:
    sizes = state.warmup.step_size
    log_step = jnp.where(step.is_warmup, sizes.log_step, sizes.log_average)
    step_size = jnp.exp(log_step)
    lengths = state.warmup.length
    length = None
    if lengths is not None:
        log_length = jnp.where(step.is_warmup, lengths.log_length, lengths.log_average)
        length = jnp.exp(log_length)
    made = kernel(
        jax.random.fold_in(key, step.step),
        Point(state.position, state.log_density, state.grad),
        log_density,
        Tuned(step_size, state.warmup.metric, length),
    )
    # A trajectory that ends in NaN at once has no acceptance rate: it accepts nothing.
    acceptance_rate = jnp.nan_to_num(made.acceptance_rate)
    warmup = jax.lax.cond(
        step.is_warmup,
        lambda: update_warmup(
            state.warmup,
            history,
            made.point.position,
            made.point.grad,
            acceptance_rate,
            target_accept=target_accept,
            is_slow=step.is_slow,
            is_window_end=step.is_window_end,
            row=step.row,
            score=made.score,
            pools=kernel.pools,
        ),
        lambda: state.warmup,
    )
    drawn = Draw(
        position=made.point.position,
        lp=made.point.log_density,
        energy=made.energy,
        acceptance_rate=acceptance_rate,
        step_size=step_size,
        diverging=made.diverging,
        counts=made.counts,
    )
    flags = state.start_is_finite, state.data_are_valid
    return ChainState(*made.point, warmup, *flags), drawn


def _no_draw(state: ChainState, kernel: AbstractKernel) -> Draw:
    zero, false = jnp.zeros_like(state.log_density), jnp.zeros((), bool)
    counts = {name: jnp.zeros((), jnp.int32) for name in kernel.count_names}
    energy = zero if kernel.has_energy else None
    return Draw(state.position, zero, energy, zero, zero, false, counts)


def initial_state(
    position: Any,
    step_size: float,
    metric: Metric,
    num_warmup: int,
    length: float | None,
) -> ChainState:
    """Returns the state that the first chunk begins with, on the host."""
    scalar = position.dtype.type
    return ChainState(
        position=position,
        log_density=scalar(0.0),
        grad=host.zeros_like(position),
        warmup=start_warmup(scalar(step_size), metric, length=length),
        start_is_finite=host.bool_(True),
        data_are_valid=host.bool_(True),
        history=start_history(metric, num_warmup),
    )


def pack_state(states: list[ChainState], step: int) -> dict[str, Any]:
    """Turns the states of chains into nested dictionaries, which go to disk.

    They are past their warm-up, whose history nobody needs any more.
    """
    kept = [state._replace(history=None) for state in states]
    stacked = jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *kept)
    return {"step": jax.device_put(np.asarray(step)), "chains": _to_dict(stacked)}


def unpack_state(
    packed: dict[str, Any], num_chains: int, num_warmup: int
) -> list[ChainState]:
    """Inverts `pack_state`, for as many chains as there are."""
    stacked = _from_dict(jax.tree.map(np.asarray, packed["chains"]))
    history = start_history(stacked.warmup.metric, num_warmup)
    return [
        jax.tree.map(lambda x, i=i: x[i], stacked)._replace(history=history)
        for i in range(num_chains)
    ]


def _to_dict(state: Any) -> Any:
    if not hasattr(state, "_asdict"):
        return state
    items = state._asdict().items()
    return {name: _to_dict(value) for name, value in items if value is not None}


def _from_dict(packed: Any) -> Any:
    """Finds the state that has the names of the dictionary."""
    if not isinstance(packed, dict):
        return packed
    kind = next(kind for kind in _STATES if set(packed) <= set(kind._fields))
    values = dict.fromkeys(kind._fields) | packed
    return kind(**{name: _from_dict(value) for name, value in values.items()})
