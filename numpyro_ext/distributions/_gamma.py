"""NumPyro's gamma and inverse gamma laws, as exponential families."""

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaincc
from jax.typing import ArrayLike

from ._exponential_family import AbstractExponentialFamily, columns
from ._gig_expectation import gamma_shape, log_partition_gamma
from ._gig_quantile import log_quantile
from ._law import as_float


def _pair(concentration: Any, rate: Any) -> tuple[Array, Array]:
    """The two, broadcast to one shape."""
    k, r = jnp.broadcast_arrays(jnp.asarray(concentration), jnp.asarray(rate))
    return k, r


def _quantile(law: "Gamma | InverseGamma", q: ArrayLike) -> Array:
    """By the GIG law; NumPyro's own needs TensorFlow Probability."""
    p, a, b = law.gig()
    q = jnp.asarray(as_float(type(law).__name__, "q", q), p.dtype)
    return jnp.exp(log_quantile(*jnp.broadcast_arrays(p, a, b, q)))


class Gamma(AbstractExponentialFamily, dist.Gamma):
    r"""NumPyro's `Gamma`, which is GIG(k, 2r, 0), as an exponential family.

    $$p(x) = \frac{r^k}{\Gamma(k)} x^{k-1} e^{-r x},$$
    with $T = (\log x, x)$, $\theta = (k - 1, -r)$ and base measure 1.

    `concentration` is $k > 0$, the shape, and `rate` $r > 0$, in 1 / units of x.

    Shapes: the two broadcast to `batch_shape`; `event_shape` is `()`.
    """

    @staticmethod
    def log_partition(theta: Array) -> Array:
        r"""$\log\Gamma(k) - k \log r$."""
        return log_partition_gamma(theta[..., 0] + 1.0, -theta[..., 1])

    @staticmethod
    def sufficient_statistics(value: ArrayLike) -> Array:
        """(log x, x)."""
        x = as_float("Gamma", "value", value)
        return jnp.stack([jnp.log(x), x], axis=-1)

    def gig(self) -> tuple[Array, Array, Array]:
        """(concentration, 2 rate, 0): the edge b = 0 of the GIG family."""
        k, rate = _pair(self.concentration, self.rate)
        return k, 2.0 * rate, jnp.zeros_like(rate)

    def icdf(self, q: ArrayLike) -> Array:
        """The value with P(x < value) = q."""
        return _quantile(self, q)

    @property
    def natural_params(self) -> Array:
        """(concentration - 1, -rate)."""
        k, rate = _pair(self.concentration, self.rate)
        return jnp.stack([k - 1.0, -rate], axis=-1)

    @classmethod
    def from_natural(cls, theta: ArrayLike) -> "Gamma":
        """The member with theta = (concentration - 1, -rate)."""
        order, by_x = columns(cls.__name__, "theta", theta, 2)
        return cls(order + 1.0, -by_x)

    @classmethod
    def from_expectation(cls, eta: ArrayLike) -> "Gamma":
        """The member with these E[log x] < log E[x] and E[x]."""
        mean_log, mean = columns(cls.__name__, "eta", eta, 2)
        shape = gamma_shape(jnp.log(mean) - mean_log)
        return cls(shape, shape / mean)


class InverseGamma(AbstractExponentialFamily, dist.InverseGamma):
    r"""NumPyro's `InverseGamma`, which is GIG(-k, 0, 2r), as an exponential family.

    $$p(x) = \frac{r^k}{\Gamma(k)} x^{-k-1} e^{-r/x},$$
    with $T = (\log x, 1/x)$, $\theta = (-k - 1, -r)$ and base measure 1.

    `concentration` is $k > 0$, the shape, and `rate` $r > 0$, in units of x, the rate
    of the gamma law of 1/x.

    Shapes: the two broadcast to `batch_shape`; `event_shape` is `()`.
    """

    @staticmethod
    def log_partition(theta: Array) -> Array:
        r"""$\log\Gamma(k) - k \log r$."""
        return log_partition_gamma(-theta[..., 0] - 1.0, -theta[..., 1])

    @staticmethod
    def sufficient_statistics(value: ArrayLike) -> Array:
        """(log x, 1/x)."""
        x = as_float("InverseGamma", "value", value)
        return jnp.stack([jnp.log(x), 1.0 / x], axis=-1)

    def gig(self) -> tuple[Array, Array, Array]:
        """(-concentration, 0, 2 rate): the edge a = 0 of the GIG family."""
        k, rate = _pair(self.concentration, self.rate)
        return -k, jnp.zeros_like(rate), 2.0 * rate

    def cdf(self, value: ArrayLike) -> Array:
        """P(x < value), with full relative accuracy in the lower tail."""
        k, rate = _pair(self.concentration, self.rate)
        x = jnp.asarray(as_float("InverseGamma", "value", value), rate.dtype)
        inside = gammaincc(k, rate / jnp.where(x > 0, x, 1.0))
        return jnp.where(x > 0, inside, jnp.where(jnp.isnan(x), jnp.nan, 0.0))

    def icdf(self, q: ArrayLike) -> Array:
        """The value with P(x < value) = q."""
        return _quantile(self, q)

    @property
    def natural_params(self) -> Array:
        """(-concentration - 1, -rate)."""
        k, rate = _pair(self.concentration, self.rate)
        return jnp.stack([-k - 1.0, -rate], axis=-1)

    @classmethod
    def from_natural(cls, theta: ArrayLike) -> "InverseGamma":
        """The member with theta = (-concentration - 1, -rate)."""
        order, by_inverse = columns(cls.__name__, "theta", theta, 2)
        return cls(-order - 1.0, -by_inverse)

    @classmethod
    def from_expectation(cls, eta: ArrayLike) -> "InverseGamma":
        """The member with these E[log x] and E[1/x]."""
        mean_log, inverse = columns(cls.__name__, "eta", eta, 2)
        shape = gamma_shape(jnp.log(inverse) + mean_log)
        return cls(shape, shape / inverse)
