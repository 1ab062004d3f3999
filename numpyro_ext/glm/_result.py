"""What a fit returns."""

from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from ._data import Data, linear_predictor
from ._design import Design
from ._family import AbstractFamily, Aux
from ._geometry import Geometry
from ._newton import Newton
from ._objective import Point, Problem, Shapes
from ._status import Status

if TYPE_CHECKING:
    from xarray import DataTree

    from ._summary import Summary


class Params(NamedTuple):
    """Parameters of a family: what `fit` estimates, and what `predict` takes.

    Attributes:
        beta: coefficients (p,), or (p, levels - 1) for categories without order.
        disp: the dispersion, 1 for families without one.
        aux: the nuisance parameter; a dict by name if the family has several; None if
            it has none.
    """

    beta: Any
    disp: Any = 1.0
    aux: Any = None


class FittedGLM(eqx.Module):
    """A fit: estimates, how it ended, and the data that it is conditioned on.

    It is a pytree: of `eqx.filter_vmap(glm.fit)` every array has a leading axis.

    Attributes:
        family: the family.
        params: coefficients, dispersion and nuisances.
        data: X, y, offset, trials, weights and penalty.
        geometry: the scale of the columns of X, and what they do not span.
        codes: the status, the number of evaluations, and the rank of X.
        numbers: the objective, its last change, and Newton's decrement.
        names: names of the coefficients, if they are known.
        design: what the formula learned from its data, for a fit of a formula.
    """

    family: AbstractFamily
    params: Params
    data: Data
    geometry: Geometry
    codes: Int[Array, "... 3"]
    numbers: Float[Array, "... 3"]
    settings: Newton
    dispersion: str = eqx.field(static=True)
    shapes: Shapes = eqx.field(static=True)
    names: tuple[str, ...] | None = eqx.field(static=True, default=None)
    design: Design | None = eqx.field(static=True, default=None)

    @property
    def status(self) -> Int[Array, "..."]:
        """How the fit ended, a code of `glm.Status`."""
        return self.codes[..., 0]

    @property
    def num_iters(self) -> Int[Array, "..."]:
        """Evaluations of the objective with its Hessian."""
        return self.codes[..., 1]

    @property
    def objective(self) -> Float[Array, "..."]:
        """What was minimised, up to terms without beta."""
        return self.numbers[..., 0]

    @property
    def objective_delta(self) -> Float[Array, "..."]:
        """The last change of the objective."""
        return self.numbers[..., 1]

    @property
    def decrement(self) -> Float[Array, "..."]:
        """Newton's decrement at the end, in units of the log-likelihood.

        For a family with a dispersion: times the dispersion.
        """
        return self.numbers[..., 2]

    @property
    def converged(self) -> Bool[Array, "..."]:
        """Whether a finite maximum was found that all coefficients share."""
        return self.status == Status.CONVERGED

    @property
    def rank(self) -> Int[Array, "..."]:
        """The rank of X."""
        return self.codes[..., 2]

    @property
    def message(self) -> str | list[str]:
        """How the fit ended, in words; a list for a batch of fits."""
        codes = np.asarray(self.status)
        if codes.ndim:
            return [Status(int(code)).cause for code in codes.ravel()]
        return Status(int(codes)).cause

    def with_design(self, design: Design) -> "FittedGLM":
        """Returns the fit with the formula that its X came from."""
        fields = {**vars(self), "names": design.names, "design": design}
        return assemble(FittedGLM, fields)

    @property
    def bare(self) -> "FittedGLM":
        """The fit without its names, which would key compiled functions."""
        if self.names is None and self.design is None:
            return self
        return assemble(FittedGLM, {**vars(self), "names": None, "design": None})

    @property
    def aux(self) -> Aux:
        """The nuisance parameters by name."""
        return aux_of(self.family, self.params)

    @property
    def X(self) -> Float[Array, "... n p"]:  # noqa: N802
        """The design."""
        return self.data.X

    @property
    def y(self) -> Float[Array, "... n"]:
        """The response."""
        return self.data.y

    @property
    def beta(self) -> Float[Array, "..."]:
        """The coefficients."""
        return self.params.beta

    @property
    def eta(self) -> Float[Array, "n ..."]:
        """The linear predictor of each row, the offset included."""
        return linear_predictor(self.data, self.point.beta)

    @property
    def mu(self) -> Float[Array, "n ..."]:
        """The mean of each row's response."""
        return self.family.mean(self.eta, self.aux, self.data.trials)

    @property
    def log_likelihood(self) -> Float[Array, ""]:
        """The log-likelihood, with all its constants."""
        from ._likelihood import log_likelihood

        return log_likelihood(self.bare)

    @property
    def point(self) -> Point:
        """The estimates as the objective takes them."""
        return point_of(self.family, self.params, self.data.X.dtype)

    @property
    def problem(self) -> Problem:
        """The objective."""
        return Problem(self.family, self.data, self.shapes, scaled=False)

    @property
    def result(self) -> "FittedGLM":
        """The fit itself: a name for those who come from glmax."""
        return self

    def site_values(self) -> dict[str, Array]:
        """Returns the estimates by the sites of `glm.model`: a start for any engine.

        `NUTS().run(ModelSpec(glm.model(...)), key, init=fitted)` starts there.
        """
        values = {"beta": self.params.beta, **self.aux}
        if self.family.has_dispersion:
            values["dispersion"] = jnp.asarray(self.params.disp)
        return values

    def summary(self, **options: Any) -> "Summary":
        """Returns a table that prints; `options` are those of `infer`."""
        from ._summary import summarize

        return summarize(self, **options)

    def to_datatree(
        self,
        *,
        cov: Any = "auto",
        num_samples: int = 1000,
        key: Key[Array, ""] | None = None,
        **options: Any,
    ) -> "DataTree":
        """Returns an ArviZ tree of draws from the normal law of the estimates.

        `posterior` holds independent draws (one chain) of the coefficients and the
        nuisances from a normal law: their mean is the estimate, their covariance that
        of `infer`, on the scale where nuisances are unconstrained. With much data and
        priors that say little, it is near the posterior; the attribute `pareto_k` says
        how near to that of flat priors. The dispersion of a family that has one, and a
        nuisance at its edge, are held at their estimates.

        `posterior_predictive`, `log_likelihood` and `observed_data` are there as for
        every `Fit`, so that `az.loo`, `az.plot_ppc_dist` and `az.compare` work. The
        draws are independent: R-hat says nothing of them.

        Args:
            cov: the covariance, as in `infer`.
            num_samples: draws.
            key: random key, by default `jax.random.key(0)`.
            **options: those of `numpyro_ext.diagnostics.to_datatree`.

        Raises:
            ValueError: for a batch of fits, and for one whose standard errors are not
                finite.
        """
        from ..diagnostics._glm_datatree import glm_datatree

        return glm_datatree(self, cov=cov, num_samples=num_samples, key=key, **options)

    def raise_for_status(self) -> "FittedGLM":
        """Returns the fit if it converged.

        Raises:
            ValueError: for data that the family does not allow, and for X of deficient
                rank.
            ArithmeticError: for all other ends.
        """
        from ._diagnose import raise_for_status

        raise_for_status(self)
        return self


def assemble[M](cls: type[M], fields: dict[str, Any]) -> M:
    """Returns a module of these fields, as Equinox does when it unflattens one.

    The constructor's checks take longer than a small fit.
    """
    module = object.__new__(cls)
    vars(module).update(fields)
    return module


def with_inference(fitted: FittedGLM, inference: Any) -> FittedGLM:
    """Returns the fit with what `infer` says of it by default.

    It is no part of the pytree: what `jit`, `vmap` or `eqx.tree_at` make of a fit has
    lost it, so that it never speaks of another fit.
    """
    return assemble(FittedGLM, {**vars(fitted), "_inference": inference})


def known_inference(fitted: FittedGLM) -> Any:
    """Returns what `with_inference` has put there, or None."""
    return vars(fitted).get("_inference")


def shapes_of(family: AbstractFamily, params: Params) -> Shapes:
    """Returns the shape of each nuisance of one fit."""
    if not family.nuisance:
        return ()
    aux = aux_of(family, params)
    return tuple((name, value.shape) for name, value in aux.items())


def aux_of(family: AbstractFamily, params: Params) -> Aux:
    """Returns the nuisances by name."""
    names = [name for name in family.nuisance if name != "dispersion"]
    if isinstance(params.aux, dict):
        aux = dict(params.aux)
    elif len(names) == 1 and params.aux is not None:
        aux = {names[0]: params.aux}
    else:
        aux = {}
    missing = [name for name in names if name not in aux]
    if missing:
        raise ValueError(
            f"`Params(aux={params.aux!r:.60})` lacks {missing} of {family.name}. Write "
            f"`Params(beta, disp, aux={{{missing[0]!r}: ...}})`."
        )
    if "dispersion" in family.nuisance:
        aux["dispersion"] = params.disp
    return {name: jnp.asarray(aux[name]) for name in family.nuisance}


def params_of(family: AbstractFamily, beta: Array, disp: Array, aux: Aux) -> Params:
    """Returns parameters as users read them."""
    rest = {name: value for name, value in aux.items() if name != "dispersion"}
    disp = aux.get("dispersion", disp)
    if len(rest) <= 1:
        return Params(beta, disp, next(iter(rest.values()), None))
    return Params(beta, disp, rest)


def point_of(family: AbstractFamily, params: Params, dtype: Any) -> Point:
    """Returns parameters as the objective takes them."""
    from ._nuisance import pack

    beta = jnp.asarray(params.beta, dtype)
    beta = beta[None] if beta.ndim == 1 else beta.T
    return Point(beta, pack(family, aux_of(family, params)).astype(dtype))
