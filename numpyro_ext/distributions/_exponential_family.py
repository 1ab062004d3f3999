r"""Exponential families: a law states its log partition, the rest follows.

$\log p(x) = \log h(x) + \theta\cdot T(x) - A(\theta)$. The expectation parameters
$\eta = E\,T(x)$ are the gradient of A, the Fisher information in $\theta$ its Hessian,
and the maximum-likelihood member is the one whose $\eta$ is the mean of $T$.
Source: Barndorff-Nielsen (1978), Information and Exponential Families.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float
from numpyro.util import not_jax_tracer

from ._law import as_float


class AbstractExponentialFamily(dist.Distribution):
    """Adds the two sets of parameters, their maps and the fit to a law.

    A law states `log_partition`, `sufficient_statistics`, `natural_params`,
    `from_natural` and `from_expectation`, with the coordinates on the last axis; and
    `log_base_measure`, if it is not 0.
    """

    @staticmethod
    def log_partition(theta: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
        """A of the natural parameters, which makes the density integrate to 1."""
        raise NotImplementedError

    @staticmethod
    def sufficient_statistics(value: ArrayLike) -> Float[Array, "*batch k"]:
        """T of the values, on a new last axis in the order of `natural_params`."""
        raise NotImplementedError

    @staticmethod
    def log_base_measure(value: ArrayLike) -> Array:
        """Log h of the values; a scalar 0 unless the law says otherwise."""
        return jnp.zeros((), jnp.result_type(float))

    @property
    def natural_params(self) -> Float[Array, "*batch k"]:
        """Theta, of shape `batch_shape + (k,)`."""
        raise NotImplementedError

    @classmethod
    def from_natural(
        cls, theta: Float[Array, "*batch k"]
    ) -> "AbstractExponentialFamily":
        """The member with these natural parameters."""
        raise NotImplementedError

    @classmethod
    def from_expectation(
        cls, eta: Float[Array, "*batch k"]
    ) -> "AbstractExponentialFamily":
        """The member whose sufficient statistics have this mean."""
        raise NotImplementedError

    @property
    def expectation_params(self) -> Float[Array, "*batch k"]:
        """E[T(x)], the gradient of `log_partition`, of shape `batch_shape + (k,)`."""
        return _gradient(self.log_partition)(self.natural_params)

    @property
    def fisher_information(self) -> Float[Array, "*batch k k"]:
        """Covariance of T(x), the Hessian of `log_partition`.

        It is the Fisher information in the natural parameters, of shape
        `batch_shape + (k, k)`.

        Raises:
            ValueError: At a concrete gamma edge of a GIG law, where the family has a
                boundary and the covariance need not exist.
        """
        self._refuse_edges()
        return _hessian(self.log_partition)(self.natural_params)

    def _refuse_edges(self) -> None:
        """Hook: raises ValueError where the Fisher information is not defined."""

    @classmethod
    def fit_mle(
        cls, x: ArrayLike, weights: ArrayLike | None = None
    ) -> "AbstractExponentialFamily":
        """The member of maximum likelihood.

        Args:
            x: Data, of shape `(n, *batch_shape, *event_shape)`.
            weights: How often each datum counts, of shape `(n,)` and not negative;
                1 each if None. They need not sum to 1.

        Raises:
            ValueError: If there are no data, if shapes do not fit, or if concrete
                weights are negative or all zero.

        Accuracy: that of `from_expectation`. Data without spread have no maximum, and
            give infinite or NaN parameters.
        """
        owner = f"{cls.__name__}.fit_mle"
        x = as_float(owner, "x", x)
        if x.ndim == 0 or x.shape[0] == 0:
            raise ValueError(
                f"`{owner}` got `x` of shape {x.shape}: the first axis counts the "
                "data, and there must be at least one."
            )
        statistics = cls.sufficient_statistics(x)
        if weights is None:
            return cls.from_expectation(jnp.mean(statistics, axis=0))
        weights = jnp.asarray(as_float(owner, "weights", weights), statistics.dtype)
        if weights.shape != x.shape[:1]:
            raise ValueError(
                f"`{owner}` got `weights` of shape {weights.shape} for {x.shape[0]} "
                f"data: give one weight for each datum, of shape ({x.shape[0]},)."
            )
        total = jnp.sum(weights)
        if not_jax_tracer(total) and not bool(jnp.all(weights >= 0) & (total > 0)):
            raise ValueError(
                f"`{owner}` got `weights` with minimum {jnp.min(weights)} and sum "
                f"{total}: they must not be negative, and not all be zero."
            )
        mean = jnp.tensordot(weights / total, statistics, axes=1)
        return cls.from_expectation(mean)


Law = AbstractExponentialFamily


# One compiled function for each class: `log_partition` is the same object every time.
@cache
def _gradient(log_partition: Callable) -> Callable:
    return jax.jit(jnp.vectorize(jax.grad(log_partition), signature="(k)->(k)"))


@cache
def _hessian(log_partition: Callable) -> Callable:
    hessian = jax.jacfwd(jax.jacfwd(log_partition))
    return jax.jit(jnp.vectorize(hessian, signature="(k)->(k,k)"))


def bregman(p: AbstractExponentialFamily, q: AbstractExponentialFamily) -> Array:
    r"""$KL(p, q) = A(\theta_q) - A(\theta_p) - (\theta_q - \theta_p)\cdot\eta_p$."""
    first, second = p.natural_params, q.natural_params
    moved = jnp.sum((second - first) * p.expectation_params, axis=-1)
    return p.log_partition(second) - p.log_partition(first) - moved


def hellinger(p: AbstractExponentialFamily, q: AbstractExponentialFamily) -> Array:
    r"""$1 - \exp(A((\theta_p + \theta_q)/2) - (A(\theta_p) + A(\theta_q))/2)$."""
    first, second = p.natural_params, q.natural_params
    middle = p.log_partition(0.5 * (first + second))
    return -jnp.expm1(middle - 0.5 * (p.log_partition(first) + p.log_partition(second)))


def columns(owner: str, name: str, values: Any, count: int) -> list[Array]:
    """The entries of the last axis; raises ValueError if there are not `count`."""
    array = as_float(owner, name, values)
    if array.ndim == 0 or array.shape[-1] != count:
        raise ValueError(
            f"`{owner}` got `{name}` of shape {array.shape}: its last axis must have "
            f"{count} entries."
        )
    return [array[..., i] for i in range(count)]
