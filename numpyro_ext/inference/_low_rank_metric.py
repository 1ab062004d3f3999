r"""A metric of a diagonal and a few directions, from draws and their gradients.

$$\hat\Sigma = D (I + U (\Lambda - I) U^T) D.$$
Draws $x$ and gradients $g$ of the log density tell the covariance in two ways, as
$\mathrm{cov}(x)$ and as $\mathrm{cov}(g)^{-1}$; the metric that minimises the Fisher
divergence to the posterior is their geometric mean. Here it is taken for the diagonal,
$D^4 = \mathrm{var}(x) / \mathrm{var}(g)$, and then, in the units of $D$, on the
subspace in which draws or gradients vary most. So two dozen draws of hundreds of
coordinates find the directions that matter, wide and narrow ones.

Source: Seyboldt, Carlson and Carpenter (2026), arXiv:2603.18845, algorithm 1.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._metric import LowRankMetric

# Their constants: the weight of the identity, in draws, and eigenvalues so near to 1
# that they are not worth a direction.
WEIGHT, NEAR_ONE = 1e-5, 2.0
# What is half as wide as the narrowest direction sought is gone by 4**-8.
NUM_ITERATIONS = 8


def low_rank_metric(
    draws: Float[Array, "rows n"],
    grads: Float[Array, "rows n"],
    num_draws: Int[Array, ""],
    rank: int,
) -> LowRankMetric:
    """Estimates the metric from the first `num_draws` rows."""
    is_used = jnp.arange(len(draws)) < num_draws
    # A density may be finite where its gradient is not.
    is_used = is_used & jnp.all(jnp.isfinite(grads), axis=1)
    centred = _centre(draws, is_used), _centre(grads, is_used)
    spread_draws, spread_grads = (jnp.sum(jnp.square(x), axis=0) for x in centred)
    is_known = (spread_draws > 0.0) & (spread_grads > 0.0)
    ratio = jnp.where(is_known, spread_draws / spread_grads, 1.0)
    scale = jnp.sqrt(jnp.sqrt(ratio))
    scaled = centred[0] / scale, centred[1] * scale
    # Principal directions of either, as an orthonormal basis of both.
    wide, steep = (_principal_directions(x, rank) for x in scaled)
    basis = jnp.linalg.qr(jnp.concatenate([wide, steep], axis=1))[0]
    covariance, curvature = (_second_moments(x @ basis) for x in scaled)
    values, vectors = jnp.linalg.eigh(_geometric_mean(covariance, curvature))
    tiny = jnp.finfo(values.dtype).eps * values[-1]
    # By the logarithm: a narrow direction costs as much as a wide one.
    logs = jnp.log(jnp.maximum(values, tiny))
    order = jnp.argsort(-jnp.abs(logs))[:rank]
    logs = jnp.where(jnp.abs(logs) > jnp.log(NEAR_ONE), logs, 0.0)[order]
    return LowRankMetric(scale, vectors[:, order].T @ basis.T, jnp.exp(logs))


def _centre(rows: Array, is_used: Array) -> Array:
    """Subtracts the mean of the rows that are used; the others are 0."""
    kept = jnp.where(is_used[:, None], rows, 0.0)
    mean = jnp.sum(kept, axis=0) / jnp.maximum(jnp.sum(is_used), 1)
    return jnp.where(is_used[:, None], kept - mean, 0.0)


def _principal_directions(rows: Array, rank: int) -> Array:
    """Returns orthonormal columns along which rows vary most, by block iteration."""
    num = rows.shape[1]
    width = min(2 * rank, num)
    block = jax.random.normal(jax.random.key(0), (num, width), rows.dtype)

    def improve(_: Any, block: Array) -> Array:
        return jnp.linalg.qr(rows.T @ (rows @ block))[0]

    block = jax.lax.fori_loop(0, NUM_ITERATIONS, improve, block)
    image = rows @ block
    return block @ jnp.linalg.eigh(image.T @ image)[1][:, -rank:]


def _second_moments(rows: Array) -> Array:
    moments = rows.T @ rows
    rounding = 10.0 * jnp.finfo(rows.dtype).eps * jnp.trace(moments)
    return moments + jnp.maximum(WEIGHT, rounding) * jnp.eye(len(moments))


def _geometric_mean(covariance: Array, curvature: Array) -> Array:
    r"""Solves $X C X = S$ for the positive $X$.

    With $C = L L^T$ it is $X = L^{-T} (L^T S L)^{1/2} L^{-1}$.
    """
    lower = jnp.linalg.cholesky(curvature)
    values, vectors = jnp.linalg.eigh(lower.T @ covariance @ lower)
    fourth_root = jnp.sqrt(jnp.sqrt(jnp.maximum(values, 0.0)))
    root = jax.scipy.linalg.solve_triangular(lower.T, vectors * fourth_root)
    return root @ root.T
