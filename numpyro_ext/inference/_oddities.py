"""What is legal and most often a mistake: warned of by the preflight."""

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._checks import OWN_FRAMES

if TYPE_CHECKING:
    from ._model_spec import ModelSpec

# Larger ones would make a check slow.
MAX_COLUMNS = 200
MAX_HESSIAN = 500
# Curvature in units of the largest one that rounding can fake.
FLAT = 1e-8
# Share of a direction from which a site is named.
NOTICEABLE = 0.1


def warn_of_oddities(spec: "ModelSpec", position: PyTree[Array]) -> None:
    """Warns of data and priors that are seldom meant."""
    odd = [*_odd_data(spec, position), *_dependent_columns(spec)]
    if any(site.distribution == "ImproperUniform" for site in spec.sites):
        odd += _flat_directions(spec, position)
    for message in odd:
        warnings.warn(message, UserWarning, skip_file_prefixes=OWN_FRAMES)


def _odd_data(spec: "ModelSpec", position: PyTree[Array]) -> Iterator[str]:
    num_coordinates = sum(leaf.size for leaf in jax.tree.leaves(position))
    data = {
        name: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(value)])
        for name, value in spec.model.observed_data(position).items()
    }
    if sum(values.size for values in data.values()) == 1 and num_coordinates > 1:
        name = next(name for name, values in data.items() if values.size)
        yield (
            f"The site `{name}` has one value (n=1) for p={num_coordinates} "
            "coordinates, so the prior decides. A filter or a sum over the rows is "
            "the usual cause; look at the shapes of the arguments."
        )
    for name, values in data.items():
        if values.size > 1 and np.all(values == values[0]):
            yield (
                f"The data of site `{name}` have zero variance: all {values.size} "
                f"values are {values[0]:g}, and a scale would run to 0. A wrong column "
                "or a default that was never filled in is the usual cause."
            )


def _dependent_columns(spec: "ModelSpec") -> Iterator[str]:
    for name, value in spec.model.arguments().items():
        if not eqx.is_array(value):
            continue
        matrix = np.asarray(value)
        is_design = matrix.ndim == 2 and 2 <= matrix.shape[1] <= matrix.shape[0]
        if not is_design or matrix.shape[1] > MAX_COLUMNS:
            continue
        if not np.issubdtype(matrix.dtype, np.floating):
            continue
        rank, dependent = _rank(matrix)
        if dependent:
            columns = ", ".join(f"`{name}[:, {j}]`" for j in dependent)
            yield (
                f"The matrix `{name}` has rank {rank} and {matrix.shape[1]} columns: "
                f"{columns} follow from the columns before them. Duplicated columns, "
                "or dummies for every level beside an intercept, are the usual cause. "
                "Drop them, or let the prior share their effect."
            )


def _rank(matrix: np.ndarray) -> tuple[int, list[int]]:
    """Returns the rank, and the columns that the ones before them span."""
    norms = np.linalg.norm(matrix, axis=0)
    triangle = np.linalg.qr(matrix / np.where(norms > 0.0, norms, 1.0), mode="r")
    rounding = max(matrix.shape) * np.finfo(matrix.dtype).eps
    kept: list[int] = []
    dependent = []
    for j in range(matrix.shape[1]):
        column = triangle[:, j]
        if kept:
            basis = triangle[:, kept]
            column = column - basis @ np.linalg.lstsq(basis, column)[0]
        is_new = np.linalg.norm(column) > rounding
        (kept if is_new else dependent).append(j)
    return len(kept), dependent


def _flat_directions(spec: "ModelSpec", position: PyTree[Array]) -> Iterator[str]:
    flat, unravel = ravel_pytree(position)
    if flat.size > MAX_HESSIAN:
        return
    curvature, directions = np.linalg.eigh(np.asarray(_hessian(spec, position)))
    flattest = int(np.argmin(np.abs(curvature)))
    if not np.abs(curvature[flattest]) <= FLAT * np.abs(curvature).max():
        return
    names = [s.name for s in spec.sites if s.distribution == "ImproperUniform"]
    improper = ", ".join(f"`{name}`" for name in names)
    direction = unravel(jnp.abs(jnp.asarray(directions[:, flattest])))
    moved = ", ".join(
        f"`{name}`"
        for name, leaf in spec.model.by_site(direction).items()
        if max(float(jnp.max(x)) for x in jax.tree.leaves(leaf)) > NOTICEABLE
    )
    yield (
        f"No proper posterior detected at {moved}: the Hessian of the log density is "
        "singular there, so that the density may be unbounded or constant. The "
        f"improper priors of {improper} are the usual cause; give them a proper one, "
        "such as `dist.Normal(0, 10)`."
    )


@eqx.filter_jit
def _hessian(
    spec: "ModelSpec", position: PyTree[Array]
) -> Float[Array, "coordinates coordinates"]:
    flat, unravel = ravel_pytree(position)
    return jax.hessian(lambda z: spec.log_density(unravel(z)))(flat)
