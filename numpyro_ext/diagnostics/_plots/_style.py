"""What the pictures share: matplotlib, loaded on first use, and a few colours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from ..._checks import check_open_interval
from .._values import Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008): told apart by colour-blind eyes, and each with its own dashes.
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
VERMILION, PURPLE, SKY, BLACK = "#D55E00", "#CC79A7", "#56B4E9", "#000000"
LINES: Sequence[tuple[str, Any]] = (
    (BLUE, "-"),
    (ORANGE, "--"),
    (GREEN, "-."),
    (PURPLE, ":"),
    (BLACK, (0, (5, 1))),
    (SKY, (0, (3, 1, 1, 1))),
)
BAND = "0.86"
GUIDE = "0.45"


def axes(ax: "Axes | None", *, width: float = 5.6) -> "Axes":
    """Returns the axes given, or those of a new figure.

    Raises:
        ImportError: without matplotlib, saying how to install it.
    """
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib, which is not installed. Run `pip install "
            "'numpyro-ext-suite[plots]'`."
        ) from error
    _, new = plt.subplots(figsize=(width, 4.2), layout="constrained")
    return new


def check_pit(owner: str, values: Values, prob: float) -> Float[np.ndarray, " n"]:
    """Returns the values flat.

    Raises:
        ValueError: for no values, values outside [0, 1] or NaN, or a bad `prob`.
    """
    check_open_interval(owner, "prob", prob, 0.0, 1.0)
    u = np.asarray(values, dtype=float).ravel()
    is_bad = ~((u >= 0) & (u <= 1))
    if u.size == 0 or is_bad.any():
        found = f"{u[is_bad][0]} among them" if u.size else "none at all"
        raise ValueError(
            f"`{owner}` takes probability integral transforms, values in [0, 1], and "
            f"got {found}. Make them with `pit(draws, observed, key=key)`."
        )
    return u


def ecdf(
    u: Float[np.ndarray, " n"], points: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """Returns the share of values at or below each point."""
    return np.searchsorted(np.sort(u), points, side="right") / u.size


def percent(ax: "Axes", *, x: bool = False, y: bool = False) -> None:
    """Shows shares as per cent."""
    from matplotlib.ticker import FuncFormatter

    shown = FuncFormatter(lambda share, _: f"{100 * share:.3g}%")
    if x:
        ax.xaxis.set_major_formatter(shown)
    if y:
        ax.yaxis.set_major_formatter(shown)


def mark_outside(
    ax: "Axes",
    x: Float[np.ndarray, " k"],
    y: Float[np.ndarray, " k"],
    outside: Bool[np.ndarray, " k"],
) -> None:
    """Puts a cross at each point outside its band."""
    if outside.any():
        style: dict[str, Any] = {"ls": "", "marker": "x", "color": VERMILION}
        ax.plot(x[outside], y[outside], label="outside", **style)


def in_words(outside: Bool[np.ndarray, " k"]) -> str:
    """Says whether a curve stays in its band."""
    count = int(np.sum(outside))
    if not count:
        return "inside the band"
    return f"outside at {count} of {len(outside)} points"


def legend(ax: "Axes", *, ncols: int = 2) -> None:
    """Puts the legend above the picture, where no curve can be."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.07),
        ncols=ncols,
        frameon=False,
        fontsize="small",
        borderaxespad=0.0,
        columnspacing=1.2,
        handletextpad=0.5,
    )


def finish(ax: "Axes", title: str, xlabel: str, ylabel: str) -> "Axes":
    """Sets the words of a picture and removes what says nothing."""
    ax.set_title(title, fontsize="medium", loc="left")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
