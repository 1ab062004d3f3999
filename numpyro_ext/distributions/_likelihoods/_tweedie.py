"""The Tweedie law between Poisson and gamma, by the log of its mean."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, random
from jax.scipy.special import gammainc, gammaincc
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ...special._exponentials import bounded_exp, log1mexpexp
from .._law import promote
from ._base import AbstractLikelihood, outside, step_cdf
from ._counts import draw_poisson
from ._poisson import poisson_log_prob
from ._tweedie_math import jumps, nodes, tweedie_log_density


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

    def _jumps(self) -> tuple[Array, ...]:
        return jumps(self.log_mean, self.dispersion, self.power)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log probability of 0, log density above; -inf below."""
        y = self._floats(value)
        is_positive = y > 0
        safe = jnp.where(is_positive, y, 1.0)
        parameters = self.log_mean, self.dispersion, self.power
        inside = tweedie_log_density(safe, *parameters)
        at_zero = jnp.where(y == 0, self.log_prob_zero(), outside(y))
        return jnp.where(is_positive, inside, at_zero)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Sums of a Poisson number of gamma variables."""
        assert key is not None
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
        is_positive = y > 0
        none = jnp.exp(-bounded_exp(self._jumps()[0]))
        inside = none + self._over_jumps(gammainc, jnp.where(is_positive, y, 1.0), 0.0)
        return step_cdf(y, jnp.minimum(jnp.where(is_positive, inside, none), 1.0))

    def _above(self, y: Array) -> Array:
        is_positive = y > 0
        safe = jnp.where(is_positive, y, 1.0)
        # What lies so far up has as many jumps as a law whose mean is there.
        gap = jnp.maximum(jnp.log(safe) - self.log_mean, 0.0)
        above = self._over_jumps(gammaincc, safe, (2.0 - self.power) * gap)
        return jnp.where(is_positive, above, jnp.exp(self.log_prob_positive()))

    def _over_jumps(
        self, share: Callable[[Array, Array], Array], y: Array, log_more: ArrayLike
    ) -> Array:
        """Sums a probability of gamma sums at y over the number of jumps.

        The sum is taken around exp(log_more) times their mean.
        """
        log_rate, shape, log_scale = self._jumps()
        rate = bounded_exp(log_rate)
        centre = rate * jnp.exp(log_more)
        whole = jnp.broadcast_shapes(y.shape, self.batch_shape)
        count, distance = nodes(
            *(jnp.broadcast_to(x, whole) for x in (centre, jnp.sqrt(centre)))
        )
        weights = jnp.exp(poisson_log_prob(count, log_rate))
        terms = weights * share(count * shape, y * jnp.exp(-log_scale))
        return jnp.sum(terms, axis=0) * distance

    def log_prob_zero(self) -> Array:
        """-lambda."""
        return self._whole(-bounded_exp(self._jumps()[0]))

    def log_prob_positive(self) -> Array:
        """log(1 - exp(-lambda))."""
        return self._whole(log1mexpexp(self._jumps()[0]))
