"""The inverse Gaussian law, by the log of its mean."""

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from ...special._log_gap import log_gap
from .._generalized_inverse_gaussian import InverseGaussian
from .._law import promote
from ._base import AbstractLikelihood, outside

LOG_2PI = math.log(2.0 * math.pi)


class InverseGaussianLog(AbstractLikelihood):
    r"""Inverse Gaussian law, by the log of the mean and the dispersion.

    $$p(y) = \frac{1}{\sqrt{2\pi\phi y^3}}
      \exp\left(-\frac{(y - \mu)^2}{2\phi\mu^2 y}\right), \qquad
      \mu = e^\eta, \quad \mathrm{Var}[y] = \phi\mu^3.$$
    It is `InverseGaussian(mu, 1 / phi)`.

    Args:
        log_mean: $\eta$, any real number.
        dispersion: $\phi > 0$, in 1 / units of y.

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
            "InverseGaussianLog", log_mean=log_mean, dispersion=dispersion
        )
        self.log_mean, self.dispersion = params
        super().__init__(batch_shape, validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log density; -inf at 0 and below."""
        y = self._floats(value)
        is_inside = y > 0
        safe = jnp.where(is_inside, y, 1.0)
        z = jnp.expm1(log_gap(safe, self.log_mean))
        spread = LOG_2PI + jnp.log(self.dispersion) + 3.0 * jnp.log(safe)
        inside = -0.5 * (spread + (z / self.dispersion) * (z / safe))
        return jnp.where(is_inside, inside, outside(y))

    def law(self) -> InverseGaussian:
        """The same law by mean and concentration."""
        return InverseGaussian(
            self._whole(jnp.exp(self.log_mean)),
            self._whole(1.0 / self.dispersion),
            validate_args=False,
        )

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws that are differentiable in both parameters."""
        return self.law().sample(key, sample_shape)

    @property
    def mean(self) -> Array:
        """exp(log_mean)."""
        return self._whole(jnp.exp(self.log_mean))

    @property
    def variance(self) -> Array:
        """Dispersion * mean^3."""
        return self.dispersion * self.mean**3

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        return self.law().cdf(value)

    def log_sf(self, value: ArrayLike) -> Array:
        """Log of P(Y > value), with full relative accuracy in the upper tail."""
        return self.law().log_sf(value)

    def icdf(self, q: ArrayLike) -> Array:
        """The value with P(Y <= value) = q."""
        return self.law().icdf(q)
