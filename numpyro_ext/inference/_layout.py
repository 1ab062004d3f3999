"""How members share the machine: one after another, in groups, or all at once.

The order of the loops decides the speed of an ensemble on a CPU. Mapping over whole
trainings keeps one member's activations in cache; stepping all members together
writes every member's activations to memory at every step, and pays off only where a
member is so small that the cost of starting an operation shows.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

type Layout = Literal["auto", "vmap", "map"] | int

# Bytes of intermediate results that stay in a core's own cache. The count is of all
# results in the program before fusion, about three times what lives at once, against
# second-level caches of 1 to 2 MiB.
CACHE_BYTES = 2**20
# Rows that are read at a time when the rows are summed by blocks: fewer would pay for
# the loop, and the working set of more leaves the cache.
MIN_ROWS = 256


def intermediate_bytes(function: Callable[..., Any], *args: PyTree) -> int:
    """Counts the bytes that a function's operations write, from its trace alone."""
    return _jaxpr_bytes(jax.make_jaxpr(function)(*args).jaxpr)


def group_size(layout: Layout, num_members: int, bytes_per_member: int) -> int:
    """Returns how many members step together; all others wait for their group."""
    if isinstance(layout, int):
        return layout
    if layout == "map":
        return 1
    if layout == "vmap" or jax.default_backend() != "cpu":
        return num_members
    fitting = max(CACHE_BYTES // max(bytes_per_member, 1), 1)
    return largest_divisor(num_members, fitting)


def rows_per_block(num_rows: int, total_bytes: int) -> int | None:
    """Returns the rows whose intermediates fit the cache; None if all of them do."""
    if total_bytes <= CACHE_BYTES or jax.default_backend() != "cpu":
        return None
    fitting = max(int(CACHE_BYTES / total_bytes * num_rows), MIN_ROWS)
    if fitting >= num_rows:
        return None
    # A remainder would be compiled apart, so a divisor that is nearly as large wins.
    divisor = largest_divisor(num_rows, fitting)
    return divisor if 2 * divisor >= fitting else fitting


def largest_divisor(number: int, limit: int) -> int:
    """Returns the largest divisor of `number` that is at most `limit`."""
    return next(d for d in range(min(limit, number), 0, -1) if number % d == 0)


def map_groups[In, Out](
    train: Callable[[In], Out], members: In, *, num_members: int, size: int
) -> Out:
    """Applies `train` to groups of members, one group after another.

    `train` gets members with a leading axis of `size`, or with no such axis if `size`
    is 1. The result has the leading axis of all members.
    """
    if size == num_members and size > 1:
        return train(members)
    if size == 1:
        return jax.lax.map(train, members)
    num_groups = num_members // size

    def split(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(num_groups, size, *leaf.shape[1:])

    def join(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(num_members, *leaf.shape[2:])

    grouped = jax.lax.map(train, jax.tree.map(split, members))
    return jax.tree.map(join, grouped)


def _jaxpr_bytes(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [_jaxpr_bytes(sub) for sub in _inner_jaxprs(equation.params)]
        own = sum(_num_bytes(variable.aval) for variable in equation.outvars)
        total += max([own, *inner])
    return total


def _inner_jaxprs(params: dict[str, Any]) -> list[Any]:
    found = []
    for value in jax.tree.leaves(list(params.values()), is_leaf=_is_jaxpr):
        if _is_jaxpr(value):
            found.append(getattr(value, "jaxpr", value))
    return found


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _num_bytes(aval: Any) -> int:
    shape, dtype = getattr(aval, "shape", ()), getattr(aval, "dtype", None)
    if dtype is None or jnp.issubdtype(dtype, jax.dtypes.extended):
        return 0
    return int(np.prod(shape)) * dtype.itemsize
