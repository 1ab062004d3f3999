"""A fit in chunks of iterations, with a word to the user after each."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ._core import (
    Options,
    Outcome,
    compiled_advance,
    compiled_outcome,
    compiled_start,
)
from ._start import units_of
from ._state import RUNNING, State

# Iterations from one line to the next.
CHUNK = 10


def fit_in_chunks(x: Array, weights: Array, options: Options, **static: Any) -> Outcome:
    """As `compiled_fit`, with the same result."""
    states = compiled_start(x, weights, options, **static)
    static.pop("rank")
    shift = float(_log_units(x, weights))
    limit = 0
    while np.any(np.asarray(states.status) == RUNNING):
        limit += CHUNK
        states = compiled_advance(x, weights, options, states, limit, **static)
        _print_progress(states, shift)
    return compiled_outcome(x, weights, options, states)


@jax.jit
def _log_units(x: Array, weights: Array) -> Array:
    return jnp.sum(jnp.log(units_of(x, weights / jnp.sum(weights)).scale))


def _print_progress(states: State, shift: float) -> None:
    count, value, gain, status = (
        np.asarray(y)
        for y in (states.num_iterations, states.value, states.gain, states.status)
    )
    for i in range(len(count)):
        last = f"last gain {gain[i]:.1e}" if np.isfinite(gain[i]) else "no gain yet"
        print(
            f"start {i + 1} of {len(count)}: {count[i]} iterations, log likelihood "
            f"{value[i] - shift:.9f} per observation, {last}"
            f"{'' if status[i] == RUNNING else ', done'}",
            flush=True,
        )
