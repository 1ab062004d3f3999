"""What variational inference asks of a guide: parameters, draws and their density."""

import abc
from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, Key, PyTree

from ._model_spec import ModelSpec


class GuideDraw(NamedTuple):
    """One draw of a guide.

    Attributes:
        position: the unconstrained point.
        log_prob: its log density under the guide, by `AbstractGuide.is_unconstrained`.
    """

    position: PyTree[Array]
    log_prob: Float[Array, ""]


class AbstractGuide(eqx.Module):
    """A family of laws over the positions of a spec; pure, and for one member.

    Attributes:
        is_unconstrained: whether log densities are those of unconstrained positions;
            else of the values at the sites, without log |Jacobian|.
    """

    is_unconstrained: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def bind(self, spec: ModelSpec) -> "AbstractGuide":
        """Reads the structure of the model, once in each trace.

        Raises:
            ValueError: if the guide does not fit the model.
        """

    @abc.abstractmethod
    def start(
        self,
        spec: ModelSpec,
        key: Key[Array, ""],
        position: PyTree[Array],
        widths: PyTree[Array],
    ) -> PyTree[Array]:
        """Returns parameters of a narrow law about a position, all unconstrained."""

    @abc.abstractmethod
    def units(self, params: PyTree[Array], widths: PyTree[Array]) -> PyTree[Array]:
        """Returns the typical size of a change of each parameter."""

    @abc.abstractmethod
    def draw(
        self, spec: ModelSpec, params: PyTree[Array], key: Key[Array, ""]
    ) -> GuideDraw:
        """Draws a position; differentiable in the parameters, value and density.

        The density may leave out derivatives that are zero on average.
        """
