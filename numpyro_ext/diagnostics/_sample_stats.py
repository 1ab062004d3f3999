"""Convergence statistics of many scalars at once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import fft
from scipy.special import ndtri
from scipy.stats import rankdata

# Scalars that are worked on together: what fits the cache is what is fast.
CHUNK = 128
MIN_DRAWS = 4
TAILS = (0.05, 0.95)


class SampleStats(NamedTuple):
    """Statistics of scalars, one entry for each; NaN where they mean nothing.

    Attributes:
        mean: over all draws.
        sd: over all draws, with n - 1.
        lower: lower end of the central interval.
        upper: upper end.
        ess_bulk: effective sample size of the rank-normalised draws.
        ess_tail: the smaller one of the 5 % and the 95 % quantile.
        r_hat: rank-normalised split R-hat, the larger one of bulk and tails; NaN for
            one chain.
        mcse_mean: Monte Carlo standard error of the mean.
        mcse_sd: Monte Carlo standard error of the sd.
    """

    mean: Float[np.ndarray, " n"]
    sd: Float[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]
    ess_bulk: Float[np.ndarray, " n"]
    ess_tail: Float[np.ndarray, " n"]
    r_hat: Float[np.ndarray, " n"]
    mcse_mean: Float[np.ndarray, " n"]
    mcse_sd: Float[np.ndarray, " n"]


def sample_stats(
    draws: Float[np.ndarray, "chain draw n"], *, ci_prob: float
) -> SampleStats:
    """Returns the statistics of the last axis, over chains and draws.

    Source: Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021), Bayesian Analysis
        16, 667-718; Geyer (1992), Statistical Science 7, 473-483, for the sequences.
    """
    num = draws.shape[2]
    chunks = [
        _of_chunk(
            np.ascontiguousarray(np.moveaxis(draws[:, :, i : i + CHUNK], 2, 0)), ci_prob
        )
        for i in range(0, num, CHUNK)
    ]
    if not chunks:
        return SampleStats(*(np.zeros(0) for _ in SampleStats._fields))
    return SampleStats(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))


def _of_chunk(x: Float[np.ndarray, "n chain draw"], ci_prob: float) -> SampleStats:
    x = x.astype(float)
    num, num_chains, num_draws = x.shape
    flat = x.reshape(num, -1)
    is_bad = ~np.isfinite(flat).all(axis=1)
    mean, sd = flat.mean(axis=1), _sd(flat)
    tail = (1 - ci_prob) / 2
    ordered = np.sort(flat, axis=1)
    lower, upper = np.quantile(ordered, [tail, 1 - tail], axis=1)
    none = np.full(num, np.nan)
    if num_draws < MIN_DRAWS:
        return SampleStats(mean, sd, lower, upper, none, none, none, none, none)
    split = _split(x)
    bulk = _normal_scores(split)
    median = np.median(split.reshape(num, -1), axis=1)
    folded = _normal_scores(np.abs(split - median[:, None, None]))
    # Draws of two values fold to a constant, which says nothing about the tails.
    r_hat = none if num_chains < 2 else np.fmax(_r_hat(bulk), _r_hat(folded))
    quantiles = np.quantile(ordered, TAILS, axis=1)
    below = [_split((x <= q[:, None, None]).astype(float)) for q in quantiles]
    squares = np.square(x - mean[:, None, None])
    variance = squares.mean(axis=(1, 2))
    spread = np.square(squares).mean(axis=(1, 2)) - variance**2
    with np.errstate(invalid="ignore", divide="ignore"):
        mcse_mean = sd / np.sqrt(_ess(split))
        mcse_sd = np.sqrt(spread / _ess(_split(squares)) / variance / 4)
    return SampleStats(
        mean,
        sd,
        lower,
        upper,
        np.where(is_bad, np.nan, _ess(bulk)),
        np.where(is_bad, np.nan, np.minimum(_ess(below[0]), _ess(below[1]))),
        np.where(is_bad, np.nan, r_hat),
        np.where(is_bad, np.nan, mcse_mean),
        np.where(is_bad, np.nan, mcse_sd),
    )


def _sd(flat: Float[np.ndarray, "n draws"]) -> Float[np.ndarray, " n"]:
    return flat.std(axis=1, ddof=1) if flat.shape[1] > 1 else np.full(len(flat), np.nan)


def _split(x: Float[np.ndarray, "n chain draw"]) -> Float[np.ndarray, "n two half"]:
    """Makes two chains of each; the middle draw of an odd number is left out."""
    half = x.shape[2] // 2
    return np.concatenate([x[:, :, :half], x[:, :, -half:]], axis=1)


def _normal_scores(
    x: Float[np.ndarray, "n chain draw"],
) -> Float[np.ndarray, "n chain draw"]:
    """Replaces draws by the normal quantiles of their ranks (Blom's)."""
    flat = x.reshape(len(x), -1)
    size = flat.shape[1]
    table = ndtri((np.arange(1, size + 1) - 3 / 8) / (size + 1 / 4))
    order = np.argsort(flat, axis=1)
    scores = np.empty_like(flat)
    np.put_along_axis(scores, order, np.broadcast_to(table, flat.shape), axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)
    tied = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    if tied.size:
        ranks = rankdata(flat[tied], axis=1, method="average")
        scores[tied] = ndtri((ranks - 3 / 8) / (size + 1 / 4))
    return scores.reshape(x.shape)


def _r_hat(x: Float[np.ndarray, "n chain draw"]) -> Float[np.ndarray, " n"]:
    num_draws = x.shape[2]
    between = num_draws * x.mean(axis=2).var(axis=1, ddof=1)
    within = x.var(axis=2, ddof=1).mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt((between / within + num_draws - 1) / num_draws)


def _ess(x: Float[np.ndarray, "n chain draw"]) -> Float[np.ndarray, " n"]:
    """Effective sample size by Geyer's initial monotone sequence."""
    num, num_chains, num_draws = x.shape
    size = num_chains * num_draws
    covariance = _autocovariance(x)
    within = covariance[:, 0] * num_draws / (num_draws - 1.0)
    total = covariance[:, 0].copy()
    if num_chains > 1:
        total += x.mean(axis=2).var(axis=1, ddof=1)
    last = max(-(-(num_draws - 2) // 2) - 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = 1.0 - (within[:, None] - covariance) / total[:, None]
    rho[:, 0] = 1.0
    even, odd = rho[:, 0 : 2 * last + 1 : 2], rho[:, 1 : 2 * last + 2 : 2]
    pairs = even + odd
    # The first pair that is not positive ends the sequence; it counts by half.
    ends = pairs <= 0
    stop = np.where(ends.any(axis=1), np.argmax(ends, axis=1), last)
    place = np.arange(num)
    monotone = np.minimum.accumulate(pairs, axis=1)
    before = np.where(np.arange(last + 1) < stop[:, None], monotone, 0.0).sum(axis=1)
    end_even, end_pair = even[place, stop], pairs[place, stop]
    rest = np.where((end_even > 0) | (end_pair >= 0), end_even, 0.0)
    tau = np.maximum(-1.0 + 2.0 * before + rest, 1 / np.log10(size))
    is_constant = np.ptp(x.reshape(num, -1), axis=1) < np.finfo(float).resolution
    return np.where(is_constant, size, size / tau)


def _autocovariance(
    x: Float[np.ndarray, "n chain draw"],
) -> Float[np.ndarray, "n draw"]:
    """Mean over chains of the autocovariance: one inverse transform for all chains."""
    num_draws = x.shape[2]
    length = fft.next_fast_len(2 * num_draws, real=True)
    centred = x - x.mean(axis=2, keepdims=True)
    spectrum = np.asarray(fft.rfft(centred, n=length, axis=2))
    power = np.square(np.abs(spectrum)).mean(axis=1)
    whole = np.asarray(fft.irfft(power, n=length, axis=1))
    return whole[:, :num_draws] / num_draws
