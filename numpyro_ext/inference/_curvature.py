"""The curvature of a negative log density at a point, in four structures."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from ._flat import unravel_position
from ._ggn import Rows, likelihood_rows
from ._model_spec import ModelSpec
from ._numpyro_model import NumPyroModel

# Columns of a Hessian that are taken together.
BLOCK = 16
# Subspace iteration for the leading directions: columns beyond the rank, and rounds.
OVERSAMPLING, NUM_ROUNDS = 8, 6
# Probes of Hutchinson's estimate of a diagonal.
NUM_PROBES = 64
# Below this, relative to the largest, an eigenvalue is rounding; times coordinates.
ROUNDING = 8.0

type Scalar = Float[Array, ""]


class Spectrum(NamedTuple):
    """A scaled Hessian of -log density: eigenvalues may have any sign.

    It is `S (I + V (L - I) V^T) S` with `S` the diagonal of `root`, `V` the
    orthonormal `vectors` and `L` the `eigenvalues`.
    """

    root: Float[Array, " n"]
    vectors: Float[Array, "n r"]
    eigenvalues: Float[Array, " r"]

    def threshold(self) -> Scalar:
        """The size below which an eigenvalue cannot be told from zero."""
        eps = jnp.finfo(self.root.dtype).eps
        largest = jnp.max(jnp.abs(self.eigenvalues), initial=1.0)
        return ROUNDING * self.root.size * eps * largest

    def repaired(self) -> "Spectrum":
        """Turns negative eigenvalues around, and lifts those that are zero."""
        lifted = jnp.maximum(jnp.abs(self.eigenvalues), self.threshold())
        return self._replace(eigenvalues=lifted)


class Space(eqx.Module):
    """The free coordinates of a spec, the others held at a point.

    Attributes:
        spec: the model with its data.
        held: a whole position, flat.
        index: which entries are free; None for all.
    """

    spec: ModelSpec
    held: Float[Array, " m"]
    index: Array | None

    def position(self, point: Float[Array, " n"]) -> PyTree[Array]:
        """Returns the whole position at the free coordinates `point`."""
        return unravel_position(self.spec)(self.flat(point))

    def flat(self, point: Float[Array, " n"]) -> Float[Array, " m"]:
        """Returns the whole position, flat."""
        return point if self.index is None else self.held.at[self.index].set(point)

    def loss(self, point: Float[Array, " n"]) -> Scalar:
        """Returns minus the log density, Jacobian included."""
        return -self.spec.log_density(self.position(point))

    def prior_loss(self, point: Float[Array, " n"]) -> Scalar:
        """Returns the part of the loss that is not likelihood."""
        parts = self.spec.parts(self.position(point))
        return -(parts.log_prior + parts.log_det)


@eqx.filter_jit
def full_spectrum(space: Space, point: Float[Array, " n"]) -> Spectrum:
    """The whole Hessian, by its eigenvalues in units of its diagonal."""
    return dense_spectrum(hessian(space.loss, point))


@eqx.filter_jit
def diagonal_spectrum(space: Space, point: Float[Array, " n"]) -> Spectrum:
    """The diagonal of the Hessian."""

    def entry(direction: Float[Array, " n"]) -> Scalar:
        return direction @ _product(space.loss, point, direction)

    eye = jnp.eye(point.size, dtype=point.dtype)
    diagonal = jax.lax.map(entry, eye, batch_size=BLOCK)
    # Each entry as an eigenvalue of its own, so that a negative one is seen.
    root = _root(diagonal)
    return Spectrum(root, eye, diagonal / jnp.square(root))


@eqx.filter_jit
def low_rank_spectrum(
    space: Space, point: Float[Array, " n"], key: Key[Array, ""], rank: int
) -> Spectrum:
    """The `rank` directions in which the Hessian is least like the prior's diagonal.

    Subspace iteration on S^-1 H S^-1 - I, with S^2 the diagonal of the prior's
    Hessian, by Hessian-vector products alone.
    Source: Halko, Martinsson and Tropp (2011), SIAM Review 53, 217-288.
    """
    size = point.size
    width = min(rank + OVERSAMPLING, size)
    probe_key, start_key = jax.random.split(key)
    probes = jax.random.rademacher(probe_key, (NUM_PROBES, size), point.dtype)
    products = jax.lax.map(lambda v: v * _product(space.prior_loss, point, v), probes)
    root = _root(jnp.mean(products, axis=0))

    def deviate(vectors: Float[Array, "n k"]) -> Float[Array, "n k"]:
        def one(vector: Float[Array, " n"]) -> Float[Array, " n"]:
            return _product(space.loss, point, vector / root) / root - vector

        return jax.lax.map(one, vectors.T, batch_size=BLOCK).T

    def turn(_: Array, vectors: Float[Array, "n k"]) -> Float[Array, "n k"]:
        return jnp.linalg.qr(deviate(vectors))[0]

    start = jax.random.normal(start_key, (size, width), point.dtype)
    basis = jax.lax.fori_loop(0, NUM_ROUNDS, turn, jnp.linalg.qr(start)[0])
    small = basis.T @ deviate(basis)
    values, rotation = jnp.linalg.eigh(0.5 * (small + small.T))
    leading = jnp.argsort(-jnp.abs(values))[: min(rank, width)]
    return Spectrum(root, basis @ rotation[:, leading], 1.0 + values[leading])


def ggn_spectrum(space: Space, point: Float[Array, " n"]) -> Spectrum:
    """The generalised Gauss-Newton matrix of the likelihood, and the prior's Hessian.

    The information of one datum is the expected one (Fisher's) for normal, lognormal,
    Bernoulli, binomial, Poisson, exponential and gamma laws, and else the observed one
    without its negative part. Where the prior's Hessian is diagonal and there are
    fewer rows than coordinates, nothing of size n x n is made.

    Raises:
        ValueError: for a spec whose likelihood is not that of its observed sites' data
            one by one.
    """
    _check_ggn(space, point)
    diagonal, is_diagonal = prior_diagonal(space, point)
    if bool(is_diagonal) and bool(jnp.all(diagonal > 0)):
        return _ggn_on_diagonal(space, point, diagonal)
    return _ggn_dense(space, point)


def _rows(space: Space, point: Float[Array, " n"]) -> Rows:
    model = space.spec.model
    if not isinstance(model, NumPyroModel):
        raise ValueError(
            '`Laplace(structure="ggn")` reads the distributions of a NumPyro model, '
            'and this spec is of a plain function. Take `structure="full"`, or '
            '"low_rank" for many coordinates.'
        )

    def sites(point: Float[Array, " n"]) -> dict[str, Any]:
        return model.observed_sites(space.position(point))

    return likelihood_rows(sites, point)


def _check_ggn(space: Space, point: Float[Array, " n"]) -> None:
    """Compares the likelihood of the rebuilt laws with the spec's own."""
    rebuilt, own = map(float, _log_likelihoods(space, point))
    eps = float(jnp.finfo(point.dtype).eps)
    if not abs(rebuilt - own) <= math.sqrt(eps) * (1.0 + abs(own)):
        raise ValueError(
            '`Laplace(structure="ggn")` rebuilds each law of the data from its '
            f"parameters, and got a log likelihood of {rebuilt} where the model has "
            f"{own}: a `factor` that counts as likelihood, or a law that holds more "
            'than its parameters. Take `structure="full"`.'
        )


@eqx.filter_jit
def _log_likelihoods(space: Space, point: Float[Array, " n"]) -> tuple[Scalar, Scalar]:
    own = space.spec.parts(space.position(point)).log_likelihood
    return _rows(space, point).log_likelihood, own


@eqx.filter_jit
def prior_diagonal(
    space: Space, point: Float[Array, " n"]
) -> tuple[Float[Array, " n"], Bool[Array, ""]]:
    """Returns the row sums of the prior's Hessian, and whether it is diagonal.

    Two products tell: a diagonal matrix maps a vector of signs to the signed row sums.
    """
    ones = jnp.ones_like(point)
    sums = _product(space.prior_loss, point, ones)
    signs = jax.random.rademacher(jax.random.key(0), point.shape, point.dtype)
    signed = _product(space.prior_loss, point, signs)
    eps = jnp.finfo(point.dtype).eps
    slack = 64.0 * eps * jnp.max(jnp.abs(sums), initial=0.0)
    return sums, jnp.all(jnp.abs(signed - signs * sums) <= slack)


@eqx.filter_jit
def _ggn_on_diagonal(
    space: Space, point: Float[Array, " n"], diagonal: Float[Array, " n"]
) -> Spectrum:
    rows = _rows(space, point).rows
    root = jnp.sqrt(diagonal)
    scaled = rows / root
    if rows.shape[0] >= point.size:
        return _with_identity(root, scaled.T @ scaled)
    values, left = jnp.linalg.eigh(scaled @ scaled.T)
    values = jnp.maximum(values, 0.0)
    # Rows that repeat each other leave null directions, where the factor is arbitrary.
    is_null = values <= ROUNDING * values.size * jnp.finfo(point.dtype).eps * jnp.max(
        values, initial=0.0
    )
    length = jnp.where(is_null, 1.0, jnp.sqrt(values))
    vectors = jnp.where(is_null, 0.0, (scaled.T @ left) / length)
    return Spectrum(root, vectors, 1.0 + jnp.where(is_null, 0.0, values))


def _with_identity(root: Float[Array, " n"], matrix: Float[Array, "n n"]) -> Spectrum:
    values, vectors = jnp.linalg.eigh(matrix)
    return Spectrum(root, vectors, 1.0 + values)


@eqx.filter_jit
def _ggn_dense(space: Space, point: Float[Array, " n"]) -> Spectrum:
    rows = _rows(space, point).rows
    return dense_spectrum(rows.T @ rows + hessian(space.prior_loss, point))


def dense_spectrum(matrix: Float[Array, "n n"]) -> Spectrum:
    root = _root(jnp.diagonal(matrix))
    scaled = matrix / (root[:, None] * root)
    values, vectors = jnp.linalg.eigh(0.5 * (scaled + scaled.T))
    return Spectrum(root, vectors, values)


def hessian(
    loss: Callable[[Float[Array, " n"]], Scalar], point: Float[Array, " n"]
) -> Float[Array, "n n"]:
    """Returns the Hessian, a block of columns at a time."""
    eye = jnp.eye(point.size, dtype=point.dtype)
    return jax.lax.map(lambda v: _product(loss, point, v), eye, batch_size=BLOCK)


def _product(
    loss: Callable[[Float[Array, " n"]], Scalar],
    point: Float[Array, " n"],
    vector: Float[Array, " n"],
) -> Float[Array, " n"]:
    return jax.jvp(jax.grad(loss), (point,), (vector,))[1]


def _root(diagonal: Float[Array, " n"]) -> Float[Array, " n"]:
    size = jnp.abs(diagonal)
    return jnp.sqrt(jnp.where(size > 0, size, 1.0))
