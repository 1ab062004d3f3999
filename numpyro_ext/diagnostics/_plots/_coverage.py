"""How many data lie in the intervals that should hold them."""

from typing import TYPE_CHECKING

import numpy as np

from .._bands import ecdf_band
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


def plot_coverage(
    pit: Values,
    *,
    prob: float = 0.95,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    r"""Draws the share of data in central intervals against their probability.

    A datum lies in the central interval of probability $p$ if $|2u - 1| \le p$ for its
    PIT $u$. If all $u$ are independent and uniform, the whole curve lies in the band
    with probability `prob`, exactly; a result of `calibration` brings its own curve and
    band, which allow for the dependence of the data. A curve below the diagonal comes
    of intervals that are too narrow, one above it of intervals that are too wide; a
    shift goes below.

    Args:
        pit: PIT values of the data, as of `pit`; or a result of `calibration`, of one
            site.
        prob: probability of the whole band of values.
        title: what the data are, such as `held-out data`.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: for values outside [0, 1] or none; for a result without a curve.
    """
    site = site_of("plot_coverage", pit)
    if site is None:
        u = check_pit("plot_coverage", pit, prob)
        band = ecdf_band(u.size, prob=prob)
        num, points, label = u.size, band.points, f"{prob:.0%} band, whole curve"
        covered = ecdf(np.abs(2 * u - 1), points)
        lower, upper = band.lower, band.upper
    else:
        num = np.size(pit_of("plot_coverage", site))
        label = "band, whole curve"
        points, covered, lower, upper = np.asarray(site.curve, dtype=float).T
        title = title or title_of(site)
    ax = axes(ax)
    outside = (covered < lower) | (covered > upper)
    ax.fill_between(points, lower, upper, color=BAND, label=label)
    ax.plot([0, 1], [0, 1], color=GUIDE, lw=1, label="as stated")
    ax.plot(points, covered, color=BLUE, lw=1.8, label="observed")
    mark_outside(ax, points, covered, outside)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    percent(ax, x=True, y=True)
    legend(ax)
    words = f"{title or 'Coverage'}: n = {num}, {in_words(outside)}"
    return finish(ax, words, "stated probability of interval", "share of data inside")
