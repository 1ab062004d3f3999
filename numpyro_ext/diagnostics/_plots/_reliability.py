"""Whether events happen as often as was said."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.optimize import isotonic_regression

from ..._checks import check_key, check_open_interval, check_positive_int
from .._values import Values
from ._style import BAND, BLUE, GUIDE, VERMILION, axes, finish, in_words, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Reliability(NamedTuple):
    """The frequency of an event by its stated probability, with a band.

    Attributes:
        stated: the stated probabilities, sorted.
        observed: the isotonic fit of the outcomes to them.
        lower: lower edge of the band.
        upper: upper edge.
    """

    stated: Float[np.ndarray, " n"]
    observed: Float[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]


def plot_reliability(
    probabilities: Values,
    outcomes: Values,
    *,
    prob: float = 0.95,
    num_simulations: int = 500,
    key: Key[Array, ""] | None = None,
    title: str = "Reliability",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws how often an event happened against how probable it was said to be.

    The curve is the isotonic fit of the outcomes (pool adjacent violators), which needs
    no bins. If the probabilities are right, the whole curve lies in the band with
    probability `prob`, to the accuracy of `num_simulations` simulated sets of
    outcomes. Below the diagonal: said too often; above: too rarely. The grey bars below
    count the stated probabilities.

    Args:
        probabilities: stated probability of each event; for draws, their mean. For
            categories, the probability of one of them.
        outcomes: whether it happened, 0 or 1.
        prob: probability of the whole band.
        num_simulations: simulated sets of outcomes for the band.
        key: random key of the simulations; by default always the same.
        title: what the events are.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: for other sizes, outcomes other than 0 and 1, or probabilities
            outside [0, 1].

    Source: Dimitriadis, Gneiting and Jordan (2021), PNAS 118, e2016191118.
    """
    check_open_interval("plot_reliability", "prob", prob, 0.0, 1.0)
    check_positive_int("plot_reliability", "num_simulations", num_simulations)
    p, y = _check(probabilities, outcomes)
    key = jax.random.key(0) if key is None else check_key("plot_reliability", key)
    curve = reliability(p, y, prob=prob, num_simulations=num_simulations, key=key)
    ax = axes(ax)
    outside = (curve.observed < curve.lower) | (curve.observed > curve.upper)
    ax.fill_between(
        curve.stated,
        curve.lower,
        curve.upper,
        color=BAND,
        label=f"{prob:.0%} band, whole curve",
    )
    ax.plot([0, 1], [0, 1], color=GUIDE, lw=1, label="as stated")
    ax.plot(curve.stated, curve.observed, color=BLUE, lw=1.8, label="observed")
    ax.plot(
        curve.stated[outside],
        curve.observed[outside],
        ls="",
        marker="x",
        color=VERMILION,
        label="outside" if outside.any() else None,
    )
    counts, edges = np.histogram(p, bins=20, range=(0.0, 1.0))
    heights = 0.15 * counts / counts.max()
    ax.bar(edges[:-1], heights, width=0.05, align="edge", color="0.7", zorder=0.5)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    percent(ax, x=True, y=True)
    ax.legend(loc="upper left", frameon=False, fontsize="small")
    words = f"{title}: n = {p.size}, {in_words(outside, p.size)}"
    return finish(ax, words, "stated probability", "share of events that happened")


def reliability(
    p: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    *,
    prob: float,
    num_simulations: int,
    key: Key[Array, ""],
) -> Reliability:
    """Returns the isotonic curve, and the band of right probabilities."""
    p, order = np.sort(p), np.argsort(p, kind="stable")
    # Equal probabilities are one place, with a weight.
    stated, start = np.unique(p, return_index=True)
    weights = np.diff(np.append(start, p.size)).astype(float)

    def fit(events: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        shares = np.add.reduceat(events, start) / weights
        return isotonic_regression(shares, weights=weights).x

    uniform = np.asarray(jax.random.uniform(key, (num_simulations, p.size)))
    simulated = np.stack([fit(row) for row in (uniform < p).astype(float)])
    lower, upper = _simultaneous(np.sort(simulated, axis=0), simulated, prob)
    repeat = weights.astype(int)
    observed = fit(y[order])
    return Reliability(
        p, *(np.repeat(edge, repeat) for edge in (observed, lower, upper))
    )


def _simultaneous(
    ordered: Float[np.ndarray, "s k"], curves: Float[np.ndarray, "s k"], prob: float
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Returns the narrowest pointwise band of order statistics that holds `prob`."""
    num = len(curves)
    drop = 0
    for candidate in range(num // 2):
        low, high = ordered[candidate], ordered[num - 1 - candidate]
        inside = np.all((curves >= low) & (curves <= high), axis=1)
        if inside.mean() < prob:
            break
        drop = candidate
    return ordered[drop], ordered[num - 1 - drop]


def _check(
    probabilities: Values, outcomes: Values
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    p = np.asarray(probabilities, dtype=float).ravel()
    y = np.asarray(outcomes, dtype=float).ravel()
    if p.size != y.size or p.size == 0:
        raise ValueError(
            f"`plot_reliability` got {p.size} probabilities and {y.size} outcomes; it "
            "takes one of each for each event. For draws, give their mean."
        )
    is_bad = ~((p >= 0) & (p <= 1))
    if is_bad.any():
        raise ValueError(
            f"`plot_reliability` got {p[is_bad][0]} among the probabilities. Logits "
            "become probabilities by `jax.nn.sigmoid`."
        )
    if not np.isin(y, (0.0, 1.0)).all():
        bad = y[~np.isin(y, (0.0, 1.0))][0]
        raise ValueError(
            f"`plot_reliability` got {bad} among the outcomes, which are 0 or 1. For "
            "categories, give `outcomes == category`."
        )
    return p, y
