"""A step of the mixing law by Newton's method on the likelihood."""

import jax.numpy as jnp
from jax import Array

from ._family import Family, clip

# How far a log may move in one step.
LONGEST = 2.0
# Levenberg-Marquardt shifts that are tried, the least that keeps the step short wins.
NUM_SHIFTS = 48


def newton_direction(
    gradient: Array, hessian: Array, projector: Array, reach: Array
) -> Array:
    """The step of a quadratic model inside the ellipsoid with these half axes.

    A short step along a direction of little curvature does not shorten the others,
    which a common factor would. Directions of the wrong curvature are turned.
    """
    scaled = projector * reach
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
    lower: Array,
    upper: Array,
) -> Array:
    """New coordinates; the caller sees whether they are better."""
    reach = jnp.full_like(c, LONGEST)
    if family.num_coordinates == 3:
        reach = reach.at[0].set(1.0 + 0.5 * jnp.abs(c[0]))
    step = newton_direction(gradient, hessian, projector, reach)
    return clip(family, c + step, lower, upper)
