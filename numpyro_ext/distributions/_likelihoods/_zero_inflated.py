"""A law with a gate that adds zeros."""

import jax.numpy as jnp
from jax import Array, random
from jax.typing import ArrayLike
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ._base import step_cdf
from ._zero_altered import (
    AbstractZeroAltered,
    log_add_exp,
    log_prob_positive,
    log_prob_zero,
    log_sf_of,
)


class ZeroInflated(AbstractZeroAltered):
    r"""Zeros from two sources: a gate, and a base law that has zeros of its own.

    With gate probability $g = 1 / (1 + e^{-\gamma})$ of a structural zero,
    $$p(0) = g + (1 - g) p_{base}(0), \qquad p(y) = (1 - g) p_{base}(y).$$
    A base with a density, which has no zeros of its own, becomes a law with an atom.

    Args:
        base: A NumPyro distribution of single numbers.
        gate_logits: $\gamma$, any real number.

    Shapes: `gate_logits` and the batch shape of `base` broadcast to `batch_shape`;
        `event_shape` is `()`.
    Raises: TypeError, if `base` is no distribution; ValueError, if it has an event
        shape, or if a concrete `gate_logits` is not finite.
    """

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log probability of 0; elsewhere that of the base, or its log density."""
        _, is_zero, safe = self._split(value)
        gate, rest = self._gates()
        at_zero = log_add_exp(*jnp.broadcast_arrays(gate, rest + self._base_zero()))
        return jnp.where(is_zero, at_zero, rest + self.base.log_prob(safe))

    def _base_zero(self) -> Array:
        return log_prob_zero(self.base)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Zeros, and draws of the base."""
        assert key is not None
        assert is_prng_key(key)
        gate_key, base_key = random.split(key)
        shape = sample_shape + self.batch_shape
        is_structural = random.bernoulli(gate_key, jnp.exp(self._gates()[0]), shape)
        draws = self.base.expand(self.batch_shape).sample(base_key, sample_shape)
        return jnp.where(is_structural, 0, draws)

    @property
    def mean(self) -> Array:
        """(1 - g) times the mean of the base."""
        return self._whole(jnp.exp(self._gates()[1]) * self.base.mean)

    @property
    def variance(self) -> Array:
        """(1 - g) (variance + g mean^2), of the base."""
        gate, rest = (jnp.exp(x) for x in self._gates())
        spread = self.base.variance + gate * jnp.square(self.base.mean)
        return self._whole(rest * spread)

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        y = self._floats(value)
        gate, rest = (jnp.exp(x) for x in self._gates())
        safe = jnp.where(y >= 0, y, 0.0)
        return step_cdf(y, gate + rest * self.base.cdf(safe))

    def _above(self, y: Array) -> Array:
        return jnp.exp(self._gates()[1] + log_sf_of(self.base, y))

    def log_prob_zero(self) -> Array:
        """log(g + (1 - g) p_base(0))."""
        return self._whole(self.log_prob(jnp.zeros(())))

    def log_prob_positive(self) -> Array:
        """log(1 - g) + log P_base(Y > 0)."""
        return self._whole(self._gates()[1] + log_prob_positive(self.base))
