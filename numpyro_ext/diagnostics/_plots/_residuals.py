"""Quantile residuals: against the normal law, and against what was fitted."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from ..._checks import check_open_interval, check_positive_int
from .._bands import ecdf_band
from .._values import Values
from ._style import (
    BAND,
    BLUE,
    GUIDE,
    VERMILION,
    axes,
    finish,
    in_words,
    legend,
    mark_outside,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_POINTS = 80


def plot_residual_qq(
    residuals: Values,
    *,
    prob: float = 0.95,
    title: str = "Quantile residuals",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws sorted quantile residuals against normal quantiles, with a band.

    If the residuals are independent and standard normal, all of them lie in the band
    with probability `prob`. Points below the band on the left and above it on the
    right: the tails of the law are too light.

    Args:
        residuals: as of `quantile_residuals`.
        prob: probability of the whole band.
        title: what the residuals are.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: for no residual, or NaN.
    """
    check_open_interval("plot_residual_qq", "prob", prob, 0.0, 1.0)
    r = np.sort(_finite("plot_residual_qq", residuals))
    ax = axes(ax)
    normal = ndtri((np.arange(r.size) + 0.5) / r.size)
    lower, upper = _order_band(r.size, prob)
    outside = (r < lower) | (r > upper)
    low, high = min(r[0], normal[0]) - 0.3, max(r[-1], normal[-1]) + 0.3
    ax.fill_between(
        normal,
        np.maximum(lower, low),
        np.minimum(upper, high),
        color=BAND,
        label=f"{prob:.0%} band, all points",
    )
    ax.plot(normal, normal, color=GUIDE, lw=1, label="standard normal")
    ax.plot(normal, r, ls="", marker="o", ms=3, color=BLUE, label="observed")
    mark_outside(ax, normal, r, outside)
    ax.set_ylim(low, high)
    legend(ax)
    words = f"{title}: n = {r.size}, {in_words(outside)}"
    return finish(ax, words, "standard normal quantile", "residual (normal scores)")


def plot_residuals(
    residuals: Values,
    fitted: Values,
    *,
    num_bins: int = 10,
    title: str = "Quantile residuals",
    xlabel: str = "fitted value",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws quantile residuals against fitted values or a covariate.

    The mean of each of `num_bins` bins of equally many data has a bar of two standard
    errors of a right model, 1 / sqrt(n). A trend of the means is a wrong shape, a fan
    of the points a wrong spread.

    Args:
        residuals: as of `quantile_residuals`.
        fitted: what they are drawn against, one for each.
        num_bins: how many bins; fewer where the data are few.
        title: what the residuals are.
        xlabel: name and unit of `fitted`.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: for other sizes, no residual, or NaN.
    """
    check_positive_int("plot_residuals", "num_bins", num_bins)
    r = _finite("plot_residuals", residuals)
    x = _finite("plot_residuals", fitted)
    if r.size != x.size:
        raise ValueError(
            f"`plot_residuals` got {r.size} residuals and {x.size} fitted values; it "
            "takes one for each."
        )
    ax = axes(ax)
    ax.plot(x, r, ls="", marker="o", ms=3, color=BLUE, alpha=0.5, label="datum")
    for level, dashes in ((0.0, "-"), (-1.96, "--"), (1.96, "--")):
        label = "95 % of a right model" if level == 1.96 else None
        ax.axhline(level, color=GUIDE, lw=1, ls=dashes, label=label)
    bins = np.array_split(np.argsort(x, kind="stable"), min(num_bins, r.size))
    centres = np.array([x[index].mean() for index in bins])
    means = np.array([r[index].mean() for index in bins])
    errors = np.array([2.0 / np.sqrt(index.size) for index in bins])
    ax.errorbar(
        centres,
        means,
        errors,
        color=VERMILION,
        marker="D",
        ms=5,
        lw=1.5,
        capsize=3,
        ls="",
        label="mean of a bin ± 2 s.e.",
    )
    ax.margins(y=0.15)
    legend(ax, ncols=3)
    off = int(np.sum(np.abs(means) > errors))
    words = f"{title}: n = {r.size}, bins off zero: {off} of {len(bins)}"
    return finish(ax, words, xlabel, "residual (normal scores)")


def _finite(owner: str, values: Values) -> Float[np.ndarray, " n"]:
    flat = np.asarray(values, dtype=float).ravel()
    is_bad = ~np.isfinite(flat)
    if flat.size == 0 or is_bad.any():
        found = f"{flat[is_bad][0]} among them" if flat.size else "none at all"
        raise ValueError(f"`{owner}` takes finite numbers, and got {found}.")
    return flat


def _order_band(
    n: int, prob: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Bounds all order statistics of `n` normal values at once; inf where unbounded.

    A band of the ECDF at z says which order statistics lie beyond z: at most U values
    up to z means that number U + 1 is above z.
    """
    edge = -ndtri(0.5 / n) + 0.5
    z = np.linspace(-edge, edge, NUM_POINTS)
    band = ecdf_band(n, prob=prob, points=ndtr(z))
    most = np.rint(band.upper * n).astype(int)
    least = np.rint(band.lower * n).astype(int)
    number = np.arange(1, n + 1)
    lower = np.where(number[:, None] > most, z, -np.inf).max(axis=1)
    upper = np.where(number[:, None] <= least, z, np.inf).min(axis=1)
    return lower, upper
