"""`predict`: means, linear predictors and intervals at new rows."""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.scipy.special import ndtri
from jaxtyping import Array, ArrayLike, Float

from .._checks import check_choice, check_open_interval
from ._data import Data, linear_predictor
from ._design import Rows, as_numbers, as_table, column_of, is_table, refuse_missing
from ._family import AbstractFamily
from ._fit import as_float, log_exposure
from ._infer import Inference, infer
from ._result import FittedGLM, Params, aux_of, point_of
from ._takes_formula import row_option


class Interval(NamedTuple):
    """A mean with its confidence interval, each of the shape of the rows."""

    mean: Array
    low: Array
    high: Array


def predict(
    family: AbstractFamily | FittedGLM,
    params: Any,
    X: Any = None,
    *,
    offset: Rows | None = None,
    exposure: Rows | None = None,
    trials: Rows | None = None,
    kind: Literal["mean", "eta", "interval"] = "mean",
    level: float = 0.95,
    cov: Inference | ArrayLike | None = None,
) -> Array | Interval:
    """Returns what a family with these parameters says of new rows.

    `predict(family, params, X)`, or `predict(fitted, X)` of a fit. The offset of the
    fit is not carried over: give that of the new rows. After a fit of a formula, or of
    a table with names, X is a table with the same columns, in any order; `offset`,
    `exposure` and `trials` may then be names of columns.

    Args:
        family: the family, or a fit.
        params: its parameters; left out if a fit is given.
        X: rows (n, p) with the columns of the fit, or a table.
        offset: known part of the linear predictor.
        exposure: its logarithm is added to the offset (log links only).
        trials: number of trials of each row, for `glm.Binomial`.
        kind: `mean` of the response; `eta`, the linear predictor; or `interval`, the
            mean with a confidence interval: that of the linear predictor, by its
            standard error, carried through the link.
        level: of the interval.
        cov: the covariance of the coefficients (p, p), or what `infer` returned; not
            needed if a fit is given.

    Returns:
        An array (n,), or `(mean, low, high)`.

    Raises:
        TypeError, ValueError: for arguments of a wrong type or shape, and for an
            interval without a covariance; for a table that lacks a column, has missing
            values, or a level that the fit has not seen.
    """
    fitted, family, params, X = _arguments(family, params, X)
    check_choice("predict", "kind", kind, ("mean", "eta", "interval"))
    check_open_interval("predict", "level", level, 0.0, 1.0)
    table = as_table(X) if is_table(X) else None
    offset, exposure, trials = (
        row_option(name, value, table)
        for name, value in (
            ("offset", offset), ("exposure", exposure), ("trials", trials)
        )
    )  # fmt: skip
    if table is not None:
        X = _rows_of(table, fitted)
    X = as_float(X, "X")
    p = jnp.shape(params.beta)[0]
    if X.ndim != 2 or X.shape[1] != p:
        raise ValueError(
            f"`predict` got `X` of shape {X.shape}, and `beta` has {p} coefficients. "
            f"Give rows of shape (n, {p})."
        )
    if exposure is not None:
        shift = log_exposure("predict", family, exposure)
        offset = shift if offset is None else as_float(offset, "offset") + shift
    if kind == "interval":
        cov = _covariance(fitted, cov)
    return _predict(family, params, X, offset, trials, cov, kind=kind, level=level)


def _arguments(
    family: AbstractFamily | FittedGLM, params: Any, X: Any
) -> tuple[FittedGLM | None, AbstractFamily, Params, Any]:
    """Returns the fit if one is given, the family, its parameters, and the rows."""
    fitted = family if isinstance(family, FittedGLM) else None
    if fitted is not None:
        if X is not None:
            raise TypeError(
                "`predict(fitted, X)` takes two arguments by position, and got three. "
                "Write `predict(fitted.family, params, X)` to give other parameters."
            )
        X = params
        family, params = fitted.family, fitted.params
    if not isinstance(family, AbstractFamily) or X is None:
        raise TypeError(
            "`predict` takes a family, its parameters and `X`, or a fit and `X`. Write "
            "`glm.predict(fitted.family, fitted.params, X)`."
        )
    if not isinstance(params, Params):
        raise TypeError(
            f"`predict` takes `glm.Params`, and got {type(params).__name__}. Write "
            "`glm.Params(beta, disp, aux)`."
        )
    return fitted, family, params, X


def _covariance(
    fitted: FittedGLM | None, cov: Inference | ArrayLike | None
) -> ArrayLike:
    """Returns the covariance of the coefficients: the one given, or the fit's."""
    if cov is None and fitted is not None:
        cov = infer(fitted)
    if cov is None:
        raise ValueError(
            "`predict(kind='interval')` needs the covariance of the coefficients. "
            "Give a fit, `predict(fitted, X, kind='interval')`, or "
            "`cov=glm.infer(fitted)`."
        )
    return cov.cov_beta if isinstance(cov, Inference) else cov


def _rows_of(table: pd.DataFrame, fitted: FittedGLM | None) -> np.ndarray:
    """Returns the rows of X of a table: by the formula, or by the names, of the fit."""
    if fitted is not None and fitted.design is not None:
        return fitted.design.rows(table)
    names = list(table.columns if fitted is None else fitted.names or table.columns)
    refuse_missing(table, names)
    columns = [as_numbers(name, column_of(table, name)) for name in names]
    return np.stack(columns, axis=1)


@partial(jax.jit, static_argnames=("kind", "level"))
def _predict(
    family: AbstractFamily,
    params: Params,
    X: Float[Array, "n p"],
    offset: Any,
    trials: Any,
    cov: Any,
    *,
    kind: str,
    level: float,
) -> Array | Interval:
    n, dtype = X.shape[0], X.dtype
    point = point_of(family, params, dtype)
    if offset is not None:
        offset = jnp.asarray(offset, dtype)
        offset = jnp.broadcast_to(offset, (n,)) if offset.ndim < 2 else offset
        if point.beta.shape[0] > 1 and offset.ndim == 1:
            offset = offset[:, None]
    if trials is not None:
        trials = jnp.broadcast_to(jnp.asarray(trials, dtype), (n,))
    eta = linear_predictor(Data(X, X[:, 0], offset), point.beta)
    if kind == "eta":
        return eta
    aux = aux_of(family, params)
    mean = family.mean(eta, aux, trials)
    if kind == "mean":
        return mean
    if point.beta.shape[0] > 1:
        raise ValueError(
            f"`predict(kind='interval')`: {family.name} has several linear predictors "
            "for each row. Write `kind='mean'`."
        )
    cov = jnp.asarray(cov, dtype)
    variance = jnp.sum((X @ cov) * X, axis=1)
    reach = ndtri(jnp.asarray(0.5 + 0.5 * level, dtype)) * jnp.sqrt(variance)
    one, other = (family.mean(eta + s * reach, aux, trials) for s in (-1.0, 1.0))
    return Interval(mean, jnp.minimum(one, other), jnp.maximum(one, other))
