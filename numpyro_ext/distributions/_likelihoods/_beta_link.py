"""The beta law, by the linear predictor of its mean and a link."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, random
from jax.scipy.special import betainc
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ...special._exponentials import expm1_minus
from ...special._stirling import log_gamma_defect
from .._law import promote
from ._base import AbstractLikelihood, is_between, outside, step_cdf
from ._links import log_probs_of

LOG_2PI = math.log(2.0 * math.pi)
Pair = tuple[Array, Array]


@jax.custom_jvp
def _weighted(log_p: Array, t: Array) -> Array:
    """exp(log_p) t, 0 where the weight underflows, however large t is."""
    return jnp.exp(log_p) * t


@_weighted.defjvp
def _weighted_jvp(primals: Pair, tangents: Pair) -> Pair:
    (log_p, t), (dlog_p, dt) = primals, tangents
    value = _weighted(log_p, t)
    return value, value * dlog_p + jnp.exp(log_p) * dt


def _divergence(log_y: Array, y: Array, log_p: Array) -> Array:
    """P (e^t - 1 - t) with t = log(y / p), one term of p log(p / y) summed."""
    t = log_y - log_p
    p = jnp.exp(log_p)
    is_near = jnp.abs(t) < 0.5
    near = p * expm1_minus(jnp.where(is_near, t, 0.0))
    return jnp.where(is_near, near, (y - p) - _weighted(log_p, t))


class BetaLink(AbstractLikelihood):
    r"""Beta law of proportions, by the linear predictor of the mean.

    With mean p, the link's inverse of $\eta$, and precision $\nu$,
    $$p(y) = \frac{y^{p\nu - 1} (1 - y)^{(1 - p)\nu - 1}}{B(p\nu, (1 - p)\nu)},
      \qquad \mathrm{Var}[y] = \frac{p(1 - p)}{1 + \nu}.$$

    Args:
        eta: $\eta$, any real number.
        precision: $\nu > 0$.
        link: As for `BernoulliLink`.

    Shapes: `eta` and `precision` broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete parameter is outside of its domain, or for an
        unknown link.
    """

    arg_constraints = {"eta": constraints.real, "precision": constraints.positive}
    support = constraints.unit_interval  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    reparametrized_params = ["eta", "precision"]
    pytree_aux_fields = ("link",)
    eta: Array
    precision: Array
    link: Any

    def __init__(
        self,
        eta: ArrayLike,
        precision: ArrayLike,
        link: Any = "logit",
        *,
        validate_args: bool | None = None,
    ):
        log_probs_of("BetaLink", link)
        self.link = link
        params, batch_shape = promote("BetaLink", eta=eta, precision=precision)
        self.eta, self.precision = params
        super().__init__(batch_shape, validate_args=validate_args)

    def log_probs(self) -> tuple[Array, Array]:
        """(log p, log(1 - p)) of the mean p."""
        return log_probs_of("BetaLink", self.link)(self.eta)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log density; -inf outside of (0, 1)."""
        y = self._floats(value)
        is_inside = (y > 0) & (y < 1)
        safe = jnp.where(is_inside, y, 0.5)
        log_p, log_q = self.log_probs()
        log_y, log_rest = jnp.log(safe), jnp.log1p(-safe)
        # B(a, b) by Stirling's formula; what is left is a Kullback-Leibler divergence.
        divergence = _divergence(log_y, safe, log_p)
        divergence = divergence + _divergence(log_rest, 1.0 - safe, log_q)
        log_precision = jnp.log(self.precision)
        rest = (
            log_gamma_defect(log_p + log_precision)
            + log_gamma_defect(log_q + log_precision)
            - log_gamma_defect(log_precision)
        )
        inside = rest - 0.5 * LOG_2PI - log_y - log_rest - self.precision * divergence
        return jnp.where(is_inside, inside, outside(y))

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws that are differentiable in both parameters.

        A draw that rounds to 0 or 1, where there is no density, is the next number.
        """
        assert key is not None
        assert is_prng_key(key)
        shape = sample_shape + self.batch_shape
        log_draws = [
            random.loggamma(
                k, jnp.broadcast_to(self.precision * jnp.exp(x), shape), shape
            )
            for k, x in zip(random.split(key), self.log_probs(), strict=True)
        ]
        draws = jnp.exp(log_draws[0] - jnp.logaddexp(*log_draws))
        limits = jnp.finfo(draws.dtype)
        return jnp.clip(draws, limits.tiny, 1.0 - limits.epsneg)

    @property
    def mean(self) -> Array:
        """P."""
        return self._whole(jnp.exp(self.log_probs()[0]))

    @property
    def variance(self) -> Array:
        """P (1 - p) / (1 + precision)."""
        return self._whole(jnp.exp(sum(self.log_probs())) / (1.0 + self.precision))

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        y = self._floats(value)
        is_inside = is_between(y, 0.0, 1.0)
        a, b = (self.precision * jnp.exp(x) for x in self.log_probs())
        inside = betainc(a, b, jnp.where(is_inside, y, 0.5))
        return step_cdf(y, jnp.where(y > 1, 1.0, inside))

    def _above(self, y: Array) -> Array:
        a, b = (self.precision * jnp.exp(x) for x in self.log_probs())
        return jnp.where(y < 1, betainc(b, a, jnp.where(y < 1, 1.0 - y, 0.5)), 0.0)
