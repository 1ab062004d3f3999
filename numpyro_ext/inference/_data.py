"""Arguments of models as pytree leaves: what is traced, what is refused."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def argument_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Returns the names of the parameters of a function, in order."""
    return tuple(inspect.signature(function).parameters)


def as_leaves(
    names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Turns arrays of NumPy and columns of tables into JAX arrays.

    Args:
        names: names of the positional arguments, for messages.
        args: positional arguments.
        kwargs: keyword arguments.

    Raises:
        ValueError: if an array has no rows.
        TypeError: for arrays that hold no numbers, and for whole tables.
    """
    labels = [*names, *(f"argument {i}" for i in range(len(names), len(args)))]
    converted = [_convert(n, a) for n, a in zip(labels, args, strict=False)]
    return tuple(converted), {name: _convert(name, v) for name, v in kwargs.items()}


def same_shapes(one: PyTree, other: PyTree) -> bool:
    """Whether two pytrees would use the same compiled function."""
    return _signature(one) == _signature(other)


def num_bytes(tree: PyTree) -> int:
    """Counts the bytes of the arrays of a pytree."""
    return sum(x.nbytes for x in jax.tree.leaves(eqx.filter(tree, eqx.is_array)))


def _signature(tree: PyTree) -> Any:
    arrays, static = eqx.partition(tree, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    shapes = [(leaf.shape, leaf.dtype) for leaf in leaves]
    return shapes, structure, jax.tree.flatten(static)


def _convert(name: str, value: Any) -> Any:
    def leaf(x: Any) -> Any:
        if hasattr(x, "columns") or hasattr(x, "data_vars"):
            raise TypeError(
                f"The argument `{name}` is a {type(x).__name__}. A table cannot be "
                f'traced: pass its columns as arrays, as in `{name}["x"].to_numpy()`.'
            )
        if not isinstance(x, jax.Array) and hasattr(x, "__array__"):
            x = np.asarray(x)
            if not np.issubdtype(x.dtype, np.number) and x.dtype != bool:
                raise TypeError(
                    f"The argument `{name}` holds {x.dtype} values, which are no "
                    "numbers. Encode labels as integers, as in `labels, codes = "
                    f"numpy.unique({name}, return_inverse=True)`."
                )
            x = jnp.asarray(x)
        if isinstance(x, jax.Array) and x.size == 0:
            raise ValueError(
                f"The argument `{name}` has 0 rows (shape {x.shape}). A filter that "
                "matches nothing is the usual cause; look at the data before the model."
            )
        return x

    return jax.tree.map(leaf, value, is_leaf=_is_table)


def _is_table(x: Any) -> bool:
    return hasattr(x, "__array__") or hasattr(x, "columns")
