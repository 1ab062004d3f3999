"""A NumPyro model with its arguments, read through one trace."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree
from numpyro import handlers

from .._checks import nearest
from ._data import argument_names
from ._model import AbstractModel
from ._parts import Parts
from ._replace import replace_fields
from ._site_messages import (
    Message,
    coordinate_transform,
    emit_log_det,
    is_coordinate,
    is_data,
    is_factor,
    outside_constraints,
    outside_support,
    scaled_log_prob,
    uniform_start,
    unmasked_log_prob,
)
from ._sites import Sites
from ._structure import hide_params, read_structure, replaced_params


class NumPyroModel(AbstractModel):
    """The log density, starts and predictions of a NumPyro model.

    Attributes:
        model: the model function, with its handlers if it has any.
        args: positional arguments; arrays are traced, anything else is static.
        kwargs: keyword arguments, likewise.
        observed: names that the user declared to be the likelihood, or None.
    """

    model: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    observed: tuple[str, ...] | None = eqx.field(static=True)

    def argument_names(self) -> tuple[str, ...]:
        return argument_names(self.model)

    def structure(self) -> Sites:
        return read_structure(self.model, self.args, self.kwargs, self.observed)

    def settled(self) -> tuple["NumPyroModel", Sites]:
        """Returns the model and its sites without the params that have no effect."""
        sites = self.structure()
        names = replaced_params(sites)
        if not names:
            return self, sites
        model = replace_fields(self, model=hide_params(self.model, names))
        return model, Sites(tuple(site for site in sites if site.name not in names))

    def check_position(self, position: PyTree[Array], sites: Sites) -> None:
        known = set(sites.coordinates)
        if not isinstance(position, dict):
            raise TypeError(
                f"A position is a dictionary of one array for each of {sorted(known)}, "
                f"and this is a {type(position).__name__}."
            )
        for name in set(position) - known:
            raise ValueError(
                f"The position names `{name}`, which is no latent site; "
                + nearest(name, known)
            )
        missing = sorted(known - set(position))
        if missing:
            raise ValueError(
                f"The position lacks the sites {missing}. Start from `spec.init(key, "
                "1)`, or map values with `spec.unconstrain`."
            )

    def parts(
        self, position: PyTree[Array], *, row_sites: tuple[str, ...]
    ) -> tuple[Parts, Parts]:
        trace, jacobians = self._unconstrained_trace(position)
        rows = dict.fromkeys(Parts._fields, jnp.zeros(()))
        others = dict.fromkeys(Parts._fields, jnp.zeros(()))
        for name, site in trace.items():
            if site["type"] != "sample":
                continue
            if name in jacobians:
                bucket = "log_det"
            elif self._is_likelihood(site):
                bucket = "log_likelihood"
            else:
                bucket = "log_prior"
            parts = rows if name in row_sites else others
            parts[bucket] = parts[bucket] + jnp.sum(scaled_log_prob(site))
        return Parts(**rows), Parts(**others)

    def site_log_probs(self, position: PyTree[Array]) -> dict[str, Float[Array, ""]]:
        trace, jacobians = self._unconstrained_trace(position)
        return {
            name: jnp.sum(scaled_log_prob(site))
            for name, site in trace.items()
            if site["type"] == "sample" and name not in jacobians
        }

    def pointwise_log_likelihood(
        self, position: PyTree[Array]
    ) -> dict[str, Float[Array, "..."]]:
        trace, _ = self._unconstrained_trace(position)
        return {
            name: unmasked_log_prob(site["fn"], site["value"])
            for name, site in trace.items()
            if is_data(site)
        }

    def data_violations(self, position: PyTree[Array]) -> dict[str, Bool[Array, "..."]]:
        trace, _ = self._unconstrained_trace(position)
        return {
            name: outside_support(site["fn"], site["value"])
            for name, site in trace.items()
            if is_data(site)
        }

    def parameter_violations(
        self, position: PyTree[Array]
    ) -> dict[tuple[str, str], Bool[Array, ""]]:
        trace, jacobians = self._unconstrained_trace(position)
        return {
            (name, parameter): mark
            for name, site in trace.items()
            if site["type"] == "sample" and name not in jacobians
            for parameter, mark in outside_constraints(site["fn"]).items()
        }

    @property
    def asks_for_prior(self) -> bool:
        return self.observed == ()

    def by_site(self, position: PyTree[Array]) -> dict[str, Any]:
        return position

    def constrain(
        self, position: PyTree[Array], *, deterministic: bool
    ) -> dict[str, Any]:
        trace, _ = self._unconstrained_trace(position)
        return {
            name: site["value"]
            for name, site in trace.items()
            if name in position or (deterministic and site["type"] == "deterministic")
        }

    def unconstrain(self, values: dict[str, Any]) -> PyTree[Array]:
        return {
            name: jax.tree.map(coordinate_transform(site).inv, site["value"])
            for name, site in self._constrained_trace(values).items()
            if name in values
        }

    def support_violations(
        self, values: dict[str, Any]
    ) -> dict[str, Bool[Array, "..."]]:
        return {
            name: outside_support(site["fn"], site["value"])
            for name, site in self._constrained_trace(values).items()
            if name in values and site["type"] == "sample"
        }

    def draw_start(self, key: Key[Array, ""], *, strategy: str) -> PyTree[Array]:
        def place(site: Message) -> Array | None:
            if not is_coordinate(site) or site["type"] == "param":
                return None
            site_key = site["kwargs"]["rng_key"]
            sample_shape = site["kwargs"].get("sample_shape", ())
            if strategy == "prior":
                try:
                    return site["fn"].sample(site_key, sample_shape)
                except NotImplementedError:
                    pass  # an improper prior has no draws; uniform is what is left
            return uniform_start(site_key, site, sample_shape)

        return self._draw(key, place)

    def draw_prior(self, key: Key[Array, ""]) -> PyTree[Array]:
        def place(site: Message) -> Array | None:
            if not is_coordinate(site):
                return None
            sample_shape = site["kwargs"].get("sample_shape", ())
            try:
                return site["fn"].sample(site["kwargs"]["rng_key"], sample_shape)
            except NotImplementedError as error:
                raise ValueError(
                    f"The prior of site `{site['name']}`, {type(site['fn']).__name__}, "
                    "has no draws, and without a proper prior there is no evidence "
                    "either. Give it a proper one, such as a wide `Normal`, or use "
                    "`NUTS`."
                ) from error

        return self._draw(key, place)

    def _draw(
        self, key: Key[Array, ""], place: Callable[[Message], Any]
    ) -> PyTree[Array]:
        seeded = handlers.seed(self.model, key)
        return {
            name: jax.tree.map(coordinate_transform(site).inv, site["value"])
            for name, site in self._trace(seeded, place).items()
            if is_coordinate(site)
        }

    def unlike_draws(self, position: PyTree[Array]) -> dict[str, Bool[Array, ""]]:
        trace, jacobians = self._unconstrained_trace(position)
        marks = {}
        for name, site in trace.items():
            if site["type"] != "sample" or name in jacobians:
                continue
            if is_coordinate(site):
                of_draws = jnp.sum(unmasked_log_prob(site["fn"], site["value"]))
                difference = jnp.sum(scaled_log_prob(site)) - of_draws
                # NaN, where a mask hides entries, compares as different.
                close = jnp.abs(difference) <= 1e-3 * (1.0 + jnp.abs(of_draws))
                marks[name] = ~close & ~(jnp.isinf(of_draws))
            elif is_factor(site) and not self._is_likelihood(site):
                marks[name] = jnp.ones((), bool)
        return marks

    def predict(
        self,
        key: Key[Array, ""],
        values: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> dict[str, Array]:
        free = handlers.uncondition(self.model)
        model = handlers.seed(handlers.substitute(free, data=values), key)
        trace = handlers.trace(model).get_trace(*args, **kwargs)
        return {
            name: site["value"]
            for name, site in trace.items()
            if name not in values
            and site["type"] in ("sample", "deterministic")
            and not is_factor(site)
        }

    def observed_sites(self, position: PyTree[Array]) -> dict[str, Message]:
        """Returns NumPyro's messages of the sites with data."""
        trace, _ = self._unconstrained_trace(position)
        return {name: site for name, site in trace.items() if is_data(site)}

    def observed_data(self, position: PyTree[Array]) -> dict[str, Array]:
        trace, _ = self._unconstrained_trace(position)
        return {n: jnp.asarray(s["value"]) for n, s in trace.items() if is_data(s)}

    def _is_likelihood(self, site: Message) -> bool:
        declared = self.observed is not None and site["name"] in self.observed
        return is_data(site) or (is_factor(site) and declared)

    def _unconstrained_trace(
        self, position: PyTree[Array]
    ) -> tuple[dict[str, Message], set[str]]:
        """Runs the model at `position`; returns its trace and the Jacobian sites."""
        jacobians: set[str] = set()

        def place(site: Message) -> Any:
            if not is_coordinate(site) or site["name"] not in position:
                return None
            coordinate = position[site["name"]]
            if site["type"] == "param":
                return jax.tree.map(coordinate_transform(site), coordinate)
            return emit_log_det(site, coordinate, jacobians)

        return self._trace(self.model, place), jacobians

    def _constrained_trace(self, values: dict[str, Any]) -> dict[str, Message]:
        def place(site: Message) -> Any:
            # Observed sites keep their data even if `values` has their name.
            return values.get(site["name"]) if is_coordinate(site) else None

        return self._trace(self.model, place)

    def _trace(
        self, model: Callable[..., Any], place: Callable[[Message], Any]
    ) -> dict[str, Message]:
        placed = handlers.substitute(model, substitute_fn=place)
        return handlers.trace(placed).get_trace(*self.args, **self.kwargs)
