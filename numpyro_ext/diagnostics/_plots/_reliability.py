"""Whether events happen as often as was said."""

from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from ..._checks import check_key, check_open_interval, check_positive_int
from .._brier import recalibrate
from .._calibration import SiteCalibration
from .._reliability import BAND_PROB, Reliability
from .._values import Values
from ._sources import site_of, title_of
from ._style import (
    BAND,
    BLUE,
    GUIDE,
    axes,
    finish,
    in_words,
    legend,
    mark_outside,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_reliability(
    probabilities: Values,
    outcomes: Values = None,
    *,
    category: int = 1,
    prob: float = 0.95,
    num_simulations: int = 500,
    key: Key[Array, ""] | None = None,
    title: str | None = None,
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
            categories, the probability of one of them. Or a result of `calibration`, of
            one site, which brings its own curve, and a band that holds at each point.
        outcomes: whether it happened, 0 or 1; not with a result.
        category: which category of a result.
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
    site = site_of("plot_reliability", probabilities)
    if site is None:
        check_open_interval("plot_reliability", "prob", prob, 0.0, 1.0)
        check_positive_int("plot_reliability", "num_simulations", num_simulations)
        p, y = _check(probabilities, outcomes)
        key = jax.random.key(0) if key is None else check_key("plot_reliability", key)
        uniform = np.asarray(jax.random.uniform(key, (num_simulations, p.size)))
        p, observed, lower, upper = simultaneous_curve(p, y, uniform, prob)
        label = f"{prob:.0%} band, whole curve"
    else:
        p, observed, lower, upper = _curve_of(site, category)[:4]
        label = f"{BAND_PROB:.0%} band, each point"
        title = title or f"{title_of(site)}, category {category}"
    ax = axes(ax)
    outside = (observed < lower) | (observed > upper)
    ax.fill_between(p, lower, upper, color=BAND, label=label)
    ax.plot([0, 1], [0, 1], color=GUIDE, lw=1, label="as stated")
    ax.plot(p, observed, color=BLUE, lw=1.8, label="observed")
    mark_outside(ax, p, observed, outside)
    counts, edges = np.histogram(p, bins=20, range=(0.0, 1.0))
    heights = 0.15 * counts / counts.max()
    ax.bar(edges[:-1], heights, width=0.05, align="edge", color="0.7", zorder=0.5)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    percent(ax, x=True, y=True)
    legend(ax)
    words = f"{title or 'Reliability'}: n = {p.size}, {in_words(outside)}"
    return finish(ax, words, "stated probability", "share of events that happened")


def _curve_of(site: SiteCalibration, category: int) -> Reliability:
    if category not in site.reliability:
        known = sorted(site.reliability)
        what = f"has the categories {known}" if known else "has no probabilities"
        raise ValueError(
            f"`plot_reliability(category={category})`: site `{site.name}` {what}. "
            "Numbers are drawn by `plot_coverage`."
        )
    return site.reliability[category]


def simultaneous_curve(
    p: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    uniform: Float[np.ndarray, "s n"],
    prob: float,
) -> tuple[Float[np.ndarray, " n"], ...]:
    """Returns sorted `p`, the isotonic fit of `y`, and a band of simulated fits."""
    order = np.argsort(p, kind="stable")
    p = p[order]
    fits = np.stack([recalibrate(p, row) for row in (uniform < p).astype(float)])
    return p, recalibrate(p, y[order]), *_simultaneous(fits, prob)


def _simultaneous(
    curves: Float[np.ndarray, "s n"], prob: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns the narrowest pointwise band of order statistics that holds `prob`."""
    ordered, num = np.sort(curves, axis=0), len(curves)
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
