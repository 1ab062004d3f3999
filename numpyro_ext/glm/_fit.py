"""`fit`: maximum likelihood for any family, with a status and exact derivatives."""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .._checks import check_choice
from ._counts import Binomial
from ._covariance import default_covariance
from ._data import Data
from ._design import Rows
from ._diagnose import raise_for_status, warn_for_status
from ._family import AbstractFamily, Aux
from ._geometry import Geometry
from ._infer import default_arrays, read_back
from ._likelihood import estimate_dispersion
from ._links import Log
from ._newton import Newton, solve, solve_joint
from ._nuisance import pack, unpack
from ._objective import Point, Problem, weigh
from ._result import (
    FittedGLM,
    Params,
    assemble,
    params_of,
    point_of,
    shapes_of,
    with_inference,
)
from ._status import Status
from ._takes_formula import takes_formula

_DEFAULT = Newton()
_METHODS = ("auto", "ml", "pearson", "deviance")


@takes_formula
def fit(
    family: AbstractFamily,
    X: Any,
    y: Any,
    *,
    offset: Rows | None = None,
    exposure: Rows | None = None,
    trials: Rows | None = None,
    freq_weights: Rows | None = None,
    var_weights: Rows | None = None,
    l2: ArrayLike | None = None,
    dispersion: str | float = "auto",
    init: Params | FittedGLM | None = None,
    solver: Newton | None = None,
    fitter: Newton | None = None,
    strict: bool = False,
    names: tuple[str, ...] | list[str] | None = None,
) -> FittedGLM:
    r"""Fits a family to data by maximum likelihood.

    `fit(family, X, y)` takes arrays, and adds no intercept. `fit("y ~ x + C(g)", data,
    family)` takes a formula and a table of pandas (or a dictionary of columns), and
    adds one, as R does; the coefficients then have the names of the terms. See
    [Formulas](glm.md#formulas) for what a formula may hold.

    Minimises $-\sum_i w_i \ell(y_i; x_i^\top\beta + o_i, \theta) +
    \tfrac12 \sum_j \lambda_j \beta_j^2$ over the coefficients and the family's nuisance
    parameters together, by Newton's method on the observed Hessian (the expected one
    where that is not positive) with step halving. It can be differentiated with respect
    to X, y, offset, weights and l2, forward and in reverse, by the implicit function
    theorem; `eqx.filter_vmap` fits batches, whose members do not touch each other.

    Args:
        family: such as `glm.Poisson()`.
        X: design (n, p), float or integer. Add a column of ones for an intercept.
        y: response (n,).
        offset: known part of the linear predictor, a number or (n,).
        exposure: positive (n,); its logarithm is added to the offset (log links only).
        trials: number of trials of each row (n,), for `glm.Binomial`.
        freq_weights: how often each row was seen (n,); they count as observations.
        var_weights: precision of each row (n,): divides its dispersion. They do not
            count as observations.
        l2: penalty $\lambda$, a number or (p,); zero leaves a coefficient free. In
            units of the log-likelihood at dispersion 1: for a Gaussian it is the ridge
            penalty on half the residual sum of squares.
        dispersion: how the dispersion is found: `pearson` or `deviance` statistic over
            the residual degrees of freedom, `ml`, or a number. `auto` is `pearson` for
            the families that have a dispersion, and 1 for all others; `pearson` for one
            of these is a quasi-likelihood.
        init: parameters, or another fit, to start from.
        solver: settings of Newton's method.
        fitter: the same, by the name of glmax.
        strict: raise unless the fit converged. Inside `jit` and `vmap` nothing can be
            raised: use `fitted.raise_for_status()` outside.
        names: names of the columns of X; by default those of a pandas table.

    With a formula, `offset`, `exposure`, `trials` and the weights may be names of
    columns, and `missing` says what is done about rows with missing values: `raise`
    (the default) refuses them, `drop` leaves them out with a warning.

    Returns:
        The fit: `fitted.params`, `fitted.status` and `fitted.message`, and what
        `predict`, `infer` and `check` need.

    Raises:
        TypeError, ValueError: for arguments of a wrong type or shape; for columns that
            are missing, hold missing values, or are not numeric; if `strict`, for
            every end but convergence.
        UnsafeFormulaError: for a formula that holds anything but columns, numbers,
            operators and the listed functions.
        ImportError: for a formula, if formulaic is not installed.

    Warns:
        ConvergenceWarning: unless the fit converged, with the cause; outside of `jit`.
    """
    if not isinstance(family, AbstractFamily):
        raise TypeError(
            f"`fit` takes a family or a formula first, and got "
            f"{type(family).__name__}. Write `glm.fit(glm.Poisson(), X, y)` or "
            "`glm.fit('y ~ x', data, glm.Poisson())`."
        )
    names = column_names(X, names)
    data = make_data(
        family, X, y, offset, exposure, trials, freq_weights, var_weights, l2
    )
    _check_dispersion(family, dispersion)
    settings = solver if solver is not None else fitter
    settings = _DEFAULT if settings is None else settings
    init = init.params if isinstance(init, FittedGLM) else init
    method = dispersion if isinstance(dispersion, str) else None
    known = None if method else jnp.asarray(dispersion, data.X.dtype)
    fitted = _fit(family, data, init, settings, known, method, names)
    try:
        status = np.asarray(fitted.codes)[0]
    except jax.errors.TracerArrayConversionError:
        return fitted
    if status != Status.CONVERGED:
        if strict:
            raise_for_status(fitted)
        warn_for_status(fitted)
    return fitted


class _Found(NamedTuple):
    """What a fit finds: the fields of `FittedGLM` that are not given.

    `inference` is what `infer` says by default, without the parameters, where that
    takes little beside the fit: so one call finds the estimates and their errors.
    """

    params: Params
    geometry: Geometry
    codes: Int[Array, " 3"]
    numbers: Float[Array, " 3"]
    inference: dict[str, Any] | None


def _fit(
    family: AbstractFamily,
    data: Data,
    init: Params | None,
    settings: Newton,
    known: Array | None,
    method: str | None,
    names: tuple[str, ...] | None = None,
) -> FittedGLM:
    # The data do not go through the compiled function, which would copy them.
    found = _find(family, data, init, settings, known, method=method)
    fitted = _assembled(found, family, data, settings, method, names)
    if found.inference is None:
        return fitted
    return with_inference(fitted, read_back(found.params, found.inference))


def _assembled(
    found: _Found,
    family: AbstractFamily,
    data: Data,
    settings: Newton,
    method: str | None,
    names: tuple[str, ...] | None = None,
) -> FittedGLM:
    fields = {
        "family": family,
        "params": found.params,
        "data": data,
        "geometry": found.geometry,
        "codes": found.codes,
        "numbers": found.numbers,
        "settings": settings,
        "dispersion": "known" if method is None else method,
        "shapes": shapes_of(family, found.params),
        "names": names,
        "design": None,
    }
    return assemble(FittedGLM, fields)


@partial(jax.jit, static_argnames=("method",))
def _find(
    family: AbstractFamily,
    data: Data,
    init: Params | None,
    settings: Newton,
    known: Array | None,
    *,
    method: str | None,
) -> _Found:
    aux = start_aux(family, data)
    shapes = tuple((name, jnp.shape(value)) for name, value in aux.items())
    dtype = data.X.dtype
    if init is None:
        m, p = family.num_predictors, data.X.shape[1]
        start = Point(jnp.full((m, p), jnp.nan, dtype), pack(family, aux).astype(dtype))
    else:
        start = point_of(family, init, dtype)
    problem = Problem(family, data, shapes, scaled=family.has_dispersion)
    with_copy = problem.for_many_passes()
    fixed = jax.tree.map(lax.stop_gradient, with_copy)
    solution = solve(
        fixed, jax.tree.map(lax.stop_gradient, start), is_valid(family, data), settings
    )
    point = _implicit(problem, solution.point, geometry=solution.geometry)
    aux = unpack(family, point.theta, dict(shapes))
    rank = solution.geometry.rank
    if known is None:
        disp = estimate_dispersion(family, data, point, aux, rank, method or "auto")
    else:
        disp = known
    beta = point.beta[0] if family.num_predictors == 1 else point.beta.T
    # A dispersion that no degree of freedom is left for is no answer.
    status = solution.status
    no_scale = (status == Status.CONVERGED) & jnp.isnan(disp)
    status = jnp.where(no_scale, Status.BOUNDARY.value, status)
    found = _Found(
        params=params_of(family, beta, disp, aux),
        geometry=solution.geometry,
        codes=jnp.stack([status, solution.num_iters, rank]),
        numbers=solution.numbers,
        inference=None,
    )
    fitted = _assembled(found, family, data, settings, method)
    if default_covariance(fitted) != "fisher":
        return found
    return found._replace(inference=default_arrays(fitted, with_copy))


def fit_data(fitted: FittedGLM, data: Data) -> FittedGLM:
    """Fits the same family in the same way to other data."""
    method = None if fitted.dispersion == "known" else fitted.dispersion
    known = jnp.asarray(fitted.params.disp) if method is None else None
    return _fit(fitted.family, data, None, fitted.settings, known, method)


def start_aux(family: AbstractFamily, data: Data) -> Aux:
    y = lax.stop_gradient(data.y)
    weights = jnp.ones_like(y) if data.weights is None else data.weights
    weights = lax.stop_gradient(weights)
    total = jnp.sum(weights)
    ybar = jnp.sum(weigh(weights, y)) / jnp.where(total > 0, total, 1.0)
    return family.nuisance_start(y, ybar, weights, data.trials)


def is_valid(family: AbstractFamily, data: Data) -> Bool[Array, ""]:
    """Returns whether the rows are finite and in the family's support.

    X is looked at in its Gram matrix, where any value that is not finite shows.
    """
    rows = jnp.isfinite(data.y) & family.is_valid(data.y, data.trials)
    if data.offset is not None:
        finite = jnp.isfinite(data.offset)
        rows &= finite if finite.ndim < 2 else jnp.all(finite, axis=1)
    if data.trials is not None:
        rows &= jnp.isfinite(data.trials) & (data.trials > 0)
    good = jnp.ones((), bool)
    if data.weights is not None:
        rows |= data.weights == 0
        for weights in (data.freq_weights, data.var_weights):
            if weights is not None:
                good &= jnp.all(jnp.isfinite(weights) & (weights >= 0))
        good &= jnp.any(data.weights > 0)
    if data.l2 is not None:
        good &= jnp.all(jnp.isfinite(data.l2) & (data.l2 >= 0))
    return good & jnp.all(rows)


@eqx.filter_custom_jvp
def _implicit(problem: Problem, point: Point, *, geometry: Geometry) -> Point:
    """Returns the minimiser, `point`, as a function of the data."""
    del problem, geometry
    return point


@_implicit.def_jvp
def _implicit_jvp(
    primals: tuple[Problem, Point],
    tangents: tuple[Problem, Point],
    *,
    geometry: Geometry,
) -> tuple[Point, Point]:
    # At the minimum the gradient g(point, data) is zero, and stays so:
    # H d_point + (d g / d data) d_data = 0, with H the observed joint Hessian.
    problem, point = primals
    moves, fixed = eqx.partition(problem, eqx.is_inexact_array)
    moving = jax.tree.map(
        lambda x, t: jnp.zeros_like(x) if t is None and x is not None else t,
        moves,
        tangents[0],
        is_leaf=lambda x: x is None,
    )
    point = _implicit(problem, point, geometry=geometry)
    _, change = jax.jvp(
        lambda m: eqx.combine(m, fixed).gradient(point), (moves,), (moving,)
    )
    step = solve_joint(geometry, problem.value(point), change)
    return point, jax.tree.map(jnp.negative, step)


def make_data(
    family: AbstractFamily,
    X: Any,
    y: Any,
    offset: Rows | None,
    exposure: Rows | None,
    trials: Rows | None,
    freq_weights: Rows | None,
    var_weights: Rows | None,
    l2: ArrayLike | None,
) -> Data:
    X, y = _design(X, y)
    n, p = X.shape
    m = family.num_predictors
    if trials is not None and not isinstance(family, Binomial):
        raise ValueError(
            f"`fit(trials=...)` is for `glm.Binomial()`, and the family is "
            f"{family.name}."
        )

    def rows(name: str, value: Rows | None) -> Array | None:
        return None if value is None else _rows(name, value, (n, m), X.dtype)

    offset = rows("offset", offset)
    if exposure is not None:
        shift = rows("exposure", log_exposure("fit", family, exposure))
        assert shift is not None
        offset = shift if offset is None else offset + shift
    if offset is not None and m > 1 and offset.ndim == 1:
        offset = jnp.broadcast_to(offset[:, None], (n, m))
    return Data(
        X,
        y,
        offset,
        rows("trials", trials),
        rows("freq_weights", freq_weights),
        rows("var_weights", var_weights),
        None if l2 is None else _penalty(l2, p, X.dtype),
    )


def _design(X: Any, y: Any) -> tuple[Array, Array]:
    """Returns design and response, of one type."""
    X, y = as_float(X, "X"), as_float(y, "y")
    if X.ndim != 2 or y.ndim != 1 or X.shape[0] != y.shape[0]:
        raise ValueError(
            f"`fit` takes `X` of shape (n, p) and `y` of shape (n,), and got "
            f"{X.shape} and {y.shape}."
            + (" Write `y[:, 0]`." if y.ndim == 2 and y.shape[1] == 1 else "")
        )
    if X.size == 0:
        raise ValueError(f"`fit` got `X` of shape {X.shape}: there is nothing to fit.")
    dtype = X.dtype if X.dtype == y.dtype else jnp.result_type(X, y)
    # A cast to its own type copies a large design.
    return (X if X.dtype == dtype else X.astype(dtype)), y.astype(dtype)


def _rows(name: str, value: Rows, shape: tuple[int, int], dtype: Any) -> Array:
    """Returns one number for each row, or for each row and linear predictor."""
    n, m = shape
    array = as_float(value, name).astype(dtype)
    if m > 1 and array.shape == shape:
        return array
    if array.ndim == 0 or array.shape == (n,):
        return jnp.broadcast_to(array, (n,))
    raise ValueError(
        f"`fit({name}=...)` has shape {array.shape}, and `X` has {n} rows. Give a "
        f"number, or one value for each row: shape ({n},)."
    )


def _penalty(l2: ArrayLike, p: int, dtype: Any) -> Array:
    penalty = as_float(l2, "l2").astype(dtype)
    if penalty.shape not in ((), (p,)):
        raise ValueError(
            f"`fit(l2=...)` has shape {penalty.shape}, and `X` has {p} columns. "
            f"Give a number, or one value for each column: shape ({p},)."
        )
    return jnp.broadcast_to(penalty, (p,))


def log_exposure(verb: str, family: AbstractFamily, exposure: Rows) -> Array:
    """Returns the offset of an exposure, which only a log link has."""
    if not isinstance(family.link, Log):
        raise ValueError(
            f"`{verb}(exposure=...)` needs the log link, and {family.name} has "
            f"{type(family.link).__name__}. Write `link='log'`, or give an `offset`."
        )
    return jnp.log(as_float(exposure, "exposure"))


def as_float(value: Any, name: str) -> Array:
    """Returns a floating array; raises TypeError for what is not numeric."""
    if not isinstance(value, jax.Array):
        value = np.asarray(value)
        if value.dtype.kind not in "biuf":
            raise TypeError(
                f"`fit` got `{name}` of type {value.dtype}, which is not numeric. Turn "
                "categories into columns of zeros and ones first."
            )
    # `asarray` of an array costs as much as a small fit's matrix product.
    array = value if isinstance(value, jax.Array) else jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return array.astype(jnp.result_type(float))


def column_names(X: Any, names: Any) -> tuple[str, ...] | None:
    if names is None and hasattr(X, "columns"):
        names = [str(column) for column in X.columns]
    if names is None:
        return None
    names = tuple(names)
    if len(names) != np.shape(X)[-1]:
        raise ValueError(
            f"`fit(names=...)` has {len(names)} names, and `X` has "
            f"{np.shape(X)[-1]} columns."
        )
    return names


def _check_dispersion(family: AbstractFamily, dispersion: str | float) -> None:
    if isinstance(dispersion, str):
        check_choice("fit", "dispersion", dispersion, _METHODS)
        if dispersion == "ml" and not family.has_dispersion and not family.nuisance:
            raise ValueError(
                f"`fit(dispersion='ml')`: {family.name} has no dispersion in its "
                "likelihood. Write `dispersion='pearson'` for a quasi-likelihood."
            )
    elif isinstance(dispersion, int | float) and not dispersion > 0:
        raise ValueError(
            f"`fit(dispersion={dispersion!r})`: the dispersion must be positive."
        )
