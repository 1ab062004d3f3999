"""Mini-batches: which arguments are sliced, and which sites are scaled by it."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ._model import AbstractModel
from ._replace import replace_fields
from ._sites import Sites


@dataclass(frozen=True)
class Batch:
    """Arguments that are sliced along axis 0, and the observed sites that follow.

    Attributes:
        arguments: names of the sliced arguments.
        sites: observed sites whose shape follows the slice.
        num_rows: length of axis 0 of the arguments.
    """

    arguments: tuple[str, ...]
    sites: tuple[str, ...]
    num_rows: int


def read_batch(
    model: AbstractModel, sites: Sites, names: tuple[str, ...] | str | None
) -> Batch | None:
    """Finds the sites that follow the batch, by tracing with one row more.

    Raises:
        ValueError: if an argument is unknown or the lengths differ, if no observed
            site follows the slice, or if a latent site does.
    """
    if names is None:
        return None
    names = (names,) if isinstance(names, str) else tuple(names)
    lengths = {name: _num_rows(name, model.argument(name)) for name in names}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            f"The arguments of `batch` differ in their number of rows: {lengths}. "
            "They are sliced together along axis 0; name only those that share it."
        )
    num_rows = lengths[names[0]]

    def one_more(leaf: Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((num_rows + 1, *leaf.shape[1:]), leaf.dtype)

    try:
        longer = _replace(model, names, one_more).structure()
    except (ValueError, TypeError) as error:
        error.add_note(
            f"The model does not follow a change of the number of rows of {names}. A "
            "plate of a fixed size is the usual cause: write "
            '`numpyro.plate("N", X.shape[0])`.'
        )
        raise
    moved = [s.name for s in sites if longer[s.name].shape != s.shape]
    local = [name for name in moved if sites[name].kind == "latent"]
    if local:
        raise ValueError(
            f"The latent site `{local[0]}` has one value for each row of {names}, so a "
            "mini-batch would drop its coordinates. Remove `batch`, or marginalise the "
            "local latent."
        )
    followers = tuple(n for n in moved if sites[n].kind in ("observed", "factor"))
    if not followers:
        raise ValueError(
            f"No observed site changes its shape with {names}, so there is no "
            "likelihood to scale. Name the arguments that hold the data rows; known "
            "arguments are " + ", ".join(f"`{n}`" for n in model.argument_names()) + "."
        )
    return Batch(names, followers, num_rows)


def take_rows(
    model: AbstractModel, batch: Batch, indices: Int[Array, " b"]
) -> AbstractModel:
    """Returns the model with only these rows of the batch arguments."""

    def take(leaf: Array) -> Array:
        return jnp.take(leaf, indices, axis=0)

    return _replace(model, batch.arguments, take)


def slice_rows(
    model: AbstractModel, batch: Batch, start: Int[Array, ""], size: int
) -> AbstractModel:
    """Returns the model with `size` consecutive rows, without a gather."""

    def cut(leaf: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(leaf, start, size)

    return _replace(model, batch.arguments, cut)


def _replace(
    model: AbstractModel, names: tuple[str, ...], change: Any
) -> AbstractModel:
    new = {name: jax.tree.map(change, model.argument(name)) for name in names}
    labels = model.argument_names()
    labels += ("",) * (len(model.args) - len(labels))
    args = (new.get(n, a) for n, a in zip(labels, model.args, strict=False))
    kwargs = {name: new.get(name, value) for name, value in model.kwargs.items()}
    return replace_fields(model, args=tuple(args), kwargs=kwargs)


def _num_rows(name: str, value: Any) -> int:
    leaves = jax.tree.leaves(value)
    if not leaves or not all(eqx.is_array(leaf) and leaf.ndim for leaf in leaves):
        raise ValueError(
            f"The argument `{name}` of `batch` is {value!r:.40}, which has no axis 0 "
            "to slice. Name arguments that hold one row for each datum."
        )
    return leaves[0].shape[0]
