"""Reliability of predicted probabilities: do events happen as often as they say?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ._brier import recalibrate

NUM_BINS = 10
BAND_PROB = 0.95


class Reliability(NamedTuple):
    """A reliability diagram and its test, of one outcome or category.

    Attributes:
        probability: the forecasts, sorted.
        frequency: how often the event happened, by isotonic regression on them.
        lower: lower end of where `frequency` lies, at each forecast, with 95 %
            probability if the forecasts are right.
        upper: upper end.
        ece: expected calibration error: the mean distance between forecast and
            frequency over ten bins of equal number.
        p_value: share of outcomes simulated from the forecasts with at least the
            miscalibration (reliability part of the Brier score) of the data.
    """

    probability: Float[np.ndarray, " n"]
    frequency: Float[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]
    ece: float
    p_value: float


def reliability(
    p: Float[np.ndarray, " n"],
    happened: Bool[np.ndarray, " n"],
    simulated: Bool[np.ndarray, "set n"],
) -> Reliability:
    """Compares forecasts with events, and with events simulated from the forecasts.

    Source: Dimitriadis, Gneiting and Jordan (2021), PNAS 118, e2016191118 (the
        diagram and its consistency band); Naeini, Cooper and Hauskrecht (2015), AAAI
        29 (ECE).
    """
    order = np.argsort(p, kind="stable")
    p, y, sets = p[order], happened[order].astype(float), simulated[:, order]
    fits = np.stack([recalibrate(p, one.astype(float)) for one in sets])
    frequency = recalibrate(p, y)
    own = _miscalibration(p, y, frequency)
    others = np.array(
        [_miscalibration(p, one, fit) for one, fit in zip(sets, fits, strict=True)]
    )
    tail = (1.0 - BAND_PROB) / 2.0
    lower, upper = np.quantile(fits, [tail, 1.0 - tail], axis=0)
    # Two statistics that differ by rounding are equal.
    as_far = np.sum(others >= own - 1e-12)
    return Reliability(
        p, frequency, lower, upper, _ece(p, y), float((1 + as_far) / (1 + len(sets)))
    )


def _miscalibration(p: np.ndarray, y: np.ndarray, fit: np.ndarray) -> float:
    return float(np.mean(np.square(p - y)) - np.mean(np.square(fit - y)))


def _ece(p: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    bins = np.array_split(np.arange(len(p)), min(NUM_BINS, len(p)))
    gaps = [len(i) * abs(float(p[i].mean() - y[i].mean())) for i in bins]
    return float(sum(gaps) / len(p))
