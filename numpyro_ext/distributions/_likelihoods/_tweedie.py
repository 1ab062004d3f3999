"""The Tweedie law between Poisson and gamma, by the log of its mean."""

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from jax.scipy.special import gammainc
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ...special._exponentials import bounded_exp
from .._law import promote
from ._base import AbstractLikelihood, outside, step_cdf
from ._counts import draw_poisson
from ._gamma_log import gamma_log_prob
from ._poisson import poisson_log_prob

NUM_NODES = 112
# How many standard deviations of terms matter, below and above the largest.
BELOW, ABOVE = 8.6, 9.9


def nodes(centre: Array, width: Array) -> tuple[Array, Array]:
    """Numbers of jumps to sum over, along a new first axis, and their distance.

    The terms of the sum rise and fall around `centre` like Poisson probabilities, with
    standard deviation `width`. A narrow sum runs over integers, from 1 or around the
    centre; a wide one, whose terms are negligible at 1, over points further apart. The
    error of that is exp(-2 pi^2 width^2 / distance^2), by Poisson's summation formula.
    """
    distance = jnp.maximum((BELOW + ABOVE) * width / (NUM_NODES - 1), 1.0)
    distance = jnp.where(centre > 6.4 * width, distance, 1.0)
    first = centre - BELOW * jnp.maximum(width, distance)
    first = jnp.maximum(jnp.round(first), 1.0)
    k = jnp.arange(NUM_NODES, dtype=centre.dtype)
    k = k.reshape((-1, *[1] * centre.ndim))
    return first + k * distance, distance


class TweedieLog(AbstractLikelihood):
    r"""Compound Poisson-gamma law: zeros, and positive numbers, by the log of the mean.

    The sum of $N \sim \mathrm{Poisson}(\lambda)$ gamma variables of shape
    $a = (2 - p) / (p - 1)$ and scale $\theta$, with
    $$\lambda = \frac{\mu^{2 - p}}{\phi(2 - p)}, \quad
      \theta = \phi(p - 1)\mu^{p - 1}, \qquad
      E[y] = \mu = e^\eta, \quad \mathrm{Var}[y] = \phi\mu^p.$$
    The density of y > 0 is the sum over N of the two laws' densities, all of whose
    terms that matter are summed.

    Args:
        log_mean: $\eta$, any real number.
        dispersion: $\phi > 0$.
        power: $1 < p < 2$.

    Shapes: the three broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete parameter is outside of its domain.
    Source: Dunn and Smyth (2005), Stat. Comput. 15, 267-280, has the series.
    """

    arg_constraints = {
        "log_mean": constraints.real,
        "dispersion": constraints.positive,
        "power": constraints.open_interval(1.0, 2.0),
    }
    support = constraints.nonnegative  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    log_mean: Array
    dispersion: Array
    power: Array

    def __init__(
        self,
        log_mean: ArrayLike,
        dispersion: ArrayLike,
        power: ArrayLike = 1.5,
        *,
        validate_args: bool | None = None,
    ):
        params, batch_shape = promote(
            "TweedieLog", log_mean=log_mean, dispersion=dispersion, power=power
        )
        self.log_mean, self.dispersion, self.power = params
        super().__init__(batch_shape, validate_args=validate_args)

    def _jumps(self) -> tuple[Array, Array, Array]:
        """log(lambda), the shape a of a jump, and the log of its scale theta."""
        rest = 2.0 - self.power
        log_dispersion = jnp.log(self.dispersion)
        log_rate = rest * self.log_mean - log_dispersion - jnp.log(rest)
        log_scale = log_dispersion + jnp.log(self.power - 1.0)
        log_scale = log_scale + (self.power - 1.0) * self.log_mean
        return log_rate, rest / (self.power - 1.0), log_scale

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log probability of 0, log density above; -inf below."""
        y = self._floats(value)
        log_rate, shape, log_scale = self._jumps()
        is_positive = y > 0
        safe = jnp.where(is_positive, y, 1.0)
        # The number of jumps that is most likely given y does not depend on the mean.
        rest = 2.0 - self.power
        centre = bounded_exp(rest * jnp.log(safe)) / (self.dispersion * rest)
        width = jnp.sqrt(centre / (1.0 + shape))
        whole = jnp.broadcast_shapes(safe.shape, self.batch_shape)
        jumps, distance = lax.stop_gradient(
            nodes(*(jnp.broadcast_to(x, whole) for x in (centre, width)))
        )
        terms = poisson_log_prob(jumps, log_rate) + gamma_log_prob(
            safe, jnp.log(jumps * shape) + log_scale, jnp.log(jumps * shape)
        )
        inside = jax.nn.logsumexp(terms, axis=0) + jnp.log(distance)
        at_zero = jnp.where(y == 0, -bounded_exp(log_rate), outside(y))
        return jnp.where(is_positive, inside, at_zero)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Sums of a Poisson number of gamma variables."""
        assert is_prng_key(key)
        whole = sample_shape + self.batch_shape
        log_rate, shape, log_scale = self._jumps()
        count_key, sum_key = random.split(key)
        count = draw_poisson(count_key, log_rate, whole)
        return self._draw_sum(sum_key, count, shape, log_scale)

    def _draw_sum(self, key: Array, count: Array, a: Array, log_scale: Array) -> Array:
        safe = jnp.maximum(count, 1).astype(a.dtype) * a
        log_sum = random.loggamma(key, safe, count.shape, a.dtype) + log_scale
        return jnp.where(count > 0, jnp.exp(log_sum), 0.0)

    @property
    def mean(self) -> Array:
        """exp(log_mean)."""
        return self._whole(jnp.exp(self.log_mean))

    @property
    def variance(self) -> Array:
        """Dispersion * mean^power."""
        return self.dispersion * jnp.exp(self.power * self.log_mean)

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        y = self._floats(value)
        log_rate, shape, log_scale = self._jumps()
        is_positive = y > 0
        safe = jnp.where(is_positive, y, 1.0)
        rate = bounded_exp(log_rate)
        whole = jnp.broadcast_shapes(safe.shape, self.batch_shape)
        jumps, distance = nodes(
            *(jnp.broadcast_to(x, whole) for x in (rate, jnp.sqrt(rate)))
        )
        weights = jnp.exp(poisson_log_prob(jumps, log_rate))
        below = gammainc(jumps * shape, safe * jnp.exp(-log_scale))
        inside = jnp.exp(-rate) + jnp.sum(weights * below, axis=0) * distance
        inside = jnp.minimum(jnp.where(is_positive, inside, jnp.exp(-rate)), 1.0)
        return step_cdf(y, inside)

    def log_prob_zero(self) -> Array:
        """-lambda."""
        return self._whole(-bounded_exp(self._jumps()[0]))
