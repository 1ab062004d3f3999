"""Quantiles of predictive draws that cover as much as they say."""

import numpy as np
from jaxtyping import Float

from ._values import Values


def quantiles(
    draws: Float[np.ndarray, "draw ..."],
    probs: Values,
    weights: Float[np.ndarray, "draw ..."] | None = None,
) -> Float[np.ndarray, "prob ..."]:
    r"""Quantiles of draws, weighted or not, so that $P(Y \le q_p) = p$.

    The draw of rank $k$ of $S$ is the quantile of $k / (S + 1)$, as for the next value
    of a sample (type 6 of Hyndman and Fan); between ranks it is linear, beyond them the
    outermost draw. With weights $w$, $S$ is $1 / \sum w^2$ and the rank
    $k = S (W_k - w_k / 2) + 1/2$, where $W$ adds up the weights.

    Args:
        draws: the draws on the first axis.
        probs: probabilities.
        weights: weights that add up to 1 over the first axis.
    """
    num = len(draws)
    p = np.asarray(probs, dtype=float).reshape(-1)
    if weights is None:
        x = np.sort(draws, axis=0)
        place = np.clip(p * (num + 1) - 1, 0, num - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, num - 1)
        share = (place - low).reshape(-1, *(1,) * (draws.ndim - 1))
        return (1 - share) * x[low] + share * x[high]
    order = np.argsort(draws, axis=0)
    x = np.take_along_axis(draws, order, axis=0)
    w = np.take_along_axis(weights, order, axis=0)
    size = 1.0 / np.sum(np.square(w), axis=0)
    at = (size * (np.cumsum(w, axis=0) - 0.5 * w) + 0.5) / (size + 1.0)
    return _interpolate(p, at, x)


def _interpolate(
    p: Float[np.ndarray, " prob"],
    at: Float[np.ndarray, "draw ..."],
    x: Float[np.ndarray, "draw ..."],
) -> Float[np.ndarray, "prob ..."]:
    """Returns `np.interp` of each column."""
    last = len(x) - 1
    found = []
    for prob in p:
        high = np.sum(at < prob, axis=0, keepdims=True)
        low = np.clip(high - 1, 0, last)
        high = np.clip(high, 0, last)
        at_low, at_high = (np.take_along_axis(at, i, axis=0)[0] for i in (low, high))
        x_low, x_high = (np.take_along_axis(x, i, axis=0)[0] for i in (low, high))
        gap = at_high - at_low
        share = np.where(gap > 0, (prob - at_low) / np.where(gap > 0, gap, 1.0), 0.0)
        found.append(x_low + np.clip(share, 0.0, 1.0) * (x_high - x_low))
    return np.stack(found)
