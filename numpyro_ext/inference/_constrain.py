"""From the unconstrained points of a run to the draws of its sites."""

import equinox as eqx
import jax
from jaxtyping import Array, PyTree, Shaped

from ._model_spec import ModelSpec

# Points that are mapped together: enough to vectorise, few enough to stay in memory.
CHUNK = 256


@eqx.filter_jit
def constrain_draws(
    spec: ModelSpec, positions: PyTree[Array]
) -> dict[str, PyTree[Shaped[Array, "chain draw ..."]]]:
    """Maps points (chain, draw, ...) to values by site, deterministic ones included."""
    num_chains, num_draws = jax.tree.leaves(positions)[0].shape[:2]

    def constrain(position: PyTree[Array]) -> dict[str, PyTree[Array]]:
        return spec.constrain(position, deterministic=True)

    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), positions)
    draws = jax.lax.map(constrain, flat, batch_size=CHUNK)
    return jax.tree.map(lambda x: x.reshape(num_chains, num_draws, *x.shape[1:]), draws)
