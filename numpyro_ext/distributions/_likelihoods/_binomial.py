"""The binomial law, by the linear predictor and a link."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, random
from jax.scipy.special import betainc, digamma
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ...special._exponentials import expm1_minus, log1mexp
from ...special._log_gap import log_gap, residual
from ...special._one_argument import weighted_tangents
from ...special._stirling import stirling_error_from_one
from .._law import promote
from ._base import AbstractLikelihood, is_between, outside, step_cdf
from ._counts import count_dtype
from ._links import log_probs_of

LOG_2PI = math.log(2.0 * math.pi)


@jax.custom_jvp
def binomial_log_prob(y: Array, n: Array, one: Array, zero: Array) -> Array:
    """By log p and log(1 - p), as deviance and Stirling's remainders.

    Source: Loader (2000), Fast and accurate computation of binomial probabilities.
    """
    is_edge = (y == 0) | (y == n)
    hits = jnp.where(is_edge, 1.0, y)
    misses = jnp.where(is_edge, 1.0, n - y)
    total = hits + misses
    # log of (expected / observed), of the successes and of the failures.
    log_total = jnp.log(total)
    first = -log_gap(hits, one + log_total)
    second = -log_gap(misses, zero + log_total)
    deviance = hits * expm1_minus(first) + misses * expm1_minus(second)
    rest = (
        stirling_error_from_one(total)
        - stirling_error_from_one(hits)
        - stirling_error_from_one(misses)
    )
    spread = 0.5 * (LOG_2PI + jnp.log(hits) + jnp.log(misses) - log_total)
    return jnp.where(is_edge, y * one + (n - y) * zero, rest - spread - deviance)


def _binomial_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    y, n, one, zero = primals
    value = binomial_log_prob(y, n, one, zero)
    misses = n - y
    # The derivatives in log p and log(1 - p) less n p and n (1 - p), whose terms cancel
    # since the two probabilities have the sum 1.
    return value, weighted_tangents(
        value,
        (lambda: digamma(misses + 1.0) - digamma(y + 1.0) + one - zero, tangents[0]),
        (lambda: digamma(n + 1.0) - digamma(misses + 1.0) + zero, tangents[1]),
        (lambda: residual(y, one + jnp.log(n)), tangents[2]),
        (lambda: residual(misses, zero + jnp.log(n)), tangents[3]),
    )


binomial_log_prob.defjvp(_binomial_jvp, symbolic_zeros=True)


class BinomialLink(AbstractLikelihood):
    r"""Successes among trials, by the linear predictor of one success.

    $$\log p(y) = \log\binom{n}{y} + y \log p + (n - y) \log(1 - p),$$
    with p the link's inverse of $\eta$, as for `BernoulliLink`.

    Args:
        eta: $\eta$, any real number.
        total_count: $n$, how many trials each row has: integers from 0.
        link: As for `BernoulliLink`.

    Shapes: `eta` and `total_count` broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete `eta` is not finite, for a negative or fractional
        `total_count`, or for an unknown link.
    """

    arg_constraints = {
        "eta": constraints.real,
        "total_count": constraints.nonnegative_integer,
    }
    pytree_aux_fields = ("link",)
    eta: Array
    total_count: Array
    link: Any

    def __init__(
        self,
        eta: ArrayLike,
        total_count: ArrayLike,
        link: Any = "logit",
        *,
        validate_args: bool | None = None,
    ):
        log_probs_of("BinomialLink", link)
        self.link = link
        params, batch_shape = promote("BinomialLink", eta=eta, total_count=total_count)
        self.eta, self.total_count = params
        super().__init__(batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)  # pyright: ignore[reportArgumentType]
    def support(self) -> constraints.Constraint:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Integers from 0 to `total_count`."""
        return constraints.integer_interval(0, self.total_count)

    def _validate_sample(self, value: ArrayLike) -> ArrayLike:
        # NumPyro's interval compares a NumPy value by NumPy, which no traced total
        # allows.
        return super()._validate_sample(jnp.asarray(value))

    def log_probs(self) -> tuple[Array, Array]:
        """(log p, log(1 - p))."""
        return log_probs_of("BinomialLink", self.link)(self.eta)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log probability; -inf outside of [0, total_count]."""
        y = self._floats(value)
        n = self.total_count
        is_inside = is_between(y, 0.0, n)
        inside = binomial_log_prob(jnp.where(is_inside, y, 0.0), n, *self.log_probs())
        # Of NaN trials, no number is outside.
        return jnp.where(is_inside, inside, outside(y + 0.0 * n))

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Integers."""
        assert key is not None
        assert is_prng_key(key)
        shape = sample_shape + self.batch_shape
        p = jnp.exp(self.log_probs()[0])
        return draw_binomial(key, self.total_count, p, shape)

    def sample_positive(
        self, key: Array | None, sample_shape: tuple[int, ...] = ()
    ) -> Array:
        """Integers from 1, by the number of the first trial that succeeds."""
        assert key is not None
        assert is_prng_key(key)
        shape = sample_shape + self.batch_shape
        one, zero = self.log_probs()
        first_key, rest_key = random.split(key)
        u = random.uniform(first_key, shape, one.dtype)
        # P(first > k) = exp(k zero), given that it is at most the total.
        reached = jnp.log1p(u * jnp.expm1(self.total_count * zero))
        first = jnp.clip(jnp.ceil(reached / zero), 1.0, self.total_count)
        return 1 + draw_binomial(
            rest_key, self.total_count - first, jnp.exp(one), shape
        )

    @property
    def mean(self) -> Array:
        """N p."""
        return self._whole(self.total_count * jnp.exp(self.log_probs()[0]))

    @property
    def variance(self) -> Array:
        """N p (1 - p)."""
        return self._whole(self.total_count * jnp.exp(sum(self.log_probs())))

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        y, n = self._floats(value), self.total_count
        is_below = y < n
        k = jnp.floor(jnp.where((y >= 0) & is_below, y, 0.0))
        misses = jnp.where(n > 0, n - k, 1.0)
        inside = betainc(misses, k + 1.0, jnp.exp(self.log_probs()[1]))
        return step_cdf(y, jnp.where(is_below, inside, 1.0))

    def _above(self, y: Array) -> Array:
        n = self.total_count
        is_below = y < n
        k = jnp.floor(jnp.where(is_below, y, 0.0))
        misses = jnp.where(n > 0, n - k, 1.0)
        above = betainc(k + 1.0, misses, jnp.exp(self.log_probs()[0]))
        return jnp.where(is_below, above, 0.0)

    def log_prob_zero(self) -> Array:
        """N log(1 - p)."""
        return self._whole(self.total_count * self.log_probs()[1])

    def log_prob_positive(self) -> Array:
        """log(1 - (1 - p)^n)."""
        one, zero = self.log_probs()
        # n p, to the last digit, where (1 - p) is rounded to 1.
        eps = jnp.finfo(one.dtype).eps
        is_rare = self.total_count * jnp.exp(one) < eps
        miss = jnp.where(is_rare, -1.0, self.total_count * zero)
        rare = one + jnp.log(self.total_count)
        return self._whole(jnp.where(is_rare, rare, log1mexp(-miss)))


def draw_binomial(key: Array, n: Array, p: Array, shape: tuple[int, ...]) -> Array:
    """Binomial draws, as integers."""
    n, p = jnp.broadcast_to(n, shape), jnp.broadcast_to(p, shape)
    return random.binomial(key, n, p, shape).astype(count_dtype())
