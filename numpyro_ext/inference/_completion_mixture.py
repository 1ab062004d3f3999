r"""EM for finite mixtures among the observed sites: responsibilities.

A datum belongs to component k with probability
$r_k \propto \pi_k\, p_k(y)$, and $Q = \sum_k r_k \log(\pi_k p_k(y))$ over the data.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from ._completion import AbstractCompletion, Position, weighed_sites
from ._model_spec import ModelSpec
from ._objective import Weight
from ._site_messages import Message


class MixtureCompletion(AbstractCompletion):
    """Observed sites of mixtures, of which each datum's component is the latent."""

    first_passes: ClassVar[int] = 0
    spec: ModelSpec
    mixtures: tuple[str, ...]
    prior_weight: Weight
    jacobian: bool

    def begin(self, theta: Position) -> None:
        return None

    def expect(
        self, theta: Position, last: None
    ) -> tuple[dict[str, Array], Float[Array, ""]]:
        parts = self._component_log_probs(theta)
        value = self._rest(theta)
        found = {}
        for name, (log_probs, scale) in parts.items():
            whole = jax.nn.logsumexp(log_probs, axis=-1, keepdims=True)
            found[name] = jnp.exp(log_probs - whole)
            value = value + jnp.sum(scale * whole[..., 0])
        return jax.lax.stop_gradient(found), value

    def expected(
        self, theta: Position, expectation: dict[str, Array]
    ) -> Float[Array, ""]:
        value = self._rest(theta)
        for name, (log_probs, scale) in self._component_log_probs(theta).items():
            share = expectation[name]
            # Of a component that is impossible, 0 times infinity counts 0.
            terms = jnp.where(share > 0.0, share * log_probs, 0.0)
            value = value + jnp.sum(scale * jnp.sum(terms, axis=-1))
        return value

    def whole(self, theta: Position, expectation: dict[str, Array]) -> Position:
        return theta

    def _rest(self, theta: Position) -> Float[Array, ""]:
        return weighed_sites(
            self.spec,
            theta,
            (),
            prior_weight=self.prior_weight,
            jacobian=self.jacobian,
            without=self.mixtures,
        )

    def _component_log_probs(self, theta: Position) -> dict[str, tuple[Array, Any]]:
        model: Any = self.spec.model
        sites = model.observed_sites(theta)
        return {name: _of_site(sites[name]) for name in self.mixtures}


def mixture_of(fn: dist.Distribution) -> Any | None:
    """Returns the mixture that a site draws from, or None."""
    while isinstance(fn, dist.ExpandedDistribution):
        fn = fn.base_dist
    is_one = isinstance(fn, dist.MixtureSameFamily | dist.MixtureGeneral)
    return fn if is_one else None


def _of_site(site: Message) -> tuple[Array, Any]:
    """The log of weight and density by component, on the last axis, and the scale."""
    law = mixture_of(site["fn"])
    assert law is not None
    scale = 1.0 if site["scale"] is None else site["scale"]
    return law.component_log_probs(site["value"]), scale
