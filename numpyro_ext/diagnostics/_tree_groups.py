"""The groups of a tree that are computed from a fit, each an array of (chain, draw)."""

import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._vectors import wide_vectors
from ..inference import Fit, ModelSpec
from ..inference._numpyro_model import NumPyroModel
from ._dims import variable_name

# Bytes of log likelihoods that are worked on at once, beside the result itself: they
# stay in a core's own cache.
CHUNK_BYTES = 2**18
MAX_CHUNK = 512

type Group = dict[str, np.ndarray]


def to_numpy(values: dict[str, Any]) -> Group:
    """Turns arrays into NumPy's; a pytree (the weights of a module) into its leaves."""
    named = {}
    for name, value in values.items():
        leaves = jax.tree_util.tree_leaves_with_path(value)
        for path, leaf in leaves:
            variable = variable_name(name) + jax.tree_util.keystr(path)
            named[variable] = np.asarray(leaf)
    return named


def observed_group(fit: Fit) -> Group:
    """Returns the data of the observed sites."""
    first = jax.tree.map(lambda leaf: leaf[0, 0], fit.positions)
    return to_numpy(_observed_data(fit.spec, first))


def constant_group(arguments: dict[str, Any], known: Group, sites: Any) -> Group:
    """Returns the array arguments that are not the data of an observed site."""
    return {
        name: np.asarray(value)
        for name, value in arguments.items()
        if eqx.is_array(value)
        and name not in sites
        and not any(np.array_equal(value, data) for data in known.values())
    }


def replicated_group(
    fit: Fit, key: Key[Array, ""], replicates: int, new_data: dict[str, Any] | None
) -> Group:
    """Draws the observed sites, `replicates` times for each draw."""
    draws = {name: fit.draws[name] for name in fit.spec.sites.coordinates}
    repeated = jax.tree.map(lambda x: jnp.repeat(x, replicates, axis=1), draws)
    drawn = to_numpy(fit.spec.predictive(key, repeated, **(new_data or {})))
    observed = {variable_name(name) for name in fit.spec.sites.names("observed")}
    return {name: drawn[name] for name in drawn if name in observed}


def log_prob_groups(
    spec: ModelSpec, positions: PyTree[Array], *, likelihood: bool, prior: bool
) -> tuple[Group, Group]:
    """Returns log p of each datum, and the log prior of each latent site.

    Both come from one program over all draws, a chunk of them at a time.
    """
    first = jax.tree.leaves(positions)[0]
    num_data = sum(
        math.prod(site.shape) for site in spec.sites if site.kind == "observed"
    )
    chunk = chunk_size(math.prod(first.shape[:2]), num_data * first.dtype.itemsize)
    found = _program()(spec, positions, likelihood, prior, chunk)
    return to_numpy(found[0]), to_numpy(found[1])


def chunk_size(num: int, num_bytes: int) -> int:
    """Returns how many draws are taken at once: what fits, and divides their number.

    The last, smaller chunk of a number that does not divide would cost a copy of the
    whole result.
    """
    most = max(1, min(MAX_CHUNK, CHUNK_BYTES // max(num_bytes, 1), num))
    divisor = next(size for size in range(most, 0, -1) if num % size == 0)
    return divisor if 4 * divisor >= most else most


def drop_masked(pointwise: Group) -> tuple[Group, Group]:
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


def prior_groups(spec: ModelSpec, key: Key[Array, ""], n: int) -> dict[str, Group]:
    """Draws `prior` and `prior_predictive`, one chain of `n`."""
    drawn = {k: v[None] for k, v in to_numpy(spec.prior_predictive(key, n)).items()}
    observed = [variable_name(name) for name in spec.sites.names("observed")]
    return {
        "prior": {k: v for k, v in drawn.items() if k not in observed},
        "prior_predictive": {k: v for k, v in drawn.items() if k in observed},
    }


def _is_prior(spec: ModelSpec) -> Callable[[str], bool]:
    """Returns whether a part of the log density belongs to the prior."""
    declared = spec.model.observed or () if isinstance(spec.model, NumPyroModel) else ()

    def judge(name: str) -> bool:
        if name not in spec.sites:  # the log prior of a plain function
            return True
        kind = spec.sites[name].kind
        is_model = isinstance(spec.model, NumPyroModel)
        return kind == "latent" or (
            kind == "factor" and is_model and name not in declared
        )

    return judge


@functools.cache
def _program() -> Callable[..., tuple[dict[str, Array], dict[str, Array]]]:
    # Its overloads leave out the options of `jax.jit` that it passes on.
    jitted: Any = eqx.filter_jit
    return jitted(_log_probs, compiler_options=wide_vectors())


def _log_probs(
    spec: ModelSpec,
    positions: PyTree[Array],
    likelihood: bool,
    prior: bool,
    chunk: int,
) -> tuple[dict[str, Array], dict[str, Array]]:
    is_prior = _is_prior(spec)

    def one(position: PyTree[Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        pointwise = spec.pointwise_log_likelihood(position) if likelihood else {}
        by_site = spec.model.site_log_probs(position) if prior else {}
        return pointwise, {n: v for n, v in by_site.items() if is_prior(n)}

    return over_draws(one, positions, chunk)


def over_draws(function: Callable[..., Any], draws: PyTree[Array], chunk: int) -> Any:
    """Maps a function over the (chain, draw) axes, `chunk` draws at a time."""
    shape = jax.tree.leaves(draws)[0].shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), draws)
    values = jax.lax.map(function, flat, batch_size=chunk)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), values)


@eqx.filter_jit
def _observed_data(spec: ModelSpec, position: PyTree[Array]) -> dict[str, Array]:
    return spec.model.observed_data(position)
