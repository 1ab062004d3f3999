"""What chains tell each other while they adapt: sums over the axis of a `vmap`.

A chain that never moves, since all around it is NaN, must not spoil the others: it has
no weight in the covariance, and the median of acceptance rates passes it by.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# The name of the axis.
CHAINS = "chains"


def median_of_chains(value: Float[Array, ""]) -> Float[Array, ""]:
    """Returns the median over chains."""
    return jnp.median(jax.lax.all_gather(value, CHAINS))


def mean_of_chains(
    value: Float[Array, " *n"], weight: Float[Array, ""]
) -> Float[Array, " *n"]:
    """Returns the weighted mean over chains; what has no weight may be NaN."""
    total = jax.lax.psum(weight, CHAINS)
    share = weight / jnp.where(total > 0.0, total, 1.0)
    return jax.lax.psum(jnp.where(weight > 0.0, share * value, 0.0), CHAINS)


def pool_spread(
    num_draws: Float[Array, ""], spread: Array
) -> tuple[Float[Array, ""], Array]:
    """Returns number and spread of draws within chains, of all chains that moved.

    How far chains lie apart is left out: in several modes it is no scale of any.
    """
    moved = jnp.any(spread != 0.0)
    # Each chain loses a degree of freedom to its mean; one of all draws is left.
    kept = jnp.where(moved, num_draws - 1.0, 0.0), jnp.where(moved, spread, 0.0)
    num, total = jax.lax.psum(kept, CHAINS)
    return jnp.maximum(num, 1.0) + 1.0, total
