"""The scale of each coordinate under the prior: the unit of a first step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from ._model_spec import ModelSpec
from ._numpyro_model import NumPyroModel

NUM_PAIRS = 64
# exp(E log|x - x'|) for two standard normal draws: exp(-gamma / 2) with Euler's gamma.
NORMAL_DISTANCE = 0.7493


def prior_widths(spec: ModelSpec, key: Key[Array, ""]) -> PyTree[Array]:
    """Returns the width of the prior of each unconstrained coordinate.

    It is the geometric mean of the distance of two draws, in units where it is the
    standard deviation of a normal prior; it is finite for Cauchy ones. It is 1 where
    there is no prior: for params and for specs of a plain function.
    """
    keys = jax.random.split(key, 2 * NUM_PAIRS)

    def draw(key: Key[Array, ""]) -> PyTree[Array]:
        return spec.model.draw_start(key, strategy="prior")

    def width(draws: Array) -> Array:
        distance = jnp.abs(draws[:NUM_PAIRS] - draws[NUM_PAIRS:])
        mean = jnp.exp(jnp.mean(jnp.log(distance), axis=0)) / NORMAL_DISTANCE
        is_width = (mean > 0) & jnp.isfinite(mean)
        return jnp.where(is_width, mean, 1.0).astype(draws.dtype)

    if not isinstance(spec.model, NumPyroModel):
        shapes = jax.eval_shape(draw, key)
        return jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes)
    return jax.tree.map(width, jax.vmap(draw)(keys))
