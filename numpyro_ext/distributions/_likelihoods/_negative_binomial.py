"""The two negative binomial laws, by the log of the mean."""

import jax.numpy as jnp
from jax import Array, random
from jax.scipy.special import betainc, gammainc, gammaincc
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ...special._exponentials import log1mexpexp, log1p_ratio
from .._law import promote
from . import _negative_binomial_math as maths
from ._base import AbstractLikelihood, outside, step_cdf
from ._counts import draw_poisson

# Where the law is Poisson's to the last digit.
SMALLEST_ALPHA_MEAN = 1e-30


class AbstractNegativeBinomial(AbstractLikelihood):
    """A mixture of Poisson laws over gamma rates, of mean mu and size r."""

    arg_constraints = {"log_mean": constraints.real, "alpha": constraints.nonnegative}
    support = constraints.nonnegative_integer  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    log_mean: Array
    alpha: Array

    def __init__(
        self,
        log_mean: ArrayLike,
        alpha: ArrayLike,
        *,
        validate_args: bool | None = None,
    ):
        params, batch_shape = promote(
            type(self).__name__, log_mean=log_mean, alpha=alpha
        )
        self.log_mean, self.alpha = params
        super().__init__(batch_shape, validate_args=validate_args)

    def log_excess(self) -> Array:
        """log(mu / r), the log of the variance over the mean, less 1."""
        raise NotImplementedError

    @property
    def mean(self) -> Array:
        """exp(log_mean)."""
        return self._whole(jnp.exp(self.log_mean))

    @property
    def variance(self) -> Array:
        """Mu + mu^2 / r."""
        return self.mean * (1.0 + jnp.exp(self.log_excess()))

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        y = self._floats(value)
        k = jnp.floor(jnp.maximum(y, 0.0))
        is_poisson, excess, size = self._beta_prime()
        inside = jnp.where(
            is_poisson,
            gammaincc(k + 1.0, jnp.exp(self.log_mean)),
            betainc(size, k + 1.0, 1.0 / (1.0 + excess)),
        )
        return step_cdf(y, inside)

    def _above(self, y: Array) -> Array:
        k = jnp.floor(y)
        is_poisson, excess, size = self._beta_prime()
        return jnp.where(
            is_poisson,
            gammainc(k + 1.0, jnp.exp(self.log_mean)),
            betainc(k + 1.0, size, excess / (1.0 + excess)),
        )

    def _beta_prime(self) -> tuple[Array, Array, Array]:
        """Whether the law is Poisson's, mu / r and r."""
        log_excess = self.log_excess()
        is_poisson = log_excess < jnp.log(SMALLEST_ALPHA_MEAN)
        excess = jnp.exp(jnp.where(is_poisson, 0.0, log_excess))
        size = jnp.exp(jnp.where(is_poisson, 0.0, self.log_mean - log_excess))
        return is_poisson, excess, size

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Integers; rates beyond the largest integer give about that integer."""
        assert key is not None
        assert is_prng_key(key)
        return self._draw(key, sample_shape + self.batch_shape, 0.0)

    def _draw(self, key: Array, shape: tuple[int, ...], taken: Array | float) -> Array:
        """Counts of size r less `taken`."""
        rate_key, count_key = random.split(key)
        log_excess = jnp.broadcast_to(self.log_excess(), shape)
        log_mean = jnp.broadcast_to(self.log_mean, shape)
        # A wider gamma law than this is a point to the last digit.
        is_mixed = log_mean - log_excess < 70.0
        log_size = jnp.where(is_mixed, log_mean - log_excess, 0.0)
        size = jnp.maximum(jnp.exp(log_size) - taken, 0.0)
        safe = jnp.where(size > 0, size, 1.0)
        log_rate = log_excess + random.loggamma(rate_key, safe, shape, safe.dtype)
        log_rate = jnp.where(size > 0, log_rate, -jnp.inf)
        return draw_poisson(count_key, jnp.where(is_mixed, log_rate, log_mean), shape)

    def sample_positive(
        self, key: Array | None, sample_shape: tuple[int, ...] = ()
    ) -> Array:
        """Integers from 1, as a Poisson number of logarithmic clusters.

        The first cluster comes at a time that is exponential, cut; what comes later is
        a negative binomial law of a smaller size. The logarithmic draw is of Kemp
        (1981), Appl. Statist. 30, 249-253.
        """
        assert key is not None
        assert is_prng_key(key)
        shape = sample_shape + self.batch_shape
        keys = random.split(key, 4)
        clusters = jnp.broadcast_to(-self.log_prob_zero(), shape)
        u, v, w = (random.uniform(k, shape, clusters.dtype) for k in keys[:3])
        time = -jnp.log1p(u * jnp.expm1(-clusters))
        log_excess = jnp.broadcast_to(self.log_excess(), shape)
        # log(1 - q) and q of the logarithmic law, q = mu / (r + mu).
        log_rest = -jnp.logaddexp(log_excess, 0.0)
        q = -jnp.expm1(v * log_rest)
        cluster = jnp.floor(1.0 + jnp.log1p(-w) / jnp.log(jnp.maximum(q, 1e-37)))
        cluster = jnp.maximum(cluster, 1.0)
        rest = self._draw(keys[3], shape, time / -log_rest)
        return cluster.astype(rest.dtype) + rest

    def log_prob_positive(self) -> Array:
        """log(1 - p(0)), about `log_mean` for rare events."""
        return self._whole(log1mexpexp(self._log_clusters()))

    def _log_clusters(self) -> Array:
        """log(-log p(0))."""
        raise NotImplementedError


class NegativeBinomialLog(AbstractNegativeBinomial):
    r"""Negative binomial counts (NB2), by the log of the mean.

    With $\mu = e^\eta$ and size $r = 1 / \alpha$,
    $$p(y) = \frac{\Gamma(y + r)}{\Gamma(r)\,y!}
      \left(\frac{r}{r + \mu}\right)^r \left(\frac{\mu}{r + \mu}\right)^y, \qquad
      E[y] = \mu, \quad \mathrm{Var}[y] = \mu + \alpha\mu^2.$$
    $\alpha = 0$ is the Poisson law, and the limit is taken without a loss of digits:
    values, and derivatives in $\eta$ and $\alpha$, are continuous there.

    Args:
        log_mean: $\eta$, any real number.
        alpha: $\alpha \ge 0$. NumPyro's `NegativeBinomial2` has `concentration`
            $1 / \alpha$.

    Shapes: the two broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete parameter is outside of its domain.
    """

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log probability; -inf below 0."""
        y = self._floats(value)
        is_inside = y >= 0
        safe = jnp.where(is_inside, y, 0.0)
        inside = maths.nb2_log_prob(safe, self.log_mean, self.alpha)
        return jnp.where(is_inside, inside, outside(y))

    def log_excess(self) -> Array:
        """log(alpha mu)."""
        return self.log_mean + jnp.log(self.alpha)

    def log_prob_zero(self) -> Array:
        """-log(1 + alpha mu) / alpha."""
        return self._whole(maths.nb2_log_prob_zero(self.log_mean, self.alpha))

    def _log_clusters(self) -> Array:
        log_m = self.log_excess()
        is_small = log_m <= 0
        near = self.log_mean + jnp.log(
            log1p_ratio(jnp.exp(jnp.where(is_small, log_m, 0.0)))
        )
        far = jnp.log(jnp.logaddexp(jnp.where(is_small, 0.0, log_m), 0.0))
        return jnp.where(
            is_small, near, far - jnp.log(jnp.where(is_small, 1.0, self.alpha))
        )


class NegativeBinomial1Log(AbstractNegativeBinomial):
    r"""Negative binomial counts with variance in proportion to the mean (NB1).

    As `NegativeBinomialLog`, with size $r = \mu / \alpha$:
    $E[y] = \mu = e^\eta$ and $\mathrm{Var}[y] = \mu(1 + \alpha)$. $\alpha = 0$ is the
    Poisson law.

    Args:
        log_mean: $\eta$, any real number.
        alpha: $\alpha \ge 0$.

    Shapes: the two broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete parameter is outside of its domain.
    """

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log probability; -inf below 0."""
        y = self._floats(value)
        is_inside = y >= 0
        safe = jnp.where(is_inside, y, 0.0)
        inside = maths.nb1_log_prob(safe, self.log_mean, self.alpha)
        return jnp.where(is_inside, inside, outside(y))

    def log_excess(self) -> Array:
        """log(alpha)."""
        return jnp.broadcast_to(jnp.log(self.alpha), self.batch_shape)

    def log_prob_zero(self) -> Array:
        """-mu log(1 + alpha) / alpha."""
        return self._whole(maths.nb1_log_prob_zero(self.log_mean, self.alpha))

    def _log_clusters(self) -> Array:
        return self.log_mean + jnp.log(log1p_ratio(self.alpha))
