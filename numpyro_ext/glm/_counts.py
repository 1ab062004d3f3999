"""Families of counts, and of successes among trials."""

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, ArrayLike
from numpyro.distributions import Distribution, constraints

from .. import distributions as laws
from ..special._exponentials import expit_slope, log_expit
from ._family import AbstractFamily, Aux, link_field
from ._links import (
    AbstractLink,
    Cauchit,
    CLogLog,
    Identity,
    Log,
    Logit,
    LogLog,
    Power,
    Probit,
    Sqrt,
)

PROBABILITY_LINKS = (Logit, Probit, CLogLog, LogLog, Cauchit)


class Poisson(AbstractFamily):
    r"""Counts whose variance is the mean (times the dispersion, if one is asked).

    The log-likelihood is that of `PoissonLog`. Fractional responses are taken as a
    quasi-likelihood: the estimates are right for any $y \ge 0$ whose mean is $\mu$.

    Args:
        link: log (default), identity, sqrt or a power.
    """

    link: AbstractLink = link_field("log")

    links: ClassVar = (Log, Identity, Sqrt, Power)
    has_variance_function: ClassVar = True
    is_discrete: ClassVar = True
    support_words: ClassVar = "numbers that are not negative"

    def __call__(self, eta: ArrayLike) -> Distribution:
        return laws.PoissonLog(self.link.log_inverse(jnp.asarray(eta)))

    @property
    def is_log_concave(self) -> bool:
        return isinstance(self.link, Log | Identity | Sqrt)

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array:
        return self.link((y + ybar) / 2)

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return y >= 0

    def kernel(self, y: Array, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self.link.inverse(eta) - y * self.link.log_inverse(eta)

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self.link.inverse(eta)

    def variance(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self.link.inverse(eta)

    def unit_deviance(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        mu = self.link.inverse(eta)
        # The logarithm of a ratio loses nothing where y is near mu.
        return 2.0 * (xlogy(y, jnp.where(y > 0, y / mu, 1.0)) - (y - mu))


class Binomial(AbstractFamily):
    r"""Successes among trials; the link is that of the probability.

    The mean is the expected count, trials times probability. Trials are given to `fit`
    for each row; without them each row is one trial. Fractions of successes are taken
    as a quasi-likelihood.

    Args:
        link: logit (default), probit, cloglog, loglog, cauchit, log or identity.
        n_trials: the trials of every row where `fit` is given none.
    """

    link: AbstractLink = link_field("logit")
    n_trials: int = eqx.field(default=1, static=True, kw_only=True)

    links: ClassVar = (*PROBABILITY_LINKS, Log, Identity)
    has_variance_function: ClassVar = True
    is_discrete: ClassVar = True
    is_classifier: ClassVar = True
    support_words: ClassVar = "between 0 and the number of trials"

    def __call__(self, eta: ArrayLike, trials: ArrayLike | None = None) -> Distribution:
        eta = jnp.asarray(eta)
        return laws.BinomialLink(eta, self._trials(eta, trials), link=self.link)

    @property
    def is_log_concave(self) -> bool:
        return isinstance(self.link, Logit | Probit | CLogLog | LogLog)

    def _trials(self, eta: Array, trials: ArrayLike | None) -> Array:
        trials = self.n_trials if trials is None else trials
        return jnp.asarray(trials, eta.dtype)

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array:
        return self.link((y + 0.5) / (self._trials(y, trials) + 1.0))

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return (y >= 0) & (y <= self._trials(y, trials))

    def kernel(self, y: Array, eta: Array, aux: Aux, trials: Array | None) -> Array:
        m = self._trials(eta, trials)
        if isinstance(self.link, Logit):
            return -m * log_expit(-eta) - y * eta
        yes, no = _log_probs(self.link, eta)
        return -(_times(y, yes) + _times(m - y, no))

    def expected_weight(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        if isinstance(self.link, Logit):
            return self._trials(eta, trials) * expit_slope(eta)
        return super().expected_weight(y, eta, aux, trials)

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self._trials(eta, trials) * self.link.inverse(eta)

    def variance(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        yes, no = _log_probs(self.link, eta)
        return self._trials(eta, trials) * jnp.exp(yes + no)

    def unit_deviance(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        m = self._trials(eta, trials)
        share = y / m
        entropy = xlogy(y, share) + xlogy(m - y, 1.0 - share)
        return 2.0 * (entropy + self.kernel(y, eta, aux, trials))


class Bernoulli(AbstractFamily):
    r"""Yes or no: `Binomial` with one trial in each row.

    Args:
        link: logit (default), probit, cloglog, loglog, cauchit, log or identity.
    """

    link: AbstractLink = link_field("logit")

    links: ClassVar = Binomial.links
    has_variance_function: ClassVar = True
    is_discrete: ClassVar = True
    is_classifier: ClassVar = True
    support_words: ClassVar = "between 0 and 1"

    def __call__(self, eta: ArrayLike) -> Distribution:
        return laws.BernoulliLink(jnp.asarray(eta), link=self.link)

    @property
    def _binomial(self) -> Binomial:
        return Binomial(self.link)

    @property
    def is_log_concave(self) -> bool:
        return self._binomial.is_log_concave

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array:
        return self._binomial.eta_start(y, ybar, None)

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return (y >= 0) & (y <= 1)

    def kernel(self, y: Array, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self._binomial.kernel(y, eta, aux, None)

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self.link.inverse(eta)

    def expected_weight(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        return self._binomial.expected_weight(y, eta, aux, None)

    def variance(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self._binomial.variance(eta, aux, None)

    def unit_deviance(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        return self._binomial.unit_deviance(y, eta, aux, None)


class NegativeBinomial(AbstractFamily):
    r"""Counts with more variance than Poisson's, by a parameter $\alpha > 0$.

    $\operatorname{Var} y = \mu + \alpha\mu^2$ (`kind="nb2"`), or $\mu(1 + \alpha)$
    (`kind="nb1"`). $\alpha$ is estimated by maximum likelihood together with beta, and
    found in `fitted.params.aux`.

    Args:
        link: log (default), identity, sqrt or a power.
        alpha: a known value, then not estimated.
        kind: `nb2` or `nb1`.
    """

    link: AbstractLink = link_field("log")
    alpha: float | None = eqx.field(default=None, static=True, kw_only=True)
    kind: Literal["nb1", "nb2"] = eqx.field(default="nb2", static=True, kw_only=True)

    links: ClassVar = (Log, Identity, Sqrt, Power)
    is_discrete: ClassVar = True
    support_words: ClassVar = "numbers that are not negative"

    def __check_init__(self) -> None:
        if self.kind not in ("nb1", "nb2"):
            raise ValueError(
                f"`NegativeBinomial(kind={self.kind!r})`: `kind` must be 'nb2', with "
                "variance mu + alpha mu^2, or 'nb1', with variance mu (1 + alpha)."
            )
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(
                f"`NegativeBinomial(alpha={self.alpha!r})`: `alpha` must be positive. "
                "Leave it out to estimate it, or write `glm.Poisson()` for alpha = 0."
            )

    def __call__(self, eta: ArrayLike, alpha: ArrayLike | None = None) -> Distribution:
        alpha = self.alpha if alpha is None else alpha
        if alpha is None:
            raise TypeError(
                "`NegativeBinomial()(eta)` needs `alpha`. Write `family(eta, "
                "alpha=alpha)`."
            )
        log_mean = self.link.log_inverse(jnp.asarray(eta))
        alpha = jnp.asarray(alpha, log_mean.dtype)
        if self.kind == "nb1":
            return laws.NegativeBinomial1Log(log_mean, alpha)
        return laws.NegativeBinomialLog(log_mean, alpha)

    @property
    def has_variance_function(self) -> bool:  # pyright: ignore
        # The first kind is no exponential family, for any alpha.
        return self.kind == "nb2"

    @property
    def nuisance(self) -> dict[str, constraints.Constraint]:
        return {} if self.alpha is not None else {"alpha": constraints.positive}

    @property
    def is_log_concave(self) -> bool:
        return isinstance(self.link, Log) and self.kind == "nb2"

    def nuisance_start(
        self, y: Array, ybar: Array, weights: Array, trials: Array | None
    ) -> Aux:
        if self.alpha is not None:
            return {}
        spread = jnp.sum(weights * jnp.square(y - ybar)) / jnp.sum(weights)
        size = jnp.square(ybar) if self.kind == "nb2" else ybar
        tiny = jnp.finfo(y.dtype).tiny
        alpha = (spread - ybar) / jnp.maximum(size, tiny)
        return {"alpha": jnp.clip(alpha, 0.05, 100.0)}

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array:
        return self.link((y + ybar) / 2)

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return y >= 0

    def _alpha(self, aux: Aux) -> Any:
        return aux["alpha"] if self.alpha is None else self.alpha

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return self.link.inverse(eta)

    def variance(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        alpha, mu = self._alpha(aux), self.link.inverse(eta)
        return mu * (1.0 + alpha * (mu if self.kind == "nb2" else 1.0))

    def unit_deviance(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        alpha, mu = self._alpha(aux), self.link.inverse(eta)
        if self.kind == "nb1":
            # The first kind has no saturated model in closed form.
            return 2.0 * self.kernel(y, eta, aux, trials)
        ratio = jnp.log1p(alpha * mu) - jnp.log1p(alpha * y)
        log_ratio = xlogy(y, jnp.where(y > 0, y / mu, 1.0))
        return 2.0 * (log_ratio + (y + 1.0 / alpha) * ratio)


def NegativeBinomial1(  # noqa: N802
    link: Any = "log", *, alpha: float | None = None
) -> NegativeBinomial:
    r"""Negative binomial counts with variance $\mu(1 + \alpha)$."""
    return NegativeBinomial(link, alpha=alpha, kind="nb1")


def _log_probs(link: AbstractLink, eta: Array) -> tuple[Array, Array]:
    if isinstance(link, Log | Identity):
        p = link.inverse(eta)
        return link.log_inverse(eta), jnp.log1p(-p)
    return link.log_probs(eta)


def _times(count: Array, log_prob: Array) -> Array:
    """`count * log_prob`, where no count of an impossible outcome is zero."""
    return jnp.where(count == 0, 0.0, count * jnp.where(count == 0, 0.0, log_prob))
