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


def pool_moments(
    num_draws: Float[Array, ""], mean: Float[Array, " n"], spread: Array
) -> tuple[Float[Array, ""], Float[Array, " n"], Array]:
    """Returns number, mean and spread (diagonal or not) of all chains that moved."""
    moved = jnp.any(spread != 0.0)
    weight = jnp.where(moved, num_draws, 0.0)
    centre = mean_of_chains(mean, weight)
    shift = mean - centre
    between = jnp.square(shift) if spread.ndim == 1 else jnp.outer(shift, shift)
    total = jnp.where(moved, spread + weight * between, 0.0)
    return jax.lax.psum(weight, CHAINS), centre, jax.lax.psum(total, CHAINS)
