"""Names of dimensions: plates where there are plates, ArviZ's defaults elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..inference import ModelSpec, Site, Sites


def site_dims(sites: Sites) -> dict[str, list[str]]:
    """Names the batch axes of each site by its plates.

    An axis whose length is not the plate's (a broadcast one) keeps ArviZ's default
    name, and so do event axes. A plate with the name of a site gets `_dim` appended,
    because a dimension and a variable cannot share a name.
    """
    return {variable_name(s.name): _axes(s, sites) for s in sites if s.plates}


def model_coords(spec: ModelSpec) -> dict[str, list[Any]]:
    """Returns the coordinates that a model brings: its attribute `coords`, if any.

    A model of `glm.model` names its coefficients there.
    """
    return dict(getattr(getattr(spec.model, "model", None), "coords", {}))


def entry_names(
    variable: str,
    shape: tuple[int, ...],
    dims: Sequence[str],
    coords: Mapping[str, Sequence[Any]],
) -> list[str]:
    """Names the entries of a variable by their coordinates, as `beta[x, 0]`."""
    axes = [list(map(str, range(size))) for size in shape]
    for axis, dim in enumerate(dims[: len(shape)]):
        if len(coords.get(dim, ())) == shape[axis]:
            axes[axis] = list(map(str, coords[dim]))
    places = np.ndindex(shape)
    named = [[axes[axis][i] for axis, i in enumerate(place)] for place in places]
    return [f"{variable}[{', '.join(entry)}]" if entry else variable for entry in named]


def variable_name(site: str) -> str:
    """Returns the name of a site in a tree, where a slash would be a path."""
    return site.replace("/", ".")


def constant_dims(
    sites: Sites, constant: dict[str, np.ndarray]
) -> dict[str, list[str]]:
    """Names axis 0 of a covariate by the one plate of data that has its length."""
    plates = {
        (name, size)
        for site in sites
        if site.kind == "observed"
        for name, size, _ in site.plates
    }
    dims = {}
    for name, value in constant.items():
        fitting = [plate for plate, size in plates if value.shape[:1] == (size,)]
        if len(fitting) == 1:
            rest = [f"{name}_dim_{axis}" for axis in range(1, value.ndim)]
            dims[name] = [_plate_dim(fitting[0], sites), *rest]
    return dims


def row_dims(sites: Sites, dims: dict[str, list[str]]) -> set[str]:
    """Names the dimensions of the data, whose length new data may change."""
    observed = [variable_name(name) for name in sites.names("observed")]
    return {dim for name in observed for dim in dims.get(name, [])}


def _axes(site: Site, sites: Sites) -> list[str]:
    num_axes = len(site.shape)
    axes = [f"{variable_name(site.name)}_dim_{axis}" for axis in range(num_axes)]
    for name, size, dim in site.plates:
        axis = num_axes - site.event_dim + dim
        if 0 <= axis < num_axes and site.shape[axis] == size:
            axes[axis] = _plate_dim(name, sites)
    return axes


def _plate_dim(name: str, sites: Sites) -> str:
    is_taken = name in sites or name in ("chain", "draw")
    return variable_name(f"{name}_dim" if is_taken else name)
