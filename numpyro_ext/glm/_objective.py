"""The objective of a fit with its gradient and Hessian, in one pass over the rows."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ._data import Block, Data, features_first, sum_over_rows
from ._family import AbstractFamily
from ._nuisance import unpack

type Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class Point(eqx.Module):
    """Where the objective is taken: coefficients, and unconstrained nuisances."""

    beta: Float[Array, "m p"]
    theta: Float[Array, " q"]


class Value(eqx.Module):
    """The objective at a point, with derivatives.

    `magnitude` is the sum of the sizes of the terms: what rounding is measured by.
    `pearson` is Pearson's statistic, for families with a dispersion.
    """

    objective: Float[Array, ""]
    magnitude: Float[Array, ""]
    pearson: Float[Array, ""]
    beta: Float[Array, "m p"]
    theta: Float[Array, " q"]
    beta_beta: Float[Array, "m p m p"]
    beta_theta: Float[Array, "m p q"]
    theta_theta: Float[Array, "q q"]


class Problem(eqx.Module):
    """A family with data: what is minimised."""

    family: AbstractFamily
    data: Data
    shapes: Shapes = eqx.field(static=True)
    # Whether the fit must know Pearson's statistic to judge its own progress.
    scaled: bool = eqx.field(static=True)
    # A copy of X in the order in which passes read it, where there are many.
    Xt: Float[Array, "..."] | None = None

    def for_many_passes(self) -> "Problem":
        """Returns the problem with a copy of X in the order in which passes read it."""
        return dataclasses.replace(self, Xt=features_first(self.data))

    def sum_over_rows(self, body: Callable[[Block], PyTree[Array]]) -> PyTree[Array]:
        """Sums over the blocks of the data."""
        return sum_over_rows(self.data, (), body, self.Xt)

    def kernel(self, block: Block) -> Callable[[Array, Array], Array]:
        """Returns the kernel of the block's rows, of eta and theta."""

        def rows(eta: Array, theta: Array) -> Array:
            aux = unpack(self.family, theta, dict(self.shapes))
            return self.family.kernel(block.y, eta, aux, block.trials)

        return rows

    def value(self, point: Point) -> Value:
        """Returns the objective with gradient and observed Hessian."""
        total = self.sum_over_rows(lambda b: self._block_value(b, point))
        return self._penalised(total, point)

    def gradient(self, point: Point) -> Point:
        """Returns the gradient alone."""
        total = self.sum_over_rows(lambda b: self._block_gradient(b, point))
        l2 = self.data.l2
        return total if l2 is None else Point(total.beta + l2 * point.beta, total.theta)

    def expected_hessian(self, point: Point) -> Float[Array, "m p m p"]:
        """Returns a positive Hessian in beta, the expected one where it is known."""

        def body(block: Block) -> Array:
            eta = block.predictor(point.beta)
            aux = unpack(self.family, point.theta, dict(self.shapes))
            weight = self.family.expected_weight(block.y, eta, aux, block.trials)
            weight = weigh(block.weights, weight)
            return gram(block, jnp.broadcast_to(weight.T, (1, 1, block.y.size)))

        return self._with_l2(self.sum_over_rows(body))

    def _block_value(self, block: Block, point: Point) -> Value:
        kernel, gradient, hessian = derivatives(
            self.kernel(block), block.predictor(point.beta), point.theta
        )
        m = point.beta.shape[0]
        kernel = weigh(block.weights, kernel)
        gradient = weigh(block.weights, gradient)
        hessian = weigh(block.weights, hessian)
        pearson = jnp.zeros((), kernel.dtype)
        if self.scaled:
            pearson = jnp.sum(weigh(block.weights, self._pearson(block, point)))
        others = products(block, jnp.concatenate([gradient[:m], *hessian[:m, m:]]))
        q = point.theta.size
        return Value(
            objective=jnp.sum(kernel),
            magnitude=jnp.sum(jnp.abs(kernel)),
            pearson=pearson,
            beta=others[:m],
            theta=jnp.sum(gradient[m:], axis=1),
            beta_beta=gram(block, hessian[:m, :m]),
            beta_theta=jnp.moveaxis(others[m:].reshape(m, q, block.Xt.shape[0]), 1, 2),
            theta_theta=jnp.sum(hessian[m:, m:], axis=2),
        )

    def _block_gradient(self, block: Block, point: Point) -> Point:
        gradient = first_derivatives(
            self.kernel(block), block.predictor(point.beta), point.theta
        )[1]
        gradient = weigh(block.weights, gradient)
        m = point.beta.shape[0]
        return Point(products(block, gradient[:m]), jnp.sum(gradient[m:], axis=1))

    def _pearson(self, block: Block, point: Point) -> Array:
        eta = block.predictor(point.beta)
        aux = unpack(self.family, point.theta, dict(self.shapes))
        residual = block.y - self.family.mean(eta, aux, block.trials)
        return jnp.square(residual) / self.family.variance(eta, aux, block.trials)

    def _penalised(self, total: Value, point: Point) -> Value:
        l2 = self.data.l2
        if l2 is None:
            return total
        return eqx.tree_at(
            lambda v: (v.objective, v.beta, v.beta_beta),
            total,
            (
                total.objective + 0.5 * jnp.sum(l2 * jnp.square(point.beta)),
                total.beta + l2 * point.beta,
                self._with_l2(total.beta_beta),
            ),
        )

    def _with_l2(self, hessian: Array) -> Array:
        l2 = self.data.l2
        if l2 is None:
            return hessian
        m, p = hessian.shape[:2]
        return hessian + jnp.diag(jnp.tile(l2, m)).reshape(m, p, m, p)


def gram(block: Block, weights: Float[Array, "m k b"]) -> Float[Array, "m p k p"]:
    """Returns X' W X for each pair of predictors."""
    if weights.shape[:2] == (1, 1):
        weighted = block.X * weights[0, 0][:, None]
        return (block.Xt @ weighted)[None, :, None, :]
    return jnp.einsum("pb,mkb,lb->mpkl", block.Xt, weights, block.Xt)


def products(block: Block, rows: Float[Array, "r b"]) -> Float[Array, "r p"]:
    """Returns the product of each of `rows` with X."""
    if len(rows) == 1:
        return (block.Xt @ rows[0])[None]
    return rows @ block.X


def weigh(weights: Array | None, rows: Float[Array, "... b"]) -> Float[Array, "... b"]:
    """Multiplies rows by their weights; a row of weight zero is not looked at."""
    if weights is None:
        return rows
    return jnp.where(weights == 0, 0.0, weights * rows)


def first_derivatives(
    f: Callable[[Array, Array], Array], eta: Array, theta: Array
) -> tuple[Float[Array, " b"], Float[Array, "d b"]]:
    """Returns f of each row, and its slopes in the predictors and the nuisances.

    f works row by row, so that one tangent of ones gives the slopes of all rows.
    """
    if eta.ndim == 1 and theta.size == 0:
        value, slope = jax.jvp(lambda e: f(e, theta), (eta,), (jnp.ones_like(eta),))
        return value, slope[None]
    directions = _directions(eta, theta)
    value, push = jax.linearize(f, eta, theta)
    return value, jax.vmap(push)(*directions)


def derivatives(
    f: Callable[[Array, Array], Array], eta: Array, theta: Array
) -> tuple[Float[Array, " b"], Float[Array, "d b"], Float[Array, "d d b"]]:
    """Returns f of each row with its gradient and Hessian."""

    def first(e: Array, t: Array) -> tuple[Array, Array]:
        value, slopes = first_derivatives(f, e, t)
        return slopes, value

    if eta.ndim == 1 and theta.size == 0:
        slopes, curvature, value = jax.jvp(
            lambda e: first(e, theta), (eta,), (jnp.ones_like(eta),), has_aux=True
        )
        return value, slopes, curvature[None]
    slopes, push, value = jax.linearize(first, eta, theta, has_aux=True)
    return value, slopes, jax.vmap(push)(*_directions(eta, theta))


def _directions(eta: Array, theta: Array) -> tuple[Array, Array]:
    m = 1 if eta.ndim == 1 else eta.shape[1]
    d = m + theta.size
    eye = jnp.eye(d, dtype=eta.dtype)
    rows = eye[:, 0, None] if eta.ndim == 1 else eye[:, None, :m]
    return jnp.broadcast_to(rows, (d, *eta.shape)), eye[:, m:].astype(theta.dtype)


def is_finite(value: Value) -> Bool[Array, ""]:
    """Whether a step can be taken from here."""
    return (
        jnp.isfinite(value.objective)
        & jnp.all(jnp.isfinite(value.beta))
        & jnp.all(jnp.isfinite(value.theta))
    )
