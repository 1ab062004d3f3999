"""Guides of NumPyro: automatic ones, and functions that a user wrote."""

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree
from numpyro import handlers
from numpyro.infer import init_to_value
from numpyro.infer.autoguide import AutoDelta, AutoGuide, AutoLaplaceApproximation

from ._flat import unravel_position
from ._guide import AbstractGuide, GuideDraw
from ._model_spec import ModelSpec
from ._numpyro_model import NumPyroModel
from ._path_normal import PathNormal
from ._site_messages import Message, coordinate_transform, scaled_log_prob

# Guides that are no laws, and what does their work here.
REFUSED = {AutoDelta: "EnsembleMAP", AutoLaplaceApproximation: "Laplace"}


class NumPyroGuide(AbstractGuide):
    """A NumPyro guide, drawn from by its own sites and weighed by their densities.

    Attributes:
        guide: a subclass or an instance of `AutoGuide`, or a guide function.
    """

    guide: Callable[..., Any]

    @property
    def is_unconstrained(self) -> bool:
        return False

    def bind(self, spec: ModelSpec) -> "NumPyroGuide":
        if not isinstance(spec.model, NumPyroModel):
            raise ValueError(
                f"The guide {_name(self.guide)} is one for NumPyro models, and this "
                'spec is of a plain function. Write `guide="mean_field"`, '
                '`"full_rank"` or `"low_rank"`.'
            )
        guide = self.guide
        for refused, other in REFUSED.items():
            if guide is refused or isinstance(guide, refused):
                raise ValueError(
                    f"`{refused.__name__}` is no law to draw from while it is fitted. "
                    f"Its work is done by `{other}` here."
                )
        if isinstance(guide, type):
            guide = guide(spec.model.model)
        elif isinstance(guide, AutoGuide):
            guide = _forget(guide)
        bound = NumPyroGuide(guide)
        # The first call reads the model; it must not happen inside a loop.
        _check_sites(spec, guide, bound._trace(spec, {}, jax.random.key(0)))
        return bound

    def start(
        self, spec: ModelSpec, key: Key[Array, ""], frame: PathNormal
    ) -> dict[str, Array]:
        guide = self.guide
        if isinstance(guide, AutoGuide):
            position = unravel_position(spec)(frame.loc)
            guide = _forget(guide, init_to_value(values=spec.constrain(position)))
        sites = NumPyroGuide(guide)._trace(spec, {}, key)
        return {
            name: jax.tree.map(coordinate_transform(site).inv, _arrays(site["value"]))
            for name, site in sites.items()
            if site["type"] == "param"
        }

    def draw(
        self,
        spec: ModelSpec,
        frame: PathNormal,
        params: dict[str, Array],
        key: Key[Array, ""],
    ) -> GuideDraw:
        sites = self._trace(spec, params, key)
        log_probs = [
            jnp.sum(scaled_log_prob(site))
            for site in sites.values()
            if site["type"] == "sample" and not site["is_observed"]
        ]
        values = {name: sites[name]["value"] for name in spec.sites.coordinates}
        return GuideDraw(spec.unconstrain(values), sum(log_probs, jnp.zeros(())))

    def _trace(
        self, spec: ModelSpec, params: dict[str, Array], key: Key[Array, ""]
    ) -> dict[str, Message]:
        def place(site: Message) -> Any:
            if site["type"] != "param" or site["name"] not in params:
                return None
            # The weights of a flow are one site with a pytree.
            return jax.tree.map(coordinate_transform(site), params[site["name"]])

        placed = handlers.substitute(self.guide, substitute_fn=place)
        model = spec.model
        return handlers.trace(handlers.seed(placed, key)).get_trace(
            *model.args, **model.kwargs
        )


def _forget(guide: AutoGuide, init: Callable[..., Any] | None = None) -> AutoGuide:
    """Returns a copy that has not read its model yet.

    What a guide keeps of the model belongs to the trace in which it was read; the
    user's own object must not hold values of ours.
    """
    new = copy.deepcopy(guide)
    for part in (new, *getattr(new, "_guides", ())):
        if isinstance(part, AutoGuide):
            part.prototype_trace = None
            part.init_loc_fn = init or part.init_loc_fn
    return new


def _check_sites(spec: ModelSpec, guide: Any, sites: dict[str, Message]) -> None:
    drawn = {
        name: site
        for name, site in sites.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    missing = [name for name in spec.sites.coordinates if name not in drawn]
    if missing:
        raise ValueError(
            f"The guide {_name(guide)} does not draw the sites {missing}; it draws "
            f"{sorted(drawn)}. Add a `numpyro.sample` for each latent site."
        )
    for name, site in drawn.items():
        is_extra = name not in spec.sites.coordinates
        if is_extra and not site["infer"].get("is_auxiliary", False):
            raise ValueError(
                f"The guide {_name(guide)} draws `{name}`, which is no latent site of "
                "the model. Remove it, or mark it with "
                '`infer={"is_auxiliary": True}` if other sites are made from it.'
            )
        if not site["fn"].has_rsample:
            raise ValueError(
                f"The guide {_name(guide)} draws `{name}` from "
                f"{type(site['fn']).__name__}, whose draws have no gradient by its "
                "parameters. Take a law with one, such as `Normal` or `LogNormal`."
            )


def _arrays(value: PyTree) -> PyTree[Array]:
    """Makes arrays of Python numbers, with a dtype that a loop keeps."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x, float)), value)


def _name(guide: Any) -> str:
    return f"`{getattr(guide, '__name__', type(guide).__name__)}`"
