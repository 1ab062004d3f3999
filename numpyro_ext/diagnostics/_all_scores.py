"""All proper scores of predictive draws in one call."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .._checks import check_open_interval
from ._ordered import order, quantiles
from ._scores import brier_score, crps, energy_score, interval_score, log_score
from ._values import Values

LEVELS = (0.5, 0.8, 0.9, 0.95)


class Scores(NamedTuple):
    """Scores of each datum; lower is better in all. None where one has no meaning.

    Attributes:
        log_score: minus the log of the mean density; None without `log_likelihood`.
        crps: of each number; None for vectors, which have `energy_score`.
        interval_score: of central intervals, (level, ...); None for vectors and for
            binary outcomes.
        energy_score: of vectors; None for numbers, where it is `crps`.
        brier_score: of binary outcomes; None for others.
    """

    log_score: Float[np.ndarray, "..."] | None
    crps: Float[np.ndarray, "..."] | None
    interval_score: Float[np.ndarray, "level ..."] | None
    energy_score: Float[np.ndarray, "..."] | None
    brier_score: Float[np.ndarray, "..."] | None


def scores(
    draws: Values,
    observed: Values,
    *,
    log_likelihood: Values = None,
    levels: Values = LEVELS,
    is_vector: bool = False,
    fair: bool = False,
) -> Scores:
    r"""Scores predictive draws against data, by every score that applies to them.

    Intervals are made of the draws of ranks $p (S + 1)$, which hold the next value of a
    sample with probability $p$. Draws and data that are all 0 or 1 are a binary
    outcome, whose probability is the mean of the draws.

    Args:
        draws: predictive draws, the draws on the first axis.
        observed: the data; they broadcast against the other axes.
        log_likelihood: $\log p(y \mid \theta_s)$, the draws on the first axis, for the
            log score.
        levels: probabilities of the intervals.
        is_vector: whether the last axis is that of a vector, scored as one.
        fair: whether `crps` and `energy_score` are without the bias of a finite number
            of draws.

    Raises:
        ValueError: for shapes that do not broadcast, levels outside (0, 1), or a single
            draw with `fair`.
    """
    x, y = np.asarray(draws, dtype=float), np.asarray(observed, dtype=float)
    density = None if log_likelihood is None else log_score(log_likelihood)
    if is_vector:
        return Scores(density, None, None, energy_score(x, y, fair=fair), None)
    of_numbers = crps(x, y, fair=fair)
    if is_binary(x, y):
        brier = brier_score(np.mean(x, axis=0), y)
        return Scores(density, of_numbers, None, None, brier)
    probs = np.asarray(levels, dtype=float).reshape(-1)
    for prob in probs:
        check_open_interval("scores", "levels", float(prob), 0.0, 1.0)
    tails = np.concatenate([(1 - probs) / 2, (1 + probs) / 2])
    ends = quantiles(order(x), tails)
    intervals = [
        interval_score(low, high, y, prob=float(prob))
        for low, high, prob in zip(
            ends[: len(probs)], ends[len(probs) :], probs, strict=True
        )
    ]
    return Scores(density, of_numbers, np.stack(intervals), None, None)


def is_binary(*values: np.ndarray) -> bool:
    """Whether there is nothing but 0 and 1."""
    return all(bool(np.all((value == 0) | (value == 1))) for value in values)
