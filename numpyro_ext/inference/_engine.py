"""What every engine is: settings, and one verb."""

import abc

import equinox as eqx
from jaxtyping import Array, Key

from ._fit import Fit
from ._init_values import InitLike
from ._model_spec import ModelSpec


class AbstractEngine(eqx.Module):
    """Settings of a method that turns a `ModelSpec` into a `Fit`."""

    @abc.abstractmethod
    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: InitLike = None
    ) -> Fit:
        """Runs the method.

        Args:
            spec: the model with its data.
            key: random key; the same key gives the same result.
            init: where to start: None for the engine's own way, values by site (one
                value for all members, or a leading axis of members), a `Fit`, or what
                `glm.fit` returned.
        """

    def resume(self, fit: Fit, num_samples: int) -> Fit:
        """Goes on with a fit of this engine; samplers override it.

        Raises:
            ValueError: for an engine that has no chain to go on with.
        """
        raise ValueError(
            f"{type(self).__name__} has no chain to resume for {num_samples} draws. "
            f"Run again from its result: `engine.run(spec, key, init=fit)` (it is "
            f"{fit.kind})."
        )
