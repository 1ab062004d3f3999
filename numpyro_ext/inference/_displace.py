"""Moving starts that were given off the mode where they may be."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key, PyTree

from ._model_spec import ModelSpec
from ._widths import prior_widths

# In units of the prior's width, or of 1 if that is less.
DISPLACEMENT = 0.1


@eqx.filter_jit
def displace(
    spec: ModelSpec, key: Key[Array, ""], positions: PyTree[Array]
) -> PyTree[Array]:
    """Moves each start a little, unless the density is not finite there.

    A path that begins at a mode ends there, and learns nothing of the curvature.
    """
    widths, _ = ravel_pytree(prior_widths(spec, jax.random.fold_in(key, 0)))
    num_starts = jax.tree.leaves(positions)[0].shape[0]

    def move(key: Key[Array, ""], position: PyTree[Array]) -> PyTree[Array]:
        flat, unravel = ravel_pytree(position)
        noise = jax.random.normal(key, flat.shape, flat.dtype)
        moved = unravel(flat + DISPLACEMENT * jnp.minimum(widths, 1.0) * noise)
        value, grad = jax.value_and_grad(spec.log_density)(moved)
        is_finite = jnp.isfinite(value + jnp.sum(ravel_pytree(grad)[0]))
        return jax.tree.map(
            lambda new, old: jnp.where(is_finite, new, old), moved, position
        )

    keys = jax.random.split(jax.random.fold_in(key, 1), num_starts)
    return jax.vmap(move)(keys, positions)
