"""A loc that one row holds: whether another row holds a better one.

The density of a variance gamma law of small concentration has a cusp, or a pole, at
loc. So the likelihood has a local maximum at many a row, from which no step of EM leads
away. Where a fit ends at one, it tries the rows around, near ones closely and far ones
coarsely, with the mean of the law kept, and goes on from the best.
"""

import jax.numpy as jnp
from jax import Array

from ._density import Params, Sweep
from ._state import Problem, State

# Share of all pull on loc that one row has where it holds it.
HELD_BY_ONE = 0.5
# So many of the nearest rows, then one for each growth of the squared distance by
# RATIO, up to FARTHEST in units of the dimension.
NUM_NEAR, RATIO, FARTHEST = 16, 1.44, 4.0


def is_pinned(problem: Problem, sweep: Sweep) -> Array:
    """Whether one row has most of the pull on a loc that is free to move."""
    pull = problem.weights * sweep.mean_inverse
    share = jnp.max(pull) / jnp.sum(pull)
    return (share > HELD_BY_ONE) & ~jnp.any(problem.held.is_loc)


def squares_of(problem: Problem, state: State) -> Array:
    """Squared distances of the rows from the loc that is held, infinite without weight.

    The row that holds it, and its ties, are the nearest.
    """
    return jnp.where(problem.weights > 0, state.safe_geo.squares, jnp.inf)


def next_row(squares: Array, reach: Array, count: Array) -> tuple[Array, Array, Array]:
    """The next row to try, its squared distance, and whether there is one.

    `reach` is the squared distance of the last, and `count` says how many there were.
    """
    least = reach * jnp.where(count < NUM_NEAR, 1.0, RATIO)
    beyond = jnp.where(squares > least, squares, jnp.inf)
    row = jnp.argmin(beyond)
    return row, beyond[row], jnp.isfinite(beyond[row])


def is_near(square: Array, tilt: Array, dim: int) -> Array:
    """Whether a row is worth a try: loc and the mean differ by the root of `tilt`."""
    return square <= FARTHEST * (dim + tilt)


def moved_to(problem: Problem, state: State, row: Array) -> Params:
    """The law with its loc at the row, and the mean that it had if the skew is free."""
    params = state.safe
    loc = problem.x[row]
    skew = params.skew + (params.loc - loc) / state.final.unit
    return params._replace(
        loc=loc, skew=jnp.where(problem.held.is_skew, params.skew, skew)
    )
