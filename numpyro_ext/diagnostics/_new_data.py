"""Groups of a tree for new data: predictions, and how they fared if data came in."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key, PyTree
from numpyro import handlers

from ..inference import Fit
from ..inference._data import as_leaves
from ..inference._numpyro_model import NumPyroModel
from ..inference._site_messages import Message, is_data, unmasked_log_prob
from ._moments import moments_group
from ._tree_groups import (
    Group,
    chunk_size,
    constant_group,
    over_draws,
    replicated_group,
    to_numpy,
)


def prediction_groups(
    fit: Fit, new_data: dict[str, Any], key: Key[Array, ""], replicates: int
) -> dict[str, Group]:
    """Returns the groups of new data by name, each only if it holds something."""
    model = fit.spec.model
    if not isinstance(model, NumPyroModel):
        raise ValueError(
            "`to_datatree(new_data=...)` draws from the law of the data, and a spec of "
            "a plain log density has none. Write the model with NumPyro primitives."
        )
    _, leaves = as_leaves(model.argument_names(), (), new_data)
    groups = {"predictions": replicated_group(fit, key, replicates, new_data)}
    draws = {name: fit.draws[name] for name in fit.spec.sites.coordinates}
    first = jax.tree.map(lambda leaf: leaf[0, 0], draws)
    observed = to_numpy(_held_out(model, first, leaves)[1])
    constant = constant_group(leaves, observed, fit.spec.sites)
    moments = moments_group(fit, (), leaves)
    if moments:
        groups["predictions_moments"] = moments
    if constant:
        groups["predictions_constant_data"] = constant
    if observed:
        shape = jax.tree.leaves(draws)[0].shape[:2]
        size = 8 * sum(value.size for value in observed.values())
        chunk = chunk_size(int(np.prod(shape)), size)
        pointwise = _held_out_log_likelihood(model, draws, leaves, chunk)
        groups["predictions_observed_data"] = observed
        groups["predictions_log_likelihood"] = to_numpy(pointwise)
    return groups


@eqx.filter_jit
def _held_out_log_likelihood(
    model: NumPyroModel,
    draws: dict[str, PyTree[Array]],
    new_data: dict[str, Any],
    chunk: int,
) -> dict[str, Array]:
    return over_draws(lambda one: _held_out(model, one, new_data)[0], draws, chunk)


@eqx.filter_jit
def _held_out(
    model: NumPyroModel, values: dict[str, PyTree[Array]], new_data: dict[str, Any]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Returns log p of the new data at one draw, and the data."""
    placed = handlers.substitute(model.model, data=values)
    # A site without new data is drawn, and not looked at.
    seeded = handlers.seed(placed, jax.random.key(0))
    trace: dict[str, Message] = handlers.trace(seeded).get_trace(**new_data)
    sites = {name: site for name, site in trace.items() if is_data(site)}
    return (
        {n: unmasked_log_prob(s["fn"], s["value"]) for n, s in sites.items()},
        {n: jax.numpy.asarray(s["value"]) for n, s in sites.items()},
    )
