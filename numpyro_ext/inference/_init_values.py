"""Starts that the user gives: values by site, or an earlier fit."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._checks import nearest
from ._function_model import FunctionModel
from ._model_spec import ModelSpec

if TYPE_CHECKING:
    pass

# A `Fit`, values by site, what `glm.fit` returned, or the parameters of a
# `from_log_density` spec.
type InitLike = PyTree | None


def starting_positions(
    engine: eqx.Module,
    spec: ModelSpec,
    key: Key[Array, ""],
    init: InitLike,
    n: int,
) -> PyTree[Array]:
    """Returns `n` starting positions: drawn from the prior, or as `init` says.

    Raises:
        InitializationError: if no start has a finite log density and gradient.
        ValueError: naming the site, if `init` does not fit.
    """
    if init is None:
        return spec.init(jax.random.fold_in(key, 0), n)
    return given_positions(type(engine).__name__, spec, init, n)


def given_positions(
    owner: str, spec: ModelSpec, init: InitLike, n: int
) -> PyTree[Array]:
    """Returns `n` starting positions from values by site or from a fit.

    A fit is a `Fit`, or any object whose method `site_values` gives values by site.

    Raises:
        ValueError: naming the site, if it is unknown, missing, of the wrong shape, or
            if its value lies outside the support.
    """
    from ._fit import Fit

    if isinstance(init, Fit):
        return init.starts(n)
    if isinstance(spec.model, FunctionModel):
        return _broadcast_params(spec, init, n)
    site_values = getattr(init, "site_values", None)
    if site_values is not None:
        # A fit of another kind, such as `glm.fit`, that knows the names of sites.
        known = spec.sites.coordinates
        init = {name: v for name, v in site_values().items() if name in known}
    values = _broadcast_values(owner, spec, init, n)
    _check_support(spec, values)
    return _unconstrain(spec, values)


def _broadcast_values(
    owner: str, spec: ModelSpec, init: Any, n: int
) -> dict[str, Array]:
    known = spec.sites.coordinates
    if not isinstance(init, dict):
        raise TypeError(
            f"`{owner}.run(init=...)` takes a dictionary of values by site, a "
            f"`Fit`, or what `glm.fit` returned, and got {type(init).__name__}."
        )
    for name in init:
        if name not in known:
            raise ValueError(
                f"`init` names `{name}`, which is no latent site; "
                + nearest(name, known)
            )
    missing = [name for name in known if name not in init]
    if missing:
        raise ValueError(
            f"`init` lacks the sites {missing}. Give a value for each of "
            f"{list(known)}, or leave `init` out."
        )
    values = {}
    for name in known:
        shape = spec.sites[name].shape
        if spec.sites[name].kind == "param" and not eqx.is_array_like(init[name]):
            values[name] = jax.tree.map(lambda x: jnp.stack([x] * n), init[name])
            continue
        value = jnp.asarray(init[name], dtype=jnp.result_type(float))
        if value.shape == shape:
            value = jnp.broadcast_to(value, (n, *shape))
        if value.shape != (n, *shape):
            raise ValueError(
                f"`init` has shape {value.shape} at site `{name}`, which needs {shape} "
                f"for all members or {(n, *shape)} for one value each."
            )
        values[name] = value
    return values


def _broadcast_params(spec: ModelSpec, init: PyTree, n: int) -> PyTree[Array]:
    position = spec.unconstrain(init)
    prototype = jax.eval_shape(
        lambda: spec.model.draw_start(jax.random.key(0), strategy="")
    )

    def fit(leaf: Array, like: jax.ShapeDtypeStruct) -> Array:
        if leaf.shape == like.shape:
            return jnp.broadcast_to(leaf, (n, *leaf.shape))
        if leaf.shape == (n, *like.shape):
            return leaf
        raise ValueError(
            f"`init` has a leaf of shape {leaf.shape} where the parameters have "
            f"{like.shape}; give that shape, or {(n, *like.shape)}."
        )

    return jax.tree.map(fit, position, prototype)


def _check_support(spec: ModelSpec, values: dict[str, Array]) -> None:
    for name, mark in _support_violations(spec, values).items():
        mask = np.asarray(mark)
        if mask.any():
            site = spec.sites[name]
            value = np.asarray(values[name])[np.argwhere(mask)[0][0]]
            raise ValueError(
                f"`init` gives {value} at site `{name}`, which lies outside its "
                f"support ({site.support}). Give a value inside it."
            )


@eqx.filter_jit
def _support_violations(spec: ModelSpec, values: dict[str, Array]) -> dict[str, Array]:
    return jax.vmap(spec.model.support_violations)(values)


@eqx.filter_jit
def _unconstrain(spec: ModelSpec, values: dict[str, Array]) -> PyTree[Array]:
    return jax.vmap(spec.unconstrain)(values)
