"""Verbs that take `(family, X, y)` take `("y ~ x", data, family)` just as well."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ._design import Design, as_numbers, as_table, column_of, complete_rows, is_category
from ._family import AbstractFamily
from ._formula import parse

# Options of one value for each row, for which the name of a column may stand.
ROW_OPTIONS = ("offset", "exposure", "trials", "freq_weights", "var_weights")


def takes_formula(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a verb be called with a formula and data in place of arrays.

    What the verb returns gets the design of the formula, as its field `design`.
    """

    @functools.wraps(verb)
    def either(*args: Any, **options: Any) -> Any:
        if "formula" not in options and not (args and isinstance(args[0], str)):
            return verb(*args, **options)
        design, family, options = _read(verb.__name__, *args, **options)
        found = verb(family, design.X, design.y, names=design.names, **options)
        return found.with_design(design)

    return either


def _read(
    verb: str,
    formula: str,
    data: Any = None,
    family: Any = None,
    *,
    missing: str = "raise",
    **options: Any,
) -> tuple[Design, AbstractFamily, dict[str, Any]]:
    """Returns the design of a formula, and the options as arrays."""
    if not isinstance(family, AbstractFamily):
        raise TypeError(
            f"`{verb}` of a formula takes a table and a family, and got "
            f"{type(data).__name__} and {type(family).__name__}. Write "
            f"`glm.{verb}({formula!r}, data, glm.Poisson())`."
        )
    if "names" in options:
        raise TypeError(
            f"`{verb}(names=...)`: the coefficients of a formula have the names of "
            "its terms. Leave `names` out."
        )
    table = as_table(data)
    found = parse(
        formula, table.columns, lambda name: is_category(column_of(table, name))
    )
    named = [options[o] for o in ROW_OPTIONS if isinstance(options.get(o), str)]
    kept = complete_rows(table, list(dict.fromkeys([*found.names, *named])), missing)
    for name in ROW_OPTIONS:
        if options.get(name) is not None:
            options[name] = _kept_rows(name, options[name], table, kept)
    table = table.loc[kept].reset_index(drop=True)
    design = Design(found, table, has_intercept=not family.has_cutpoints)
    return design, family, options


def row_option(name: str, value: Any, table: Any) -> Any:
    """Returns an option of one value for each row, read from a column if named."""
    if not isinstance(value, str):
        return value
    if table is None:
        raise TypeError(
            f"`{name}={value!r}` names a column, and there is no table. Give an array."
        )
    return as_numbers(value, column_of(table, value))


def _kept_rows(name: str, value: Any, table: Any, kept: np.ndarray) -> Any:
    value = row_option(name, value, table)
    is_per_row = np.ndim(value) >= 1 and np.shape(value)[0] == kept.size
    return np.asarray(value)[kept] if is_per_row and not kept.all() else value
