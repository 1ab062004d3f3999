"""Covariances of the estimates: by information, and by sandwich."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from ._data import Block, sum_over_rows
from ._geometry import Geometry, diagonal_of, estimable
from ._objective import Point, Problem, Value, derivatives, gram, weigh
from ._result import FittedGLM

type Covariance = Literal[
    "auto", "fisher", "observed", "opg", "HC0", "HC1", "HC2", "HC3", "cluster"
]
COVARIANCES = (
    "auto", "fisher", "observed", "opg", "HC0", "HC1", "HC2", "HC3", "cluster",
)  # fmt: skip
# Curvature in a log-scale nuisance below which the data say nothing of it.
_FLAT = 1e-8


class Information(eqx.Module):
    """The negative Hessian over all estimates, and its inverse.

    Coefficients come first, predictor by predictor, then unconstrained nuisances.
    """

    matrix: Float[Array, "d d"]
    inverse: Float[Array, "d d"]


def default_covariance(fitted: FittedGLM) -> Covariance:
    """Names the covariance of R and statsmodels for this family."""
    family = fitted.family
    is_expected = family.has_variance_function and not family.nuisance
    return "fisher" if is_expected else "observed"


def information(
    problem: Problem, point: Point, geometry: Geometry, kind: Covariance
) -> Information:
    """Returns the information at dispersion 1; `kind` is `fisher` or `observed`."""
    if kind == "fisher":
        check_has_expected(problem)
        matrix = _flatten(problem.expected_hessian(point))
    else:
        matrix = joint_matrix(problem.value(point))
    return Information(matrix, invert(geometry, matrix, point))


def check_has_expected(problem: Problem) -> None:
    """Raises ValueError for a family whose expected information is not known."""
    family = problem.family
    if not family.has_variance_function or family.nuisance:
        raise ValueError(
            f"`infer(cov='fisher')`: the expected information of {family.name} with "
            "its nuisance parameters is not known in closed form. Write "
            "`cov='observed'`."
        )


def joint_matrix(value: Value) -> Float[Array, "d d"]:
    """Returns the Hessian as one matrix."""
    size, q = value.beta.size, value.theta.size
    cross = value.beta_theta.reshape(size, q)
    return jnp.block([
        [_flatten(value.beta_beta), cross],
        [cross.T, value.theta_theta],
    ])  # fmt: skip


def invert(
    geometry: Geometry, matrix: Float[Array, "d d"], point: Point
) -> Float[Array, "d d"]:
    """Returns the inverse within the span of X; NaN for what is not determined."""
    m, p = point.beta.shape
    q = matrix.shape[0] - m * p
    diagonal = diagonal_of(matrix)[m * p :]
    is_flat = ~(diagonal > _FLAT)
    theta_scale = jnp.where(is_flat, 1.0, 1.0 / jnp.sqrt(diagonal))
    scale = jnp.concatenate([jnp.tile(geometry.scale, m), theta_scale])
    scaled = scale[:, None] * matrix * scale
    # A nuisance at its edge is held there.
    held = jnp.concatenate([jnp.zeros(m * p, bool), is_flat])
    scaled = jnp.where(held[:, None] | held, jnp.diag(jnp.ones_like(scale)), scaled)
    size = jnp.max(jnp.abs(scaled))
    null = jnp.kron(jnp.eye(m, dtype=scale.dtype), geometry.null)
    null = jnp.pad(null, ((0, q), (0, q)))
    factor = jnp.linalg.cholesky(scaled + size * null, symmetrize_input=False)
    half = solve_triangular(factor, jnp.diag(scale), lower=True)
    inverse = half.T @ half - scale[:, None] * (null / size) * scale
    if geometry.is_shifted is not None:
        # The data do not tell cutpoints from an intercept.
        is_flat = is_flat | geometry.is_shifted
    known = jnp.concatenate([jnp.tile(estimable(geometry), m), ~is_flat])
    return jnp.where(known[:, None] & known, inverse, jnp.nan)


def covariance(
    fitted: FittedGLM,
    kind: Covariance,
    clusters: Int[Array, " n"] | None = None,
    num_clusters: int = 0,
) -> Float[Array, "d d"]:
    """Returns the covariance of the estimates, of the named kind."""
    kind = default_covariance(fitted) if kind == "auto" else kind
    problem, point = fitted.problem, fitted.point
    if kind in ("fisher", "observed"):
        return scaled_inverse(fitted, problem, kind)
    scale = _scale(fitted)
    if kind == "opg":
        outer = meat(problem, point, jnp.ones(fitted.data.X.shape[0]))
        return jnp.square(scale) * invert(fitted.geometry, outer, point)
    # Bread and meat both carry the dispersion, which cancels.
    bread = information(problem, point, fitted.geometry, "observed").inverse
    n = fitted.data.num_rows
    k = fitted.rank * point.beta.shape[0] + point.theta.size
    if kind == "cluster":
        scores = cluster_scores(problem, point, clusters, num_clusters)
        g = num_clusters
        middle = scores.T @ scores * (g / (g - 1.0)) * ((n - 1.0) / (n - k))
        return bread @ middle @ bread
    power = {"HC0": 0.0, "HC1": 0.0, "HC2": 0.5, "HC3": 1.0}[kind]
    factor = jnp.ones_like(fitted.data.y)
    if power:
        factor = (1.0 - leverage(fitted)) ** (-power)
    middle = meat(problem, point, factor)
    middle = middle * (n / (n - k)) if kind == "HC1" else middle
    return bread @ middle @ bread


def scaled_inverse(
    fitted: FittedGLM, problem: Problem, kind: Covariance
) -> Float[Array, "d d"]:
    """Returns the dispersion times the inverse information of the fit's problem."""
    found = information(problem, fitted.point, fitted.geometry, kind)
    return _scale(fitted) * found.inverse


def leverage(fitted: FittedGLM) -> Float[Array, " n"]:
    """Returns the diagonal of the hat matrix, by the observed weights."""
    problem, point = fitted.problem, fitted.point
    found = information(problem, point, fitted.geometry, "observed")
    p = fitted.data.X.shape[1]
    # Coefficients that X does not determine have no part in what it predicts.
    half = _within_span(fitted.geometry, found.matrix[:p, :p])
    X = fitted.data.X
    rows = jnp.sum(jnp.square(X @ half), axis=1)
    weights = derivatives(
        problem.kernel(Block(X, X.T, fitted.y, None, fitted.data.trials, None)),
        fitted.eta,
        point.theta,
    )[2][0, 0]
    return weigh(fitted.data.weights, weights) * rows


def _within_span(geometry: Geometry, matrix: Float[Array, "p p"]) -> Array:
    """Returns A with A A' the inverse of the Hessian in beta, within the span."""
    scaled = geometry.scale[:, None] * matrix * geometry.scale
    size = jnp.max(jnp.abs(scaled))
    factor = jnp.linalg.cholesky(scaled + size * geometry.null)
    eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    half = solve_triangular(factor, eye - geometry.null, lower=True).T
    return geometry.scale[:, None] * half


def meat(
    problem: Problem, point: Point, factor: Float[Array, " n"]
) -> Float[Array, "d d"]:
    """Returns the sum over rows of the outer products of their scores.

    A row with frequency f counts as f rows with the same score.
    """
    data = problem.data
    freq = jnp.ones_like(data.y) if data.freq_weights is None else data.freq_weights
    root = jnp.where(freq > 0, 1.0 / jnp.sqrt(jnp.where(freq > 0, freq, 1.0)), 0.0)

    def body(block: Block, factor: Array) -> Array:
        rows = _scores(problem, point, block) * factor
        beta, theta = rows[: point.beta.shape[0]], rows[point.beta.shape[0] :]
        pairs = beta[:, None] * beta
        cross = jnp.einsum("pb,mb,qb->mpq", block.Xt, beta, theta)
        size = point.beta.size
        cross = cross.reshape(size, theta.shape[0])
        corner = theta @ theta.T
        full = _flatten(gram(block, pairs))
        return jnp.block([[full, cross], [cross.T, corner]])

    return sum_over_rows(data, (factor * root,), body)


def _scores(problem: Problem, point: Point, block: Block) -> Float[Array, "k b"]:
    _, gradient, _ = derivatives(
        problem.kernel(block), block.predictor(point.beta), point.theta
    )
    return weigh(block.weights, gradient)


def cluster_scores(
    problem: Problem,
    point: Point,
    clusters: Int[Array, " n"] | None,
    num_clusters: int,
) -> Float[Array, "g d"]:
    """Returns the scores summed by cluster."""
    if clusters is None:
        raise ValueError(
            "`infer(cov='cluster')` needs the cluster of each row. Write "
            "`clusters=labels`, an array (n,)."
        )
    data = problem.data
    rows = _scores(
        problem,
        point,
        Block(data.X, data.X.T, data.y, data.offset, data.trials, data.weights),
    )
    m = point.beta.shape[0]
    beta = (rows[:m, None] * data.X.T).reshape(point.beta.size, -1)
    scores = jnp.concatenate([beta, rows[m:]]).T
    return jnp.zeros((num_clusters, scores.shape[1])).at[clusters].add(scores)


def _scale(fitted: FittedGLM) -> Float[Array, ""]:
    """The dispersion, where the likelihood leaves it out."""
    if "dispersion" in fitted.family.nuisance:
        return jnp.ones(())
    return jnp.asarray(fitted.params.disp)


def _flatten(hessian: Float[Array, "m p m p"]) -> Float[Array, "mp mp"]:
    size = hessian.shape[0] * hessian.shape[1]
    return hessian.reshape(size, size)
