"""The Bernoulli law, by the linear predictor and a link."""

from typing import Any

import jax.numpy as jnp
from jax import Array, random
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from .._law import promote
from ._base import AbstractLikelihood, is_between, outside, step_cdf
from ._counts import count_dtype
from ._links import log_probs_of


class BernoulliLink(AbstractLikelihood):
    r"""Zeros and ones whose probability is a link's inverse of the linear predictor.

    $\log p(y) = y \log p + (1 - y) \log(1 - p)$, where p is, by `link`,

    - "logit": $1 / (1 + e^{-\eta})$; "probit": $\Phi(\eta)$;
    - "cloglog": $1 - \exp(-e^\eta)$; "loglog": $\exp(-e^{-\eta})$;
    - "cauchit": $\tfrac12 + \arctan(\eta) / \pi$.

    Both logarithms are functions of $\eta$, so that no probability is rounded to 0 or
    1, and their derivatives are exact, at $\eta = 0$ too.

    Args:
        eta: $\eta$, any real number.
        link: A name, or any hashable object with `log_probs(eta)` that returns
            $\log p$ and $\log(1 - p)$, such as `numpyro_ext.glm.Probit()`.

    Shapes: `batch_shape` is that of `eta`; `event_shape` is `()`.
    Raises: ValueError, if a concrete `eta` is not finite, or for an unknown link.
    Values between 0 and 1 have the value of the same formula, as quasi-likelihoods
    use it.
    """

    arg_constraints = {"eta": constraints.real}
    support = constraints.boolean  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    pytree_aux_fields = ("link",)
    has_enumerate_support = True
    eta: Array
    link: Any

    def __init__(
        self,
        eta: ArrayLike,
        link: Any = "logit",
        *,
        validate_args: bool | None = None,
    ):
        log_probs_of("BernoulliLink", link)
        self.link = link
        (self.eta,), batch_shape = promote("BernoulliLink", eta=eta)
        super().__init__(batch_shape, validate_args=validate_args)

    def log_probs(self) -> tuple[Array, Array]:
        """(log p, log(1 - p))."""
        return log_probs_of("BernoulliLink", self.link)(self.eta)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log probability; -inf outside of [0, 1]."""
        y = self._floats(value)
        is_inside = is_between(y, 0.0, 1.0)
        safe = jnp.where(is_inside, y, 0.0)
        one, zero = self.log_probs()
        return jnp.where(is_inside, safe * one + (1.0 - safe) * zero, outside(y))

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Integers 0 and 1."""
        assert key is not None
        assert is_prng_key(key)
        shape = sample_shape + self.batch_shape
        return random.bernoulli(key, self.mean, shape).astype(count_dtype())

    def sample_positive(
        self, key: Array | None, sample_shape: tuple[int, ...] = ()
    ) -> Array:
        """Ones."""
        return jnp.ones(sample_shape + self.batch_shape, count_dtype())

    @property
    def mean(self) -> Array:
        """P."""
        return self._whole(jnp.exp(self.log_probs()[0]))

    @property
    def variance(self) -> Array:
        """P (1 - p)."""
        return self._whole(jnp.exp(sum(self.log_probs())))

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        y = self._floats(value)
        return step_cdf(y, jnp.where(y >= 1, 1.0, jnp.exp(self.log_probs()[1])))

    def _above(self, y: Array) -> Array:
        return jnp.where(y >= 1, 0.0, jnp.exp(self.log_probs()[0]))

    def enumerate_support(self, expand: bool = True) -> Array:
        """0 and 1."""
        values = jnp.arange(2).reshape((-1, *[1] * len(self.batch_shape)))
        return jnp.broadcast_to(values, (2, *self.batch_shape)) if expand else values

    def log_prob_zero(self) -> Array:
        """log(1 - p)."""
        return self._whole(self.log_probs()[1])

    def log_prob_positive(self) -> Array:
        """Log p."""
        return self._whole(self.log_probs()[0])
