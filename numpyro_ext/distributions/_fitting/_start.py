"""Units without scale, and where the iteration starts."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ._density import Params, Prior, Sweep, gram, rough_gram, solve_tril
from ._family import Family, coordinates
from ._m_step import Held, normal_step, overshoot

# From so many columns on a row's distance costs more than its Bessel function.
MANY = 64
ROBUST_STEPS, FEW_STEPS = 8, 1
# So many columns, at most, tell roughly which rows are far.
SCATTER_STEPS, PART = 4, 64
# For sums in float32.
FARTHEST = 1e15
RIDGE, ROUGH_RIDGE = 1e-6, 1e-4


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


def start_params(
    x: Array, weights: Array, rank: int, c: Array, prior: Prior, held: Held
) -> tuple[Params, Array]:
    """The params to start from, with this mixing law.

    And the factors by which rows counted in the scatter, up to a common one.
    """
    columns = x.T
    d = len(columns)
    zero = jnp.zeros((d,), x.dtype)
    loc, skew = (jnp.where(held.is_loc, held.loc, zero), zero)
    skew = jnp.where(held.is_skew, held.skew, skew)
    empty = Params(
        c, loc, skew, jnp.eye(d, dtype=x.dtype), zero[:, None][:, :0], zero + 1
    )
    if d < MANY or rank > 0:
        tril, factor, diag = robust_start(columns, weights, rank)
        return empty._replace(tril=tril, factor=factor, diag=diag), weights
    share = shares(columns, weights)
    # w is nearly known: its law given a row has E[w] E[1/w] = d / (d - 2).
    mean_w = d / (d - 2.0) / share
    unit = jnp.sum(weights * mean_w)
    share = share * unit
    k = jnp.zeros((), x.dtype)
    sweep = Sweep(k, k, k, mean_w / unit, share, k, jnp.ones_like(k), k)

    def step(products):
        return normal_step(columns, weights, sweep, empty, prior, held, products)

    # A scale to start from need not be exact, if only it is one.
    rough = step(rough_gram)
    is_good = jnp.all(jnp.isfinite(rough.tril))
    return lax.cond(is_good, lambda: rough, lambda: step(gram)), share


def robust_start(
    columns: Array, weights: Array, rank: int
) -> tuple[Array, Array, Array]:
    """Cholesky factor, factors and diagonal of a scatter that outliers do not spoil.

    A few EM steps of Student's t law with 4 degrees of freedom at loc 0.
    """
    d = len(columns)
    scatter = _scatter(columns, weights * _student(columns), RIDGE)
    for _ in range(SCATTER_STEPS - 1):
        white = solve_tril(jnp.linalg.cholesky(scatter), columns)
        scatter = _scatter(columns, weights * _student(white), RIDGE)
    factor = jnp.zeros((d, 0), columns.dtype)
    diag = jnp.ones((d,), columns.dtype)
    if rank == 0:
        return jnp.linalg.cholesky(scatter), factor, diag
    values, vectors = jnp.linalg.eigh(scatter)
    noise = jnp.mean(values[: d - rank]) if rank < d else 0.5 * values[0]
    lengths = jnp.sqrt(jnp.maximum(values[d - rank :] - noise, 0.1 * noise))
    factor = vectors[:, d - rank :] * lengths
    rest = jnp.diagonal(scatter) - jnp.sum(factor * factor, axis=1)
    diag = jnp.maximum(rest, 0.05 * jnp.diagonal(scatter))
    return jnp.linalg.cholesky(factor @ factor.T + jnp.diag(diag)), factor, diag


def shares(columns: Array, weights: Array) -> Array:
    """By which factor each row of many columns is to count, as in `robust_start`.

    A part of the columns tells roughly, and half the digits are enough.
    """
    rough = jnp.clip(columns, -FARTHEST, FARTHEST).astype(jnp.float32)
    part = rough[:: -(-len(rough) // PART)]
    weights = weights.astype(rough.dtype)
    share = _student(part)
    for used in (part, part, rough):
        total = jnp.sum(weights * share)
        scatter = _scatter(used, weights * share, ROUGH_RIDGE)
        white = solve_tril(jnp.linalg.cholesky(scatter), used)
        new = _student(white)
        squares = jnp.sum(white * white, axis=0)
        share = new * jnp.exp(overshoot(weights / total, squares, new, share))
    return share.astype(columns.dtype)


def _student(white: Array) -> Array:
    d = len(white)
    return (4.0 + d) / (4.0 + jnp.sum(white * white, axis=0))


def _scatter(columns: Array, pull: Array, ridge: float) -> Array:
    scatter = gram(columns * jnp.sqrt(pull / jnp.sum(pull)))
    d = len(columns)
    # Rows on a hyperplane must not stop the start.
    return scatter + ridge * jnp.trace(scatter) / d * jnp.eye(d, dtype=columns.dtype)


def default_coordinates(family: Family) -> np.ndarray:
    """A mixing law with E[w] near 1 and tails between normal and Cauchy."""
    if family.kind == "gamma":
        return coordinates(family, 1.5, 3.0, 0.0)
    if family.kind == "inverse_gamma":
        return coordinates(family, -2.5, 0.0, 4.0)
    return coordinates(family, -0.5 if family.order is None else family.order, 1.0, 1.0)
