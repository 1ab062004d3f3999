"""The gamma law, by the log of its mean."""

import math

import jax.numpy as jnp
from jax import Array, random
from jax.scipy.special import gammainc, gammaincc
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ...special._exponentials import expm1_minus
from ...special._log_gap import log_gap
from ...special._stirling import log_gamma_defect
from .._gig_quantile import log_quantile
from .._law import promote
from ._base import AbstractLikelihood, outside, step_cdf

LOG_2PI = math.log(2.0 * math.pi)


def gamma_log_prob(y: Array, log_mean: Array, log_shape: Array) -> Array:
    """Of y > 0, by the logs of the mean and of the shape."""
    gap = log_gap(y, log_mean)
    rest = log_gamma_defect(log_shape) - 0.5 * LOG_2PI - jnp.log(y)
    shape = jnp.exp(log_shape)
    # y / mean may overflow where its product with the shape does not.
    is_near = gap < 20.0
    near = shape * expm1_minus(jnp.where(is_near, gap, 0.0))
    far = jnp.exp(log_shape + jnp.where(is_near, 0.0, gap)) - shape * (1.0 + gap)
    return rest - jnp.where(is_near, near, far)


class GammaLog(AbstractLikelihood):
    r"""Gamma law of positive numbers, by the log of the mean and the dispersion.

    With $k = 1 / \phi$,
    $$p(y) = \frac{1}{\Gamma(k)\,y} \left(\frac{k y}{\mu}\right)^k
      e^{-k y / \mu}, \qquad \mu = e^\eta, \quad \mathrm{Var}[y] = \phi\mu^2.$$

    Args:
        log_mean: $\eta$, any real number.
        dispersion: $\phi > 0$, the squared coefficient of variation.

    Shapes: the two broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete parameter is outside of its domain.
    """

    arg_constraints = {
        "log_mean": constraints.real,
        "dispersion": constraints.positive,
    }
    support = constraints.positive  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    reparametrized_params = ["log_mean", "dispersion"]
    log_mean: Array
    dispersion: Array

    def __init__(
        self,
        log_mean: ArrayLike,
        dispersion: ArrayLike = 1.0,
        *,
        validate_args: bool | None = None,
    ):
        params, batch_shape = promote(
            "GammaLog", log_mean=log_mean, dispersion=dispersion
        )
        self.log_mean, self.dispersion = params
        super().__init__(batch_shape, validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log density; -inf at 0 and below."""
        y = self._floats(value)
        is_inside = y > 0
        safe = jnp.where(is_inside, y, 1.0)
        inside = gamma_log_prob(safe, self.log_mean, -jnp.log(self.dispersion))
        return jnp.where(is_inside, inside, outside(y))

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws that are differentiable in both parameters."""
        assert key is not None
        assert is_prng_key(key)
        shape = sample_shape + self.batch_shape
        k = jnp.broadcast_to(1.0 / self.dispersion, shape)
        log_draw = random.loggamma(key, k, shape, k.dtype)
        return jnp.exp(self.log_mean + jnp.log(self.dispersion) + log_draw)

    @property
    def mean(self) -> Array:
        """exp(log_mean)."""
        return self._whole(jnp.exp(self.log_mean))

    @property
    def variance(self) -> Array:
        """Dispersion * mean^2."""
        return self.dispersion * jnp.square(self.mean)

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        y = self._floats(value)
        safe = jnp.where(y > 0, y, 1.0)
        scaled = jnp.exp(log_gap(safe, self.log_mean)) / self.dispersion
        return step_cdf(y, jnp.where(y > 0, gammainc(1.0 / self.dispersion, scaled), 0))

    def _above(self, y: Array) -> Array:
        safe = jnp.where(y > 0, y, 1.0)
        scaled = jnp.exp(log_gap(safe, self.log_mean)) / self.dispersion
        return jnp.where(y > 0, gammaincc(1.0 / self.dispersion, scaled), 1.0)

    def icdf(self, q: ArrayLike) -> Array:
        """The value with P(Y <= value) = q."""
        quantiles = self._floats(q)
        k = 1.0 / self.dispersion
        # Of y / mean.
        parts = jnp.broadcast_arrays(
            k, 2.0 * k, jnp.zeros_like(k), quantiles + jnp.zeros(self.batch_shape)
        )
        return jnp.exp(self.log_mean + log_quantile(*parts))
