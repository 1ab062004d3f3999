"""How far PIT values are from uniform."""

from typing import TYPE_CHECKING

import xarray as xr
from jaxtyping import Array, Key

from ...inference import Fit, ModelSpec
from .._bands import ecdf_band
from .._calibration import calibration
from .._values import Values
from ._sources import pit_of, site_of, title_of
from ._style import (
    BAND,
    BLUE,
    GUIDE,
    axes,
    check_pit,
    ecdf,
    finish,
    in_words,
    legend,
    mark_outside,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_pit_ecdf(
    pit: Values,
    *,
    prob: float = 0.95,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    r"""Draws the ECDF of PIT values less the uniform one, with a band.

    If all values are independent and uniform, the whole curve lies in the band with
    probability `prob`, exactly. First above and then below zero: too many data in both
    tails, a law too narrow. First below, then above: too wide. All above: the
    predictions are too high; all below: too low.

    Args:
        pit: PIT values of the data, as of `pit`; or a result of `calibration`, of one
            site, whose own test allows for dependent data, as the band does not.
        prob: probability of the whole band.
        title: what the values are, such as `PIT of held-out data`.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: for values outside [0, 1] or none.

    Source: Saeilynoja, Buerkner and Vehtari (2022), Statistics and Computing 32, 32.
    """
    site = site_of("plot_pit_ecdf", pit)
    if site is not None:
        pit = pit_of("plot_pit_ecdf", site)
        title = title or f"PIT of {title_of(site)}"
    u = check_pit("plot_pit_ecdf", pit, prob)
    ax = axes(ax)
    band = ecdf_band(u.size, prob=prob)
    difference = ecdf(u, band.points) - band.points
    lower, upper = band.lower - band.points, band.upper - band.points
    outside = (difference < lower) | (difference > upper)
    label = f"{prob:.0%} band, whole curve"
    ax.fill_between(band.points, lower, upper, color=BAND, label=label)
    ax.axhline(0, color=GUIDE, lw=1)
    ax.plot(band.points, difference, color=BLUE, lw=1.8, label="observed")
    mark_outside(ax, band.points, difference, outside)
    ax.set_xlim(0, 1)
    ax.margins(y=0.25)
    percent(ax, y=True)
    legend(ax, ncols=3)
    words = f"{title or 'PIT'}: n = {u.size}, {in_words(outside)}"
    return finish(ax, words, "PIT value", "ECDF less uniform")


def plot_loo_pit(
    tree: xr.DataTree | Fit,
    *,
    model: ModelSpec | Fit | None = None,
    var_name: str | None = None,
    prob: float = 0.95,
    key: Key[Array, ""] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the ECDF of leave-one-out PIT values less the uniform one, with a band.

    The picture of `plot_pit_ecdf`, of the transforms that `calibration` makes: each
    datum is predicted by draws that are weighed as if it had been left out.

    Args:
        tree: a tree with `log_likelihood`; or a fit.
        model: the model, whose laws make the transforms exact; a fit brings its own.
        var_name: which observed site; needed if there are several.
        prob: probability of the whole band.
        key: random key of the transforms of counts; by default always the same.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: for a tree without `log_likelihood`, as that of an ensemble of
            points; for several sites and no name; for categories.
    """
    sites = None if var_name is None else [var_name]
    result = calibration(tree, model=model, split="LOO", sites=sites, key=key)
    return plot_pit_ecdf(result, prob=prob, ax=ax)
