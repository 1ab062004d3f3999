r"""Metrics of Hamiltonian samplers, factored once and used at every step.

With the covariance $\Sigma = L L^T$ of the coordinates, momenta are $L^{-T} n$ with
$n \sim N(0, I)$, and velocities $\Sigma p$.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._compat import EuclideanMetric

# Host arrays stand in for device arrays before the first call: jit takes both, and
# making device arrays one by one would cost more than a short run.
host: Any = np


class MetricState(NamedTuple):
    r"""The inverse mass matrix (an estimate of the covariance) and its $L^{-T}$."""

    inverse_mass: Float[Array, " n"] | Float[Array, "n n"]
    factor: Float[Array, " n"] | Float[Array, "n n"]

    def velocity(self, momentum: Float[Array, " n"]) -> Float[Array, " n"]:
        return _multiply(self.inverse_mass, momentum)

    def momentum(self, noise: Float[Array, " n"]) -> Float[Array, " n"]:
        return _multiply(self.factor, noise)

    def variances(self) -> Float[Array, " n"]:
        matrix = self.inverse_mass
        return matrix if matrix.ndim == 1 else jnp.diagonal(matrix)


class LowRankMetric(NamedTuple):
    r"""The inverse mass matrix $D (I + U (\Lambda - I) U^T) D$, never formed.

    Attributes:
        scale: the diagonal $D$.
        directions: $U^T$, orthonormal rows.
        values: $\Lambda$, positive.
    """

    scale: Float[Array, " n"]
    directions: Float[Array, "rank n"]
    values: Float[Array, " rank"]

    def velocity(self, momentum: Float[Array, " n"]) -> Float[Array, " n"]:
        return self.scale * self._stretch(self.scale * momentum, self.values)

    def momentum(self, noise: Float[Array, " n"]) -> Float[Array, " n"]:
        return self._stretch(noise, jax.lax.rsqrt(self.values)) / self.scale

    def variances(self) -> Float[Array, " n"]:
        along = (self.values - 1.0) @ jnp.square(self.directions)
        return jnp.square(self.scale) * (1.0 + along)

    def _stretch(self, vector: Array, values: Array) -> Array:
        along = self.directions @ vector
        return vector + ((values - 1.0) * along) @ self.directions


# What a kernel is given.
type Metric = MetricState | LowRankMetric


def host_metric(inverse_mass: Any) -> MetricState:
    """Factors an inverse mass matrix on the host, diagonal (n,) or dense (n, n)."""
    if inverse_mass.ndim == 1:
        return MetricState(inverse_mass, 1.0 / host.sqrt(inverse_mass))
    factor = host.linalg.inv(host.linalg.cholesky(inverse_mass)).T
    return MetricState(inverse_mass, factor.astype(inverse_mass.dtype))


def host_low_rank_metric(inverse_mass: Any, rank: int) -> LowRankMetric:
    """Returns a diagonal (n,) as a metric of low rank, on the host."""
    num, dtype = len(inverse_mass), inverse_mass.dtype
    rank = min(rank, num)
    directions, values = host.zeros((rank, num), dtype), host.ones(rank, dtype)
    return LowRankMetric(host.sqrt(inverse_mass), directions, values)


def metric_state(inverse_mass: Array) -> MetricState:
    """Factors an inverse mass matrix, diagonal (n,) or dense (n, n)."""
    if inverse_mass.ndim == 1:
        return MetricState(inverse_mass, jax.lax.rsqrt(inverse_mass))
    lower = jnp.linalg.cholesky(inverse_mass)
    identity = jnp.eye(len(lower), dtype=lower.dtype)
    inverse = jax.scipy.linalg.solve_triangular(lower, identity, lower=True)
    return MetricState(inverse_mass, inverse.T)


def euclidean_metric(metric: Metric) -> EuclideanMetric:
    """Makes BlackJAX's metric of a factor that is there already."""

    def sample_momentum(key: Key[Array, ""], position: Array) -> Array:
        return metric.momentum(jax.random.normal(key, position.shape, position.dtype))

    def kinetic_energy(momentum: Array, position: Array | None = None) -> Array:
        energy = 0.5 * jnp.dot(metric.velocity(momentum), momentum)
        # Where the products overflow, a sum of infinities may be -inf, and the most
        # impossible end of a trajectory would be accepted.
        return jnp.where(energy >= 0.0, energy, jnp.inf)

    def check_turning(
        left: Array,
        right: Array,
        total: Array,
        position_left: Array | None = None,
        position_right: Array | None = None,
    ) -> Array:
        # Betancourt (2013): the trajectory turns when an end moves against the sum.
        velocity = metric.velocity(total - (left + right) / 2)
        return (jnp.dot(left, velocity) <= 0) | (jnp.dot(right, velocity) <= 0)

    return EuclideanMetric(sample_momentum, kinetic_energy, check_turning)


def _multiply(matrix: Array, vector: Array) -> Array:
    return matrix * vector if matrix.ndim == 1 else matrix @ vector
