"""Goodness of fit: one table of how well predictions describe data."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Array, Key

from .._checks import check_choice, check_key, check_open_interval, nearest
from ..inference import Fit, ModelSpec
from ._all_scores import LEVELS
from ._gof_rows import DEFAULT_STATISTICS, STATISTICS, Row, Settings, Statistic, rows
from ._outcomes import Outcome, SplitChoice, by_site, read_outcomes, warn_in_sample
from ._values import Values

CURVE = np.linspace(0.05, 0.95, 19)


def gof(
    tree: xr.DataTree | Fit,
    *,
    model: ModelSpec | Fit | None = None,
    split: SplitChoice = "auto",
    truth: Any = None,
    levels: Values = LEVELS,
    statistics: Sequence[str] | Mapping[str, Statistic] = DEFAULT_STATISTICS,
    sites: list[str] | None = None,
    fmt: Literal["pandas", "xarray"] = "pandas",
    key: Key[Array, ""] | None = None,
) -> pd.DataFrame | xr.Dataset:
    r"""Returns one table of how well a fit describes its data, or new data.

    Each row says what it knows of the data (`split`) and what is better. `held-out`
    uses the groups `predictions`, `predictions_observed_data` and
    `predictions_log_likelihood`; `LOO` weighs the draws by Pareto-smoothed importance
    weights, so that each datum is predicted as if it had been left out; `in-sample`
    predictions know the data. `auto` takes the first of these that the tree has.

    The rows: `nll` (mean of $-\log p$), `elpd` with `p_loo` and the largest Pareto k;
    `rmse` of the mean, `mae` of the median, `rmse_truth`; `crps`, `interval_score`,
    `coverage` and `sharpness` (mean width) at each level, `energy_score` of vectors;
    `brier` and its parts for binary data; `r2` and the Bayesian one; the epistemic and
    the aleatoric part of the predictive variance; `deviance` and Pearson's statistic;
    and posterior predictive p-values `p_...`, which are in-sample but for data held
    out. What cannot be computed is NaN, with the reason in `note`.

    Args:
        tree: a tree of `to_datatree` or of ArviZ; or a fit.
        model: the model with the data of the split (`spec.with_data(...)` for data
            held out), for what needs their laws; see `with_laws`. With them means are
            exact, without them they are means of draws. A fit brings its own.
        split: `auto`, `held-out`, `LOO` or `in-sample`.
        truth: the noiseless data where they are known, or a dictionary by site.
        levels: probabilities of the central intervals.
        statistics: names among `mean`, `sd`, `min`, `max`, `median`; or functions by
            name, each called as `f(values, axis=1)`.
        sites: which observed sites; by default all.
        fmt: `pandas`, with rows (site, metric); or `xarray`, with dimensions `site` and
            `metric`, and `coverage_curve` over 19 levels.
        key: random key of the randomised ranks; by default `jax.random.key(0)`.

    Raises:
        ValueError: for a tree without data, or without what the split needs; for an
            unknown site, statistic or format; for `truth` of another shape.

    Source: Vehtari, Gelman and Gabry (2017), Statistics and Computing 27, 1413-1432
        (LOO); Gelman, Goodrich, Gabry and Vehtari (2019), American Statistician 73,
        307-309 (Bayesian R2); Gneiting and Raftery (2007), JASA 102, 359-378 (scores).
    """
    check_choice("gof", "fmt", fmt, ("pandas", "xarray"))
    probs = np.asarray(levels, dtype=float).reshape(-1)
    for level in probs:
        check_open_interval("gof", "levels", float(level), 0.0, 1.0)
    key = jax.random.key(0) if key is None else check_key("gof", key)
    chosen = _statistics(statistics)
    outcomes = read_outcomes("gof", tree, model, split, sites)
    if split == "auto" and outcomes and outcomes[0].split == "in-sample":
        warn_in_sample("gof", "because the tree has no other")
    found: list[Row] = []
    curves = []
    for number, outcome in enumerate(outcomes):
        own = jax.random.fold_in(key, number)
        found += rows(outcome, Settings(probs, chosen, by_site(truth, outcome), own))
        curves.append(_curve(outcome, own))
    table = pd.DataFrame(found, columns=list(Row._fields))
    table = table.set_index(["site", "metric"])
    if fmt == "pandas":
        return table
    dataset = xr.Dataset.from_dataframe(table)
    for name in ("better", "split", "note"):
        dataset[name] = dataset[name].fillna("").astype(str)
    # A data frame comes back sorted by name.
    order = {"site": [outcome.name for outcome in outcomes]}
    order["metric"] = list(dict.fromkeys(row.metric for row in found))
    dataset = dataset.sel(order).assign_coords(level=CURVE)
    dataset["coverage_curve"] = (("site", "level"), np.stack(curves))
    return dataset


def _statistics(
    chosen: Sequence[str] | Mapping[str, Statistic],
) -> Mapping[str, Statistic]:
    if isinstance(chosen, Mapping):
        return chosen
    names = [chosen] if isinstance(chosen, str) else chosen
    for name in names:
        if name not in STATISTICS:
            raise ValueError(
                f"`gof(statistics=...)` does not know `{name}`; "
                + nearest(name, STATISTICS)
                + " Your own: a dictionary of functions `f(values, axis=1)`."
            )
    return {name: STATISTICS[name] for name in names}


def _curve(outcome: Outcome, key: Key[Array, ""]) -> np.ndarray:
    """Returns the share of data inside the central intervals of each level."""
    u = None if outcome.nature in ("binary", "categorical") else outcome.pit(key)
    if u is None:
        return np.full(CURVE.shape, np.nan)
    return np.mean(np.abs(2.0 * u.reshape(-1, 1) - 1.0) <= CURVE, axis=0)
