"""A spec whose observed sites have other data, whatever arguments brought the first."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpyro
from jaxtyping import Array
from numpyro.primitives import Messenger

from ..inference import ModelSpec
from ..inference._numpyro_model import NumPyroModel
from ..inference._replace import replace_fields

DATA = "_simulated_data"
REPLICATE = "{}_replicate"


class ReplaceData(Messenger):
    """Gives observed sites other data."""

    def __init__(self, fn: Callable[..., Any], data: dict[str, Array]) -> None:
        self.data = data
        super().__init__(fn)

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "sample" and msg["is_observed"] and msg["name"] in self.data:
            msg["value"] = self.data[msg["name"]]


class AddData(Messenger):
    """Observes further data beside those of each observed site, under the same law."""

    def __init__(self, fn: Callable[..., Any], data: dict[str, Array]) -> None:
        self.data = data
        super().__init__(fn)

    def postprocess_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "sample" and msg["is_observed"] and msg["name"] in self.data:
            name = REPLICATE.format(msg["name"])
            numpyro.sample(name, msg["fn"], obs=self.data[msg["name"]])


class SimulatedModel(eqx.Module):
    """A model under one of the handlers, its data an argument of each call.

    Equal to another of the same model and handler, so that both share what was
    compiled.
    """

    model: Callable[..., Any]
    handler: type[ReplaceData] | type[AddData] = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        data = kwargs.pop(DATA)
        return self.handler(self.model, data)(*args, **kwargs)


def replaced(spec: ModelSpec, data: dict[str, Array]) -> ModelSpec:
    """Returns the spec with other data at its observed sites."""
    return _wrapped(spec, ReplaceData, data)


def extended(spec: ModelSpec, data: dict[str, Array]) -> ModelSpec:
    """Returns the spec with further data beside its own."""
    return _wrapped(spec, AddData, data)


def with_simulated(spec: ModelSpec, data: dict[str, Array]) -> ModelSpec:
    """Returns a spec of `replaced` or `extended` with the next data."""
    kwargs = spec.model.kwargs | {DATA: data}
    return replace_fields(spec, model=replace_fields(spec.model, kwargs=kwargs))


def _wrapped(
    spec: ModelSpec, handler: type[ReplaceData] | type[AddData], data: dict[str, Array]
) -> ModelSpec:
    model = spec.model
    if not isinstance(model, NumPyroModel):
        raise ValueError(
            "Data can be simulated from a NumPyro model only; a spec of a plain log "
            "density has no law to draw them from."
        )
    simulated = SimulatedModel(model.model, handler)
    kwargs = model.kwargs | {DATA: data}
    return ModelSpec(replace_fields(model, model=simulated, kwargs=kwargs))
