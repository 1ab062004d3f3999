"""What the law of each datum says of it, draw by draw, as groups of a tree."""

import json
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import xarray as xr
from jaxtyping import Array, PyTree
from numpyro import handlers

from ..distributions import OrderedLink
from ..inference import Fit, ModelSpec
from ..inference._numpyro_model import NumPyroModel
from ..inference._site_messages import Message, is_data, unwrap
from ._cdf import cdf
from ._deviance import unit_deviance
from ._dims import variable_name

# Draws that are worked on together.
CHUNK = 64
# What is held out has groups of its own, as ArviZ names them.
HELD_OUT = "predictions_"
CATEGORICAL = (dist.CategoricalProbs, dist.CategoricalLogits, OrderedLink)


def with_laws(tree: xr.DataTree, model: ModelSpec | Fit) -> xr.DataTree:
    r"""Adds to a tree what the law of each datum says of it, for each draw.

    The groups are `conditional_cdf`, $P(Y \le y \mid \theta_s)$;
    `conditional_cdf_below`, $P(Y < y \mid \theta_s)$, where they differ;
    `conditional_mean`, `conditional_variance`; `conditional_probs` of categories; and
    `conditional_deviance`, the unit deviance, for laws of a GLM. With them, `gof` and
    `calibration` take means over laws instead of draws, and the tree needs no model.

    Args:
        tree: a tree with a posterior of this model, and its data.
        model: the model with the data of the tree; or with those held out,
            `spec.with_data(...)`, whose groups then begin with `predictions_`.

    Returns:
        A new tree. Its attribute `laws_missing` says what a law does not have, and why.

    Raises:
        ValueError: for a spec without NumPyro model, for data that are not the tree's,
            or a posterior that lacks a site.
    """
    spec = model.spec if isinstance(model, Fit) else model
    numpyro_model = spec.model
    if not isinstance(numpyro_model, NumPyroModel):
        raise ValueError(
            "`with_laws` reads the laws of the data off a NumPyro model, and this spec "
            "is a plain log density. Leave `model` out: predictive draws are used then."
        )
    draws = _read_draws(tree, spec)
    first = jax.tree.map(lambda leaf: leaf[0, 0], draws)
    missing: dict[str, str] = {}
    # An abstract pass, because a compiled one reports nothing.
    eqx.filter_eval_shape(lambda one: _evaluate(numpyro_model, one, missing), first)
    observed = {
        variable_name(n): np.asarray(y)
        for n, y in _observed(numpyro_model, first).items()
    }
    prefix = _split_of(tree, observed)
    data = tree[f"{prefix}observed_data"].to_dataset()
    new = tree.copy()
    found = _checked(_evaluate_all(numpyro_model, draws), missing)
    for quantity, arrays in found.items():
        extra = ["category"] if quantity == "probs" else []
        dataset = xr.Dataset(
            {
                site: (["chain", "draw", *data[site].dims, *extra], value)
                for site, value in arrays.items()
            }
        )
        for site in spec.sites:
            if variable_name(site.name) in dataset:
                dataset[variable_name(site.name)].attrs["event_dim"] = site.event_dim
        new[f"{prefix}conditional_{quantity}"] = xr.DataTree(dataset)
    known = json.loads(tree.attrs.get("laws_missing", "{}"))
    new.attrs["laws_missing"] = json.dumps(known | missing)
    return new


def _read_draws(tree: xr.DataTree, spec: ModelSpec) -> dict[str, PyTree[Array]]:
    """Reads the draws of each site, (chain, draw, ...), from the tree."""
    key = jax.random.key(0)
    template = eqx.filter_eval_shape(
        lambda: spec.constrain(spec.model.draw_start(key, strategy="uniform"))
    )
    group = tree["posterior"]

    def read(path: tuple[Any, ...], leaf: Any) -> Array:
        site = variable_name(path[0].key)
        name = site + jax.tree_util.keystr(path[1:])
        if name not in group:
            raise ValueError(
                f"The posterior of the tree has no `{name}`, which the model has. Give "
                "the model that the tree is a fit of."
            )
        value = np.asarray(group[name].transpose("chain", "draw", ...))
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(read, template)


def _split_of(tree: xr.DataTree, observed: dict[str, np.ndarray]) -> str:
    """Says which of the tree's data these are, by the prefix of their groups."""
    for prefix in ("", HELD_OUT):
        name = f"{prefix}observed_data"
        if name in tree.children and all(
            site in tree[name] and _is_same(np.asarray(tree[name][site]), value)
            for site, value in observed.items()
        ):
            return prefix
    raise ValueError(
        f"The data of the model ({', '.join(f'`{s}`' for s in observed)}) are neither "
        "`observed_data` nor `predictions_observed_data` of the tree. Give the spec of "
        "the fit, or `spec.with_data(...)` with the data held out."
    )


def _is_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether these are the same data, in whatever precision each is kept."""
    return one.shape == other.shape and np.allclose(
        one, other, rtol=1e-6, atol=0.0, equal_nan=True
    )


def _checked(
    found: dict[str, dict[str, Array]], missing: dict[str, str]
) -> dict[str, dict[str, np.ndarray]]:
    """Leaves out what is not finite, with a reason, and what says nothing new."""
    kept: dict[str, dict[str, np.ndarray]] = {}
    for quantity, arrays in found.items():
        for name, array in arrays.items():
            site, value = variable_name(name), np.asarray(array)
            is_bad = ~np.isfinite(value)
            if quantity.startswith("cdf"):
                # Entries behind a mask are NaN for every draw.
                is_bad &= ~np.isnan(value).all(axis=(0, 1))
            above = kept.get("cdf", {}).get(site)
            if is_bad.any():
                count = is_bad.any(axis=(0, 1)).sum()
                missing[f"{site}: {quantity}"] = (
                    f"it is not finite for {count} data, by the law of the model"
                )
            elif quantity != "cdf_below" or not (
                above is not None and np.array_equal(value, above, equal_nan=True)
            ):
                kept.setdefault(quantity, {})[site] = value
    return kept


@eqx.filter_jit
def _evaluate_all(
    model: NumPyroModel, draws: dict[str, PyTree[Array]]
) -> dict[str, dict[str, Array]]:
    shape = jax.tree.leaves(draws)[0].shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), draws)
    values = jax.lax.map(lambda one: _evaluate(model, one, {}), flat, batch_size=CHUNK)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), values)


@eqx.filter_jit
def _observed(model: NumPyroModel, values: dict[str, Any]) -> dict[str, Array]:
    return {n: jnp.asarray(s["value"]) for n, s in _data_sites(model, values).items()}


def _data_sites(model: NumPyroModel, values: dict[str, Any]) -> dict[str, Message]:
    placed = handlers.substitute(model.model, data=values)
    # A latent site that is not among the values would be drawn, and not looked at.
    seeded = handlers.seed(placed, jax.random.key(0))
    trace = handlers.trace(seeded).get_trace(*model.args, **model.kwargs)
    return {name: site for name, site in trace.items() if is_data(site)}


def _evaluate(
    model: NumPyroModel, values: dict[str, Any], missing: dict[str, str]
) -> dict[str, dict[str, Array]]:
    """Returns quantity -> site -> values at one draw; notes what is missing and why."""
    found: dict[str, dict[str, Array]] = {}
    for name, site in _data_sites(model, values).items():
        law, y = site["fn"], jnp.asarray(site["value"])
        shape = jnp.broadcast_shapes(y.shape, tuple(law.shape()))
        for quantity, compute in _quantities(law, y).items():
            try:
                value = compute()
            except NotImplementedError as error:
                reason = str(error) or f"`{type(law).__name__}` has none in NumPyro"
                missing[f"{variable_name(name)}: {quantity}"] = reason
                continue
            extra = value.shape[-1:] if quantity == "probs" else ()
            whole = jnp.broadcast_to(value, (*shape, *extra))
            found.setdefault(quantity, {})[name] = whole
    return found


def _quantities(law: Any, y: Array) -> dict[str, Callable[[], Array]]:
    """Returns what can be asked of a law; `cdf` comes before `cdf_below`."""
    functions = {"cdf": lambda: cdf(law, y).at, "cdf_below": lambda: cdf(law, y).below}
    inner = _innermost(law)
    if isinstance(inner, CATEGORICAL):
        return functions | {"probs": lambda: _probs(inner)}
    return functions | {
        "mean": lambda: jnp.asarray(law.mean),
        "variance": lambda: jnp.asarray(law.variance),
        "deviance": lambda: unit_deviance(law, y),
    }


def _innermost(law: Any) -> Any:
    base, _ = unwrap(law)
    while isinstance(base, dist.Independent):
        base, _ = unwrap(base.base_dist)
    return base


def _probs(law: Any) -> Array:
    return jnp.exp(law.log_probs()) if isinstance(law, OrderedLink) else law.probs
