"""Ranks of simulation-based calibration."""

from typing import TYPE_CHECKING

import numpy as np

from ..._checks import check_open_interval, nearest
from .._bands import ecdf_band
from .._sbc import SBCResult
from ._style import BAND, GUIDE, LINES, axes, ecdf, finish, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_NAME = 24


def plot_sbc(
    result: SBCResult,
    *,
    quantities: list[str] | None = None,
    prob: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the ECDF of the ranks less the uniform one, each quantity a line.

    If engine and model are right, all lines lie in the band with at least probability
    `prob`: its level is corrected for the number of quantities. First above and then
    below zero: a posterior too narrow; first below: too wide; all above: it lies too
    high. With more than six quantities the six of smallest p-value have colours, and
    the others are grey.

    Args:
        result: what `sbc` returned.
        quantities: which quantities; by default all.
        prob: probability of the band.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: naming a quantity that was not ranked.
    """
    check_open_interval("plot_sbc", "prob", prob, 0.0, 1.0)
    names = list(result.ranks if quantities is None else quantities)
    for name in names:
        if name not in result.ranks:
            raise ValueError(
                f"`plot_sbc`: no ranks of `{name}`; {nearest(name, result.ranks)}"
            )
    ax = axes(ax, width=7.2)
    band = ecdf_band(len(result.numbers), prob=1 - (1 - prob) / len(names))
    ax.fill_between(
        band.points,
        band.lower - band.points,
        band.upper - band.points,
        color=BAND,
        label=f"{prob:.0%} band, all lines",
    )
    ax.axhline(0, color=GUIDE, lw=1)
    worst = sorted(names, key=lambda name: result.table.loc[name, "p_value"])
    named = [name for name in names if name in worst[: len(LINES)]]
    outside = []
    for name in sorted(names, key=named.__contains__):
        share = ecdf(result.ranks[name], band.points)
        if np.any((share < band.lower) | (share > band.upper)):
            outside.append(name)
        color, dashes = ("0.65", "-")
        if name in named:
            color, dashes = LINES[named.index(name)]
        ax.plot(
            band.points,
            share - band.points,
            color=color,
            ls=dashes,
            lw=1.6 if name in named else 0.8,
            label=_short(name) if name in named else None,
        )
    ax.set_xlim(0, 1)
    percent(ax, y=True)
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize="small",
        borderaxespad=0.0,
    )
    words = f"SBC: {len(result.numbers)} simulations, "
    words += f"outside the band: {len(outside)} of {len(names)}"
    return finish(ax, words, "rank of the truth (normalised)", "ECDF less uniform")


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
