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

    def draw(key: Key[Array, ""]) -> PyTree[Array]:
        return spec.model.draw_start(key, strategy="prior")

    shapes = jax.eval_shape(draw, key)
    if not isinstance(spec.model, NumPyroModel):
        return jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes)

    # One pair after another: all at once would be the largest array of a training.
    def add(total: PyTree[Array], key: Key[Array, ""]) -> tuple[PyTree[Array], None]:
        one, other = (draw(k) for k in jax.random.split(key))
        distance = jax.tree.map(lambda a, b: jnp.log(jnp.abs(a - b)), one, other)
        return jax.tree.map(jnp.add, total, distance), None

    def width(total: Array) -> Array:
        mean = jnp.exp(total / NUM_PAIRS) / NORMAL_DISTANCE
        return jnp.where((mean > 0) & jnp.isfinite(mean), mean, 1.0)

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = jax.lax.scan(add, nothing, jax.random.split(key, NUM_PAIRS))
    return jax.tree.map(width, total)
