"""Gaussian laws of many coordinates, by a scaled precision of full or low rank."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


class Gaussian(eqx.Module):
    r"""A Gaussian law with precision $S (I + V (\Lambda - I) V^T) S$.

    $S$ is diagonal and positive, $V$ has orthonormal columns and $\Lambda$ is diagonal
    and positive: the eigenvalues along $V$ of the precision in units of $S$, which is
    1 along everything else. With $n$ columns it is any precision, with none of them a
    diagonal one.

    Attributes:
        mean: the mean.
        root: the diagonal of $S$.
        vectors: $V$.
        eigenvalues: the diagonal of $\Lambda$.
    """

    mean: Float[Array, " n"]
    root: Float[Array, " n"]
    vectors: Float[Array, "n r"]
    eigenvalues: Float[Array, " r"]

    def sample(self, key: Key[Array, ""], num: int) -> Float[Array, "{num} n"]:
        """Draws `num` points."""
        noise = jax.random.normal(key, (num, self.mean.size), self.mean.dtype)
        return self.mean + self._stretch(noise, -0.5) / self.root

    def solve(self, gradient: Float[Array, " n"]) -> Float[Array, " n"]:
        """Returns the covariance times a vector."""
        return self._stretch(gradient / self.root, -1.0) / self.root

    def log_prob(self, points: Float[Array, "*b n"]) -> Float[Array, "*b"]:
        """Returns the log density of points."""
        white = self._stretch((points - self.mean) * self.root, 0.5)
        constant = 0.5 * self.log_det - 0.5 * self.mean.size * math.log(2 * math.pi)
        return constant - 0.5 * jnp.sum(jnp.square(white), axis=-1)

    @property
    def log_det(self) -> Float[Array, ""]:
        """The log determinant of the precision."""
        return 2.0 * jnp.sum(jnp.log(self.root)) + jnp.sum(jnp.log(self.eigenvalues))

    def distance(self, point: Float[Array, " n"]) -> Float[Array, ""]:
        """Returns the Mahalanobis distance of a point from the mean."""
        white = self._stretch((point - self.mean) * self.root, 0.5)
        return jnp.sqrt(jnp.sum(jnp.square(white)))

    def covariance(self) -> Float[Array, "n n"]:
        """Returns the whole covariance."""
        identity = jnp.eye(self.mean.size, dtype=self.mean.dtype)
        return self._stretch(identity, -1.0) / (self.root[:, None] * self.root)

    def _stretch(
        self, points: Float[Array, "*b n"], power: float
    ) -> Float[Array, "*b n"]:
        """Multiplies by a power of the scaled precision."""
        along = points @ self.vectors
        return points + (along * (self.eigenvalues**power - 1.0)) @ self.vectors.T
