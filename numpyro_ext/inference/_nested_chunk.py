"""A stretch of nested slice sampling as one compiled program."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .._compat import NestedSlices, nested_slices
from ._model_spec import ModelSpec
from ._population import covariance, population_parts


class NestedSettings(NamedTuple):
    """What is compiled into the program."""

    num_inner_steps: int
    num_delete: int
    num_steps: int


class Points(NamedTuple):
    """Points of a nested run, live or dead.

    Attributes:
        positions: flat unconstrained points.
        log_prior: log prior and log |Jacobian|.
        log_likelihood: -inf where it is NaN.
        log_likelihood_birth: the contour that the point was drawn above; NaN for draws
            of the whole prior.
    """

    positions: Float[Array, "n dim"]
    log_prior: Float[Array, " n"]
    log_likelihood: Float[Array, " n"]
    log_likelihood_birth: Float[Array, " n"]


class NestedChunk(NamedTuple):
    """What a stretch of steps left.

    Attributes:
        dead: the points that were replaced, in the order of their likelihood.
        start_rank: of the survivor that each new point began at, how many others lie
            below it.
        rank: of each new point, how many survivors lie below it.
        num_ties: of each new point, how many survivors are as high.
        num_survivors: of the step of each new point.
        num_evaluations: of the model, in all steps together.
    """

    dead: Points
    start_rank: Int[Array, " n"]
    rank: Int[Array, " n"]
    num_ties: Int[Array, " n"]
    num_survivors: Int[Array, " n"]
    num_evaluations: Int[Array, ""]


@eqx.filter_jit
def first_live(
    spec: ModelSpec, positions: Float[Array, "n dim"], settings: NestedSettings
) -> Any:
    """Returns BlackJAX's state of live points."""
    return _sampler(spec, settings).init(positions)


@eqx.filter_jit
def run_nested_chunk(
    spec: ModelSpec, key: Key[Array, ""], state: Any, settings: NestedSettings
) -> tuple[Any, NestedChunk]:
    """Replaces the worst live points, `num_steps` times."""
    sampler = _sampler(spec, settings)

    def one(state: Any, key: Key[Array, ""]) -> tuple[Any, NestedChunk]:
        before = state.particles.loglikelihood
        after, info = sampler.step(key, state)
        dead = Points(*info.particles)
        contour = jnp.max(dead.log_likelihood)
        is_survivor = before > contour
        # New points stand where the dead ones stood.
        _, place = jax.lax.top_k(-before, settings.num_delete)
        new = after.particles.loglikelihood[place]
        index, slices = info.update_info

        def count_below(values: Float[Array, " k"]) -> Int[Array, " k"]:
            return jnp.sum(is_survivor & (before < values[:, None]), axis=1)

        rank = count_below(new)
        num_ties = jnp.sum(is_survivor & (before == new[:, None]), axis=1)
        num_survivors = jnp.full(rank.shape, jnp.sum(is_survivor), rank.dtype)
        # Each slice tests both ends of its interval once more than it widens it.
        evaluations = slices.num_expansions + slices.num_shrink + 2
        total = jnp.sum(evaluations)
        start_rank = count_below(before[index])
        return after, NestedChunk(
            dead, start_rank, rank, num_ties, num_survivors, total
        )

    keys = jax.random.split(key, settings.num_steps)
    state, chunk = jax.lax.scan(one, state, keys)
    flat = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]), chunk._replace(num_evaluations=None)
    )
    return state, flat._replace(num_evaluations=jnp.sum(chunk.num_evaluations))


def _sampler(spec: ModelSpec, settings: NestedSettings) -> NestedSlices:
    def log_parts(position: Float[Array, " dim"]) -> tuple[Array, Array]:
        log_prior, log_likelihood = population_parts(spec, position)
        is_bad = jnp.isnan(log_likelihood) | ~jnp.isfinite(log_prior)
        return (
            jnp.where(jnp.isnan(log_prior), -jnp.inf, log_prior),
            jnp.where(is_bad, -jnp.inf, log_likelihood),
        )

    def factor(positions: Float[Array, "n dim"]) -> Float[Array, "dim dim"]:
        matrix = covariance(positions, is_used=jnp.ones(len(positions), bool))
        if matrix.ndim == 1:
            return jnp.diag(jnp.sqrt(matrix))
        return jnp.linalg.cholesky(matrix)

    return nested_slices(
        log_parts,
        factor,
        num_inner_steps=settings.num_inner_steps,
        num_delete=settings.num_delete,
    )
