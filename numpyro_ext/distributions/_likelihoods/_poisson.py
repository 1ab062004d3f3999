"""The Poisson law, by the log of its rate."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma, gammainc, gammaincc
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ...special._exponentials import bounded_exp, expm1_minus, log1mexpexp
from ...special._log_gap import log_gap, residual
from ...special._one_argument import weighted_tangents
from ...special._stirling import stirling_error_from_one
from .._law import promote
from ._base import AbstractLikelihood, outside, step_cdf
from ._counts import draw_poisson, draw_positive_poisson

LOG_2PI = math.log(2.0 * math.pi)


@jax.custom_jvp
def poisson_log_prob(y: Array, log_rate: Array) -> Array:
    """The log probability of y >= 0, as deviance and Stirling's remainder.

    The sum y eta - exp(eta) - log y! cancels all its digits for counts near a large
    rate; each term here is as small as the result.
    """
    is_zero = y == 0
    safe = jnp.where(is_zero, 1.0, y)
    gap = -log_gap(safe, log_rate)
    # Beyond, exp(gap) may overflow while the rate does not.
    is_near = jnp.abs(gap) < 1.0
    near = safe * expm1_minus(jnp.where(is_near, gap, 0.0))
    far = bounded_exp(log_rate) - safe - safe * gap
    deviance = jnp.where(is_near, near, far)
    rest = stirling_error_from_one(safe) + 0.5 * (LOG_2PI + jnp.log(safe))
    return jnp.where(is_zero, -bounded_exp(log_rate), -deviance - rest)


def _poisson_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    y, log_rate = primals
    value = poisson_log_prob(y, log_rate)
    return value, weighted_tangents(
        value,
        (lambda: log_rate - digamma(y + 1.0), tangents[0]),
        (lambda: residual(y, log_rate), tangents[1]),
    )


poisson_log_prob.defjvp(_poisson_jvp, symbolic_zeros=True)


class PoissonLog(AbstractLikelihood):
    r"""Poisson counts, by the log of the rate: no rate overflows or underflows.

    $$\log p(y) = y\eta - e^\eta - \log y!, \qquad E[y] = \mathrm{Var}[y] = e^\eta.$$

    Args:
        log_rate: $\eta$, any real number; 1-d for one rate a row.

    Shapes: `batch_shape` is that of `log_rate`; `event_shape` is `()`.
    Raises: ValueError, if a concrete `log_rate` is not finite.
    Accuracy: as `tests/distributions/test_likelihood_accuracy.py` measures.
    Values between the integers have the density of $y! = \Gamma(y + 1)$, as
    quasi-likelihoods use it.
    """

    arg_constraints = {"log_rate": constraints.real}
    support = constraints.nonnegative_integer  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    log_rate: Array

    def __init__(self, log_rate: ArrayLike, *, validate_args: bool | None = None):
        (self.log_rate,), batch_shape = promote("PoissonLog", log_rate=log_rate)
        super().__init__(batch_shape, validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log probability; -inf below 0."""
        y = self._floats(value)
        is_inside = y >= 0
        inside = poisson_log_prob(jnp.where(is_inside, y, 0.0), self.log_rate)
        return jnp.where(is_inside, inside, outside(y))

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Integers; a rate beyond the largest integer gives about that integer."""
        assert key is not None
        assert is_prng_key(key)
        return draw_poisson(key, self.log_rate, sample_shape + self.batch_shape)

    def sample_positive(
        self, key: Array | None, sample_shape: tuple[int, ...] = ()
    ) -> Array:
        """Integers from 1, by the time of the first event."""
        assert key is not None
        assert is_prng_key(key)
        return draw_positive_poisson(
            key, self.log_rate, sample_shape + self.batch_shape
        )

    @property
    def mean(self) -> Array:
        """exp(log_rate)."""
        return self._whole(jnp.exp(self.log_rate))

    @property
    def variance(self) -> Array:
        """exp(log_rate)."""
        return self.mean

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        y = self._floats(value)
        safe = jnp.floor(jnp.maximum(y, 0.0))
        return step_cdf(y, gammaincc(safe + 1.0, jnp.exp(self.log_rate)))

    def _above(self, y: Array) -> Array:
        return gammainc(jnp.floor(y) + 1.0, jnp.exp(self.log_rate))

    def log_prob_zero(self) -> Array:
        """-exp(log_rate)."""
        return self._whole(-bounded_exp(self.log_rate))

    def log_prob_positive(self) -> Array:
        """log(1 - exp(-rate)), about `log_rate` for rare events."""
        return self._whole(log1mexpexp(self.log_rate))
