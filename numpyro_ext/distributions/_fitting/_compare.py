"""Nested laws side by side, with likelihood-ratio tests."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jax.scipy.special import gammaincc
from jax.typing import ArrayLike

from ._result import LawFit


def compare(
    fits: Mapping[str, LawFit] | Iterable[LawFit] | ArrayLike, **options: Any
) -> pd.DataFrame:
    r"""A table of fits to the same data, the most likely by AIC first.

    Args:
        fits: Fits, by name or not; or data, to which the members of the family are then
            fitted, symmetric ones among them.
        options: Those of `fit`, when data are given.

    Returns:
        For each fit its log likelihood, parameters, AIC, BIC and verdict; `statistic`,
        `df` and `p_value` are of the likelihood-ratio test against the richest fit, if
        the law is nested in it. `boundary` says that the restriction lies at the edge
        of the richer law: the statistic is then smaller in law than chi-squared, and
        the p-value too large (conservative).

    Raises: ValueError, if the fits are not of the same data, or if there are none.
    Source: Self and Liang (1987), J. Amer. Statist. Assoc. 82, 605-610, for the edge.
    """
    table = _named(fits, options)
    if not table:
        raise ValueError("`compare` got no fits; give `compare([fit1, fit2])`.")
    first = next(iter(table.values()))
    for name, fit in table.items():
        if fit.x.shape != first.x.shape or not np.array_equal(fit.x, first.x):
            raise ValueError(
                f"`compare`: `{name}` was fitted to other data, of shape "
                f"{fit.x.shape} against {first.x.shape}. Fit all to the same."
            )
    richest = max(table.values(), key=lambda f: f.num_parameters)
    rows = {name: _row(fit, richest) for name, fit in table.items()}
    return pd.DataFrame.from_dict(rows, orient="index").sort_values("aic")


def _row(fit: LawFit, richest: LawFit) -> dict[str, Any]:
    row: dict[str, Any] = {
        "log_likelihood": fit.log_likelihood,
        "num_parameters": fit.num_parameters,
        "aic": fit.aic,
        "bic": fit.bic,
        "status": fit.status.name,
        "statistic": np.nan,
        "df": 0,
        "p_value": np.nan,
        "boundary": False,
    }
    df = richest.num_parameters - fit.num_parameters
    is_nested, is_edge = _nested(fit, richest)
    if df > 0 and is_nested:
        statistic = max(2.0 * (richest.log_likelihood - fit.log_likelihood), 0.0)
        row["statistic"], row["df"] = statistic, df
        row["p_value"] = float(gammaincc(0.5 * df, 0.5 * statistic))
        row["boundary"] = is_edge
    return row


def _nested(fit: LawFit, richest: LawFit) -> tuple[bool, bool]:
    """Whether the first is a member of the second, and at its edge."""
    own, other = type(fit.law).__name__, type(richest.law).__name__
    is_same = own == other
    is_general = other.removeprefix("Multivariate") == "GeneralizedHyperbolic"
    # What the richer fit holds, the other must hold at the same value.
    held = all(
        name in fit.fix and np.array_equal(fit.fix[name], value)
        for name, value in richest.fix.items()
    )
    edges = ("VarianceGamma", "GeneralizedHyperbolicSkewT")
    is_edge = is_general and own.removeprefix("Multivariate") in edges
    return (is_same or is_general) and held, is_edge


def _named(fits: Any, options: dict[str, Any]) -> dict[str, LawFit]:
    if isinstance(fits, Mapping):
        return dict(fits)
    if not hasattr(fits, "shape") and all(isinstance(f, LawFit) for f in fits):
        out: dict[str, LawFit] = {}
        for fit in fits:
            name = _name(fit)
            out[name if name not in out else f"{name} ({len(out)})"] = fit
        return out
    return _fit_members(fits, options)


def _name(fit: LawFit) -> str:
    name = type(fit.law).__name__
    return f"{name}, symmetric" if not np.any(fit.fix.get("skew", 1.0)) else name


def _fit_members(x: Any, options: dict[str, Any]) -> dict[str, LawFit]:
    from ._families_of_laws import FAMILIES, is_univariate

    is_vector = np.ndim(x) < 2
    laws = [law for law in FAMILIES if is_univariate(law) == is_vector]
    out = {}
    for law in laws:
        for symmetric in (False, True):
            fit = law.fit(x, symmetric=symmetric, **options)
            out[_name(fit)] = fit
    return out
