"""`ModelSpec`: one model with its data, and the one log density that engines see."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, Key, PyTree

from .._checks import check_key, check_positive_int
from ._check import CheckReport, check_model, raise_bad_start
from ._data import argument_names, as_leaves, same_shapes
from ._function_model import FunctionModel
from ._minibatch import Batch, read_batch, slice_rows, take_rows
from ._model import AbstractModel
from ._numpyro_model import NumPyroModel
from ._parts import Parts
from ._replace import replace_fields
from ._sites import Sites
from ._starts import Start, StartStrategy, find_start

# Draws that are mapped together: enough to vectorise, few enough to stay in memory.
PREDICTIVE_CHUNK = 128


class ModelSpec(eqx.Module):
    r"""A NumPyro model with its data: one log density for every engine.

    For a point $z$ in unconstrained space, with $\theta = T(z)$,
    $$\log\pi(z) = \ell\,\log p(y \mid \theta) + w\,\log p(\theta)
      + j\,\log|\det \partial T / \partial z|,$$
    with the weights `likelihood_weight`, `prior_weight` and `jacobian` (0 or 1). At
    their defaults it is NumPyro's `-potential_energy`. A point is a dictionary of one
    array for each latent site. The methods are for one point: `jax.vmap` them.

    Data are traced leaves: `with_data` of the same shapes compiles nothing again.
    Python numbers, strings and functions among the arguments are static.

    A `numpyro.factor` counts as prior unless `observed` names it. A `numpyro.param`
    (as `eqx_module` makes) is a coordinate with a flat prior and no Jacobian: MAP
    optimises it, samplers refuse it. In `handlers.scale` and `handlers.mask`, NumPyro
    scales and masks the Jacobian with the site, and so does this.

    Args:
        model: a NumPyro model, or any callable with NumPyro primitives.
        *args: its positional arguments.
        observed: names of the sites that must have data; `factor` sites named here
            are likelihood. `()` says that no data is meant, for the prior.
        batch: names of the arguments that mini-batches slice along axis 0.
        **kwargs: its keyword arguments.

    Raises:
        ValueError: for what no engine can run, naming the site: discrete or Delta
            latent sites, subsampled plates, mutable sites, data that broadcast by
            accident, no latent site, no row of data.
        TypeError: if the arguments do not fit the model.
    """

    model: AbstractModel
    sites: Sites = eqx.field(static=True)
    batch: Batch | None = eqx.field(static=True)
    batch_scale: float = eqx.field(static=True)

    def __init__(
        self,
        model: Callable[..., Any] | AbstractModel,
        *args: Any,
        observed: tuple[str, ...] | str | None = None,
        batch: tuple[str, ...] | str | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(model, AbstractModel):
            self.model, self.sites = model, model.structure()
        else:
            names = (observed,) if isinstance(observed, str) else observed
            names = None if names is None else tuple(names)
            args, kwargs = as_leaves(argument_names(model), args, kwargs)
            wrapped = NumPyroModel(
                model=model, args=args, kwargs=kwargs, observed=names
            )
            self.model, self.sites = wrapped.settled()
        self.batch = read_batch(self.model, self.sites, batch)
        self.batch_scale = 1.0

    @classmethod
    def from_log_density(
        cls,
        log_joint: Callable[..., tuple[Float[Array, ""], Float[Array, ""]]],
        init_fn: Callable[[Key[Array, ""]], PyTree],
        *args: Any,
        batch: tuple[str, ...] | str | None = None,
        **kwargs: Any,
    ) -> "ModelSpec":
        """Makes a spec of a plain function, such as the loss of an Equinox module.

        Args:
            log_joint: `log_joint(params, *args, **kwargs)` returns the scalars
                `(log_likelihood, log_prior)`; the parameters are unconstrained.
            init_fn: `init_fn(key) -> params`, any pytree; leaves that are no floating
                arrays stay as they are.
            *args: the data.
            batch: names of the arguments that mini-batches slice along axis 0.
            **kwargs: keyword data.

        Raises:
            ValueError: if `log_joint` does not return two scalars, or if there is no
                floating-point parameter.
        """
        args, kwargs = as_leaves(argument_names(log_joint)[1:], args, kwargs)
        params = eqx.filter_jit(init_fn)(jax.random.key(0))
        fixed = eqx.filter(params, eqx.is_inexact_array, inverse=True)
        model = FunctionModel(
            log_joint=log_joint, init_fn=init_fn, args=args, kwargs=kwargs, fixed=fixed
        )
        return cls(model, batch=batch)

    def with_data(self, *args: Any, **kwargs: Any) -> "ModelSpec":
        """Returns the spec with other data; equal shapes compile nothing again.

        Args:
            *args: all positional arguments, or none to keep them.
            **kwargs: the keyword arguments that change.
        """
        args, kwargs = as_leaves(self.model.argument_names(), args, kwargs)
        args, kwargs = args or self.model.args, {**self.model.kwargs, **kwargs}
        new = replace_fields(self.model, args=args, kwargs=kwargs)
        if same_shapes(new, self.model):
            return replace_fields(self, model=new)
        return type(self)(new, batch=self.batch and self.batch.arguments)

    # -- the log density -----------------------------------------------------------

    def parts(self, position: PyTree[Array]) -> Parts:
        """Returns (log likelihood, log prior, log |Jacobian|) from one trace.

        Raises:
            ValueError: if the position lacks a site or names an unknown one.
        """
        rows, others = self._split_parts(position)
        return jax.tree.map(lambda r, o: o + self.batch_scale * r, rows, others)

    def _split_parts(self, position: PyTree[Array]) -> tuple[Parts, Parts]:
        """Returns the parts of the sites that follow the batch, and of the others."""
        self.model.check_position(position, self.sites)
        row_sites = self.batch.sites if self.batch else ()
        return self.model.parts(position, row_sites=row_sites)

    def log_density(
        self,
        position: PyTree[Array],
        *,
        jacobian: bool = True,
        likelihood_weight: Float[Array, ""] | float | int = 1.0,
        prior_weight: Float[Array, ""] | float | int = 1.0,
    ) -> Float[Array, ""]:
        """Returns the weighted log density at a point of unconstrained space.

        Args:
            position: one array for each latent site.
            jacobian: whether to count log |Jacobian|; without it, the density is the
                one of the user's own parameters.
            likelihood_weight: temperature of the likelihood.
            prior_weight: weight of the prior; a Python 0 leaves it out, for maximum
                likelihood even where the prior is zero.
        """
        return self.parts(position).weigh(
            jacobian=jacobian,
            likelihood_weight=likelihood_weight,
            prior_weight=prior_weight,
        )

    def pointwise_log_likelihood(
        self, position: PyTree[Array]
    ) -> dict[str, Float[Array, "..."]]:
        """Returns log p of each datum by observed site; masked data are NaN.

        Scales (of `handlers.scale` or mini-batches) do not act here, and `factor`
        sites are left out.
        """
        return self.model.pointwise_log_likelihood(position)

    # -- the two spaces ------------------------------------------------------------

    def constrain(
        self, position: PyTree[Array], *, deterministic: bool = False
    ) -> dict[str, Any]:
        """Maps a point to values by site, with deterministic sites on request."""
        return self.model.constrain(position, deterministic=deterministic)

    def unconstrain(self, values: dict[str, Any]) -> PyTree[Array]:
        """Maps values by site to a point; the inverse of `constrain`."""
        return self.model.unconstrain(values)

    # -- starts and preflight ------------------------------------------------------

    def init(
        self,
        key: Key[Array, ""],
        n: int,
        *,
        strategy: StartStrategy = "prior",
        num_candidates: int = 1,
        max_tries: int = 100,
    ) -> PyTree[Array]:
        """Draws `n` starts whose log density and gradient are finite.

        Only a start that is not finite is drawn again, so the others do not depend on
        it.

        Args:
            key: random key.
            n: how many starts; they are the leading axis of each array.
            strategy: `prior` draws from the prior (sites without draws, such as
                improper priors, fall back to uniform); `uniform` draws U(-2, 2) in
                the unconstrained space.
            num_candidates: each start is the best of so many draws by log density.
            max_tries: how often a start is drawn again.

        Raises:
            InitializationError: if a start stays non-finite, naming sites and values.
            ValueError: if data lie outside the support of their distribution.
        """
        check_positive_int("ModelSpec.init", "n", n)
        check_positive_int("ModelSpec.init", "num_candidates", num_candidates)
        keys = jax.random.split(check_key("ModelSpec.init", key), n)
        starts = _find_starts(self, keys, strategy, num_candidates, max_tries)
        raise_bad_start(self, starts, max_tries)
        return starts.position

    def check(self, key: Key[Array, ""]) -> CheckReport:
        """Runs the preflight: a table for each site, or an error that names one.

        Raises:
            ValueError: for NaN or inf in the data, data outside their support, no
                observed site, parameters of a distribution outside their constraint
                under the prior, and sites that come and go between calls.
            InitializationError: if no finite start is found.
        """
        return check_model(self, check_key("ModelSpec.check", key))

    # -- predictions ---------------------------------------------------------------

    def prior_predictive(self, key: Key[Array, ""], n: int) -> dict[str, Array]:
        """Draws `n` times from the prior: latent, deterministic and observed sites.

        Raises:
            ValueError: if a prior is improper, naming the site.
        """
        check_positive_int("ModelSpec.prior_predictive", "n", n)
        _check_proper(self.sites)
        keys = jax.random.split(check_key("ModelSpec.prior_predictive", key), n)
        return _prior_predictive(self, keys)

    def predictive(
        self,
        key: Key[Array, ""],
        draws: dict[str, PyTree[Array]],
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Array]:
        """Draws the observed sites given draws of the latent ones.

        Args:
            key: random key.
            draws: site -> (chain, draw, ...), constrained, as in `Fit.draws`.
            *args: new positional arguments of the model; none of both: the spec's own.
            **kwargs: new keyword arguments.

        Returns:
            site -> (chain, draw, ...), for observed and deterministic sites.
        """
        key = check_key("ModelSpec.predictive", key)
        if not args and not kwargs:
            args, kwargs = self.model.args, self.model.kwargs
        else:
            args, kwargs = as_leaves(self.model.argument_names(), args, kwargs)
        latent = {name: draws[name] for name in self.sites.coordinates}
        return _predictive(self, key, latent, args, kwargs)

    # -- mini-batches --------------------------------------------------------------

    def minibatch(self, indices: Int[Array, " b"]) -> "ModelSpec":
        """Returns the spec on these rows, its likelihood scaled by N / B.

        Only the observed and factor sites that follow the rows are scaled. The cost is
        O(B).

        Raises:
            ValueError: if the spec has no `batch`.
        """
        batch = self._require_batch()
        model = take_rows(self.model, batch, indices)
        scale = batch.num_rows / indices.shape[0]
        return replace_fields(self, model=model, batch_scale=scale)

    def _rows(self, start: Int[Array, ""], size: int) -> "ModelSpec":
        """Returns the spec on consecutive rows, its likelihood not scaled."""
        model = slice_rows(self.model, self._require_batch(), start, size)
        return replace_fields(self, model=model)

    def _require_batch(self) -> Batch:
        if self.batch is None:
            names = ", ".join(f'"{n}"' for n in self.model.argument_names())
            raise ValueError(
                "This spec does not say which arguments hold rows. Name them, as in "
                f"`ModelSpec(model, ..., batch=({names}))`."
            )
        return self.batch


def _check_proper(sites: Sites) -> None:
    for site in sites:
        if site.distribution == "ImproperUniform":
            raise ValueError(
                f"The prior of site `{site.name}` is improper (`ImproperUniform`), so "
                "it has no draws. Give it a proper prior, such as a wide `Normal`."
            )


@eqx.filter_jit
def _find_starts(
    spec: ModelSpec,
    keys: Key[Array, " n"],
    strategy: str,
    num_candidates: int,
    max_tries: int,
) -> Start:
    def find(key: Key[Array, ""]) -> Start:
        return find_start(
            spec,
            key,
            strategy=strategy,
            num_candidates=num_candidates,
            max_tries=max_tries,
        )

    return jax.vmap(find)(keys)


@eqx.filter_jit
def _prior_predictive(spec: ModelSpec, keys: Key[Array, " n"]) -> dict[str, Array]:
    model = spec.model

    def draw(key: Key[Array, ""]) -> dict[str, Array]:
        return model.predict(key, {}, model.args, model.kwargs)

    return jax.lax.map(draw, keys, batch_size=PREDICTIVE_CHUNK)


@eqx.filter_jit
def _predictive(
    spec: ModelSpec,
    key: Key[Array, ""],
    draws: dict[str, PyTree[Array]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Array]:
    num_chains, num_draws = jax.tree.leaves(draws)[0].shape[:2]
    num = num_chains * num_draws

    def draw(inputs: tuple[Key[Array, ""], PyTree[Array]]) -> dict[str, Array]:
        key, values = inputs
        return spec.model.predict(key, values, args, kwargs)

    flat = jax.tree.map(lambda x: x.reshape(num, *x.shape[2:]), draws)
    keys = jax.random.split(key, num)
    drawn = jax.lax.map(draw, (keys, flat), batch_size=PREDICTIVE_CHUNK)
    return jax.tree.map(lambda x: x.reshape(num_chains, num_draws, *x.shape[1:]), drawn)
