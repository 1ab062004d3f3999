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

# Bytes of intermediate results, counted before fusion (about three times what lives at
# once). Up to OWN_BYTES a member's results stay in the core's own cache; up to
# SHARED_BYTES those of a group stay in the last-level cache. Measured on a core with
# 1 MiB of its own and 32 MiB shared: networks of 80 to 1000 rows are fastest alone, and
# linear models of 200 to 20000 rows, which read their data once for a whole group, at
# 10 to 40 MiB.
OWN_BYTES = 3 * 2**18
SHARED_BYTES = 24 * 2**20
# From this ratio of data to results, reading the data is what a group saves.
DATA_SHARE = 0.05
# Rows read at a time where the rows are summed by blocks; fewer pay for the loop.
BLOCK_BYTES = 3 * 2**20
MIN_ROWS = 256


def intermediate_bytes(function: Callable[..., Any], *args: PyTree) -> int:
    """Counts the bytes that a function's operations write, from its trace alone."""
    return _jaxpr_bytes(jax.make_jaxpr(function)(*args).jaxpr)


def group_size(
    layout: Layout, num_members: int, bytes_per_member: int, shared_bytes: int = 0
) -> int:
    """Returns how many members step together; all others wait for their group.

    Args:
        layout: what the user asked for.
        num_members: members in all.
        bytes_per_member: what the operations of one member write in one step.
        shared_bytes: data that all members read in one step.
    """
    if isinstance(layout, int):
        return layout
    if layout == "map":
        return 1
    if layout == "vmap" or jax.default_backend() != "cpu":
        return num_members
    is_shared = shared_bytes > DATA_SHARE * bytes_per_member
    cache = SHARED_BYTES if is_shared else OWN_BYTES
    return largest_divisor(num_members, max(cache // max(bytes_per_member, 1), 1))


def rows_per_block(num_rows: int, total_bytes: int) -> int | None:
    """Returns the rows whose intermediates fit the cache; None if all of them do."""
    if total_bytes <= BLOCK_BYTES or jax.default_backend() != "cpu":
        return None
    fitting = max(int(BLOCK_BYTES / total_bytes * num_rows), MIN_ROWS)
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
