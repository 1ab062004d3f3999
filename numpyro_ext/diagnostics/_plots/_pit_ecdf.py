"""How far PIT values are from uniform."""

from typing import TYPE_CHECKING

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


def plot_pit_ecdf(
    pit: Values,
    *,
    prob: float = 0.95,
    title: str = "PIT",
    ax: "Axes | None" = None,
) -> "Axes":
    r"""Draws the ECDF of PIT values less the uniform one, with a band.

    If all values are independent and uniform, the whole curve lies in the band with
    probability `prob`, exactly. First above and then below zero: too many data in both
    tails, a law too narrow. First below, then above: too wide. All above: the
    predictions are too high; all below: too low.

    Args:
        pit: PIT values of the data, as of `pit`.
        prob: probability of the whole band.
        title: what the values are, such as `PIT of held-out data` or `LOO-PIT`.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: for values outside [0, 1] or none.

    Source: Saeilynoja, Buerkner and Vehtari (2022), Statistics and Computing 32, 32.
    """
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
    ax.plot(
        band.points[outside],
        difference[outside],
        ls="",
        marker="x",
        color=VERMILION,
        label="outside" if outside.any() else None,
    )
    ax.set_xlim(0, 1)
    ax.margins(y=0.25)
    percent(ax, y=True)
    ax.legend(loc="upper right", frameon=False, fontsize="small")
    words = f"{title}: n = {u.size}, {in_words(outside, len(outside))}"
    return finish(ax, words, "PIT value", "ECDF less uniform")
