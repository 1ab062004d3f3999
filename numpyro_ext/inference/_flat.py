"""Positions as flat vectors."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ._model_spec import ModelSpec


def unravel_position(spec: ModelSpec) -> Callable[[Float[Array, " n"]], PyTree[Array]]:
    """Returns the inverse of `ravel_pytree` for the positions of a spec."""
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), position_shapes(spec))
    return ravel_pytree(zeros)[1]


def position_shapes(spec: ModelSpec) -> PyTree[jax.ShapeDtypeStruct]:
    """Returns shapes and types of a position."""
    return jax.eval_shape(
        lambda: spec.model.draw_start(jax.random.key(0), strategy="uniform")
    )


def num_coordinates(spec: ModelSpec) -> int:
    """Returns the length of a flat position."""
    shapes = [site.unconstrained_shape for site in spec.sites if site.kind == "latent"]
    return sum(math.prod(shape) for shape in shapes)
