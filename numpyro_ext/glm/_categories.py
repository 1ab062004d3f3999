"""Families whose response is one of some categories, 0, 1, ..."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.nn import softmax
from jaxtyping import Array, ArrayLike
from numpyro.distributions import Distribution, constraints

from .. import distributions as laws
from ._counts import PROBABILITY_LINKS
from ._family import AbstractFamily, Aux, link_field
from ._links import AbstractLink


def _check_levels(owner: str, levels: int, least: int) -> None:
    if not isinstance(levels, int) or levels < least:
        raise ValueError(
            f"`{owner}({levels!r})`: `levels` is the number of categories, an integer "
            f"of at least {least}. The response is then 0, 1, ..., levels - 1."
        )


class Ordered(AbstractFamily):
    r"""Ordered categories: $P(y \le k) = g^{-1}(c_k - \eta)$.

    The cutpoints $c_0 < c_1 < \dots$ are estimated with beta, and found in
    `fitted.params.aux`. They take the place of an intercept: `X` must have none.

    Args:
        levels: the number of categories; the response is 0, 1, ..., levels - 1.
        link: logit (default) or probit, or another link of probabilities.
    """

    levels: int = eqx.field(static=True)
    link: AbstractLink = link_field("logit")

    links: ClassVar = PROBABILITY_LINKS
    is_discrete: ClassVar = True
    is_classifier: ClassVar = True
    has_cutpoints: ClassVar = True
    support_words: ClassVar = "integers from 0 to levels - 1"

    def __check_init__(self) -> None:
        _check_levels("Ordered", self.levels, 2)

    def __call__(self, eta: ArrayLike, cutpoints: ArrayLike) -> Distribution:
        return laws.OrderedLink(
            jnp.asarray(eta), jnp.asarray(cutpoints), link=self.link
        )

    @property
    def nuisance(self) -> dict[str, constraints.Constraint]:
        return {"cutpoints": constraints.ordered_vector}

    def nuisance_start(
        self, y: Array, ybar: Array, weights: Array, trials: Array | None
    ) -> Aux:
        below = y[:, None] <= jnp.arange(self.levels - 1)
        # Half a row in each category keeps the cutpoints finite and apart.
        count = weights @ below + 0.5 * jnp.arange(1, self.levels)
        share = count / (jnp.sum(weights) + 0.5 * self.levels)
        return {"cutpoints": self.link(share)}

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return (y >= 0) & (y < self.levels) & (y == jnp.floor(y))

    def response(self, y: Array) -> Array:
        return y.astype(jnp.int32)


class Categorical(AbstractFamily):
    r"""Categories without order (multinomial logit), against category 0.

    Each other category has coefficients of its own: `beta` is (p, levels - 1), and
    `eta` (n, levels - 1) are log odds against category 0.

    Args:
        levels: the number of categories, at least 3; the response is 0, 1, ...,
            levels - 1.

    Raises:
        ValueError: for fewer categories: two of them are `glm.Bernoulli()`.
    """

    levels: int = eqx.field(static=True)
    link: AbstractLink = link_field("logit")

    is_discrete: ClassVar = True
    is_classifier: ClassVar = True
    support_words: ClassVar = "integers from 0 to levels - 1"

    def __check_init__(self) -> None:
        if self.levels == 2:
            raise ValueError(
                "`Categorical(2)`: two categories have one linear predictor. Write "
                "`glm.Bernoulli()`, with a response of 0 and 1."
            )
        _check_levels("Categorical", self.levels, 3)

    def __call__(self, eta: ArrayLike) -> Distribution:
        return dist.CategoricalLogits(self._logits(jnp.asarray(eta)))

    def _logits(self, eta: Array) -> Array:
        if eta.shape[-1:] != (self.levels - 1,):
            raise ValueError(
                f"`Categorical({self.levels})` takes `eta` of shape (..., "
                f"{self.levels - 1}), the log odds against category 0, and got "
                f"{eta.shape}."
            )
        return jnp.concatenate([jnp.zeros_like(eta[..., :1]), eta], axis=-1)

    @property
    def num_predictors(self) -> int:
        return self.levels - 1

    @property
    def is_log_concave(self) -> bool:
        return True

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return (y >= 0) & (y < self.levels) & (y == jnp.floor(y))

    def response(self, y: Array) -> Array:
        return y.astype(jnp.int32)

    def mean(self, eta: Array, aux: Aux, trials: Array | None) -> Array:
        return softmax(self._logits(eta), axis=-1)
