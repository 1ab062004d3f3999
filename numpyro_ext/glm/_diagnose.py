"""The words for a fit that did not converge, with the values that caused it."""

import warnings
from typing import Any

import numpy as np

from .._checks import OWN_FRAMES, ConvergenceWarning
from ._geometry import estimable
from ._status import Status


def describe(fitted: Any) -> str:
    """Returns one line: what happened to this fit, the cause, and what to do."""
    codes = np.asarray(fitted.status)
    if codes.ndim:
        bad = np.flatnonzero(codes.ravel() != Status.CONVERGED)
        first = Status(int(codes.ravel()[bad[0]]))
        return (
            f"{bad.size} of {codes.size} fits did not converge; the first is number "
            f"{bad[0]}: {first.name}. {first.cause}"
        )
    status = Status(int(codes))
    extra = {
        Status.INVALID_DATA: invalid_words,
        Status.RANK_DEFICIENT: _deficient,
        Status.MAX_ITERATIONS: _unfinished,
    }.get(status)
    if status == Status.BOUNDARY:
        extra = _edge
    detail = "" if extra is None else extra(fitted) + " "
    return f"{fitted.family.name}: {status.name}. {detail}{status.cause}"


def raise_for_status(fitted: Any) -> None:
    """Raises unless every fit converged."""
    codes = np.unique(np.asarray(fitted.status))
    if np.all(codes == Status.CONVERGED):
        return
    of_data = {Status.INVALID_DATA, Status.RANK_DEFICIENT}
    error = ValueError if of_data & set(codes.tolist()) else ArithmeticError
    raise error(describe(fitted))


def warn_for_status(fitted: Any) -> None:
    """Warns that one fit did not converge."""
    warnings.warn(describe(fitted), ConvergenceWarning, skip_file_prefixes=OWN_FRAMES)


def column_names(fitted: Any) -> list[str]:
    """Returns the names of the coefficients, x0, x1, ... if they have none."""
    p = fitted.data.X.shape[-1]
    return list(fitted.names or (f"x{j}" for j in range(p)))


def _first(name: str, values: Any, is_good: Any) -> str | None:
    values, is_good = np.asarray(values), np.asarray(is_good)
    bad = np.argwhere(~is_good)
    if not bad.size:
        return None
    at = tuple(int(i) for i in bad[0])
    index = ", ".join(map(str, at))
    count = f" ({len(bad)} such values)" if len(bad) > 1 else ""
    return f"`{name}[{index}]` is {values[at]:g}{count}"


def invalid_words(fitted: Any) -> str:
    """Names the values that the family does not allow."""
    data, family = fitted.data, fitted.family
    found = [_first("X", data.X, np.isfinite(data.X))]
    found.append(_first("y", data.y, np.isfinite(data.y)))
    allowed = np.asarray(family.is_valid(data.y, data.trials)) | ~np.isfinite(data.y)
    outside = _first("y", data.y, allowed)
    if outside:
        found.append(f"{outside}, and {family.name} takes {family.support_words}")
    for name in ("offset", "trials", "freq_weights", "var_weights", "l2"):
        values = getattr(data, name)
        if values is not None:
            values = np.asarray(values)
            floor = {"offset": -np.inf, "trials": np.finfo(values.dtype).tiny}
            good = np.isfinite(values) & (values >= floor.get(name, 0.0))
            found.append(_first(name, values, good))
    found = [words for words in found if words]
    if data.weights is not None and not np.any(np.asarray(data.weights) > 0):
        found.append("all weights are zero")
    return ("; ".join(found) or "Products of the values of `X` overflow") + "."


def _deficient(fitted: Any) -> str:
    names = np.asarray(column_names(fitted))
    lost = ", ".join(f"`{c}`" for c in names[~np.asarray(estimable(fitted.geometry))])
    n, p = fitted.data.X.shape
    words = (
        f"X has rank {int(fitted.rank)}, with n = {n} and p = {p}; dependent: {lost}."
    )
    if fitted.geometry.is_shifted is not None and bool(fitted.geometry.is_shifted):
        words += (
            " The cutpoints take the place of an intercept: give X none, and no set of "
            "columns with a constant sum."
        )
    return words


def _unfinished(fitted: Any) -> str:
    return f"The decrement is {float(fitted.decrement):.2g} after {fitted.num_iters}."


def _edge(fitted: Any) -> str:
    if np.isnan(np.asarray(fitted.params.disp)):
        n = float(fitted.data.num_rows)
        return (
            f"No residual degree of freedom is left for the dispersion: n = {n:g}, "
            f"rank {int(fitted.rank)}."
        )
    parts = [
        f"`{name}` = {float(np.asarray(v)):.3g}"
        for name, v in fitted.aux.items()
        if np.ndim(v) == 0
    ]
    return f"At the end: {', '.join(parts)}." if parts else ""
