"""A stretch of one NUTS chain as one compiled program.

The same kernel serves warm-up and sampling, so the tree is compiled once; the number
of a step, shared by all chains, says what is adapted. The search for a start and the
map to constrained draws are part of the program too.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Integer, Key, PyTree

from .._compat import EuclideanMetric, nuts_transition
from ._flat import unravel_position
from ._model_spec import ModelSpec
from ._starts import find_start
from ._warmup import (
    MetricState,
    StepSizeState,
    WarmupState,
    WindowState,
    host,
    start_warmup,
    update_warmup,
)

# Change of energy above which a trajectory has left the typical set (Stan's value).
DIVERGENCE_THRESHOLD = 1000
MAX_START_TRIES = 100


class ChainState(NamedTuple):
    """Where a chain is; all that it needs to go on."""

    position: Float[Array, " n"]
    log_density: Float[Array, ""]
    grad: Float[Array, " n"]
    warmup: WarmupState
    start_is_finite: Bool[Array, ""]
    data_are_valid: Bool[Array, ""]


class ChunkInput(NamedTuple):
    """What each step of the chunk does; the same for all chains."""

    step: Int[Array, " steps"]
    is_active: Bool[Array, " steps"]
    is_warmup: Bool[Array, " steps"]
    is_slow: Bool[Array, " steps"]
    is_window_end: Bool[Array, " steps"]


class ChunkSettings(NamedTuple):
    """What is compiled into the program."""

    max_tree_depth: int
    init_strategy: str
    num_candidates: int


class Draw(NamedTuple):
    """What is kept of one step."""

    position: Float[Array, " n"]
    lp: Float[Array, ""]
    energy: Float[Array, ""]
    acceptance_rate: Float[Array, ""]
    step_size: Float[Array, ""]
    diverging: Bool[Array, ""]
    n_steps: Int[Array, ""]
    tree_depth: Int[Array, ""]


def run_chunk(
    spec: ModelSpec,
    key: Key[Array, ""],
    chain: Integer[Array, ""],
    state: ChainState,
    inputs: ChunkInput,
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

    def one(state: ChainState, step: ChunkInput) -> tuple[ChainState, Draw]:
        return jax.lax.cond(
            step.is_active,
            lambda: _step(log_density, key, state, step, target_accept, settings),
            lambda: (state, _no_draw(state)),
        )

    state = jax.lax.cond(inputs.step[0] == 0, begin, lambda: state)
    state, drawn = jax.lax.scan(one, state, inputs)
    positions = jax.vmap(unravel)(drawn.position)
    constrain = functools.partial(spec.constrain, deterministic=True)
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
    log_density: Any,
    key: Key[Array, ""],
    state: ChainState,
    step: ChunkInput,
    target_accept: Float[Array, ""],
    settings: ChunkSettings,
) -> tuple[ChainState, Draw]:
    sizes = state.warmup.step_size
    log_step = jnp.where(step.is_warmup, sizes.log_step, sizes.log_average)
    step_size = jnp.exp(log_step)
    hmc, info = nuts_transition(DIVERGENCE_THRESHOLD)(
        jax.random.fold_in(key, step.step),
        (state.position, state.log_density, state.grad),
        log_density,
        step_size,
        euclidean_metric(state.warmup.metric),
        settings.max_tree_depth,
    )
    # A trajectory that ends in NaN at once has no acceptance rate: it accepts nothing.
    acceptance_rate = jnp.nan_to_num(info.acceptance_rate)
    warmup = jax.lax.cond(
        step.is_warmup,
        lambda: update_warmup(
            state.warmup,
            hmc.position,
            acceptance_rate,
            target_accept=target_accept,
            is_slow=step.is_slow,
            is_window_end=step.is_window_end,
        ),
        lambda: state.warmup,
    )
    drawn = Draw(
        position=hmc.position,
        lp=hmc.logdensity,
        energy=info.energy,
        acceptance_rate=acceptance_rate,
        step_size=step_size,
        diverging=info.is_divergent,
        n_steps=jnp.asarray(info.num_integration_steps, jnp.int32),
        tree_depth=jnp.asarray(info.num_trajectory_expansions, jnp.int32),
    )
    new = ChainState(
        hmc.position,
        hmc.logdensity,
        hmc.logdensity_grad,
        warmup,
        state.start_is_finite,
        state.data_are_valid,
    )
    return new, drawn


def _no_draw(state: ChainState) -> Draw:
    zero, false = jnp.zeros_like(state.log_density), jnp.zeros((), bool)
    count = jnp.zeros((), jnp.int32)
    return Draw(state.position, zero, zero, zero, zero, false, count, count)


def euclidean_metric(state: MetricState) -> EuclideanMetric:
    """Makes BlackJAX's metric of a factor that is there already."""
    inverse_mass, factor = state

    def multiply(matrix: Array, vector: Array) -> Array:
        return matrix * vector if matrix.ndim == 1 else matrix @ vector

    def sample_momentum(key: Key[Array, ""], position: Array) -> Array:
        return multiply(factor, jax.random.normal(key, position.shape, position.dtype))

    def kinetic_energy(momentum: Array, position: Array | None = None) -> Array:
        energy = 0.5 * jnp.dot(multiply(inverse_mass, momentum), momentum)
        # Where the products overflow, a sum of infinities may be -inf, and the most
        # impossible end of a trajectory would be accepted.
        return jnp.where(energy >= 0.0, energy, jnp.inf)

    def check_turning(
        left: Array,
        right: Array,
        total: Array,
        position_left: Array | None = None,
        position_right: Array | None = None,
    ) -> Array:
        # Betancourt (2013): the trajectory turns when an end moves against the sum.
        velocity = multiply(inverse_mass, total - (left + right) / 2)
        return (jnp.dot(left, velocity) <= 0) | (jnp.dot(right, velocity) <= 0)

    return EuclideanMetric(sample_momentum, kinetic_energy, check_turning)


def initial_state(
    position: Any,
    step_size: float,
    metric: MetricState,
) -> ChainState:
    """Returns the state that the first chunk begins with, on the host."""
    scalar = position.dtype.type
    return ChainState(
        position=position,
        log_density=scalar(0.0),
        grad=host.zeros_like(position),
        warmup=start_warmup(scalar(step_size), metric),
        start_is_finite=host.bool_(True),
        data_are_valid=host.bool_(True),
    )


def num_coordinates(spec: ModelSpec) -> int:
    """Returns the length of a flat position."""
    shapes = [site.unconstrained_shape for site in spec.sites if site.kind == "latent"]
    return sum(math.prod(shape) for shape in shapes)


def pack_state(states: list[ChainState], step: int) -> dict[str, Any]:
    """Turns the states of chains into nested dictionaries, which go to disk."""
    stacked = jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *states)
    return {"step": jax.device_put(np.asarray(step)), "chains": _to_dict(stacked)}


def unpack_state(packed: dict[str, Any], num_chains: int) -> list[ChainState]:
    """Inverts `pack_state`, for as many chains as there are."""
    chains = jax.tree.map(np.asarray, packed["chains"])
    warmup = chains["warmup"]
    stacked = ChainState(
        **chains
        | {
            "warmup": WarmupState(
                step_size=StepSizeState(**warmup["step_size"]),
                window=WindowState(**warmup["window"]),
                metric=MetricState(**warmup["metric"]),
            )
        }
    )
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(num_chains)]


def _to_dict(state: Any) -> Any:
    if not hasattr(state, "_asdict"):
        return state
    return {name: _to_dict(value) for name, value in state._asdict().items()}
