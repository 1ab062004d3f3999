"""Steps of the mixing law: Newton on the likelihood, or EM on expectations."""

import jax.numpy as jnp
from jax import Array

from ._family import Family, clip

LONGEST = 2.0


def newton_direction(
    gradient: Array, hessian: Array, projector: Array
) -> tuple[Array, Array]:
    """An ascent direction, and half its first-order gain.

    Directions of wrong or of no curvature are turned: the eigenvalues of minus the
    Hessian enter by their size.
    """
    slope = projector @ gradient
    curvature = -(projector @ hessian @ projector)
    curvature = jnp.where(jnp.isfinite(curvature), curvature, 0.0)
    values, vectors = jnp.linalg.eigh(0.5 * (curvature + curvature.T))
    eps = jnp.finfo(gradient.dtype).eps
    sizes = jnp.maximum(jnp.abs(values), eps * jnp.max(jnp.abs(values)) + eps)
    step = vectors @ ((vectors.T @ slope) / sizes)
    step = projector @ step
    return step, 0.5 * jnp.sum(slope * step)


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
    step, _ = newton_direction(gradient, hessian, projector)
    step = jnp.where(jnp.all(jnp.isfinite(step)), step, 0.0)
    reach = jnp.full_like(c, LONGEST)
    if family.num_coordinates == 3:
        reach = reach.at[0].set(1.0 + 0.5 * jnp.abs(c[0]))
    cut = jnp.minimum(1.0, jnp.min(reach / jnp.maximum(jnp.abs(step), 1e-30)))
    return clip(family, c + cut * step, lower, upper)
