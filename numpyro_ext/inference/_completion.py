r"""What EM needs of a model: the law of its latents, and the expected log density.

With $\theta$ the coordinates that stay and $z$ those that are integrated out, the
objective is $\log \int p(y, z \mid \theta)\,dz + w \log p(\theta)$, and
$Q(\theta \mid \theta') = E[\log p(y, z, \theta) \mid y, \theta']$. The joint log
density is read from the model's own trace; nothing is told about its structure.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._model_spec import ModelSpec
from ._objective import Weight

type Position = dict[str, Array]


class AbstractCompletion(eqx.Module):
    """A model with the rule for its latents."""

    spec: eqx.AbstractVar[ModelSpec]
    prior_weight: eqx.AbstractVar[Weight]
    jacobian: eqx.AbstractVar[bool]
    # How many E steps it takes at a start until the latents' centre is found.
    first_passes: ClassVar[int]

    @abc.abstractmethod
    def begin(self, theta: Position) -> PyTree[Array]:
        """Returns what the first E step is to start from."""

    @abc.abstractmethod
    def expect(
        self, theta: Position, last: PyTree[Array]
    ) -> tuple[PyTree[Array], Float[Array, ""]]:
        """The E step: what the law of the latents says, and the objective at theta."""

    @abc.abstractmethod
    def expected(self, theta: Position, expectation: PyTree[Array]) -> Float[Array, ""]:
        """Q: the expected log density at theta."""

    @abc.abstractmethod
    def whole(self, theta: Position, expectation: PyTree[Array]) -> Position:
        """Returns a position of the user's spec, latents at their centre."""


def weighed_sites(
    spec: ModelSpec,
    position: Position,
    latent: tuple[str, ...],
    *,
    prior_weight: Weight,
    jacobian: bool,
    without: tuple[str, ...] = (),
) -> Float[Array, ""]:
    """The log density of all sites but `without`, in the latents' own measure.

    Latents count as the likelihood does: the weight of the prior is not theirs. The
    Jacobian is that of the others alone.
    """
    model: Any = spec.model
    declared = model.observed or ()
    total = jnp.zeros(())
    for name, value in model.site_log_probs(position).items():
        kind = spec.sites[name].kind if name in spec.sites else "factor"
        is_prior = kind in ("latent", "factor") and name not in (*latent, *declared)
        if name in without:
            continue
        if not is_prior:
            total = total + value
        elif not (isinstance(prior_weight, float | int) and prior_weight == 0):
            total = total + prior_weight * value
    if not jacobian:
        return total
    own = _log_det_of(spec, position, latent)
    return total + spec.parts(position).log_det - own


def _log_det_of(
    spec: ModelSpec, position: Position, latent: tuple[str, ...]
) -> Float[Array, ""]:
    """Log |Jacobian| of the latents: those that are positive have log z for z."""
    positive = [n for n in latent if is_positive(spec, n)]
    return sum((jnp.sum(position[name]) for name in positive), start=jnp.zeros(()))


def is_positive(spec: ModelSpec, name: str) -> bool:
    """Whether the coordinate of a site is the logarithm of its value."""
    return _is_array_of("positive", spec.sites[name].support)


def is_real(spec: ModelSpec, name: str) -> bool:
    """Whether the coordinate of a site is its value."""
    return _is_array_of("real", spec.sites[name].support)


def _is_array_of(what: str, support: str) -> bool:
    """Whether each entry has that support; "positive definite" is another."""
    return support in (what, f"{what} vector") or support.startswith(f"{what} array")
