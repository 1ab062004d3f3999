"""Links: the functions from a mean to the linear predictor."""

import abc
import difflib
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtri
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from ..special._exponentials import log1mexp
from ..special._log_probs import (
    cauchit_log_probs,
    cloglog_log_probs,
    logit_log_probs,
    loglog_log_probs,
    probit_log_probs,
)


def _real(x: ArrayLike) -> Array:
    array = jnp.asarray(x)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return array.astype(jnp.result_type(float))


class AbstractLink(eqx.Module):
    """A smooth, monotone function from the mean mu to the linear predictor eta.

    Links have no arrays: they are hashable, and equal when their settings are.
    `domain` is the set of eta that are the link of some mean, and `name` what
    `get_link` calls the link.
    """

    domain: ClassVar[Any] = constraints.real
    name: ClassVar[str] = ""

    @abc.abstractmethod
    def __call__(self, mu: ArrayLike) -> Array:
        """The linear predictor of a mean."""

    @abc.abstractmethod
    def inverse(self, eta: ArrayLike) -> Array:
        """The mean of a linear predictor."""

    @abc.abstractmethod
    def derivative(self, mu: ArrayLike) -> Array:
        """D eta / d mu."""

    @abc.abstractmethod
    def log_inverse(self, eta: ArrayLike) -> Array:
        """Log mu, without passing through mu where that would lose digits."""

    def log_probs(self, eta: ArrayLike) -> tuple[Array, Array]:
        """(log mu, log(1 - mu)) for a mean that is a probability."""
        log_mean = self.log_inverse(eta)
        return log_mean, log1mexp(-log_mean)


class AbstractProbabilityLink(AbstractLink):
    """A link of means in (0, 1), the quantile function of some law."""

    @abc.abstractmethod
    def log_probs(self, eta: ArrayLike) -> tuple[Array, Array]:
        """(log p, log(1 - p)): all digits in both tails, with all derivatives."""

    def inverse(self, eta: ArrayLike) -> Array:
        """P."""
        return jnp.exp(self.log_probs(eta)[0])

    def log_inverse(self, eta: ArrayLike) -> Array:
        """Log p."""
        return self.log_probs(eta)[0]


class Identity(AbstractLink):
    """eta = mu."""

    name: ClassVar[str] = "identity"

    def __call__(self, mu: ArrayLike) -> Array:
        """Mu."""
        return _real(mu)

    def inverse(self, eta: ArrayLike) -> Array:
        """Eta."""
        return _real(eta)

    def derivative(self, mu: ArrayLike) -> Array:
        """1."""
        return jnp.ones_like(_real(mu))

    def log_inverse(self, eta: ArrayLike) -> Array:
        """log(eta); NaN below 0."""
        return jnp.log(_real(eta))

    def log_probs(self, eta: ArrayLike) -> tuple[Array, Array]:
        """(log eta, log(1 - eta)), for eta in (0, 1)."""
        x = _real(eta)
        return jnp.log(x), jnp.log1p(-x)


class Log(AbstractLink):
    """eta = log(mu), of positive means."""

    name: ClassVar[str] = "log"

    def __call__(self, mu: ArrayLike) -> Array:
        """log(mu)."""
        return jnp.log(_real(mu))

    def inverse(self, eta: ArrayLike) -> Array:
        """exp(eta)."""
        return jnp.exp(_real(eta))

    def derivative(self, mu: ArrayLike) -> Array:
        """1 / mu."""
        return 1.0 / _real(mu)

    def log_inverse(self, eta: ArrayLike) -> Array:
        """Eta."""
        return _real(eta)


class Logit(AbstractProbabilityLink):
    """eta = log(p / (1 - p))."""

    name: ClassVar[str] = "logit"

    def __call__(self, mu: ArrayLike) -> Array:
        """log(p / (1 - p))."""
        p = _real(mu)
        return jnp.log(p) - jnp.log1p(-p)

    def derivative(self, mu: ArrayLike) -> Array:
        """1 / (p (1 - p))."""
        p = _real(mu)
        return 1.0 / (p * (1.0 - p))

    def log_probs(self, eta: ArrayLike) -> tuple[Array, Array]:
        """(-log(1 + e^-eta), -log(1 + e^eta))."""
        return logit_log_probs(_real(eta))


class Probit(AbstractProbabilityLink):
    """eta is the normal quantile of p."""

    name: ClassVar[str] = "probit"

    def __call__(self, mu: ArrayLike) -> Array:
        """The normal quantile of p."""
        return ndtri(_real(mu))

    def derivative(self, mu: ArrayLike) -> Array:
        """1 / phi(eta)."""
        eta = ndtri(_real(mu))
        return jnp.sqrt(2.0 * jnp.pi) * jnp.exp(0.5 * eta * eta)

    def log_probs(self, eta: ArrayLike) -> tuple[Array, Array]:
        """(log Phi(eta), log Phi(-eta))."""
        return probit_log_probs(_real(eta))


class CLogLog(AbstractProbabilityLink):
    """eta = log(-log(1 - p)): proportional hazards."""

    name: ClassVar[str] = "cloglog"

    def __call__(self, mu: ArrayLike) -> Array:
        """log(-log(1 - p))."""
        return jnp.log(-jnp.log1p(-_real(mu)))

    def derivative(self, mu: ArrayLike) -> Array:
        """-1 / ((1 - p) log(1 - p))."""
        p = _real(mu)
        return -1.0 / ((1.0 - p) * jnp.log1p(-p))

    def log_probs(self, eta: ArrayLike) -> tuple[Array, Array]:
        """(log(1 - exp(-e^eta)), -e^eta)."""
        return cloglog_log_probs(_real(eta))


class LogLog(AbstractProbabilityLink):
    """eta = -log(-log p)."""

    name: ClassVar[str] = "loglog"

    def __call__(self, mu: ArrayLike) -> Array:
        """-log(-log p)."""
        return -jnp.log(-jnp.log(_real(mu)))

    def derivative(self, mu: ArrayLike) -> Array:
        """-1 / (p log p)."""
        p = _real(mu)
        return -1.0 / (p * jnp.log(p))

    def log_probs(self, eta: ArrayLike) -> tuple[Array, Array]:
        """(-e^-eta, log(1 - exp(-e^-eta)))."""
        return loglog_log_probs(_real(eta))


class Cauchit(AbstractProbabilityLink):
    """eta = tan(pi (p - 1/2)), the Cauchy quantile of p."""

    name: ClassVar[str] = "cauchit"

    def __call__(self, mu: ArrayLike) -> Array:
        """tan(pi (p - 1/2))."""
        p = _real(mu)
        # Near 0 and 1 the distance from there has more digits than p - 1/2.
        is_low = p < 0.5
        rest = jnp.where(is_low, p, 1.0 - p)
        size = 1.0 / jnp.tan(jnp.pi * rest)
        return jnp.where(is_low, -size, size)

    def derivative(self, mu: ArrayLike) -> Array:
        """Pi (1 + eta^2)."""
        return jnp.pi * (1.0 + jnp.square(self(mu)))

    def log_probs(self, eta: ArrayLike) -> tuple[Array, Array]:
        """The logs of 1/2 + arctan(eta) / pi and of 1/2 - arctan(eta) / pi."""
        return cauchit_log_probs(_real(eta))


class Power(AbstractLink):
    """eta = mu^power, of positive means; the log for power 0 is `Log`."""

    power: float = eqx.field(static=True)
    domain: ClassVar[Any] = constraints.positive

    def __init__(self, power: float | int):
        if not isinstance(power, float | int) or power == 0 or power != power:
            raise ValueError(
                f"`Power(power={power!r})`: `power` must be a number other than 0. "
                "For power 0 give `Log()`."
            )
        self.power = float(power)

    def __call__(self, mu: ArrayLike) -> Array:
        """mu^power."""
        return _real(mu) ** self.power

    def inverse(self, eta: ArrayLike) -> Array:
        """eta^(1 / power); NaN below 0."""
        return _real(eta) ** (1.0 / self.power)

    def derivative(self, mu: ArrayLike) -> Array:
        """Power mu^(power - 1)."""
        return self.power * _real(mu) ** (self.power - 1.0)

    def log_inverse(self, eta: ArrayLike) -> Array:
        """log(eta) / power."""
        return jnp.log(_real(eta)) / self.power


class Inverse(AbstractLink):
    """eta = 1 / mu, of positive means."""

    domain: ClassVar[Any] = constraints.positive
    name: ClassVar[str] = "inverse"

    def __call__(self, mu: ArrayLike) -> Array:
        """1 / mu."""
        return 1.0 / _real(mu)

    def inverse(self, eta: ArrayLike) -> Array:
        """1 / eta."""
        return 1.0 / _real(eta)

    def derivative(self, mu: ArrayLike) -> Array:
        """-1 / mu^2."""
        return -1.0 / jnp.square(_real(mu))

    def log_inverse(self, eta: ArrayLike) -> Array:
        """-log(eta)."""
        return -jnp.log(_real(eta))


class InverseSquared(AbstractLink):
    """eta = 1 / mu^2, of positive means."""

    domain: ClassVar[Any] = constraints.positive
    name: ClassVar[str] = "inverse_squared"

    def __call__(self, mu: ArrayLike) -> Array:
        """1 / mu^2."""
        return 1.0 / jnp.square(_real(mu))

    def inverse(self, eta: ArrayLike) -> Array:
        """1 / sqrt(eta)."""
        return 1.0 / jnp.sqrt(_real(eta))

    def derivative(self, mu: ArrayLike) -> Array:
        """-2 / mu^3."""
        return -2.0 / _real(mu) ** 3

    def log_inverse(self, eta: ArrayLike) -> Array:
        """-log(eta) / 2."""
        return -0.5 * jnp.log(_real(eta))


class Sqrt(AbstractLink):
    """eta = sqrt(mu), of positive means."""

    domain: ClassVar[Any] = constraints.positive
    name: ClassVar[str] = "sqrt"

    def __call__(self, mu: ArrayLike) -> Array:
        """sqrt(mu)."""
        return jnp.sqrt(_real(mu))

    def inverse(self, eta: ArrayLike) -> Array:
        """eta^2."""
        return jnp.square(_real(eta))

    def derivative(self, mu: ArrayLike) -> Array:
        """1 / (2 sqrt(mu))."""
        return 0.5 / jnp.sqrt(_real(mu))

    def log_inverse(self, eta: ArrayLike) -> Array:
        """2 log(eta)."""
        return 2.0 * jnp.log(_real(eta))


_ALL = (
    Identity(),
    Log(),
    Logit(),
    Probit(),
    CLogLog(),
    LogLog(),
    Cauchit(),
    Inverse(),
    InverseSquared(),
    Sqrt(),
)
LINKS: dict[str, AbstractLink] = {link.name: link for link in _ALL}


def get_link(link: str | AbstractLink) -> AbstractLink:
    """The link of a name; a link is returned as it is.

    Raises:
        ValueError: for an unknown name, with the nearest.
        TypeError: for what is neither a name nor a link.
    """
    if isinstance(link, AbstractLink):
        return link
    if not isinstance(link, str):
        raise TypeError(
            f"`link={link!r}`: give a link such as `Logit()`, or its name, one of "
            f"{', '.join(map(repr, LINKS))}. A parameter of the family is given by its "
            "name, such as `Tweedie(power=1.5)`."
        )
    if link not in LINKS:
        near = difflib.get_close_matches(link, LINKS, n=1)
        raise ValueError(
            f"`link={link!r}`: there is no such link; the names are "
            f"{', '.join(map(repr, LINKS))}. For a power give `Power(power)`."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )
    return LINKS[link]
