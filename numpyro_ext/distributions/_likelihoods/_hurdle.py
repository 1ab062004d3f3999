"""A law whose zeros all come from a gate."""

import jax.numpy as jnp
from jax import Array, random
from jax.typing import ArrayLike
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ._base import AbstractLikelihood, step_cdf
from ._zero_altered import (
    AbstractZeroAltered,
    log_prob_positive,
    log_prob_zero,
    log_sf_of,
)


class Hurdle(AbstractZeroAltered):
    r"""Zeros from a gate alone; positive numbers from a base law without its zeros.

    With gate probability $g = 1 / (1 + e^{-\gamma})$ of a zero,
    $$p(0) = g, \qquad p(y) = (1 - g) \frac{p_{base}(y)}{1 - p_{base}(0)}.$$

    Args:
        base: A NumPyro distribution of single nonnegative numbers.
        gate_logits: $\gamma$, any real number.

    Shapes: `gate_logits` and the batch shape of `base` broadcast to `batch_shape`;
        `event_shape` is `()`.
    Raises: TypeError, if `base` is no distribution; ValueError, if it has an event
        shape, or if a concrete `gate_logits` is not finite.
    """

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log probability of 0; elsewhere that of the base, cut at 0."""
        _, is_zero, safe = self._split(value)
        gate, rest = self._gates()
        # Both are large for rare events, and their difference is not: it comes first.
        positive = self.base.log_prob(safe) - log_prob_positive(self.base)
        return jnp.where(is_zero, gate, rest + positive)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Zeros, and positive draws of the base.

        Raises:
            NotImplementedError: for a base of counts that is none of the likelihoods
                here, of which none knows its positive draws.
        """
        assert key is not None
        assert is_prng_key(key)
        gate_key, base_key = random.split(key)
        shape = sample_shape + self.batch_shape
        is_zero = random.bernoulli(gate_key, jnp.exp(self._gates()[0]), shape)
        return jnp.where(is_zero, 0, self.sample_positive(base_key, sample_shape))

    def sample_positive(
        self, key: Array | None, sample_shape: tuple[int, ...] = ()
    ) -> Array:
        """Positive draws of the base."""
        assert key is not None
        assert is_prng_key(key)
        shape = sample_shape + self.batch_shape
        extra = shape[: len(shape) - len(self.base.batch_shape)]
        if isinstance(self.base, AbstractLikelihood):
            draws = self.base.sample_positive(key, extra)
        elif self.base.is_discrete:
            raise NotImplementedError(
                f"`Hurdle.sample`: there are no positive draws of the base "
                f"`{type(self.base).__name__}`. Take a base that has them, such as "
                "`PoissonLog`, `NegativeBinomialLog` or `BinomialLink`."
            )
        else:
            draws = self.base.sample(key, extra)
        return jnp.broadcast_to(draws, shape)

    def _positive_moments(self) -> tuple[Array, Array]:
        """E[y] and E[y^2] of the base given that it is positive."""
        positive = jnp.exp(log_prob_positive(self.base))
        mean = self.base.mean
        return mean / positive, (self.base.variance + jnp.square(mean)) / positive

    @property
    def mean(self) -> Array:
        """(1 - g) times the mean of the base, cut at 0."""
        return self._whole(jnp.exp(self._gates()[1]) * self._positive_moments()[0])

    @property
    def variance(self) -> Array:
        """(1 - g) E[y^2 | y > 0] - mean^2."""
        gate, rest = (jnp.exp(x) for x in self._gates())
        mean, square = self._positive_moments()
        # The spread of the positive part, and that between it and 0.
        within = square - jnp.square(mean)
        return self._whole(rest * (within + gate * jnp.square(mean)))

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        y = self._floats(value)
        gate, rest = (jnp.exp(x) for x in self._gates())
        safe = jnp.where(y >= 0, y, 0.0)
        zero = jnp.exp(log_prob_zero(self.base))
        below = (self.base.cdf(safe) - zero) / jnp.exp(log_prob_positive(self.base))
        return step_cdf(y, gate + rest * jnp.clip(below, 0.0, 1.0))

    def _above(self, y: Array) -> Array:
        above = log_sf_of(self.base, y) - log_prob_positive(self.base)
        return jnp.exp(self._gates()[1] + jnp.minimum(above, 0.0))

    def log_prob_zero(self) -> Array:
        """Log g."""
        return self._whole(self._gates()[0])

    def log_prob_positive(self) -> Array:
        """log(1 - g)."""
        return self._whole(self._gates()[1])
