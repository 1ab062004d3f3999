"""Families made of others, and of any NumPyro distribution."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike
from numpyro.distributions import Distribution, constraints

from .. import distributions as laws
from ._family import AbstractFamily, Aux
from ._links import AbstractLink, Identity


class AbstractZeroFamily(AbstractFamily):
    """A base family whose zeros have a part of their own."""

    base: eqx.AbstractVar[AbstractFamily]

    @property
    def name(self) -> str:
        return f"{type(self).__name__}({self.base.name})"

    @property
    def nuisance(self) -> dict[str, constraints.Constraint]:
        own = {"dispersion": constraints.positive} if self.base.has_dispersion else {}
        return {**self.base.nuisance, **own, "gate_logits": constraints.real}

    def nuisance_start(
        self, y: Array, ybar: Array, weights: Array, trials: Array | None
    ) -> Aux:
        total = jnp.sum(weights)
        zeros = jnp.sum(weights * (y == 0))
        start = self.base.nuisance_start(y, ybar, weights, trials)
        if self.base.has_dispersion:
            start = {**start, "dispersion": jnp.ones_like(ybar)}
        share = self._gate_start((zeros + 0.5) / (total + 1.0))
        return {**start, "gate_logits": jnp.log(share) - jnp.log1p(-share)}

    def _gate_start(self, share_of_zeros: Array) -> Array:
        raise NotImplementedError

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array | None:
        # The zeros say nothing of the base; its mean is that of the others.
        others = jnp.maximum(jnp.mean(y > 0), 1.0 / y.size)
        typical = jnp.where(y > 0, y, ybar / others)
        return self.base.eta_start(typical, ybar / others, trials)

    def response(self, y: Array) -> Array:
        return self.base.response(y)


class ZeroInflated(AbstractZeroFamily):
    r"""Zeros beyond those of the base: $P(0) = \pi + (1 - \pi) P_\text{base}(0)$.

    $\operatorname{logit} \pi$ is estimated with beta, as `gate_logits`.

    Args:
        base: a family of counts, such as `glm.Poisson()`.
    """

    base: AbstractFamily

    is_discrete: ClassVar = True
    support_words: ClassVar = "values that the base family allows"

    @property
    def link(self) -> AbstractLink:  # pyright: ignore
        return self.base.link

    def __check_init__(self) -> None:
        if not self.base.is_discrete:
            raise ValueError(
                f"`ZeroInflated({self.base.name})`: the base must be a family of "
                "counts. Write `glm.Hurdle(...)` for positive amounts with zeros."
            )

    def __call__(self, eta: Any, gate_logits: ArrayLike, **aux: Any) -> Distribution:
        return laws.ZeroInflated(self.base(eta, **aux), jnp.asarray(gate_logits))

    def _gate_start(self, share_of_zeros: Array) -> Array:
        return 0.5 * share_of_zeros

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return self.base.is_valid(y, trials)


class Hurdle(AbstractZeroFamily):
    r"""Zero with probability $\pi$, else a positive value of the base.

    $\operatorname{logit} \pi$ is estimated with beta, as `gate_logits`.

    Args:
        base: a family of counts (then without its zeros), or of positive amounts.
    """

    base: AbstractFamily

    has_atom: ClassVar = True
    support_words: ClassVar = "zero, or values that the base family allows"

    @property
    def link(self) -> AbstractLink:  # pyright: ignore
        return self.base.link

    @property
    def is_discrete(self) -> bool:  # pyright: ignore
        return self.base.is_discrete

    def __call__(self, eta: Any, gate_logits: ArrayLike, **aux: Any) -> Distribution:
        return laws.Hurdle(self.base(eta, **aux), jnp.asarray(gate_logits))

    def _gate_start(self, share_of_zeros: Array) -> Array:
        return share_of_zeros

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        return (y == 0) | self.base.is_valid(y, trials)


class FromDistribution(AbstractFamily):
    """A family of any elementwise NumPyro distribution; see `from_distribution`."""

    build: Callable[..., Distribution] = eqx.field(static=True)
    aux: tuple[tuple[str, constraints.Constraint, float], ...] = eqx.field(static=True)
    link: AbstractLink = eqx.field(static=True)

    def __call__(self, eta: ArrayLike, **aux: Any) -> Distribution:
        return self.build(jnp.asarray(eta), **aux)

    @property
    def name(self) -> str:
        return getattr(self.build, "__name__", "FromDistribution")

    @property
    def nuisance(self) -> dict[str, constraints.Constraint]:
        return {name: constraint for name, constraint, _ in self.aux}

    def nuisance_start(
        self, y: Array, ybar: Array, weights: Array, trials: Array | None
    ) -> Aux:
        return {name: jnp.asarray(start, y.dtype) for name, _, start in self.aux}

    def eta_start(self, y: Array, ybar: Array, trials: Array | None) -> Array | None:
        # A location is the usual meaning of eta; any other starts from zero.
        return y if self._is_location else None

    @property
    def _law(self) -> Distribution:
        aux = {name: jnp.asarray(start) for name, _, start in self.aux}
        return self.build(jnp.zeros(1), **aux)

    @property
    def _is_location(self) -> bool:
        return self._law.support is constraints.real

    @property
    def is_discrete(self) -> bool:  # pyright: ignore
        return bool(self._law.is_discrete)

    @property
    def support_words(self) -> str:  # pyright: ignore
        return f"in the support of the distribution, {self._law.support}"

    def is_valid(self, y: Array, trials: Array | None) -> Array:
        support: Any = self._law.support
        return jnp.asarray(support(self.response(y)))

    def response(self, y: Array) -> Array:
        return y


def from_distribution(
    build: Callable[..., Distribution],
    aux: Mapping[str, Any] | None = None,
    *,
    link: AbstractLink | None = None,
) -> FromDistribution:
    """Makes a family of any NumPyro distribution whose rows are independent.

    ```python
    family = glm.from_distribution(
        lambda eta, scale: dist.Laplace(eta, scale), {"scale": constraints.positive}
    )
    ```

    Args:
        build: takes the linear predictor (n,) and the nuisances by name, and returns a
            distribution of batch shape (n,). Its `log_prob` must be twice
            differentiable. It is static: define it once, outside of loops, or every
            call compiles again.
        aux: the nuisances to estimate: where each may lie, or that and its start
            (by default 1, or 0 for a real number). If it is left out, every named
            argument of `build` after the first is a positive nuisance.
        link: the link to show in tables; the fit does not need it.

    Returns:
        A family for `fit`, `predict`, `infer` and `check`.
    """
    if aux is None:
        named = list(inspect.signature(build).parameters.values())[1:]
        plain = (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        )
        aux = {p.name: constraints.positive for p in named if p.kind in plain}
    items = []
    for name, given in aux.items():
        constraint, start = given if isinstance(given, tuple) else (given, None)
        if start is None:
            start = 0.0 if constraint is constraints.real else 1.0
        items.append((name, constraint, float(start)))
    link = Identity() if link is None else link
    return FromDistribution(build=build, aux=tuple(items), link=link)
