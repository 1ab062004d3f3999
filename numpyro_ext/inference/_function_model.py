"""A model that is a plain function of parameters and data, split by its author."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from ._data import argument_names
from ._model import AbstractModel
from ._parts import Parts
from ._sites import Site, Sites

LIKELIHOOD = "log_likelihood"


class FunctionModel(AbstractModel):
    """`log_joint(params, *batch) -> (log_likelihood, log_prior)`, and its starts.

    The parameters are unconstrained: they are the coordinates, and log |Jacobian| is
    zero. They may be any pytree; leaves that are no floating arrays are kept fixed.

    Attributes:
        log_joint: the split log density.
        init_fn: `init_fn(key) -> params`, a draw of starting parameters.
        args: the data, passed to `log_joint` after the parameters.
        kwargs: keyword data, likewise.
        fixed: the leaves of the parameters that are not coordinates.
    """

    log_joint: Callable[..., tuple[Float[Array, ""], Float[Array, ""]]]
    init_fn: Callable[[Key[Array, ""]], PyTree]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    fixed: PyTree

    def argument_names(self) -> tuple[str, ...]:
        return argument_names(self.log_joint)[1:]

    def structure(self) -> Sites:
        start = eqx.filter_eval_shape(self.draw_start, jax.random.key(0), strategy="")
        leaves = jax.tree_util.tree_leaves_with_path(start)
        if not leaves:
            raise ValueError(
                "`init_fn` returns no floating-point array, so there is nothing to "
                "infer. Return the parameters, as in `init_fn(key) -> params`."
            )
        self._check_parts(start)
        rows = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(self.args)}
        likelihood = Site(LIKELIHOOD, "factor", tuple(rows.pop() if rows else ()))
        sites = [Site(leaf_name(p), "latent", x.shape, x.shape) for p, x in leaves]
        return Sites((*sites, likelihood))

    def check_position(self, position: PyTree[Array], sites: Sites) -> None:
        shapes = {
            leaf_name(p): jnp.shape(leaf)
            for p, leaf in jax.tree_util.tree_leaves_with_path(position)
        }
        if set(shapes) != set(sites.coordinates):
            raise ValueError(
                f"The position has the leaves {sorted(shapes)}, and the parameters of "
                f"`init_fn` have {sorted(sites.coordinates)}. Pass parameters of the "
                "same structure."
            )

    def parts(
        self, position: PyTree[Array], *, row_sites: tuple[str, ...]
    ) -> tuple[Parts, Parts]:
        params = self.params(position)
        log_likelihood, log_prior = map(
            jnp.asarray, self.log_joint(params, *self.args, **self.kwargs)
        )
        zero = jnp.zeros(())
        if LIKELIHOOD in row_sites:
            return Parts(log_likelihood, zero, zero), Parts(zero, log_prior, zero)
        return Parts(zero, zero, zero), Parts(log_likelihood, log_prior, zero)

    def site_log_probs(self, position: PyTree[Array]) -> dict[str, Float[Array, ""]]:
        _, parts = self.parts(position, row_sites=())
        return {LIKELIHOOD: parts.log_likelihood, "log_prior": parts.log_prior}

    def pointwise_log_likelihood(
        self, position: PyTree[Array]
    ) -> dict[str, Float[Array, "..."]]:
        return {}

    def data_violations(self, position: PyTree[Array]) -> dict[str, Bool[Array, "..."]]:
        return {}

    def parameter_violations(
        self, position: PyTree[Array]
    ) -> dict[tuple[str, str], Bool[Array, ""]]:
        return {}

    @property
    def asks_for_prior(self) -> bool:
        return False

    def by_site(self, position: PyTree[Array]) -> dict[str, Any]:
        return self.constrain(position, deterministic=False)

    def constrain(
        self, position: PyTree[Array], *, deterministic: bool
    ) -> dict[str, Any]:
        leaves = jax.tree_util.tree_leaves_with_path(position)
        return {leaf_name(path): leaf for path, leaf in leaves}

    def unconstrain(self, values: PyTree) -> PyTree[Array]:
        return eqx.filter(values, eqx.is_inexact_array)

    def support_violations(self, values: PyTree) -> dict[str, Bool[Array, "..."]]:
        return {}

    def draw_start(self, key: Key[Array, ""], *, strategy: str) -> PyTree[Array]:
        return eqx.filter(self.init_fn(key), eqx.is_inexact_array)

    def draw_prior(self, key: Key[Array, ""]) -> PyTree[Array]:
        raise ValueError(
            "A model made by `ModelSpec.from_log_density` has a log prior and no draws "
            "of it: `init_fn` makes starts. Write a NumPyro model, or use `NUTS`."
        )

    def unlike_draws(self, position: PyTree[Array]) -> dict[str, Bool[Array, ""]]:
        return {}

    def predict(
        self,
        key: Key[Array, ""],
        values: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> dict[str, Array]:
        raise ValueError(
            "A model made by `ModelSpec.from_log_density` states no law for new data, "
            "so there is nothing to draw. Use "
            "`ensemble_predict(fit.params(), predict_fn, x)` with your own function."
        )

    def observed_data(self, position: PyTree[Array]) -> dict[str, Array]:
        return {}

    def params(self, position: PyTree[Array]) -> PyTree:
        """Puts the coordinates back among the leaves that do not move."""
        return eqx.combine(position, self.fixed)

    def _check_parts(self, start: PyTree) -> None:
        def log_joint(position: PyTree[Array], args: Any, kwargs: Any) -> Any:
            return self.log_joint(self.params(position), *args, **kwargs)

        parts = eqx.filter_eval_shape(log_joint, start, self.args, self.kwargs)
        is_pair = isinstance(parts, tuple) and len(parts) == 2
        if not is_pair or any(jnp.shape(part) for part in parts):
            raise ValueError(
                "`log_joint` must return two scalars, `(log_likelihood, log_prior)`, "
                f"and it returns {jax.tree.map(jnp.shape, parts)}. Sum the log "
                "likelihood over the data, and return the prior apart from it."
            )


def leaf_name(path: tuple[Any, ...]) -> str:
    """Names a leaf of a parameter pytree by its path, such as `layers[0].weight`."""
    return jax.tree_util.keystr(path).lstrip(".").strip("[]'\"") or "params"
