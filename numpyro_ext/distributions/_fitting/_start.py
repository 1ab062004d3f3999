"""Units without scale, and where the iteration starts."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from ._density import Params
from ._family import Family, coordinates

ROBUST_STEPS = 8
SCATTER_STEPS = 4
# So many columns tell which rows are far.
MAX_SCATTER = 128


class Units(NamedTuple):
    """The centre and the scale of each column, both hard to move by outliers."""

    centre: Array
    scale: Array


def units_of(x: Array, weights: Array) -> Units:
    r"""A centre near the median, and $(\overline{|x - centre|^{1/2}})^2$.

    `weights` sum to 1. One wild row neither moves the centre nor sets the scale, by
    which the resolution of the data is judged.
    """
    centre = weights @ x
    for _ in range(ROBUST_STEPS):
        far = jnp.abs(x - centre)
        near = 1e-3 * (weights @ far)
        pull = weights[:, None] / jnp.maximum(far + near, jnp.finfo(x.dtype).tiny)
        # Against the last centre, so that a large offset costs no digits.
        centre = centre + jnp.sum(pull * (x - centre), axis=0) / jnp.sum(pull, axis=0)
    half = weights @ jnp.sqrt(jnp.abs(x - centre))
    return Units(centre, half * half)


def robust_start(
    x: Array, weights: Array, rank: int
) -> tuple[Array, Array, Array, Array]:
    """Cholesky factor, factors and diagonal of a scatter that outliers do not spoil.

    A few EM steps of Student's t law with 4 degrees of freedom at loc 0. Of many
    columns a part tells well enough which rows are far. The last of the returned is
    the factor by which each row counted.
    """
    columns = x.T
    d = columns.shape[0]
    part = columns[:: -(-d // MAX_SCATTER)]
    share = jnp.ones_like(weights)
    scatter = part
    for step in range(SCATTER_STEPS):
        white = part
        if step > 0:
            white = jnp.linalg.inv(jnp.linalg.cholesky(scatter)) @ part
        share = (4.0 + len(part)) / (4.0 + jnp.sum(white * white, axis=0))
        pull = weights * share
        used = columns if step == SCATTER_STEPS - 1 else part
        scatter = (used * pull) @ used.T / jnp.sum(pull)
        # Rows on a hyperplane must not stop the start.
        eye = jnp.eye(len(used), dtype=x.dtype)
        scatter = scatter + 1e-6 * jnp.trace(scatter) / len(used) * eye
    factor = jnp.zeros((d, 0), x.dtype)
    diag = jnp.ones((d,), x.dtype)
    if rank == 0:
        return jnp.linalg.cholesky(scatter), factor, diag, share
    values, vectors = jnp.linalg.eigh(scatter)
    noise = jnp.mean(values[: d - rank]) if rank < d else 0.5 * values[0]
    lengths = jnp.sqrt(jnp.maximum(values[d - rank :] - noise, 0.1 * noise))
    factor = vectors[:, d - rank :] * lengths
    rest = jnp.diagonal(scatter) - jnp.sum(factor * factor, axis=1)
    diag = jnp.maximum(rest, 0.05 * jnp.diagonal(scatter))
    return jnp.linalg.cholesky(factor @ factor.T + jnp.diag(diag)), factor, diag, share


def start_params(x: Array, weights: Array, rank: int, c: Array) -> tuple[Params, Array]:
    """No skew, loc at the centre, a robust scatter, and this mixing law.

    And the factor by which each row counted in the scatter.
    """
    tril, factor, diag, share = robust_start(x, weights, rank)
    zero = jnp.zeros((x.shape[1],), x.dtype)
    return Params(c, zero, zero, tril, factor, diag), share


def default_coordinates(family: Family) -> np.ndarray:
    """A mixing law with E[w] near 1 and tails between normal and Cauchy."""
    if family.kind == "gamma":
        return coordinates(family, 1.5, 3.0, 0.0)
    if family.kind == "inverse_gamma":
        return coordinates(family, -2.5, 0.0, 4.0)
    return coordinates(family, -0.5 if family.order is None else family.order, 1.0, 1.0)
