"""What sorted predictive draws say: quantiles that cover as they should, and CRPS."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ._values import Values


class Ordered(NamedTuple):
    """Draws of each datum in rising order.

    Attributes:
        values: the draws on the last axis, where sorting is fast.
        weights: theirs, adding up to 1; None where all are equal.
    """

    values: Float[np.ndarray, "... draw"]
    weights: Float[np.ndarray, "... draw"] | None


def order(
    draws: Float[np.ndarray, "draw ..."],
    weights: Float[np.ndarray, "draw ..."] | None = None,
) -> Ordered:
    """Sorts draws, with weights that add up to 1 over the first axis."""
    x = np.ascontiguousarray(np.moveaxis(draws, 0, -1))
    if weights is None:
        return Ordered(np.sort(x, axis=-1), None)
    places = np.argsort(x, axis=-1)
    w = np.ascontiguousarray(np.moveaxis(weights, 0, -1))
    return Ordered(
        np.take_along_axis(x, places, axis=-1), np.take_along_axis(w, places, axis=-1)
    )


def quantiles(ordered: Ordered, probs: Values) -> Float[np.ndarray, "prob ..."]:
    r"""Quantiles such that the next value lies below with just that probability.

    The draw of rank $k$ of $S$ is the quantile of $k / (S + 1)$ (type 6 of Hyndman and
    Fan, 1996); between ranks it is linear, beyond them the outermost draw. With weights
    $w$, $S$ is $1 / \sum w^2$ and the rank $k = S (W_k - w_k / 2) + 1/2$, where $W$
    adds up the weights.
    """
    x, w = ordered
    num = x.shape[-1]
    p = np.asarray(probs, dtype=float).reshape(-1)
    if w is None:
        place = np.clip(p * (num + 1) - 1, 0, num - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, num - 1)
        share = place - low
        return np.moveaxis((1 - share) * x[..., low] + share * x[..., high], -1, 0)
    size = 1.0 / np.sum(np.square(w), axis=-1, keepdims=True)
    at = (size * (np.cumsum(w, axis=-1) - 0.5 * w) + 0.5) / (size + 1.0)
    # A draw without weight is no end of the sample.
    least = np.min(at, axis=-1, where=w > 0, initial=1.0)
    most = np.max(at, axis=-1, where=w > 0, initial=0.0)
    return np.stack([_interpolate(np.clip(prob, least, most), at, x) for prob in p])


def crps(
    ordered: Ordered, y: Float[np.ndarray, "*obs"], *, fair: bool = False
) -> Float[np.ndarray, "*obs"]:
    """Continuous ranked probability score; `fair` is for draws without weights."""
    x, w = ordered
    num = x.shape[-1]
    # Centred for the digits.
    centred = x - x[..., [num // 2]]
    if w is None:
        # sum over pairs |x_s - x_t| = 2 sum_i (2 i + 1 - S) x_(i)
        ranks = 2 * np.arange(num) + 1 - num
        pairs = num * (num - 1) if fair else num**2
        spread = np.sum(ranks * centred, axis=-1) / pairs
        return np.asarray(np.mean(np.abs(x - y[..., None]), axis=-1) - spread)
    # sum over pairs w_s w_t |x_s - x_t| = 2 sum_i w_i (2 W_i - w_i - 1) x_(i)
    ranks = 2.0 * np.cumsum(w, axis=-1) - w - 1.0
    spread = np.sum(w * ranks * centred, axis=-1)
    return np.asarray(np.sum(w * np.abs(x - y[..., None]), axis=-1) - spread)


def _interpolate(
    prob: Float[np.ndarray, "..."],
    at: Float[np.ndarray, "... draw"],
    x: Float[np.ndarray, "... draw"],
) -> Float[np.ndarray, "*obs"]:
    """Returns `np.interp` of each row."""
    last = x.shape[-1] - 1
    count = np.count_nonzero(at < prob[..., None], axis=-1)[..., None]
    ends = np.clip(count - 1, 0, last), np.clip(count, 0, last)
    (low, high), (x_low, x_high) = (
        [np.take_along_axis(value, end, axis=-1)[..., 0] for end in ends]
        for value in (at, x)
    )
    gap = high - low
    share = np.where(gap > 0, (prob - low) / np.where(gap > 0, gap, 1.0), 0.0)
    return x_low + np.clip(share, 0.0, 1.0) * (x_high - x_low)
