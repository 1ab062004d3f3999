"""How many data lie in the intervals that should hold them."""

from typing import TYPE_CHECKING

import numpy as np

from .._bands import ecdf_band
from .._values import Values
from ._style import (
    BAND,
    BLUE,
    GUIDE,
    VERMILION,
    axes,
    check_pit,
    ecdf,
    finish,
    in_words,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_coverage(
    pit: Values,
    *,
    prob: float = 0.95,
    title: str = "Coverage",
    ax: "Axes | None" = None,
) -> "Axes":
    r"""Draws the share of data in central intervals against their probability.

    A datum lies in the central interval of probability $p$ if $|2u - 1| \le p$ for its
    PIT $u$. If all $u$ are independent and uniform, the whole curve lies in the band
    with probability `prob`, exactly. A curve below the diagonal comes of intervals that
    are too narrow, one above it of intervals that are too wide; a shift goes below.

    Args:
        pit: PIT values of the data, as of `pit`.
        prob: probability of the whole band.
        title: what the data are, such as `held-out data`.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: for values outside [0, 1] or none.
    """
    u = check_pit("plot_coverage", pit, prob)
    ax = axes(ax)
    band = ecdf_band(u.size, prob=prob)
    covered = ecdf(np.abs(2 * u - 1), band.points)
    outside = (covered < band.lower) | (covered > band.upper)
    ax.fill_between(
        band.points,
        band.lower,
        band.upper,
        color=BAND,
        label=f"{prob:.0%} band, whole curve",
    )
    ax.plot([0, 1], [0, 1], color=GUIDE, lw=1, label="as stated")
    ax.plot(band.points, covered, color=BLUE, lw=1.8, label="observed")
    ax.plot(
        band.points[outside],
        covered[outside],
        ls="",
        marker="x",
        color=VERMILION,
        label="outside" if outside.any() else None,
    )
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    percent(ax, x=True, y=True)
    ax.legend(loc="upper left", frameon=False, fontsize="small")
    words = f"{title}: n = {u.size}, {in_words(outside, len(outside))}"
    return finish(ax, words, "stated probability of interval", "share of data inside")
