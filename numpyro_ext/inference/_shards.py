"""Sharing the members of a run among threads that call one compiled program."""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from tqdm.auto import tqdm

from ._layout import Layout
from ._threads import num_cores, work_off


def shards(num_members: int, layout: Layout, *, progress: bool) -> list[slice]:
    """Cuts the members into equal parts, each for one call of a compiled program.

    Equal, so that one compiled program serves all; on a CPU as many as there are cores
    or somewhat more, so that all cores have work; and one for each group of members
    that step together if their progress is to be seen.
    """
    group = layout if isinstance(layout, int) else 1
    if layout == "vmap" or jax.default_backend() != "cpu":
        group = num_members
    num_groups = num_members // group
    wanted = num_groups if progress else min(num_cores(), num_groups)
    while num_groups % wanted:
        wanted += 1
    size = num_members // wanted
    return [slice(i, i + size) for i in range(0, num_members, size)]


def run_shards[In: PyTree, Out: PyTree](
    owner: str,
    call: Callable[[In], Out],
    members: In,
    parts: list[slice],
    *,
    unit: str,
    progress: bool,
) -> Out:
    """Applies a compiled `call` to each part of the members, and joins the results.

    Args:
        owner: name of the engine, for the bar.
        call: maps members to results; both have a leading axis of members.
        members: what each member starts from.
        parts: as from `shards`.
        unit: what the bar counts.
        progress: whether to show a bar.

    Raises:
        KeyboardInterrupt: on Ctrl-C, once the parts that run have ended.
    """
    if len(parts) == 1:
        return call(members)
    # Views of the host's arrays: to slice on the device is to compile each slice.
    members = jax.tree.map(np.asarray, members)
    done = [None] * len(parts)
    bar = tqdm(desc=owner, total=parts[-1].stop, unit=unit, disable=not progress)

    def advance(place: int) -> bool:
        part = parts[place]
        group = jax.tree.map(operator.itemgetter(part), members)
        done[place] = jax.tree.map(np.asarray, call(group))
        bar.update(part.stop - part.start)
        return False

    queue = [functools.partial(advance, place) for place in range(len(parts))]
    interrupted = work_off([queue], num_cores())
    bar.close()
    if interrupted:
        raise KeyboardInterrupt(f"Interrupted before every {unit} was done.")
    return jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *done)
