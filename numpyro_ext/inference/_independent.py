"""How an engine whose draws are independent of each other ends its run."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from .._compat import smooth_weights
from ._constrain import CHUNK, constrain_draws
from ._engine import AbstractEngine
from ._fit import Fit
from ._model_spec import ModelSpec
from ._status import MemberStatus

# As in the importance sampling literature: above it, weights have no usable variance.
MAX_PARETO_K = 0.7
# Log ratios that differ by less than so many units of rounding are equal.
ROUNDING = 64.0


class Weighed(NamedTuple):
    """Draws of an approximation, weighed against the posterior.

    Attributes:
        log_weights: Pareto-smoothed and normalised over all draws, as `log_ratios`.
        pareto_k: shape of the tail of the weights; above 0.7 the approximation is far
            from the posterior; 0 where all weights are equal but for rounding, NaN
            where no draw is finite.
        log_evidence: log of the mean weight.
    """

    log_weights: Float[Array, "..."]
    pareto_k: Float[Array, ""]
    log_evidence: Float[Array, ""]


@jax.jit
def weigh(log_ratios: Float[Array, "..."]) -> Weighed:
    """Smooths log p - log q of independent draws of q; a draw with NaN weighs nothing.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), JMLR 25, 1-58.
    """
    flat = log_ratios.reshape(-1)
    is_finite = jnp.isfinite(flat)
    safe = jnp.where(is_finite, flat, -jnp.inf)
    log_weights, pareto_k = smooth_weights(safe)
    log_evidence = jax.nn.logsumexp(safe) - jnp.log(flat.size)
    # A tail that is nothing but rounding has no shape.
    rounding = ROUNDING * jnp.finfo(flat.dtype).eps
    rounding *= jnp.maximum(jnp.abs(log_evidence), 1.0)
    lowest = jnp.min(jnp.where(is_finite, flat, jnp.inf))
    is_exact = jnp.max(safe) - lowest <= rounding
    pareto_k = jnp.where(is_exact, 0.0, pareto_k)
    return Weighed(
        log_weights.reshape(log_ratios.shape),
        jnp.where(jnp.any(is_finite), pareto_k, jnp.nan),
        log_evidence,
    )


@jax.jit
def sd_ratio(
    positions: PyTree[Array], log_weights: Float[Array, "chain draw"]
) -> Float[Array, ""]:
    """Returns the sd of draws over their sd by weights, where it is furthest from 1.

    The weights say how wide the posterior is in each unconstrained coordinate, to a
    few percent where the draws are near it, and on which side the draws err even where
    their tails are too light to say by how much. Coordinates that are the same in all
    draws are left out, and draws with a weight of -inf; NaN where nothing is left.

    Args:
        positions: the draws, each leaf (chain, draw, ...).
        log_weights: as `weigh` gives them.
    """
    # A weight that underflows is one of a draw far out, which counts.
    is_used = jnp.isfinite(log_weights).reshape(-1, 1)
    weights = jnp.exp(log_weights).reshape(-1, 1)
    leaves = jax.tree.leaves(positions)
    draws = [leaf.reshape(is_used.size, -1) for leaf in leaves]
    values = jnp.where(is_used, jnp.concatenate(draws, axis=1), 0.0)

    def variance(shares: Float[Array, "draws 1"]) -> Float[Array, " n"]:
        shares /= jnp.sum(shares)
        mean = jnp.sum(shares * values, axis=0)
        return jnp.sum(shares * jnp.square(values - mean), axis=0)

    lowest = jnp.min(values, axis=0, where=is_used, initial=jnp.inf)
    highest = jnp.max(values, axis=0, where=is_used, initial=-jnp.inf)
    is_moving = highest > lowest
    logs = jnp.log(variance(is_used.astype(weights.dtype)) / variance(weights))
    sizes = jnp.where(is_moving, jnp.abs(logs), -1.0)
    furthest = jnp.exp(0.5 * logs[jnp.argmax(sizes)])
    return jnp.where(jnp.any(is_moving), furthest, jnp.nan)


@eqx.filter_jit
def log_densities(
    spec: ModelSpec, positions: PyTree[Array]
) -> Float[Array, "chain draw"]:
    """Returns the log density, Jacobian included, at each of (chain, draw, ...)."""
    num_chains, num_draws = jax.tree.leaves(positions)[0].shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), positions)
    values = jax.lax.map(spec.log_density, flat, batch_size=CHUNK)
    return values.reshape(num_chains, num_draws)


def independent_fit(
    engine: AbstractEngine,
    spec: ModelSpec,
    key: Key[Array, ""],
    positions: PyTree[Array],
    status: tuple[MemberStatus, ...],
    *,
    log_density: Float[Array, "chain draw"] | None = None,
    stats: dict[str, Array] | None = None,
    **fields: Any,
) -> Fit:
    """Makes the `Fit` of draws that are independent of each other.

    Args:
        engine: the engine with its settings.
        spec: the model with its data.
        key: the key of the run.
        positions: the draws, each leaf (chain, draw, ...).
        status: how each chain ended.
        log_density: the log density at the draws, if it is known already.
        stats: further statistics (chain, draw), beside `lp`.
        **fields: fields of `Fit` that the engine has, such as `log_evidence`.
    """
    lp = log_densities(spec, positions) if log_density is None else log_density
    return Fit(
        engine=engine,
        spec=spec,
        key=key,
        kind="independent",
        jacobian=True,
        positions=positions,
        draws=constrain_draws(spec, positions),
        stats={"lp": lp} | (stats or {}),
        status=status,
        **fields,
    )
