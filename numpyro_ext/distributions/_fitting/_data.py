"""Data at the door: shapes, what cannot be fitted, and ties."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from .._law import as_float


class Ties(NamedTuple):
    """The most frequent row: its value, how often it occurs, of how many."""

    value: np.ndarray
    size: int
    total: int


def read_data(
    owner: str,
    x: Any,
    weights: Any,
    *,
    is_univariate: bool,
    num_parameters: int,
    with_rank: bool = True,
) -> tuple[Array, Array]:
    """The data as (n, d) and the weights as (n,), or an error that says what to do.

    Without `with_rank` the caller sees to `check_rank`, which is dear.
    """
    if isinstance(x, str) or x is None:
        raise TypeError(f"`{owner}` got `x` = {x!r}; give an array of data.")
    x = as_float(owner, "x", x)
    if is_univariate:
        if x.ndim == 2 and x.shape[1] == 1:
            x = x[:, 0]
        if x.ndim != 1:
            raise ValueError(
                f"`{owner}` got `x` of shape {x.shape}; the law is univariate and "
                "takes a vector. For rows of several columns use the `Multivariate...` "
                "law."
            )
        x = x[:, None]
    if x.ndim != 2:
        raise ValueError(
            f"`{owner}` got `x` of shape {x.shape}; give rows and columns, (n, d). "
            "Write `x[:, None]` for one column."
        )
    weights = _read_weights(owner, weights, x)
    rows, share = np.asarray(x), np.asarray(weights)
    _check_rows(owner, rows, share, num_parameters)
    if with_rank:
        check_rank(owner, rows, share)
    return x, weights


def _read_weights(owner: str, weights: Any, x: Array) -> Array:
    if weights is None:
        return jnp.ones((x.shape[0],), x.dtype)
    out = jnp.asarray(as_float(owner, "weights", weights), x.dtype)
    if out.shape != x.shape[:1]:
        raise ValueError(
            f"`{owner}` got `weights` of shape {out.shape} for {x.shape[0]} rows: give "
            f"one weight for each row, of shape ({x.shape[0]},)."
        )
    values = np.asarray(out)
    if not (np.all(np.isfinite(values)) and np.all(values >= 0) and values.sum() > 0):
        raise ValueError(
            f"`{owner}` got `weights` with minimum {values.min()} and sum "
            f"{values.sum()}: they must be finite, not negative, and not all zero."
        )
    return out


def _check_rows(
    owner: str, x: np.ndarray, weights: np.ndarray, num_parameters: int
) -> None:
    n, d = x.shape
    # A sum is not finite where a value is not; the other way round it may overflow.
    is_good = np.isfinite(np.sum(x))
    bad = np.zeros(n, bool) if is_good else ~np.all(np.isfinite(x), axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"`{owner}`: {int(bad.sum())} of {n} rows hold NaN or infinite values, the "
            f"first at index {first}. Leave them out, for example with "
            "`x[np.isfinite(x)]` or `x[np.isfinite(x).all(axis=1)]`."
        )
    used = _used(x, weights)
    n = used.shape[0]
    if d > n:
        raise ValueError(
            f"`{owner}`: d = {d} columns and n = {n} rows. A scale of full rank needs "
            "more rows than columns; take fewer columns, or more rows."
        )
    constant = used[0] == used[-1]
    if constant.any():
        constant = np.ptp(used, axis=0) == 0
    if constant.any():
        column = int(np.argmax(constant))
        raise ValueError(
            f"`{owner}`: column {column} is constant ({used[0, column]}), so that its "
            "scale is zero and the likelihood unbounded. Leave it out, for example "
            f"with `np.delete(x, {column}, axis=1)`."
        )
    if n <= num_parameters or n <= d + 1:
        raise ValueError(
            f"`{owner}`: n={n} rows and {num_parameters} parameters. The likelihood is "
            "unbounded or flat with so few; give more rows, or fix parameters with "
            "`fix=` and `symmetric=True`."
        )


def _used(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The rows of positive weight; without a copy, if they all are."""
    is_used = weights > 0
    return x if is_used.all() else x[is_used]


def check_rank(owner: str, x: np.ndarray, weights: np.ndarray) -> None:
    """Raises ValueError, if the rows lie on a hyperplane."""
    used = _used(x, weights)
    d = used.shape[1]
    centred = used - used.mean(axis=0)
    centred = centred / np.sqrt(np.mean(centred**2, axis=0))
    rank = np.linalg.matrix_rank(centred.T @ centred, hermitian=True) if d > 1 else 1
    if rank < d:
        raise ValueError(
            f"`{owner}`: all rows lie on a common hyperplane: {d} columns of rank "
            f"{rank}. One column is a combination of others; leave it out."
        )


def find_ties(x: np.ndarray, weights: np.ndarray) -> Ties:
    """The most frequent row among those of positive weight."""
    used = _used(x, weights)
    key = used[:, 0]
    # Rows that are equal begin equally.
    if used.shape[1] > 1 and len(np.unique(key)) < len(key):
        # Equal rows give equal sums; a rare other pair that does is harmless.
        key = np.sum(used * np.sqrt(np.arange(2.0, 2.0 + used.shape[1])), axis=1)
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    counts = np.diff(np.append(starts, len(key)))
    best = int(np.argmax(counts))
    return Ties(used[order[starts[best]]], int(counts[best]), len(key))


def rows_on_hyperplane(
    x: np.ndarray, loc: Any, tril: Any, units: Any, reach: float
) -> tuple[int, np.ndarray]:
    """How many rows lie in the thinnest direction of the scale, and its normal."""
    scaled = tril / units[:, None]
    _, vectors = np.linalg.eigh(scaled @ scaled.T)
    normal = vectors[:, 0]
    distance = np.abs(((x - loc) / units) @ normal)
    return int(np.sum(distance <= reach)), normal
