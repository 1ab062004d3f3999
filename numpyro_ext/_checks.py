"""Errors and warnings with one manner: what happened, the usual cause, what to type."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

# Warnings point at the first frame outside these folders: the user's own line.
OWN_FRAMES = tuple(
    str(Path(file).parent) for file in (__file__, eqx.__file__, jax.__file__)
)


class InitializationError(ValueError):
    """No start with a finite log density and a finite gradient was found."""


class ConvergenceWarning(UserWarning):
    """An optimiser stopped before its gradient was small, or ran to a boundary."""


class DivergenceWarning(UserWarning):
    """A sampler met many divergent transitions."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint that names the known word closest to `name`, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known are " + (", ".join(f"`{k}`" for k in known) or "none") + "."


def check_positive_int(owner: str, name: str, value: Any, *, minimum: int = 1) -> None:
    """Raises ValueError unless `value` is an integer of at least `minimum`."""
    is_int = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_int or value < minimum:
        raise ValueError(
            f"`{owner}({name}={value!r})`: `{name}` must be an integer of at least "
            f"{minimum}. Write for example `{owner}({name}={max(minimum, 1)})`."
        )


def check_open_interval(
    owner: str, name: str, value: Any, low: float, high: float
) -> None:
    """Raises ValueError unless `low < value < high`; NaN is refused."""
    if not low < value < high:
        raise ValueError(
            f"`{owner}({name}={value!r})`: `{name}` must lie in the open interval "
            f"({low:g}, {high:g})."
        )


def check_choice(owner: str, name: str, value: Any, choices: Iterable[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        hint = nearest(str(value), choices)
        raise ValueError(f"`{owner}({name}={value!r})`: no such choice; {hint}")


def check_key(owner: str, key: Any) -> Key[Array, ""]:
    """Returns `key` as one typed key; raises TypeError for anything else."""
    if isinstance(key, jax.Array):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0:
            return key
        if key.dtype == jnp.uint32 and key.shape == (2,):
            return jax.random.wrap_key_data(key)
    raise TypeError(
        f"`{owner}` needs one random key as `rng_key` (argument `key`), and got "
        f"{type(key).__name__} {key!r:.60}. Write `jax.random.key(0)`."
    )
