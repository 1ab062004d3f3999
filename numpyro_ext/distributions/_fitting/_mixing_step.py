"""A step of the mixing law by Newton's method on the likelihood."""

import jax
import jax.numpy as jnp
from jax import Array

from ._density import Line
from ._family import Family, mixing_params

# How far a log may move in one step.
LONGEST = 2.0
# Levenberg-Marquardt shifts that are tried, the least that keeps the step short wins.
NUM_SHIFTS = 48


def newton_direction(gradient: Array, hessian: Array, scaled: Array) -> Array:
    """The step of a quadratic model inside an ellipsoid.

    The columns of `scaled` are its half axes. A short step along a direction of little
    curvature does not shorten the others, which a common factor would. Directions of
    the wrong curvature are turned.
    """
    slope = scaled.T @ gradient
    curvature = -(scaled.T @ hessian @ scaled)
    curvature = jnp.where(jnp.isfinite(curvature), curvature, 0.0)
    values, vectors = jnp.linalg.eigh(0.5 * (curvature + curvature.T))
    eps = jnp.finfo(gradient.dtype).eps
    largest = jnp.max(jnp.abs(values))
    sizes = jnp.maximum(jnp.abs(values), eps * largest)
    along = vectors.T @ slope
    top = jnp.maximum(largest, jnp.sqrt(jnp.sum(along * along)))
    shifts = top * jnp.concatenate(
        [jnp.zeros((1,)), jnp.logspace(-15.0, 0.5, NUM_SHIFTS)]
    ).astype(gradient.dtype)
    steps = along / jnp.maximum(sizes + shifts[:, None], eps * eps)
    is_short = jnp.sum(steps * steps, axis=1) <= 1.0
    step = scaled @ (vectors @ steps[jnp.argmax(is_short)])
    return jnp.where(jnp.all(jnp.isfinite(step)), step, 0.0)


def newton_step(
    family: Family,
    c: Array,
    gradient: Array,
    hessian: Array,
    projector: Array,
) -> Array:
    """The step of the coordinates alone."""
    k = family.num_coordinates
    reach = _reach(family, c)
    return newton_direction(gradient[:k], hessian[:k, :k], projector * reach)


def line_step(
    family: Family,
    c: Array,
    tilt: Array,
    gradient: Array,
    hessian: Array,
    projector: Array,
    moves: Array,
    radius: Array,
) -> Array:
    """The step of the coordinates and, after them, of nu, eps and kappa of `Line`.

    `moves` is 1 for those of the three that may move.
    """
    basis = line_basis(family, c, tilt, projector, moves, radius)
    return newton_direction(gradient, hessian, basis)


def line_basis(
    family: Family,
    c: Array,
    tilt: Array,
    projector: Array,
    moves: Array,
    radius: Array,
) -> Array:
    """The longest steps that may be taken, as columns."""
    k = family.num_coordinates
    has_skew = tilt > 1e-10
    safe = jnp.where(has_skew, tilt, 1.0)
    mean, variance = _rough_moments(family, c)
    total = mean / safe + variance
    # Half a standard deviation, half the skew, half the variance along it.
    line = 0.5 * moves * jnp.stack([jnp.sqrt(total), jnp.ones_like(safe), total])
    reach = jnp.concatenate([_reach(family, c), jnp.where(has_skew, line, 0.0)])
    whole = jnp.eye(k + 3, dtype=c.dtype).at[:k, :k].set(projector)
    basis = _moment_basis(family, c, safe, mean, variance)
    is_whole = jnp.all(moves > 0) & has_skew
    basis = jnp.where(is_whole, basis, jnp.eye(k + 3, dtype=c.dtype))
    return basis @ (whole * (radius * reach))


def _moment_basis(
    family: Family, c: Array, tilt: Array, mean: Array, variance: Array
) -> Array:
    """Columns: c, mean of x, eps and variance of x along the skew, one at a time.

    When c or eps moves, nu and kappa follow so that mean and variance stay.
    """
    k = family.num_coordinates
    by_mean, by_variance = jax.jacfwd(lambda y: _rough_moments(family, y))(c)
    basis = jnp.eye(k + 3, dtype=c.dtype)
    basis = basis.at[k, :k].set(-by_mean).at[k, k + 1].set(-mean)
    own = -(by_mean / tilt + by_variance) / mean
    basis = basis.at[k + 2, :k].set(own)
    basis = basis.at[k + 2, k + 1].set(-2.0 * variance / mean)
    return basis.at[k + 2, k + 2].set(1.0 / mean)


def _reach(family: Family, c: Array) -> Array:
    reach = jnp.full_like(c, LONGEST)
    if family.num_coordinates == 3:
        reach = reach.at[0].set(1.0 + 0.5 * jnp.abs(c[0]))
    return reach


def retract(family: Family, old: Array, new: Array, step: Array, tilt: Array) -> Line:
    """The move along the skew that goes with new coordinates.

    Along a step of the mixing law the mean and the variance of x in the direction of
    the skew change as they do to first order, not as a straight line in nu, eps and
    kappa has it. Near the normal law, where steps are long, a straight one leaves the
    ridge of the likelihood.
    """
    k = family.num_coordinates
    nu, eps, kappa = step[k], step[k + 1], step[k + 2]

    def moments(c, nu, eps, kappa):
        mean, variance = _rough_moments(family, c)
        own = (1.0 / tilt + kappa) * mean
        return nu + (1.0 + eps) * mean, own + jnp.square(1.0 + eps) * variance

    zero = jnp.zeros_like(nu)
    (first, second), (first_dot, second_dot) = jax.jvp(
        moments, (old, zero, zero, zero), (new - old, nu, eps, kappa)
    )
    grown = jnp.expm1(eps)
    mean, variance = _rough_moments(family, new)
    rest = second + second_dot - jnp.square(1.0 + grown) * variance
    own = rest / mean
    # The scale must stay positive.
    is_good = own > 0.1 / tilt
    return Line(
        jnp.where(is_good, first + first_dot - (1.0 + grown) * mean, nu),
        jnp.where(is_good, grown, eps),
        jnp.where(is_good, own - 1.0 / tilt, kappa),
    )


def _rough_moments(family: Family, c: Array) -> tuple[Array, Array]:
    """Mean and variance of w, right to first order near the normal law."""
    p, a, b = mixing_params(family, c)
    half = p + 0.5
    size = jnp.sqrt(half * half + a * b)
    if family.kind == "inverse_gamma":
        mean = b / (size - half)
    else:
        mean = (half + size) / a
    return mean, mean * mean / size
