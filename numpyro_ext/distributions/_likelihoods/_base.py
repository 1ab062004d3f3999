"""What the likelihoods have in common."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from .._law import AbstractLaw, as_float


class AbstractLikelihood(AbstractLaw):
    """A law of numbers given by its linear predictor."""

    def _dtype(self) -> Any:
        """The dtype of the parameters, and of every log probability."""
        return jnp.result_type(*(x for x in self.get_args().values() if x is not None))

    def _floats(self, value: ArrayLike) -> Array:
        """The value in the dtype of the parameters; integers have no other use here."""
        return as_float(type(self).__name__, "value", value).astype(self._dtype())

    def _whole(self, x: Array) -> Array:
        return jnp.broadcast_to(x, self.batch_shape)

    def log_prob_zero(self) -> Array:
        """Log probability of exactly 0: -inf for a law with a density there."""
        return jnp.full(self.batch_shape, -jnp.inf, self._dtype())

    def log_prob_positive(self) -> Array:
        """Log probability of more than 0."""
        return jnp.zeros(self.batch_shape, self._dtype())

    def log_sf(self, value: ArrayLike) -> Array:
        """Log of P(Y > value), with full relative accuracy in the upper tail."""
        y = self._floats(value)
        log_above = jnp.log(self._above(jnp.where(y >= 0, y, 0.0)))
        return jnp.where(y >= 0, log_above, jnp.where(jnp.isnan(y), jnp.nan, 0.0))

    def _above(self, y: Array) -> Array:
        """P(Y > y) for y >= 0."""
        raise NotImplementedError

    def sample_positive(
        self, key: Array | None, sample_shape: tuple[int, ...] = ()
    ) -> ArrayLike:
        """Draws given that they are more than 0."""
        return self.sample(key, sample_shape)


def is_between(x: Array, low: Array | float, high: Array | float) -> Array:
    """Whether low <= x <= high; False for NaN."""
    return (x >= low) & (x <= high)


def outside(x: Array) -> Array:
    """The log probability outside of the support: -inf, and NaN at NaN."""
    return jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf).astype(x.dtype)


def step_cdf(x: Array, inside: Array) -> Array:
    """A distribution function of nonnegative numbers: 0 below 0, NaN at NaN."""
    return jnp.where(x >= 0, inside, jnp.where(jnp.isnan(x), jnp.nan, 0.0))
