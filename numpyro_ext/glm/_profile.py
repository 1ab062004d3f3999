"""Fits with one coefficient held: likelihood ratios, scores and profile intervals."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ._covariance import information
from ._newton import Solution, solve
from ._objective import Point, Problem
from ._result import FittedGLM

_MAX_STEPS = 30


def _held(fitted: FittedGLM, j: Array, value: Array) -> tuple[Problem, Solution]:
    """Fits with coefficient `j` held at a value, which becomes part of the offset."""
    data = fitted.data
    column = data.X[:, j]
    offset = column * value
    offset = offset if data.offset is None else data.offset + offset
    held = data._replace(X=data.X.at[:, j].set(0.0), offset=offset)
    problem = Problem(
        fitted.family, held, fitted.shapes, scaled=fitted.family.has_dispersion
    )
    start = Point(fitted.point.beta.at[:, j].set(0.0), fitted.point.theta)
    is_fine = jnp.all(jnp.isfinite(start.beta))
    return problem, solve(problem.for_many_passes(), start, is_fine, fitted.settings)


def _penalty(fitted: FittedGLM, j: Array, value: Array) -> Array:
    l2 = fitted.data.l2
    return jnp.zeros(()) if l2 is None else 0.5 * l2[j] * jnp.square(value)


def _loss(fitted: FittedGLM, j: Array, value: Array) -> tuple[Array, Array]:
    """Returns twice the loss of log-likelihood, and its slope in the value."""
    problem, solution = _held(fitted, j, value)
    point = solution.point
    objective = problem.value(point).objective + _penalty(fitted, j, value)
    whole = fitted.problem.value(fitted.point).objective
    # By the envelope theorem the slope is the gradient in what is held.
    at = Point(point.beta.at[:, j].set(value), point.theta)
    slope = fitted.problem.gradient(at).beta[0, j]
    disp = _dispersion(fitted)
    return 2.0 * (objective - whole) / disp, 2.0 * slope / disp


def _dispersion(fitted: FittedGLM) -> Array:
    if "dispersion" in fitted.family.nuisance:
        return jnp.ones(())
    return jnp.asarray(fitted.params.disp)


def likelihood_ratios(fitted: FittedGLM) -> Float[Array, " p"]:
    """Returns twice the loss of log-likelihood when each column is left out."""
    p = fitted.data.X.shape[1]
    zero = jnp.zeros(())
    return lax.map(lambda j: _loss(fitted, j, zero)[0], jnp.arange(p))


def scores_of_restricted(fitted: FittedGLM) -> Float[Array, " p"]:
    """Returns Rao's statistic of each coefficient, from the fit without its column."""
    p = fitted.data.X.shape[1]
    family = fitted.family
    is_expected = family.has_variance_function and not family.nuisance

    def one(j: Array) -> Array:
        _, solution = _held(fitted, j, jnp.zeros(()))
        point = solution.point
        slope = fitted.problem.gradient(point).beta[0, j]
        kind = "fisher" if is_expected else "observed"
        found = information(fitted.problem, point, fitted.geometry, kind)
        return jnp.square(slope) * found.inverse[j, j] / _dispersion(fitted)

    return lax.map(one, jnp.arange(p))


def profile_intervals(
    fitted: FittedGLM, se: Float[Array, " p"], reach: Float[Array, ""]
) -> tuple[Float[Array, " p"], Float[Array, " p"]]:
    """Returns where the signed root of the likelihood ratio is -reach and reach.

    An end is infinite where the likelihood ratio stays below on the way there.
    """
    p = fitted.data.X.shape[1]

    def end(j: Array, side: Array) -> Array:
        centre = fitted.params.beta[j]

        def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            value, _, count = state
            loss, slope = _loss(fitted, j, value)
            root = jnp.sqrt(jnp.maximum(loss, 1e-30))
            # The root is nearly linear in the value: Newton's method on it.
            move = (reach - root) * 2.0 * root / slope
            distance = jnp.abs(value - centre)
            outward = jnp.clip(side * move, -0.5 * distance, 2.0 * distance)
            outward = jnp.where(jnp.isnan(move), -0.5 * distance, outward)
            return value + side * outward, jnp.abs(root - reach), count + 1

        first = centre + side * reach * se[j]
        value, miss, _ = lax.while_loop(
            lambda s: (s[1] > 1e-9 * reach) & (s[2] < _MAX_STEPS),
            step,
            (first, jnp.asarray(jnp.inf, se.dtype), jnp.zeros((), jnp.int32)),
        )
        return jnp.where(miss <= 1e-6 * reach, value, side * jnp.inf)

    columns = jnp.arange(p)
    low = lax.map(lambda j: end(j, jnp.asarray(-1.0, se.dtype)), columns)
    high = lax.map(lambda j: end(j, jnp.asarray(1.0, se.dtype)), columns)
    return low, high
