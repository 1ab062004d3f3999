"""What variational inference asks of a guide: parameters, draws and their density."""

import abc
from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, Key, PyTree

from ._model_spec import ModelSpec
from ._path_normal import PathNormal


class GuideDraw(NamedTuple):
    """One draw of a guide.

    Attributes:
        position: the unconstrained point.
        log_prob: its log density under the guide, by its `is_unconstrained`.
    """

    position: PyTree[Array]
    log_prob: Float[Array, ""]


class AbstractGuide(eqx.Module):
    """A family of laws over the positions of a spec; pure, and for one member."""

    @property
    @abc.abstractmethod
    def is_unconstrained(self) -> bool:
        """Whether log densities are those of unconstrained positions.

        Else they are of the values at the sites, without log |Jacobian|.
        """

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
        frame: PathNormal,
    ) -> PyTree[Array]:
        """Returns the parameters to begin with, all unconstrained."""

    @abc.abstractmethod
    def draw(
        self,
        spec: ModelSpec,
        frame: PathNormal,
        params: PyTree[Array],
        key: Key[Array, ""],
    ) -> GuideDraw:
        """Draws a position; differentiable in the parameters, value and density.

        The density may leave out derivatives that are zero on average.

        Args:
            spec: the model with its data.
            frame: a law near the posterior, the same from start to end: where the
                guide begins, and the units of its parameters.
            params: the parameters.
            key: random key.
        """
