"""What a Brier score is made of."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import isotonic_regression

from ._scores import brier_score
from ._values import Values


class BrierDecomposition(NamedTuple):
    """Score = reliability - resolution + uncertainty, exactly.

    Attributes:
        score: mean Brier score.
        reliability: what the score loses to miscalibration; 0 is best.
        resolution: what it gains by telling cases apart; larger is better.
        uncertainty: the score of the overall frequency, which no forecast changes.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float


def brier_decomposition(probability: Values, observed: Values) -> BrierDecomposition:
    r"""Splits the mean Brier score into reliability, resolution and uncertainty.

    With $\bar S$ the mean Brier score, $\hat p$ the recalibrated forecasts (isotonic
    regression of the outcomes on them) and $\bar y$ the frequency of a 1,
    $$\bar S(p) = \underbrace{\bar S(p) - \bar S(\hat p)}_{\text{reliability}}
      - \underbrace{(\bar S(\bar y) - \bar S(\hat p))}_{\text{resolution}}
      + \underbrace{\bar y (1 - \bar y)}_{\text{uncertainty}}.$$
    No bins are chosen, and the parts add up exactly; both are never negative.

    Args:
        probability: predicted probability of a 1.
        observed: outcomes, 0 or 1; it broadcasts against `probability`.

    Raises:
        ValueError: for no data, a probability outside [0, 1] or an outcome that is not
            0 or 1.

    Source: Dimitriadis, Gneiting and Jordan (2021), PNAS 118, e2016191118.
    """
    single = brier_score(probability, observed)
    p, y = np.broadcast_arrays(np.asarray(probability, float), observed)
    p, y = p.reshape(-1), np.asarray(y, float).reshape(-1)
    if p.size == 0:
        raise ValueError("`brier_decomposition` got no data.")
    score = float(single.mean())
    frequency = y.mean()
    recalibrated = float(np.mean(np.square(recalibrate(p, y) - y)))
    uncertainty = float(frequency * (1 - frequency))
    return BrierDecomposition(
        score, score - recalibrated, uncertainty - recalibrated, uncertainty
    )


def recalibrate(
    p: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Isotonic regression of outcomes on forecasts; equal forecasts stay equal."""
    values, group, counts = np.unique(p, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=y, minlength=len(values)) / counts
    fitted = np.asarray(isotonic_regression(means, weights=counts.astype(float)).x)
    return fitted[group]
