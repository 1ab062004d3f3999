"""Families of continuous responses."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, ArrayLike
from numpyro.distributions import Distribution, constraints

from .. import distributions as laws
from ._counts import PROBABILITY_LINKS
from ._family import AbstractFamily, Aux, link_field
from ._links import (
    AbstractLink,
    Identity,
    Inverse,
    InverseSquared,
    Log,
    Power,
    Sqrt,
)

_POSITIVE_LINKS = (Log, Inverse, InverseSquared, Identity, Sqrt, Power)


class Gaussian(AbstractFamily):
    r"""Normal responses with variance $\phi$, the dispersion.

    Args:
        link: identity (default), log, inverse, sqrt or a power.
    """

    link: AbstractLink = link_field("identity")

    links: ClassVar = _POSITIVE_LINKS
    has_dispersion: ClassVar = True
    has_variance_function: ClassVar = True
    uses_t: ClassVar = True

    def __call__(self, eta: ArrayLike, dispersion: ArrayLike = 1.0) -> Distribution:
        mu = self.link.inverse(jnp.asarray(eta))
        return dist.Normal(mu, jnp.sqrt(jnp.asarray(dispersion, mu.dtype)))

    @property
    def is_log_concave(self) -> bool:
        return isinstance(self.link, Identity)

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array:
        if isinstance(self.link, Identity):
            return y
        # Other links take positive means only; the data may have noise below zero.
        return self.link(jnp.maximum(y, 0.1 * jnp.abs(ybar)))

    def kernel(self, y: Array, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return 0.5 * jnp.square(y - self.link.inverse(eta))

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self.link.inverse(eta)

    def variance(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return jnp.ones_like(eta)


class Gamma(AbstractFamily):
    r"""Positive responses with variance $\phi\mu^2$.

    The default link is the canonical one, as in R and statsmodels: it needs a positive
    linear predictor. Inside a sampler the log link is the better choice.

    Args:
        link: inverse (default), log, identity, sqrt or a power.
    """

    link: AbstractLink = link_field("inverse")

    links: ClassVar = _POSITIVE_LINKS
    has_dispersion: ClassVar = True
    has_variance_function: ClassVar = True
    support_words: ClassVar = "positive numbers"

    def __call__(self, eta: ArrayLike, dispersion: ArrayLike = 1.0) -> Distribution:
        log_mean = self.link.log_inverse(jnp.asarray(eta))
        return laws.GammaLog(log_mean, jnp.asarray(dispersion, log_mean.dtype))

    @property
    def is_log_concave(self) -> bool:
        return isinstance(self.link, Log | Inverse)

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array:
        return self.link(y)

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return y > 0

    def kernel(self, y: Array, eta: Array, aux: Aux, trials: Array | None) -> Array:
        log_mean = self.link.log_inverse(eta)
        if isinstance(self.link, Inverse):
            return y * eta + log_mean
        return y * jnp.exp(-log_mean) + log_mean

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self.link.inverse(eta)

    def variance(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return jnp.square(self.link.inverse(eta))

    def unit_deviance(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        ratio = y / self.link.inverse(eta)
        return 2.0 * (ratio - 1.0 - jnp.log(ratio))


class InverseGaussian(AbstractFamily):
    r"""Positive responses with variance $\phi\mu^3$.

    The default link is the canonical one, as in R and statsmodels: it needs a positive
    linear predictor. Inside a sampler the log link is the better choice.

    Args:
        link: inverse squared (default), log, inverse, identity, sqrt or a power.
    """

    link: AbstractLink = link_field("inverse_squared")

    links: ClassVar = _POSITIVE_LINKS
    has_dispersion: ClassVar = True
    has_variance_function: ClassVar = True
    support_words: ClassVar = "positive numbers"

    def __call__(self, eta: ArrayLike, dispersion: ArrayLike = 1.0) -> Distribution:
        log_mean = self.link.log_inverse(jnp.asarray(eta))
        dispersion = jnp.asarray(dispersion, log_mean.dtype)
        return laws.InverseGaussianLog(log_mean, dispersion)

    @property
    def is_log_concave(self) -> bool:
        return isinstance(self.link, InverseSquared)

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array:
        return self.link(y)

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return y > 0

    def kernel(self, y: Array, eta: Array, aux: Aux, trials: Array | None) -> Array:
        inverse_mean = jnp.exp(-self.link.log_inverse(eta))
        if isinstance(self.link, InverseSquared):
            return 0.5 * y * eta - inverse_mean
        return 0.5 * y * jnp.square(inverse_mean) - inverse_mean

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self.link.inverse(eta)

    def variance(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self.link.inverse(eta) ** 3

    def unit_deviance(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        mu = self.link.inverse(eta)
        return jnp.square((y - mu) / mu) / y


class Tweedie(AbstractFamily):
    r"""Amounts that are often exactly zero: variance $\phi\mu^p$ with $1 < p < 2$.

    A Poisson number of gamma amounts. With `power=None` the power and the dispersion
    are estimated by maximum likelihood together with beta.

    Args:
        link: log (default), identity, inverse, sqrt or a power.
        power: $p$, by default 1.5.
    """

    link: AbstractLink = link_field("log")
    power: float | None = eqx.field(default=1.5, static=True, kw_only=True)

    links: ClassVar = _POSITIVE_LINKS
    has_atom: ClassVar = True
    support_words: ClassVar = "numbers that are not negative"

    def __check_init__(self) -> None:
        if self.power is not None and not 1.0 < self.power < 2.0:
            raise ValueError(
                f"`Tweedie(power={self.power!r})`: `power` must lie between 1 and 2, "
                "or be None to be estimated. Write `glm.Poisson()` for 1, "
                "`glm.Gamma()` for 2, `glm.InverseGaussian()` for 3."
            )

    @property
    def has_dispersion(self) -> bool:  # pyright: ignore
        return self.power is not None

    @property
    def has_variance_function(self) -> bool:  # pyright: ignore
        return self.power is not None

    @property
    def nuisance(self) -> dict[str, constraints.Constraint]:
        if self.power is not None:
            return {}
        return {
            "dispersion": constraints.positive,
            "power": constraints.interval(1.0, 2.0),
        }

    def __call__(
        self,
        eta: ArrayLike,
        dispersion: ArrayLike = 1.0,
        power: ArrayLike | None = None,
    ) -> Distribution:
        power = self.power if power is None else power
        log_mean = self.link.log_inverse(jnp.asarray(eta))
        dispersion = jnp.asarray(dispersion, log_mean.dtype)
        return laws.TweedieLog(log_mean, dispersion, jnp.asarray(power, log_mean.dtype))

    def _power(self, aux: Aux) -> Any:
        return aux["power"] if self.power is None else self.power

    def nuisance_start(
        self, y: Array, ybar: Array, weights: Array, trials: Array | None
    ) -> Aux:
        if self.power is not None:
            return {}
        spread = jnp.sum(weights * jnp.square(y - ybar)) / jnp.sum(weights)
        return {
            "dispersion": spread / ybar**1.5,
            "power": jnp.asarray(1.5, y.dtype),
        }

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array:
        return self.link((y + ybar) / 2)

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return y >= 0

    def kernel(self, y: Array, eta: Array, aux: Aux, trials: Array | None) -> Array:
        if self.power is None:
            return super().kernel(y, eta, aux, trials)
        p, log_mean = self.power, self.link.log_inverse(eta)
        first = y * jnp.exp((1.0 - p) * log_mean) / (p - 1.0)
        return first + jnp.exp((2.0 - p) * log_mean) / (2.0 - p)

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self.link.inverse(eta)

    def variance(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        spread = self.link.inverse(eta) ** self._power(aux)
        return spread * aux.get("dispersion", 1.0)

    def unit_deviance(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        p, mu = self._power(aux), self.link.inverse(eta)
        saturated = y ** (2.0 - p) / ((1.0 - p) * (2.0 - p))
        first = y * mu ** (1.0 - p) / (1.0 - p)
        deviance = 2.0 * (saturated - first + mu ** (2.0 - p) / (2.0 - p))
        return deviance / aux.get("dispersion", 1.0)


class Beta(AbstractFamily):
    r"""Shares between 0 and 1 with variance $\mu(1 - \mu)/(1 + \text{precision})$.

    The precision is estimated by maximum likelihood, and found in `fitted.params.aux`.
    The deviance is minus twice the log-likelihood.

    Args:
        link: logit (default), probit, cloglog, loglog or cauchit.
    """

    link: AbstractLink = link_field("logit")

    links: ClassVar = PROBABILITY_LINKS
    support_words: ClassVar = "between 0 and 1, both excluded"

    def __call__(self, eta: ArrayLike, precision: ArrayLike) -> Distribution:
        eta = jnp.asarray(eta)
        precision = jnp.asarray(precision, eta.dtype)
        return laws.BetaLink(eta, precision, link=self.link)

    @property
    def nuisance(self) -> dict[str, constraints.Constraint]:
        return {"precision": constraints.positive}

    def nuisance_start(
        self, y: Array, ybar: Array, weights: Array, trials: Array | None
    ) -> Aux:
        spread = jnp.sum(weights * jnp.square(y - ybar)) / jnp.sum(weights)
        precision = ybar * (1.0 - ybar) / jnp.maximum(spread, 1e-8) - 1.0
        return {"precision": jnp.clip(precision, 0.5, 1e6)}

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array:
        return self.link(y)

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return (y > 0) & (y < 1)


class StudentT(AbstractFamily):
    r"""Location and scale with heavy tails: Student's t with `df` degrees of freedom.

    The scale, and `df` unless it is given, are estimated by maximum likelihood.

    Args:
        link: identity (default) or log.
        df: known degrees of freedom, then not estimated.
    """

    link: AbstractLink = link_field("identity")
    df: float | None = eqx.field(default=None, static=True, kw_only=True)

    links: ClassVar = (Identity, Log)

    def __call__(
        self, eta: ArrayLike, scale: ArrayLike, df: ArrayLike | None = None
    ) -> Distribution:
        loc = self.link.inverse(jnp.asarray(eta))
        df = jnp.asarray(self.df if df is None else df, loc.dtype)
        return dist.StudentT(df, loc, jnp.asarray(scale, loc.dtype))

    @property
    def nuisance(self) -> dict[str, constraints.Constraint]:
        found: dict[str, constraints.Constraint] = {"scale": constraints.positive}
        if self.df is None:
            found["df"] = constraints.positive
        return found

    def nuisance_start(
        self, y: Array, ybar: Array, weights: Array, trials: Array | None
    ) -> Aux:
        spread = jnp.sum(weights * jnp.square(y - ybar)) / jnp.sum(weights)
        start = {"scale": 0.7 * jnp.sqrt(spread)}
        if self.df is None:
            start["df"] = jnp.asarray(5.0, y.dtype)
        return start

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array:
        if isinstance(self.link, Identity):
            return y
        return self.link(jnp.maximum(y, 0.1 * jnp.abs(ybar)))

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        # The location, which is the mean where there is one.
        return self.link.inverse(eta)
