"""From a `Fit` to an ArviZ tree with every group that ArviZ reads."""

import datetime
import functools
import json
from importlib.metadata import version
from typing import Any

import arviz_base
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Key

from .._checks import check_positive_int, nearest
from ..inference import Fit, ModelSpec
from ._dims import constant_dims, model_coords, row_dims, site_dims, variable_name
from ._moments import moments_group
from ._new_data import prediction_groups
from ._tree_groups import (
    Group,
    constant_group,
    drop_masked,
    log_prob_groups,
    observed_group,
    prior_groups,
    replicated_group,
    to_numpy,
)

# Replicated data sets for each point of an ensemble, so that its noise is seen too.
NUM_REPLICATES = 100
LIBRARIES = ("numpyro", "jax", "blackjax", "arviz-base")


def to_datatree(
    fit: Fit,
    *,
    posterior_predictive: bool = True,
    log_likelihood: bool = True,
    log_prior: bool = True,
    unconstrained: bool = False,
    num_prior_draws: int = 0,
    num_replicates: int | None = None,
    new_data: dict[str, Any] | None = None,
    key: Key[Array, ""] | None = None,
    coords: dict[str, Any] | None = None,
    dims: dict[str, list[str]] | None = None,
    pred_coords: dict[str, Any] | None = None,
) -> xr.DataTree:
    """Returns the fit as an ArviZ tree whose groups are physically (chain, draw).

    Members of an ensemble are chains of one draw. Their tree has no log likelihood
    group, so that LOO, which means nothing for them, cannot be taken by mistake, and
    `posterior_predictive` has several replicates for each member.

    A variable has the name of its site, with `.` for `/` (`net/bias` of a random
    module becomes `net.bias`): names with a slash are paths in a tree.

    Args:
        fit: the result of an engine.
        posterior_predictive: whether to draw replicated data.
        log_likelihood: whether to add log p of each datum (not for points); masked
            data are left out. It takes 8 bytes for each draw of each datum.
        log_prior: whether to add the log prior of each latent site, summed over its
            entries and with its scales (not for points).
        unconstrained: whether to add `unconstrained_posterior`.
        num_prior_draws: how many draws `prior` and `prior_predictive` get; 0: none.
        num_replicates: replicated data sets for each draw; by default 1 for draws and
            100 for points.
        new_data: arguments of the model at new data, as keywords of `fit.predict`;
            they add `predictions` and `predictions_constant_data`. If they bring data
            for observed sites too, `predictions_observed_data` and
            `predictions_log_likelihood` hold them and their log p: data held out.
        key: random key of the replicates; by default derived from the fit's key.
        coords: coordinates by dimension, as in ArviZ; beside those that the model
            brings as its attribute `coords`, as `glm.model` does.
        dims: dimension names by site; those of plates are found by themselves.
        pred_coords: coordinates of the rows of `new_data`; `coords` holds for their
            other dimensions.

    Returns:
        A tree with `posterior`, `sample_stats`, `posterior_predictive`,
        `predictive_moments`, `log_likelihood`, `log_prior`, `observed_data`,
        `constant_data`, what was asked for, and `warmup_posterior` and
        `warmup_sample_stats` if the fit kept its warm-up. The moments (for new data:
        `predictions_moments`) of a datum `y` are `y_mean`, `y_epistemic`, the variance
        of E[y | draw] over the draws, and `y_aleatoric`, the mean of Var[y | draw].

        The attributes say engine, kind (as `Fit.kind`), space (`constrained` where the
        density leaves the Jacobian out), the random key as `seed`, versions, log
        evidence and what the engine says of its own error.

    Raises:
        ValueError: for `new_data` of a spec without NumPyro model, and for `dims` of a
            variable that the tree does not have.
    """
    spec = fit.spec
    key = jax.random.fold_in(fit.key, 1) if key is None else key
    replicates = NUM_REPLICATES if fit.kind == "points" else 1
    replicates = replicates if num_replicates is None else num_replicates
    check_positive_int("to_datatree", "num_replicates", replicates)
    groups: dict[str, Group] = {
        "posterior": to_numpy(fit.draws),
        "sample_stats": to_numpy(fit.stats),
    }
    observed = observed_group(fit)
    if posterior_predictive and observed:
        groups["posterior_predictive"] = replicated_group(fit, key, replicates, None)
        moments = moments_group(fit, spec.model.args, spec.model.kwargs)
        groups |= {"predictive_moments": moments} if moments else {}
    groups |= _log_probs(fit, log_likelihood and bool(observed), log_prior)
    if unconstrained:
        by_site = jax.vmap(jax.vmap(spec.model.by_site))(fit.positions)
        groups["unconstrained_posterior"] = to_numpy(by_site)
    if num_prior_draws:
        prior_key = jax.random.fold_in(key, 1)
        groups |= prior_groups(spec, prior_key, num_prior_draws)
    if new_data is not None:
        new_key = jax.random.fold_in(key, 2)
        groups |= prediction_groups(fit, new_data, new_key, replicates)
    if fit.warmup is not None:
        groups["warmup_posterior"] = to_numpy(fit.warmup["draws"])
        groups["warmup_sample_stats"] = to_numpy(fit.warmup["stats"])
    constant = constant_group(spec.model.arguments(), observed, spec.sites)
    groups |= {"observed_data": observed} if observed else {}
    groups |= {"constant_data": constant} if constant else {}
    dims = _named_dims(spec, groups, dims or {})
    coords = model_coords(spec) | (coords or {})
    shared = {k: v for k, v in coords.items() if k not in row_dims(spec.sites, dims)}
    datasets = {
        name: _dataset(name, groups, dims, coords, shared | (pred_coords or {}))
        for name in groups
    }
    tree = xr.DataTree.from_dict(datasets)
    tree.attrs |= _attributes(fit)
    tree["posterior"].attrs |= dict(tree.attrs)
    return tree


def _named_dims(
    spec: ModelSpec, groups: dict[str, Group], given: dict[str, list[str]]
) -> dict[str, list[str]]:
    """Names the dimensions of sites and arguments, by plates and by what was given."""
    given = {variable_name(name): names for name, names in given.items()}
    known = {name for group in groups.values() for name in group}
    for name in given.keys() - known:
        raise ValueError(
            f"`to_datatree(dims=...)` names `{name}`, and the tree has no such "
            "variable; " + nearest(name, known)
        )
    constant = groups.get("constant_data", {})
    return site_dims(spec.sites) | constant_dims(spec.sites, constant) | given


def _log_probs(fit: Fit, likelihood: bool, prior: bool) -> dict[str, Group]:
    if fit.kind == "points" or not (likelihood or prior):
        return {}
    found = log_prob_groups(fit.spec, fit.positions, likelihood=likelihood, prior=prior)
    named = dict(zip(("log_likelihood", "log_prior"), found, strict=True))
    return {name: group for name, group in named.items() if group}


def _dataset(
    name: str,
    groups: dict[str, Group],
    dims: dict[str, list[str]],
    coords: dict[str, Any],
    pred_coords: dict[str, Any],
) -> xr.Dataset:
    group = groups[name]
    coords = pred_coords if name.startswith("predictions") else coords
    if name.endswith("log_likelihood"):
        group, kept = drop_masked(group)
        dims = dims | {n: [f"{n}_unmasked"] for n in kept}
        coords = coords | {f"{n}_unmasked": index for n, index in kept.items()}
    if name.endswith("moments"):
        # `y_mean` and the others have the dimensions of `y`.
        dims = dims | {
            n: dims[n.rpartition("_")[0]] for n in group if n.rpartition("_")[0] in dims
        }
    if name == "log_prior":
        dims = {}  # one number for each site
    if name == "unconstrained_posterior":
        # A simplex of three has two coordinates, which are not its entries.
        same = {n for n, x in groups["posterior"].items() if _same(x, group.get(n))}
        dims = {n: value for n, value in dims.items() if n in same} | {
            n: [f"{n}_unconstrained_dim_{axis}" for axis in range(x.ndim - 2)]
            for n, x in group.items()
            if n not in same
        }
    return arviz_base.dict_to_dataset(
        group,
        dims={**dims},
        coords=coords,
        sample_dims=[] if name.endswith(("data", "moments")) else ["chain", "draw"],
        # A log likelihood has fewer axes than a datum that is a vector.
        skip_event_dims=name.endswith("log_likelihood"),
        # More members than draws is what an ensemble is, so ArviZ's check is off.
        check_conventions=False,
    )


def _same(one: np.ndarray, other: np.ndarray | None) -> bool:
    return other is not None and one.shape == other.shape


def _attributes(fit: Fit) -> dict[str, Any]:
    from .. import __version__

    return {
        "inference_library": "numpyro_ext",
        "inference_library_version": __version__,
        **_versions(),
        "engine": type(fit.engine).__name__,
        "kind": fit.kind,
        "space": "unconstrained" if fit.jacobian else "constrained",
        "jacobian": int(fit.jacobian),
        "seed": json.dumps(jax.random.key_data(fit.key).tolist()),
        **({"sampling_time": fit.timing["total"]} if fit.timing else {}),
        "latent": json.dumps(_latent_variables(fit)),
        "status": json.dumps([status.code.name for status in fit.status]),
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        **_own_account(fit),
    }


def _latent_variables(fit: Fit) -> list[str]:
    latent = {name: fit.draws[name] for name in fit.spec.sites.coordinates}
    return list(to_numpy(latent))


@functools.cache
def _versions() -> dict[str, str]:
    return {f"{name.replace('-', '_')}_version": version(name) for name in LIBRARIES}


def _own_account(fit: Fit) -> dict[str, float]:
    """Returns the log evidence and the scalars among the diagnostics."""
    account = {
        **fit.diagnostics,
        "log_evidence": fit.log_evidence,
        "log_evidence_error": fit.log_evidence_error,
    }
    return {
        name: float(value)
        for name, value in account.items()
        if value is not None and jnp.ndim(value) == 0
    }
