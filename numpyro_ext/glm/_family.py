"""What a family is: one law of the linear predictor, and what the verbs read of it."""

import abc
import copy
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from numpyro.distributions import Distribution, constraints

from ._links import get_link

type Aux = dict[str, Array]


class AbstractFamily(eqx.Module):
    r"""A law of the response given the linear predictor $\eta = X\beta + o$.

    `family(eta, **aux)` is a NumPyro distribution with the batch shape of `eta`. The
    verbs need no more than its `log_prob`: scores and Hessians are its derivatives.
    A family has no arrays in it, so it is static under `jit` and `vmap`.

    Attributes:
        link: the link $g$, $\eta = g(\mu)$ with $\mu$ the mean of the response (for
            counts out of trials, the probability).
    """

    link: eqx.AbstractVar[Any]

    # The links whose inverse stays among the values that the mean can take.
    links: ClassVar[tuple[type, ...]] = ()
    # Whether a dispersion scales the variance and leaves the estimate of beta alone.
    has_dispersion: ClassVar[bool] = False
    # Whether the family is one of exponential dispersion, given its nuisances: then the
    # expected weight is the square of d mean / d eta over the variance.
    has_variance_function: ClassVar[bool] = False
    # Whether tables give Student's t with the residual degrees of freedom.
    uses_t: ClassVar[bool] = False
    is_discrete: ClassVar[bool] = False
    # Whether a continuous response may be exactly zero.
    has_atom: ClassVar[bool] = False
    # What diverging coefficients mean: separated classes, or an edge of another kind.
    is_classifier: ClassVar[bool] = False
    # Whether nuisances take the place of an intercept, which X must then not have.
    has_cutpoints: ClassVar[bool] = False
    support_words: ClassVar[str] = "finite numbers"

    def __check_init__(self) -> None:
        if self.links and not isinstance(self.link, self.links):
            family, link = type(self).__name__, type(self.link).__name__
            known = ", ".join(f"`glm.{known.__name__}()`" for known in self.links)
            raise ValueError(
                f"The family {family} has no link {link}: its inverse leaves the "
                f"values that the mean of {family} can take. Write `link=` with one of "
                f"{known}."
            )

    @abc.abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Distribution:
        """Returns the law of the response, a NumPyro distribution."""

    @property
    def name(self) -> str:
        """The name in tables."""
        return type(self).__name__

    @property
    def num_predictors(self) -> int:
        """The number of linear predictors: one, but for categories without order."""
        return 1

    @property
    def nuisance(self) -> dict[str, constraints.Constraint]:
        """Parameters estimated together with beta, and where they may lie."""
        return {}

    @property
    def is_log_concave(self) -> bool:
        """Whether the log-likelihood is concave in eta: then Newton needs no help."""
        return False

    def nuisance_start(
        self, y: Array, ybar: Array, weights: Array, trials: Array | None
    ) -> Aux:
        """Returns a start of each nuisance from moments of the response."""
        del y, ybar, weights, trials
        return {}

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array | None:
        """Returns a first linear predictor from the response, or None for zero."""
        del y, ybar, trials
        return None

    def is_valid(self, y: Array, trials: Array | None) -> Bool[Array, " n"]:
        """Returns which rows the family allows; NaN is refused beforehand."""
        del trials
        return jnp.isfinite(y)

    def law(
        self, eta: Array, aux: Aux, trials: Array | None, **dispersion: Array
    ) -> Distribution:
        """Returns the law of rows with these trials."""
        extra = {} if trials is None else {"trials": trials}
        law = copy.copy(self(eta, **aux, **extra, **dispersion))
        # The data were checked by the family, which takes fractions as quasi-counts.
        law._validate_args = False
        return law

    def response(self, y: Array) -> Array:
        """Returns the response in the type that `log_prob` takes."""
        return y

    def kernel(self, y: Array, eta: Array, aux: Aux, trials: Array | None) -> Array:
        """Returns minus the log-likelihood of each row, up to a constant in eta.

        With a dispersion: the part that the dispersion divides.
        """
        return -jnp.asarray(self.law(eta, aux, trials).log_prob(self.response(y)))

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        """Returns the mean of the response."""
        return jnp.asarray(self.law(eta, aux, trials).mean)

    def variance(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        """Returns the variance of the response at dispersion 1."""
        return jnp.asarray(self.law(eta, aux, trials).variance)

    def unit_deviance(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        """Returns each row's deviance, twice the kernel beyond its minimum in eta.

        A family without a closed form gives minus twice the log-likelihood.
        """
        return 2.0 * self.kernel(y, eta, aux, trials)

    def expected_weight(
        self, y: Array, eta: Array, aux: Aux, trials: Array | None
    ) -> Array:
        """Returns a weight that is positive: the expected one where it is known.

        Elsewhere the square of the score, whose expectation is the expected weight.
        """
        ones = jnp.ones_like(eta)
        if self.has_variance_function:
            mean = lambda e: self.mean(e, aux, trials)  # noqa: E731
            _, slope = jax.jvp(mean, (eta,), (ones,))
            return jnp.square(slope) / self.variance(eta, aux, trials)
        kernel = lambda e: self.kernel(y, e, aux, trials)  # noqa: E731
        return jnp.square(jax.jvp(kernel, (eta,), (ones,))[1])

    def dispersion_ml(self, mean_deviance: Float[Array, ""]) -> Float[Array, ""]:
        """Returns the maximum-likelihood dispersion from the mean unit deviance."""
        raise NotImplementedError


def link_field(default: str) -> Any:
    """A field that takes a link, or its name."""
    return eqx.field(converter=get_link, default=default, static=True)
