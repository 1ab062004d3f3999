"""NumPyro's multivariate normal law, as an exponential family."""

import math

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.linalg import cho_solve
from jax.typing import ArrayLike

from ._exponential_family import AbstractExponentialFamily
from ._law import as_float

LOG_2PI = math.log(2.0 * math.pi)


def pack(matrix: Array) -> Array:
    """The lower triangle of a symmetric matrix, row by row."""
    rows, cols = np.tril_indices(matrix.shape[-1])
    return matrix[..., rows, cols]


def unpack(packed: Array) -> Array:
    """The symmetric matrix with this lower triangle."""
    d = math.isqrt(2 * packed.shape[-1])
    rows, cols = np.tril_indices(d)
    out = jnp.zeros((*packed.shape[:-1], d, d), packed.dtype)
    return out.at[..., rows, cols].set(packed).at[..., cols, rows].set(packed)


def pack_precision(precision: Array) -> Array:
    """The coefficients of the products x_i x_j, i >= j, in -x^T precision x / 2."""
    d = precision.shape[-1]
    halves = 1.0 - 0.5 * jnp.eye(d, dtype=precision.dtype)
    return -pack(precision * halves)


def unpack_precision(theta: Array) -> Array:
    """The precision matrix of these coefficients."""
    half = unpack(theta)
    return -half * (1.0 + jnp.eye(half.shape[-1], dtype=theta.dtype))


def half_log_det(cholesky: Array) -> Array:
    """Half the log determinant of L L^T."""
    return jnp.sum(jnp.log(jnp.diagonal(cholesky, axis1=-2, axis2=-1)), axis=-1)


def times_inverse(cholesky: Array, vector: Array) -> Array:
    """(L L^T)^-1 v, batched."""
    shape = jnp.broadcast_shapes(cholesky.shape[:-2], vector.shape[:-1])
    cholesky = jnp.broadcast_to(cholesky, shape + cholesky.shape[-2:])
    vector = jnp.broadcast_to(vector, shape + vector.shape[-1:])
    return cho_solve((cholesky, True), vector[..., None])[..., 0]


def inverse(matrix: Array) -> Array:
    """Inverse of a positive definite matrix."""
    eye = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    return cho_solve((jnp.linalg.cholesky(matrix), True), eye)


class MultivariateNormal(AbstractExponentialFamily, dist.MultivariateNormal):
    r"""NumPyro's `MultivariateNormal`, as an exponential family.

    With the precision $\Lambda$, $T = (x, x_i x_j)$ and
    $\theta = (\Lambda\mu, -\Lambda_{ij} / (1 + \delta_{ij}))$ for $i \ge j$, row by
    row: $d + d(d + 1)/2$ coordinates, none of them twice. The base measure is 1.

    Args and shapes: as for NumPyro's law.
    """

    @staticmethod
    def log_partition(theta: Array) -> Array:
        r"""$\tfrac12(d\log 2\pi - \log|\Lambda| + \mu^T\Lambda\mu)$."""
        d = _dim(theta.shape[-1])
        cholesky = jnp.linalg.cholesky(unpack_precision(theta[..., d:]))
        linear = theta[..., :d]
        quadratic = jnp.sum(linear * times_inverse(cholesky, linear), axis=-1)
        return 0.5 * (d * LOG_2PI + quadratic) - half_log_det(cholesky)

    @staticmethod
    def sufficient_statistics(value: ArrayLike) -> Array:
        """(x, x_i x_j for i >= j)."""
        x = as_float("MultivariateNormal", "value", value)
        return jnp.concatenate([x, pack(x[..., :, None] * x[..., None, :])], axis=-1)

    @property
    def natural_params(self) -> Array:
        """(precision loc, packed precision)."""
        precision = jnp.asarray(self.precision_matrix)
        linear = jnp.squeeze(precision @ jnp.asarray(self.loc)[..., None], -1)
        packed = pack_precision(precision)
        shape = jnp.broadcast_shapes(linear.shape[:-1], packed.shape[:-1])
        return jnp.concatenate(
            [jnp.broadcast_to(x, shape + x.shape[-1:]) for x in (linear, packed)], -1
        )

    @classmethod
    def from_natural(cls, theta: ArrayLike) -> "MultivariateNormal":
        """The member with these natural parameters."""
        theta = as_float(cls.__name__, "theta", theta)
        d = _dim(theta.shape[-1])
        precision = unpack_precision(theta[..., d:])
        loc = times_inverse(jnp.linalg.cholesky(precision), theta[..., :d])
        return cls(loc, precision_matrix=precision)

    @classmethod
    def from_expectation(cls, eta: ArrayLike) -> "MultivariateNormal":
        """The member with these E[x] and E[x_i x_j]."""
        eta = as_float(cls.__name__, "eta", eta)
        d = _dim(eta.shape[-1])
        loc = eta[..., :d]
        second = unpack(eta[..., d:])
        return cls(loc, second - loc[..., :, None] * loc[..., None, :])


def _dim(count: int) -> int:
    """The d with d + d (d + 1) / 2 = count."""
    d = (math.isqrt(9 + 8 * count) - 3) // 2
    if d < 1 or d * (d + 3) // 2 != count:
        raise ValueError(
            f"`MultivariateNormal` got {count} coordinates: d dimensions have "
            "d (d + 3) / 2 of them, such as 2, 5 or 9."
        )
    return d
