"""From a `Fit` to an ArviZ tree with every group that ArviZ reads."""

import datetime
import json
from typing import Any

import arviz_base
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Key, PyTree

from .._checks import check_positive_int
from ..inference import Fit, ModelSpec
from ._dims import constant_dims, model_coords, site_dims, variable_name

# Points whose log likelihood is taken at once; bounds memory at this many data copies.
LOG_LIKELIHOOD_CHUNK = 128
# Replicated data sets for each point of an ensemble, so that its noise is seen too.
NUM_REPLICATES = 100


def to_datatree(
    fit: Fit,
    *,
    posterior_predictive: bool = True,
    log_likelihood: bool = True,
    num_prior_draws: int = 0,
    num_replicates: int | None = None,
    key: Key[Array, ""] | None = None,
    coords: dict[str, Any] | None = None,
    dims: dict[str, list[str]] | None = None,
) -> xr.DataTree:
    """Returns the fit as an ArviZ tree whose groups are physically (chain, draw).

    Members of an ensemble are chains of one draw. Their tree has no `log_likelihood`
    group, so that LOO, which means nothing for them, cannot be taken by mistake, and
    `posterior_predictive` has several replicates for each member.

    A variable has the name of its site, with `.` for `/` (`net/bias` of a random
    module becomes `net.bias`): names with a slash are paths in a tree.

    Args:
        fit: the result of an engine.
        posterior_predictive: whether to draw replicated data.
        log_likelihood: whether to add log p of each datum (not for points); masked
            data are left out.
        num_prior_draws: how many draws `prior` and `prior_predictive` get; 0: none.
        num_replicates: replicated data sets for each draw; by default 1 for draws and
            100 for points.
        key: random key of the replicates; by default derived from the fit's key.
        coords: coordinates by dimension, as in ArviZ; beside those that the model
            brings as its attribute `coords`, as `glm.model` does.
        dims: dimension names by site; those of plates are found by themselves.

    Returns:
        A tree with `posterior`, `sample_stats`, `posterior_predictive`,
        `log_likelihood`, `observed_data`, `constant_data`, and `warmup_posterior`
        and `warmup_sample_stats` if the fit kept its warm-up. The attributes say
        engine, kind (as `Fit.kind`), space, version, log evidence and what the engine
        says of its own error.
    """
    spec = fit.spec
    key = jax.random.fold_in(fit.key, 1) if key is None else key
    groups: dict[str, dict[str, np.ndarray]] = {
        "posterior": to_numpy(fit.draws),
        "sample_stats": to_numpy(fit.stats),
    }
    observed = to_numpy(_observed_data(spec, _first_position(fit)))
    if posterior_predictive and observed:
        replicates = num_replicates or (NUM_REPLICATES if fit.kind == "points" else 1)
        check_positive_int("to_datatree", "num_replicates", replicates)
        groups["posterior_predictive"] = _replicate(fit, key, replicates, observed)
    dropped: dict[str, np.ndarray] = {}
    if log_likelihood and fit.kind != "points" and observed:
        pointwise = to_numpy(_pointwise(spec, fit.positions))
        groups["log_likelihood"], dropped = _drop_masked(pointwise)
    if num_prior_draws:
        groups |= _prior_groups(spec, jax.random.fold_in(key, 1), num_prior_draws)
    if fit.warmup is not None:
        groups["warmup_posterior"] = to_numpy(fit.warmup["draws"])
        groups["warmup_sample_stats"] = to_numpy(fit.warmup["stats"])
    if observed:
        groups["observed_data"] = observed
    constant = _constant_data(spec, observed)
    if constant:
        groups["constant_data"] = constant
    dims = site_dims(spec.sites) | constant_dims(spec.sites, constant) | (dims or {})
    coords = model_coords(spec) | (coords or {})
    return _build(fit, groups, dims, coords, dropped)


def _build(
    fit: Fit,
    groups: dict[str, dict[str, np.ndarray]],
    dims: dict[str, list[str]],
    coords: dict[str, Any],
    dropped: dict[str, np.ndarray],
) -> xr.DataTree:
    log_likelihood = groups.pop("log_likelihood", None)
    # More members than draws is what an ensemble is, so ArviZ's check is off.
    tree = arviz_base.from_dict(
        groups, dims=dims, coords=coords, save_warmup=True, check_conventions=False
    )
    if log_likelihood is not None:
        own = {f"{n}_unmasked": index for n, index in dropped.items()}
        tree["log_likelihood"] = arviz_base.from_dict(
            {"log_likelihood": log_likelihood},
            dims=dims | {n: [f"{n}_unmasked"] for n in dropped},
            coords=coords | own,
            check_conventions=False,
        )["log_likelihood"]
    from .. import __version__

    tree.attrs |= {
        "inference_library": "numpyro_ext",
        "inference_library_version": __version__,
        "engine": type(fit.engine).__name__,
        "kind": fit.kind,
        "jacobian": int(fit.jacobian),
        "status": json.dumps([status.code.name for status in fit.status]),
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
    }
    tree.attrs |= _own_account(fit)
    tree["posterior"].attrs |= dict(tree.attrs)
    return tree


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


def to_numpy(values: dict[str, Any]) -> dict[str, np.ndarray]:
    """Turns arrays into NumPy's; a pytree (the weights of a module) into its leaves."""
    named = {}
    for name, value in values.items():
        leaves = jax.tree_util.tree_leaves_with_path(value)
        for path, leaf in leaves:
            variable = variable_name(name) + jax.tree_util.keystr(path)
            named[variable] = np.asarray(leaf)
    return named


def _first_position(fit: Fit) -> PyTree[Array]:
    return jax.tree.map(lambda leaf: leaf[0, 0], fit.positions)


def _replicate(
    fit: Fit, key: Key[Array, ""], replicates: int, observed: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    draws = {name: fit.draws[name] for name in fit.spec.sites.coordinates}
    repeated = jax.tree.map(lambda x: jnp.repeat(x, replicates, axis=1), draws)
    drawn = fit.spec.predictive(key, repeated)
    named = to_numpy(drawn)
    return {name: named[name] for name in named if name in observed}


def _drop_masked(
    pointwise: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Keeps the unmasked data; returns their flat indices where some are masked."""
    kept, indices = {}, {}
    for name, values in pointwise.items():
        flat = values.reshape(*values.shape[:2], -1)
        masked = np.isnan(flat).all(axis=(0, 1))
        if masked.any() and not masked.all():
            indices[name] = np.flatnonzero(~masked)
            values = flat[:, :, ~masked]
        kept[name] = values
    return kept, indices


def _prior_groups(
    spec: ModelSpec, key: Key[Array, ""], n: int
) -> dict[str, dict[str, np.ndarray]]:
    drawn = {k: v[None] for k, v in to_numpy(spec.prior_predictive(key, n)).items()}
    observed = [variable_name(name) for name in spec.sites.names("observed")]
    return {
        "prior": {k: v for k, v in drawn.items() if k not in observed},
        "prior_predictive": {k: v for k, v in drawn.items() if k in observed},
    }


def _constant_data(
    spec: ModelSpec, observed: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the array arguments that are not the data of an observed site."""
    return {
        name: np.asarray(value)
        for name, value in spec.model.arguments().items()
        if eqx.is_array(value)
        and name not in spec.sites
        and not any(np.array_equal(value, data) for data in observed.values())
    }


@eqx.filter_jit
def _pointwise(spec: ModelSpec, positions: PyTree[Array]) -> dict[str, Array]:
    num_chains, num_draws = jax.tree.leaves(positions)[0].shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), positions)
    values = jax.lax.map(
        spec.pointwise_log_likelihood, flat, batch_size=LOG_LIKELIHOOD_CHUNK
    )
    return jax.tree.map(
        lambda x: x.reshape(num_chains, num_draws, *x.shape[1:]), values
    )


@eqx.filter_jit
def _observed_data(spec: ModelSpec, position: PyTree[Array]) -> dict[str, Array]:
    return spec.model.observed_data(position)
