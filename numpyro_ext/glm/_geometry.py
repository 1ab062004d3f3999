"""What the columns of X span: their scale and rank, and solutions within the span."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float, Int

from ._objective import Problem, weigh


class Geometry(NamedTuple):
    """What the columns of X span.

    `scale` makes the columns of one size; `null` projects onto the directions, in
    scaled coordinates, that change no linear predictor, or only by a constant where
    cutpoints take that up. `is_shifted` says whether there are such of the latter kind;
    it is None for families without cutpoints.
    """

    scale: Float[Array, " p"]
    null: Float[Array, "p p"]
    is_shifted: Bool[Array, ""] | None = None

    @property
    def rank(self) -> Int[Array, ""]:
        """The number of directions that change the linear predictor."""
        lost = jnp.sum(diagonal_of(self.null))
        return self.scale.size - jnp.round(lost).astype(jnp.int32)


def factorise(
    geometry: Geometry, hessian: Float[Array, "m p m p"]
) -> Float[Array, "mp mp"]:
    """Returns the Cholesky factor in scaled coordinates, NaN if it is not positive.

    Directions outside of the span get curvature 1, and no step is taken along them.
    """
    m, p = hessian.shape[:2]
    scale = geometry.scale
    scaled = scale[:, None, None] * hessian * scale
    if geometry.is_shifted is not None:
        # Cutpoints make up for these directions, so the Hessian in beta sees them.
        within = jnp.eye(p, dtype=scale.dtype) - geometry.null
        scaled = jnp.einsum("pa,manb,bq->mpnq", within, scaled, within)
    largest = jnp.max(jnp.abs(scaled))
    size = jnp.where(largest > 0, largest, 1.0)
    null = jnp.einsum("mk,pl->mpkl", jnp.eye(m, dtype=scale.dtype), geometry.null)
    full = (scaled + size * null).reshape(m * p, m * p)
    return jnp.linalg.cholesky(full, symmetrize_input=False)


def solve_beta(
    geometry: Geometry, factor: Float[Array, "mp mp"], right: Float[Array, "m p"]
) -> Float[Array, "m p"]:
    """Solves with the factorised Hessian, within the span."""
    scaled = _scaled_within(geometry, right).reshape(-1)
    x = cho_solve((factor, True), scaled).reshape(right.shape)
    return x * geometry.scale


def solve_rows(
    geometry: Geometry, factor: Float[Array, "p p"], rows: Float[Array, "r p"]
) -> Float[Array, "r p"]:
    """Solves for each row with the factorised Hessian of one linear predictor."""
    scaled = _scaled_within(geometry, rows)
    return cho_solve((factor, True), scaled.T).T * geometry.scale


def _scaled_within(
    geometry: Geometry, rows: Float[Array, "r p"]
) -> Float[Array, "r p"]:
    """Returns the parts of rows that are within the span, in scaled coordinates."""
    scaled = rows * geometry.scale
    return scaled - scaled @ geometry.null


def estimable(geometry: Geometry) -> Bool[Array, " p"]:
    """Which coefficients are the same in every solution."""
    return jnp.abs(diagonal_of(geometry.null)) < 1e-6


def diagonal_of(matrix: Float[Array, "d d"]) -> Float[Array, " d"]:
    """Returns the diagonal by a masked sum: XLA fuses it, and gathers apart."""
    return jnp.sum(jnp.where(jnp.eye(len(matrix), dtype=bool), matrix, 0.0), axis=1)


def span_of(
    hessian: Float[Array, "p p"], scale: Float[Array, " p"] | None = None
) -> Geometry:
    """Returns the geometry of columns with this Gram matrix."""
    if scale is None:
        diagonal = diagonal_of(hessian)
        scale = jnp.where(diagonal == 0, 1.0, 1.0 / jnp.sqrt(diagonal))
        # 1 / inf is zero, and would hide an infinite value of X.
        scale = jnp.where(jnp.isfinite(diagonal), scale, jnp.nan)
    scaled = hessian * scale[:, None] * scale
    p = scale.size
    tol = 50.0 * jnp.finfo(scale.dtype).eps * (p + 10)
    factor = jnp.linalg.cholesky(scaled, symmetrize_input=False)
    pivots = jnp.square(diagonal_of(factor))
    is_suspicious = ~(jnp.min(pivots) > tol)
    return Geometry(scale, _null_projector(scaled, tol, is_suspicious))


def design_rank(family: Any, data: Any) -> Int[Array, ""]:
    """Returns the rank of X, beside the cutpoints of a family that has them."""
    hessian = (data.X.T @ data.X)[None, :, None]
    geometry = span_of(hessian[0, :, 0])
    if family.has_cutpoints:
        plain = data._replace(freq_weights=None, var_weights=None)
        problem = Problem(family, plain, (), scaled=False)
        geometry = beside_cutpoints(problem, geometry, hessian)
    return geometry.rank


def beside_cutpoints(
    problem: Problem, geometry: Geometry, hessian: Float[Array, "m p m p"]
) -> Geometry:
    """Returns the geometry of columns whose mean the cutpoints take up."""
    data = problem.data
    weights = jnp.ones_like(data.y) if data.weights is None else data.weights
    mean = weigh(weights, data.X.T).sum(axis=1)
    between = jnp.outer(mean, mean) / jnp.sum(weights)
    centred = problem._with_l2(hessian - between[None, :, None])[0, :, 0]
    found = span_of(centred, geometry.scale)
    return Geometry(geometry.scale, found.null, found.rank < geometry.rank)


@jax.custom_batching.custom_vmap
def _null_projector(scaled: Array, tol: Array, is_suspicious: Array) -> Array:
    return lax.cond(
        is_suspicious, _project_null, lambda s, _: jnp.zeros_like(s), scaled, tol
    )


@_null_projector.def_vmap
def _null_projectors(axis_size: int, in_batched: Any, *args: Any) -> tuple[Array, bool]:
    # A batched condition would take both branches for every member; an eigenvalue
    # problem is only worth its time when some member needs it.
    scaled, tol, is_suspicious = (
        x if batched else jnp.broadcast_to(x, (axis_size, *jnp.shape(x)))
        for x, batched in zip(args, in_batched, strict=True)
    )
    zeros = jnp.zeros_like(scaled)
    found = _some_null_projectors(scaled, tol, is_suspicious, zeros)
    return found, True


def _some_null_projectors(
    scaled: Array, tol: Array, is_suspicious: Array, zeros: Array
) -> Array:
    return lax.cond(
        jnp.any(is_suspicious),
        lambda: jnp.where(
            is_suspicious[:, None, None], jax.vmap(_project_null)(scaled, tol), zeros
        ),
        lambda: zeros,
    )


def _project_null(scaled: Array, tol: Array) -> Array:
    is_finite = jnp.all(jnp.isfinite(scaled))
    safe = jnp.where(is_finite, scaled, jnp.eye(scaled.shape[0], dtype=scaled.dtype))
    values, vectors = jnp.linalg.eigh(safe)
    is_null = values < tol * jnp.maximum(values[-1], 1.0)
    return (vectors * is_null) @ vectors.T


def least_norm(geometry: Geometry, beta: Float[Array, "m p"]) -> Array:
    """Returns the solution of least norm in the user's coordinates."""
    p = geometry.scale.size

    def project(beta: Array) -> Array:
        values, vectors = jnp.linalg.eigh(geometry.null)
        # The null directions come first: those after them do not touch their span.
        is_null = (values > 0.5)[::-1]
        q, _ = jnp.linalg.qr(geometry.scale[:, None] * vectors[:, ::-1] * is_null)
        q = q * is_null
        return beta - (beta @ q) @ q.T

    return lax.cond(geometry.rank < p, project, lambda b: b, beta)
