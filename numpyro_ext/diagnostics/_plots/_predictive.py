"""Predictions with their uncertainty, in its two parts, against the data."""

from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr
from scipy.special import ndtri

from ..._checks import check_choice, check_open_interval, nearest
from .._values import Values
from ._style import BLACK, BLUE, ORANGE, axes, finish, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

type Split = Literal["auto", "held-out", "in-sample"]
# The groups of each split: draws, data, moments.
GROUPS: dict[str, tuple[str, str, str]] = {
    "held-out": ("predictions", "predictions_observed_data", "predictions_moments"),
    "in-sample": ("posterior_predictive", "observed_data", "predictive_moments"),
}


def plot_predictive(
    tree: xr.DataTree,
    *,
    x: Values = None,
    var_name: str | None = None,
    split: Split = "auto",
    prob: float = 0.9,
    xlabel: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws predictions against `x`: data, and two bands around the mean.

    The outer band holds the central `prob` of the predictive draws. The inner one is
    the epistemic part, what the draws or members do not agree on: the mean over draws
    plus and minus normal quantiles of the sd of E[y | draw]. What is left between them
    is aleatoric: noise that more data do not remove.

    Args:
        tree: a tree of `to_datatree` with `posterior_predictive` or `predictions`.
        x: where each datum is; by default its coordinate in the tree.
        var_name: which observed site; needed if there are several.
        split: `held-out` data, of `new_data`, or `in-sample`; `auto` takes held-out
            ones if the tree has them.
        prob: probability of both bands.
        xlabel: name and unit of `x`.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: for a tree without predictions, an unknown name, data that are no
            vector of numbers, or `x` of another length.
    """
    check_open_interval("plot_predictive", "prob", prob, 0.0, 1.0)
    check_choice("plot_predictive", "split", split, ("auto", *GROUPS))
    found = [s for s, (draws, _, _) in GROUPS.items() if draws in tree.children]
    wanted = [s for s in found if split in ("auto", s)]
    if not wanted:
        raise ValueError(
            f"`plot_predictive(split={split!r})`: the tree has the groups "
            f"{list(tree.children)}. `fit.to_datatree()` draws replicates, and "
            "`fit.to_datatree(new_data={...})` predictions."
        )
    used = wanted[0]
    draws_group, data_group, moments_group = GROUPS[used]
    name, draws = _variable(tree[draws_group].to_dataset(), var_name)
    place, order, xname = _places(draws, x)
    flat = draws.values.reshape(-1, draws.sizes[draws.dims[2]])[:, order]
    tail = (1 - prob) / 2
    low, high = np.quantile(flat, [tail, 1 - tail], axis=0)
    ax = axes(ax)
    ax.fill_between(
        place,
        low,
        high,
        color=BLUE,
        alpha=0.22,
        lw=0,
        label=f"predictive, {prob:.0%}: aleatoric and epistemic",
    )
    words = f"{used} predictions of {name}"
    moments = tree[moments_group].to_dataset() if moments_group in tree.children else {}
    if f"{name}_mean" in moments:
        mean = moments[f"{name}_mean"].values[order]
        epistemic = moments[f"{name}_epistemic"].values[order]
        aleatoric = moments[f"{name}_aleatoric"].values[order]
        half = -ndtri(tail) * np.sqrt(epistemic)
        label = f"of the mean, {prob:.0%}: epistemic"
        ax.fill_between(
            place, mean - half, mean + half, color=ORANGE, alpha=0.75, lw=0, label=label
        )
        ax.plot(place, mean, color=BLACK, lw=1.2, label="mean")
        share = np.sum(epistemic) / np.sum(epistemic + aleatoric)
        if np.isfinite(share):
            words += f"; epistemic part of the variance {share:.0%}"
    data = tree[data_group].to_dataset() if data_group in tree.children else {}
    if name in data:
        values = data[name].values[order]
        ax.plot(place, values, ls="", marker=".", ms=5, color=BLACK, label="data")
    legend(ax)
    return finish(ax, words, xlabel or xname, name)


def _variable(group: xr.Dataset, name: str | None) -> tuple[str, xr.DataArray]:
    names = [str(known) for known in group.data_vars]
    if name is None and len(names) != 1:
        raise ValueError(
            f"The tree predicts {names}; say which, as in "
            f"`plot_predictive(tree, var_name={names[0]!r})`."
        )
    chosen = names[0] if name is None else name
    if chosen not in names:
        raise ValueError(
            f"`plot_predictive`: no predictions of `{chosen}`; {nearest(chosen, names)}"
        )
    draws = group[chosen]
    if draws.ndim != 3:
        raise ValueError(
            f"`plot_predictive` draws a vector of data, and `{chosen}` has the "
            f"dimensions {draws.dims[2:]}. Select one entry, as in `tree.isel(...)`."
        )
    return chosen, draws


def _places(draws: xr.DataArray, x: Values) -> tuple[np.ndarray, np.ndarray, str]:
    """Returns sorted places on the axis, their order, and a name."""
    dim = str(draws.dims[2])
    place = np.asarray(draws[dim].values if x is None else x)
    if place.shape != (draws.sizes[dim],):
        raise ValueError(
            f"`plot_predictive(x=...)` has shape {place.shape}, and there are "
            f"{draws.sizes[dim]} data."
        )
    order = np.argsort(place, kind="stable")
    return place[order], order, dim if x is None else "x"
