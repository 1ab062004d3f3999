"""A formula with its data: the design, its names, and the same design of other data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import ArrayLike

from .._checks import nearest
from ._formula import Formula

# One value for each row; where there is a table, the name of one of its columns.
type Rows = ArrayLike | pd.Series | str

_INTERCEPT = "Intercept"
# So many rows, or levels, are named in a message.
_NAMED = 5


class Design:
    """The design of a formula, as it was learned from the data of a fit.

    It knows the levels of each category and the centres, scales and knots of
    transforms, so that `rows` builds the same columns from other data.

    Attributes:
        formula: the formula, read.
        response: the left side as it was written.
        y: the response, (n,).
        X: the design, (n, p).
        names: the names of the columns of X.
        levels: the levels of each column of categories.
    """

    def __init__(
        self, formula: Formula, table: pd.DataFrame, *, has_intercept: bool
    ) -> None:
        self.formula = formula
        self.levels: dict[str, list[Any]] = {}
        self._has_intercept = has_intercept
        self._functions = _functions(formula)
        self.response = formula.response_words
        frame = self._frame(table, learn=True)
        self.y = self._values(self._evaluate(f"0 + I({formula.response})", frame))[:, 0]
        design = self._evaluate(formula.terms, frame)
        self._spec = design.model_spec
        self.X = self._values(design)
        self.names = tuple(formula.show(str(name)) for name in self._kept(design))
        if not self.names:
            raise ValueError(
                f"The formula {formula.text!r} has no term: its design has no column. "
                "Write `1` on its right side for an intercept, or name a column."
            )

    def rows(self, data: Any) -> np.ndarray:
        """Returns the columns of X of other data, (n, p).

        Raises:
            ValueError: for a column that the data lack, a value that is missing, and a
                level that the fit has not seen, naming each.
        """
        table = as_table(data)
        used = [
            name
            for alias, (name, _) in self.formula.columns.items()
            if alias in self.formula.terms
        ]
        refuse_missing(table, used)
        return self._values(self._evaluate(self._spec, self._frame(table, learn=False)))

    def _evaluate(self, spec: Any, frame: pd.DataFrame) -> Any:
        import formulaic
        from formulaic.errors import FormulaicError

        try:
            with np.errstate(all="ignore"):
                return formulaic.model_matrix(
                    spec, frame, context=self._functions, na_action="ignore"
                )
        except FormulaicError as error:
            reason = self.formula.show(str(error))
            raise ValueError(
                f"The formula {self.formula.text!r} cannot be evaluated: {reason}"
            ) from error

    def _kept(self, design: Any) -> Any:
        drops = [] if self._has_intercept else [_INTERCEPT]
        return design.drop(columns=drops, errors="ignore")

    def _values(self, design: Any) -> np.ndarray:
        """Returns a design as numbers, all of them finite."""
        design = self._kept(design)
        values = np.asarray(design, float)
        bad = np.argwhere(~np.isfinite(values))
        if bad.size:
            row, place = bad[0]
            name = self.formula.show(str(design.columns[place]))
            raise ValueError(
                f"The term `{name}` of the formula {self.formula.text!r} is "
                f"{values[row, place]} in row {row} ({len(bad)} such values). The "
                "logarithm of zero and a division by zero are the usual causes."
            )
        return values

    def _frame(self, table: pd.DataFrame, *, learn: bool) -> pd.DataFrame:
        """Returns the columns by their aliases, each of one type."""
        found: dict[str, Any] = {}
        for alias, (name, is_category) in self.formula.columns.items():
            if not learn and alias not in self.formula.terms:
                continue
            column = column_of(table, name)
            if is_category:
                found[alias] = self._categories(alias, column, learn=learn)
            else:
                is_response = name in self.formula.response_columns
                found[alias] = as_numbers(name, column, is_response=is_response)
        return pd.DataFrame(found, index=range(len(table)))

    def _categories(
        self, alias: str, column: pd.Series, *, learn: bool
    ) -> pd.Categorical:
        name = str(column.name)
        if learn:
            written = self.formula.levels.get(alias)
            self.levels[name] = _levels(name, column) if written is None else written
        levels = self.levels[name]
        is_known = column.isin(levels)
        if not is_known.all():
            unknown = list(dict.fromkeys(column[~is_known]))
            raise ValueError(
                f"The column `{name}` has values that are none of the levels of the "
                f"formula {self.formula.text!r}: {_few(unknown)}, first in row "
                f"{int(np.flatnonzero(~is_known)[0])}. The levels are {_few(levels)}. "
                "Take these rows out, or fit to data that have every level."
            )
        return pd.Categorical(column.astype(object), categories=levels)


def as_table(data: Any) -> pd.DataFrame:
    """Returns a table of pandas, its rows numbered from 0."""
    if isinstance(data, Mapping):
        data = pd.DataFrame({name: np.asarray(value) for name, value in data.items()})
    elif not isinstance(data, pd.DataFrame) and hasattr(data, "to_pandas"):
        data = data.to_pandas()
    if not isinstance(data, pd.DataFrame):
        raise TypeError(
            f"A formula takes a table of pandas, or a dictionary of columns, and got "
            f"{type(data).__name__}. Write `glm.fit('y ~ x', data, family)`."
        )
    if not data.columns.is_unique:
        twice = data.columns[data.columns.duplicated()][0]
        raise ValueError(f"The data have two columns `{twice}`. Rename one of them.")
    if len(data) == 0:
        raise ValueError(
            "The data have no row. A filter that matches nothing is the usual cause."
        )
    return data.rename(columns=str).reset_index(drop=True)


def is_table(data: Any) -> bool:
    """Whether data have named columns."""
    return isinstance(data, Mapping) or hasattr(data, "columns")


def column_of(table: pd.DataFrame, name: str) -> Any:
    """Returns a column; raises ValueError if there is none."""
    if name not in table.columns:
        raise ValueError(
            f"The data have no column `{name}`; " + nearest(name, table.columns)
        )
    return table[name]


def is_category(column: pd.Series) -> bool:
    """Whether a column, written alone in a formula, holds categories."""
    is_text = pd.api.types.is_string_dtype(column) or column.dtype == object
    return isinstance(column.dtype, pd.CategoricalDtype) or is_text


def as_numbers(name: str, column: pd.Series, *, is_response: bool = False) -> Any:
    """Returns a column as floats; raises TypeError for one that holds no numbers."""
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        if not pd.api.types.is_complex_dtype(column):
            return column.to_numpy(dtype=float)
    seen = _few(list(dict.fromkeys(column)))
    if is_response:
        raise TypeError(
            f"The response `{name}` is of type {column.dtype} ({seen}), and must be "
            f"numbers. Write `data.assign({name}=(data['{name}'] == ...))` for yes or "
            "no, or the codes 0, 1, ... of ordered or unordered categories."
        )
    raise TypeError(
        f"The column `{name}` is of type {column.dtype} ({seen}), and stands where "
        f"numbers are needed. Write `C({name})` alone as a term for categories, or "
        "turn it into numbers first."
    )


def refuse_missing(table: pd.DataFrame, names: list[str]) -> None:
    """Raises ValueError for missing values, naming columns and rows."""
    missing, rows = _missing(table, names)
    if rows.any():
        raise ValueError(
            f"{missing} Take these rows out, `data.dropna(subset=[...])`, or fill them."
        )


def complete_rows(table: pd.DataFrame, names: list[str], action: str) -> np.ndarray:
    """Returns which rows have no missing value; raises if there are others.

    With `action="drop"` a warning says how many rows are left out.
    """
    import warnings

    from .._checks import OWN_FRAMES, check_choice

    check_choice("fit", "missing", action, ("raise", "drop"))
    words, rows = _missing(table, names)
    if not rows.any():
        return ~rows
    if action == "raise":
        raise ValueError(
            f"{words} Write `missing='drop'` to fit without these rows, or fill them."
        )
    if rows.all():
        raise ValueError(f"{words} No row is left to fit.")
    warnings.warn(
        f"{words} {int(rows.sum())} of {len(rows)} rows are dropped.",
        UserWarning,
        skip_file_prefixes=OWN_FRAMES,
    )
    return ~rows


def _missing(table: pd.DataFrame, names: list[str]) -> tuple[str, np.ndarray]:
    marks = {name: column_of(table, name).isna().to_numpy() for name in names}
    marks = {name: mark for name, mark in marks.items() if mark.any()}
    rows = np.zeros(len(table), bool)
    for mark in marks.values():
        rows |= mark
    counts = ", ".join(f"`{name}` ({mark.sum()})" for name, mark in marks.items())
    places = _few(np.flatnonzero(rows).tolist())
    return f"Values are missing in {counts}, in {rows.sum()} rows: {places}.", rows


def _levels(name: str, column: pd.Series) -> list[Any]:
    """Returns the levels that occur, in their order."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        seen = set(column)
        levels = [level for level in column.cat.categories if level in seen]
    else:
        try:
            levels = sorted(column.unique())
        except TypeError:
            raise TypeError(
                f"The column `{name}` holds values of several types, and has no order "
                f"of levels. Write `data['{name}'].astype(str)`."
            ) from None
    if len(levels) < 2:
        raise ValueError(
            f"The column `{name}` has one level only, {_few(levels)}, which is the "
            "intercept. Take it out of the formula."
        )
    return levels


def _few(values: list[Any]) -> str:
    words = ", ".join(str(value) for value in values[:_NAMED])
    return words + (", ..." if len(values) > _NAMED else "")


def _functions(formula: Formula) -> dict[str, Any]:
    """Returns what the names in a formula mean, beside its columns."""
    try:
        from formulaic.transforms import ContrastsRegistry
    except ImportError as error:
        raise ImportError(
            "Formulas are evaluated by formulaic, which is not installed. Type "
            '`pip install "numpyro-ext-suite[formula]"`, or give the design as an '
            "array: `glm.fit(family, X, y)`."
        ) from error
    contrasts = {
        alias: getattr(ContrastsRegistry, name)(**options)
        for alias, (name, options) in formula.contrasts.items()
    }
    own = {
        name: getattr(np, name)
        for name in ("log", "log1p", "log2", "log10", "exp", "sqrt", "abs")
    }
    return {**own, **formula.values, **contrasts}
