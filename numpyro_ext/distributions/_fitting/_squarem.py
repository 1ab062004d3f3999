"""The extrapolation of two steps of EM."""

import jax
import jax.numpy as jnp
from jax import Array

from ._density import Params
from ._m_step import tril_of_factor

# The longest extrapolation, in steps of EM.
LONGEST = 1024.0


def extrapolate(history: Params, last: Params) -> tuple[Params, Array]:
    """The extrapolation of Varadhan and Roland (2008), Scand. J. Statist. 35.

    `history` holds the two points before the last. Returns its length as well.
    """
    first = _to_vector(jax.tree.map(lambda y: y[0], history))
    second = _to_vector(jax.tree.map(lambda y: y[1], history))
    third = _to_vector(last)
    step = jax.tree.map(jnp.subtract, second, first)
    bend = jax.tree.map(lambda a, b, s: a - b - s, third, second, step)
    length = jnp.sqrt(_dot(step, step) / jnp.maximum(_dot(bend, bend), 1e-300))
    length = jnp.clip(jnp.where(jnp.isfinite(length), length, 1.0), 1.0, LONGEST)
    out = jax.tree.map(
        lambda a, s, b: a + 2.0 * length * s + length * length * b, first, step, bend
    )
    return _from_vector(out), length


def _to_vector(params: Params) -> Params:
    """Coordinates without bounds: logs of what is positive."""
    diagonal = jnp.diagonal(params.tril)
    tril = params.tril + jnp.diag(jnp.log(diagonal) - diagonal)
    return params._replace(tril=tril, diag=jnp.log(params.diag))


def _from_vector(params: Params) -> Params:
    diagonal = jnp.diagonal(params.tril)
    tril = params.tril + jnp.diag(jnp.exp(diagonal) - diagonal)
    params = params._replace(tril=tril, diag=jnp.exp(params.diag))
    if params.factor.shape[1] == 0:
        return params
    return params._replace(tril=tril_of_factor(params.factor, params.diag))


def _dot(one: Params, other: Params) -> Array:
    pairs = zip(one, other, strict=True)
    return sum((jnp.sum(y * z) for y, z in pairs), jnp.zeros(()))
