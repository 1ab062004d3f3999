"""Positions as flat vectors."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ._model_spec import ModelSpec


def unravel_position(spec: ModelSpec) -> Callable[[Float[Array, " n"]], PyTree[Array]]:
    """Returns the inverse of `ravel_pytree` for the positions of a spec."""
    shapes = jax.eval_shape(
        lambda: spec.model.draw_start(jax.random.key(0), strategy="uniform")
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return ravel_pytree(zeros)[1]
