r"""The normal part of the M step: loc, skew and the scale, in closed form.

With $\delta = E[1/w \mid x]$, $\eta = E[w \mid x]$ and bars for weighted means,
$\gamma = (\bar\delta\bar x - \overline{\delta x})/(\bar\delta\bar\eta - 1)$,
$\mu = (\overline{\delta x} - \gamma)/\bar\delta$, and $\Sigma$ is the mean of
$\delta(x-\mu)(x-\mu)^T - (x-\mu)\gamma^T - \gamma(x-\mu)^T + \eta\gamma\gamma^T$.
Source: McNeil, Frey and Embrechts (2015), Quantitative Risk Management, section 15.1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from ._density import Params, Prior, Sweep, gram

# EM steps of the factor model inside one M step; each raises the expected log density.
FACTOR_STEPS = 40
# Of a single row, to be trusted.
MAX_LEVERAGE = 0.9


class Held(NamedTuple):
    """Values of loc and skew that are fixed, in the units of the fit."""

    loc: Array
    skew: Array
    is_loc: Array
    is_skew: Array


def line_moves(held: Held, params: Params) -> Array:
    """Which of nu, eps and kappa of `Line` may move."""
    is_loc, is_skew = ~jnp.any(held.is_loc), ~jnp.any(held.is_skew)
    # A scale of low rank plus diagonal does not stay one when skew skew^T is added.
    is_scale = jnp.asarray(params.factor.shape[1] == 0)
    return jnp.stack([is_loc, is_skew, is_scale]).astype(params.loc.dtype)


def normal_step(
    columns: Array,
    weights: Array,
    sweep: Sweep,
    params: Params,
    prior: Prior,
    held: Held,
    products: Callable[[Array], Array] = gram,
) -> Params:
    """The params with a new normal part; the mixing law as it was.

    The data have the shape (d, n); `products` makes their scatter.
    """
    inverse = weights * sweep.mean_inverse
    mean_inverse = jnp.sum(inverse)
    mean_w = jnp.sum(weights * sweep.mean_w)
    mean_x, mean_ratio = columns @ weights, columns @ inverse
    spread = jnp.maximum(mean_inverse * mean_w - 1.0, jnp.finfo(columns.dtype).eps)
    skew = (mean_inverse * mean_x - mean_ratio) / spread
    # loc held: the skew given it; and the other way round.
    skew = jnp.where(held.is_loc, (mean_x - held.loc) / mean_w, skew)
    skew = jnp.where(held.is_skew, held.skew, skew)
    loc = (mean_ratio - skew) / mean_inverse
    loc = jnp.where(held.is_loc, held.loc, loc)
    centred = columns - loc[:, None]
    if columns.shape[0] == 1:
        square = jnp.sum(inverse * centred[0] * centred[0])[None, None]
    else:
        square = products(centred * jnp.sqrt(inverse))
    gap = mean_x - loc
    outer = gap[:, None] * skew[None, :]
    scatter = square - outer - outer.T + mean_w * skew[:, None] * skew[None, :]
    eye = jnp.eye(columns.shape[0], dtype=columns.dtype)
    scatter = scatter + prior.blur * mean_inverse * eye
    scatter = (scatter + prior.strength / sweep.unit * prior.target) / (
        1.0 + prior.strength
    )
    tril, factor, diag = scale_of(scatter, params)
    return params._replace(loc=loc, skew=skew, tril=tril, factor=factor, diag=diag)


def overshoot(weights: Array, squares: Array, new: Array, old: Array) -> Array:
    """Log of what makes the new factors of the rows those at the end of a series.

    A scale was made with the old factors, `squares` are the distances under it, and the
    new factors, which follow from them, are about inverse to them. With its leverage h,
    its own part of the scale, a row that counts more lowers its distance, and so counts
    more again: the end is where new (1 - h old) = old (1 - h new), row by row.
    """
    new, old = weights * squares * new, weights * squares * old
    # A common factor says nothing: the scale of w is free.
    old = old * jnp.sum(new) / jnp.sum(old)
    new, old = (jnp.minimum(h, MAX_LEVERAGE) for h in (new, old))
    more = jnp.log1p(-old) - jnp.log1p(-new)
    return jnp.where(jnp.all(jnp.isfinite(more)), more, 0.0)


def scale_of(scatter: Array, params: Params) -> tuple[Array, Array, Array]:
    """Cholesky factor of the scale, itself or as factors plus a diagonal."""
    if scatter.shape[0] == 1:
        return jnp.sqrt(jnp.maximum(scatter, 0.0)), params.factor, params.diag
    if params.factor.shape[1] == 0:
        return jnp.linalg.cholesky(scatter), params.factor, params.diag
    factor, diag = factor_step(scatter, params.factor, params.diag)
    return tril_of_factor(factor, diag), factor, diag


def tril_of_factor(factor: Array, diag: Array) -> Array:
    """Cholesky factor of F F^T + D."""
    return jnp.linalg.cholesky(factor @ factor.T + jnp.diag(diag))


def factor_step(scatter: Array, factor: Array, diag: Array) -> tuple[Array, Array]:
    """EM for factor analysis (Rubin and Thayer 1982, Psychometrika 47, 69-76)."""
    eye = jnp.eye(factor.shape[1], dtype=factor.dtype)
    floor = 1e-6 * jnp.diagonal(scatter)

    def step(_, state):
        f, d = state
        scaled = f / d[:, None]
        middle = jnp.linalg.inv(eye + f.T @ scaled)
        # Regression of the factors on x: (I + F^T D^-1 F)^-1 F^T D^-1
        regression = middle @ scaled.T
        cross = scatter @ regression.T
        second = middle + regression @ cross
        new = jnp.linalg.solve(second, cross.T).T
        return new, jnp.maximum(jnp.diagonal(scatter) - jnp.sum(new * cross, 1), floor)

    return lax.fori_loop(0, FACTOR_STEPS, step, (factor, diag))
