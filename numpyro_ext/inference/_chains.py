"""Driving chains: one compiled program, called in chunks, by thread or by device.

On a CPU, chains that are vmapped wait for each other's trees at every step. One
program of a single chain, called from a thread for each core, does not; XLA releases
the interpreter lock while it runs.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key, PyTree
from tqdm.auto import tqdm

from ._chain_chunk import ChainState, ChunkInput, ChunkSettings, run_chunk
from ._kernel import AbstractKernel
from ._model_spec import ModelSpec
from ._pool import CHAINS
from ._threads import num_cores, work_off
from ._warmup import stages

CHAIN_METHODS = ("auto", "threads", "devices", "sequential", "vectorized")


# A chain's start, and then what each of its chunks left.
type Left = list[tuple[Any, ...]]


class Static(NamedTuple):
    """The part of a spec that is no array, and keys the cache of programs."""

    structure: Any
    leaves: tuple[Any, ...]
    settings: ChunkSettings


class Job(NamedTuple):
    """The chunks of a run.

    Attributes:
        first: number of the first step; 0, or where a resumed chain left off.
        stop: number after the last step.
        num_warmup: steps before this one adapt.
        chunk_size: steps of one call.
        finds_start: whether the chains look for their own starts.
        target_accept: what the step size is adapted to.
    """

    first: int
    stop: int
    num_warmup: int
    chunk_size: int
    finds_start: bool
    target_accept: float

    def chunks(self) -> list[ChunkInput]:
        """Returns the inputs of each call; the last one may be partly idle."""
        num_calls = -(-(self.stop - self.first) // self.chunk_size)
        end = self.first + num_calls * self.chunk_size
        stage = stages(self.num_warmup, end)
        step = np.arange(end, dtype=np.int32)
        columns: tuple[Any, ...] = (step, step < self.stop, *stage)
        return [
            ChunkInput(*(column[i : i + self.chunk_size] for column in columns))
            for i in range(self.first, end, self.chunk_size)
        ]


class ChainOutput(NamedTuple):
    """What a chain left: its state, and stacked steps on the host."""

    state: ChainState
    steps: dict[str, np.ndarray]
    positions: PyTree[np.ndarray]
    values: PyTree[np.ndarray]


def choose_method(method: str, num_chains: int) -> str:
    """Resolves `auto`: all devices if there are several, threads or vmap on one."""
    if method != "auto":
        return method
    if len(jax.devices()) > 1 and num_chains > 1:
        return "devices"
    return "threads" if jax.default_backend() == "cpu" else "vectorized"


def run_chains(
    spec: ModelSpec,
    key: Key[Array, ""],
    states: list[ChainState],
    job: Job,
    kernel: AbstractKernel,
    settings: ChunkSettings,
    *,
    method: str,
    progress: bool,
) -> tuple[list[ChainOutput], bool]:
    """Runs all chains; returns what each left, and whether they were interrupted."""
    arrays, static = _split(spec, settings)
    chunks = job.chunks()
    target = states[0].position.dtype.type(job.target_accept)
    options = (kernel, target, job.finds_start)
    numbers = np.arange(len(states), dtype=np.uint32)
    num_steps = len(states) * (job.stop - job.first)
    bar = tqdm(total=num_steps, unit="step", disable=not progress)

    def advance(call: Callable[..., Any], device: Any, chain: Any, left: Left) -> bool:
        """Runs the next chunk of a chain; says whether there are more."""
        data, base = jax.device_put((arrays, key), device)
        chunk = chunks[len(left) - 1]
        out = call(data, base, chain, left[-1][0], chunk, *options, static=static)
        left.append(jax.tree.map(np.asarray, out))
        bar.update(np.size(chain) * int(chunk.is_active.sum()))
        return len(left) <= len(chunks)

    # What a chain left begins with the state that it starts from.
    together: Left = [(jax.tree.map(lambda *leaves: np.stack(leaves), *states),)]
    apart: list[Left] = [[(state,)] for state in states]
    num_workers = num_cores() if method == "threads" else 1
    if method == "vectorized":
        queues = [[partial(advance, _program(True), None, numbers, together)]]
    else:
        devices = jax.devices() if method == "devices" else [None]
        queues = [
            [
                partial(advance, _program(False), device, i, apart[i])
                for i in numbers[place :: len(devices)]
            ]
            for place, device in enumerate(devices)
        ]
    interrupted = work_off(queues, num_workers)
    bar.close()
    if method == "vectorized":
        apart = [
            [jax.tree.map(lambda x, i=i: x[i], one) for one in together]
            for i in numbers
        ]
    num_done = min(len(left) for left in apart)
    if num_done == 1:
        raise KeyboardInterrupt("Interrupted before the first chunk of draws.")
    kept = sum(int(chunk.is_active.sum()) for chunk in chunks[: num_done - 1])
    return [_join(left[1:num_done], kept) for left in apart], interrupted


def _split(spec: ModelSpec, settings: ChunkSettings) -> tuple[list[Any], Static]:
    leaves, structure = jax.tree.flatten(spec)
    arrays = [leaf for leaf in leaves if eqx.is_array(leaf)]
    rest = tuple(None if eqx.is_array(leaf) else leaf for leaf in leaves)
    return arrays, Static(structure, rest, settings)


def _join(left: list[Any], kept: int) -> ChainOutput:
    def concatenate(*leaves: np.ndarray) -> np.ndarray:
        return np.concatenate(leaves)[:kept]

    steps, positions, values = jax.tree.map(concatenate, *[one[1:] for one in left])
    named = {k: v for k, v in steps._asdict().items() if v is not None}
    del named["position"]
    named |= named.pop("counts")
    return ChainOutput(left[-1][0], named, positions, values)


def _chunk(
    arrays: list[Array],
    key: Array,
    chain: Array,
    state: ChainState,
    inputs: ChunkInput,
    kernel: AbstractKernel,
    target: Array,
    finds_start: Array,
    static: Static,
) -> tuple[Any, ...]:
    rest = iter(arrays)
    leaves = [next(rest) if leaf is None else leaf for leaf in static.leaves]
    spec = jax.tree.unflatten(static.structure, leaves)
    options = (kernel, target, finds_start, static.settings)
    return run_chunk(spec, key, chain, state, inputs, *options)


def _chunks(
    arrays: list[Array],
    key: Array,
    chains: Array,
    states: ChainState,
    inputs: ChunkInput,
    kernel: AbstractKernel,
    target: Array,
    finds_start: Array,
    static: Static,
) -> tuple[Any, ...]:
    def one(chain: Array, state: ChainState) -> tuple[Any, ...]:
        options = (kernel, target, finds_start, static)
        return _chunk(arrays, key, chain, state, inputs, *options)

    # By this name, chains that adapt together tell each other.
    return jax.vmap(one, axis_name=CHAINS)(chains, states)


@cache
def _program(is_vectorized: bool) -> Callable[..., tuple[Any, ...]]:
    """Returns the chunk of one chain or of all, to be compiled for the backend."""
    # A tree's gradients take as long at level 1, and compiling a third less.
    is_cpu = jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": 1} if is_cpu else None
    chunk = _chunks if is_vectorized else _chunk
    return jax.jit(chunk, static_argnames="static", compiler_options=options)
