"""Driving chains: one compiled program, called in chunks, by thread or by device.

On a CPU, chains that are vmapped wait for each other's trees at every step. One
program of a single chain, called from a thread for each core, does not; XLA releases
the interpreter lock while it runs.
"""

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key, PyTree
from tqdm.auto import tqdm

from ._model_spec import ModelSpec
from ._nuts_chunk import ChainState, ChunkInput, ChunkSettings, run_chunk
from ._warmup import stages

CHAIN_METHODS = ("auto", "threads", "devices", "sequential", "vectorized")


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
    settings: ChunkSettings,
    *,
    method: str,
    progress: bool,
) -> tuple[list[ChainOutput], bool]:
    """Runs all chains; returns what each left, and whether they were interrupted."""
    arrays, static = _split(spec, settings)
    chunks = job.chunks()
    options = (states[0].position.dtype.type(job.target_accept), job.finds_start)
    numbers = np.arange(len(states), dtype=np.uint32)
    stop = threading.Event()
    num_steps = len(states) * (job.stop - job.first)
    bar = tqdm(total=num_steps, unit="step", disable=not progress)

    def drive(call: Callable[..., Any], chain: Any, state: Any, device: Any) -> Any:
        data, base = jax.device_put((arrays, key), device)
        left = []
        for chunk in chunks:
            if stop.is_set():
                break
            out = call(data, base, chain, state, chunk, *options, static=static)
            left.append(jax.tree.map(np.asarray, out))
            state = left[-1][0]
            bar.update(np.size(chain) * int(chunk.is_active.sum()))
        return left

    if method == "vectorized":
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
        left = drive(_vectorized, numbers, stacked, None)
        done = [jax.tree.map(lambda x, i=i: x[i], left) for i in range(len(states))]
    else:
        devices = jax.devices() if method == "devices" else [None]
        num_workers = {"threads": num_cores(), "devices": len(devices)}.get(method, 1)
        with ThreadPoolExecutor(min(len(states), num_workers)) as pool:
            futures = [
                pool.submit(drive, _one_chain, i, state, devices[i % len(devices)])
                for i, state in zip(numbers, states, strict=True)
            ]
            done = _wait(futures, stop)
    bar.close()
    num_done = min(len(left) for left in done)
    if num_done == 0:
        raise KeyboardInterrupt("Interrupted before the first chunk of draws.")
    kept = sum(int(chunk.is_active.sum()) for chunk in chunks[:num_done])
    return [_join(left[:num_done], kept) for left in done], stop.is_set()


def _wait(futures: list[Future[Any]], stop: threading.Event) -> list[Any]:
    """Waits for the chains; on Ctrl-C they end after the chunk that they are in."""
    try:
        return [future.result() for future in futures]
    except KeyboardInterrupt:
        stop.set()
        return [future.result() for future in futures]
    except BaseException:
        stop.set()
        raise


def _split(spec: ModelSpec, settings: ChunkSettings) -> tuple[list[Any], Static]:
    leaves, structure = jax.tree.flatten(spec)
    arrays = [leaf for leaf in leaves if eqx.is_array(leaf)]
    rest = tuple(None if eqx.is_array(leaf) else leaf for leaf in leaves)
    return arrays, Static(structure, rest, settings)


def num_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _join(left: list[Any], kept: int) -> ChainOutput:
    def concatenate(*leaves: np.ndarray) -> np.ndarray:
        return np.concatenate(leaves)[:kept]

    steps, positions, values = jax.tree.map(concatenate, *[one[1:] for one in left])
    named = steps._asdict()
    del named["position"]
    return ChainOutput(left[-1][0], named, positions, values)


def _chunk(
    arrays: list[Array],
    key: Array,
    chain: Array,
    state: ChainState,
    inputs: ChunkInput,
    target: Array,
    finds_start: Array,
    static: Static,
) -> tuple[Any, ...]:
    rest = iter(arrays)
    leaves = [next(rest) if leaf is None else leaf for leaf in static.leaves]
    spec = jax.tree.unflatten(static.structure, leaves)
    return run_chunk(
        spec, key, chain, state, inputs, target, finds_start, static.settings
    )


@functools.partial(jax.jit, static_argnames="static")
def _one_chain(arrays, key, chain, state, inputs, target, finds_start, *, static):
    return _chunk(arrays, key, chain, state, inputs, target, finds_start, static)


@functools.partial(jax.jit, static_argnames="static")
def _vectorized(arrays, key, chains, states, inputs, target, finds_start, *, static):
    def one(chain: Array, state: ChainState) -> tuple[Any, ...]:
        return _chunk(arrays, key, chain, state, inputs, target, finds_start, static)

    return jax.vmap(one)(chains, states)
