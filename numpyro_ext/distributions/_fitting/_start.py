"""Units without scale, and where the iteration starts."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from ._density import Params, solve_tril
from ._family import Family, coordinates

# From so many columns on a row's distance costs more than its Bessel function.
MANY = 64
ROBUST_STEPS, FEW_STEPS = 8, 3
# Columns of the first scatters, at most: enough to tell which rows are far.
SCATTER_SIZES = (64, 64, 256)


class Units(NamedTuple):
    """The centre and the scale of each column, both hard to move by outliers."""

    centre: Array
    scale: Array


def units_of(x: Array, weights: Array) -> Units:
    r"""A centre near the median, and $(\overline{|x - centre|^{1/2}})^2$.

    `weights` sum to 1. One wild row neither moves the centre nor sets the scale, by
    which the resolution of the data is judged.
    """
    columns = x.T
    centre = columns @ weights
    for _ in range(ROBUST_STEPS if len(columns) < MANY else FEW_STEPS):
        centred = columns - centre[:, None]
        far = jnp.abs(centred)
        near = 1e-3 * (far @ weights)
        pull = weights / jnp.maximum(far + near[:, None], jnp.finfo(x.dtype).tiny)
        # Against the last centre, so that a large offset costs no digits.
        centre = centre + jnp.sum(pull * centred, axis=1) / jnp.sum(pull, axis=1)
    half = jnp.sqrt(jnp.abs(columns - centre[:, None])) @ weights
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
    parts = [columns[:: -(-d // size)] for size in (*SCATTER_SIZES, d)]
    white, share, scatter = parts[0], weights, parts[0]
    for i, part in enumerate(parts):
        if i > 0:
            white = solve_tril(jnp.linalg.cholesky(scatter), parts[i - 1])
        share = (4.0 + len(white)) / (4.0 + jnp.sum(white * white, axis=0))
        pull = weights * share
        scatter = (part * pull) @ part.T / jnp.sum(pull)
        # Rows on a hyperplane must not stop the start.
        eye = jnp.eye(len(part), dtype=x.dtype)
        scatter = scatter + 1e-6 * jnp.trace(scatter) / len(part) * eye
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
