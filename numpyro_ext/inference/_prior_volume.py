r"""From the points of a nested run to weights, evidence and its error.

All of it runs on the host: the number of points differs from run to run, and a
compiled function would be compiled for each.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp
from scipy.stats import kstest

# Simulated sequences of prior volumes: enough for a standard error within 5 %.
NUM_SIMULATIONS = 200


class Weighted(NamedTuple):
    """What the prior volumes say of points in the order of their likelihood.

    Attributes:
        log_weights: log of the posterior weights, which sum to 1.
        log_volume: expected log of the prior volume above each point.
        log_evidence: mean over simulated volumes.
        log_evidence_error: standard deviation over simulated volumes.
        information: relative entropy of posterior to prior, in nats.
        ess: effective number of points, by Kish.
    """

    log_weights: Float[np.ndarray, " n"]
    log_volume: Float[np.ndarray, " n"]
    log_evidence: float
    log_evidence_error: float
    information: float
    ess: float


def num_live(
    log_likelihood: Float[np.ndarray, " n"], birth: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Counts the points that live when each point, in order of likelihood, dies.

    Points born at a contour count above it only, so that plateaus are right (Fowlie,
    Handley and Su 2021, MNRAS 503, 1199-1205). Births of draws of the prior are NaN.
    """
    is_first = np.isnan(birth)
    later = np.sort(birth[~is_first])
    born = is_first.sum() + np.searchsorted(later, log_likelihood, side="left")
    return born - np.arange(len(birth))


def weigh_points(
    random: np.random.Generator,
    log_likelihood: Float[np.ndarray, " n"],
    living: Int[np.ndarray, " n"],
) -> Weighted:
    r"""Weighs points in the order of their likelihood by simulated prior volumes.

    $X_i = X_{i-1} t_i$, where $t_i$ is the largest of $n_i$ uniform draws; a point
    has the volume between the midpoints to its neighbours.

    Source: Skilling (2006), Bayesian Analysis 1, 833-859.
    """
    shrinkage = random.exponential(size=(NUM_SIMULATIONS, len(living))) / living
    simulated = _log_shells(-np.cumsum(shrinkage, axis=1)) + log_likelihood
    totals = np.asarray(logsumexp(simulated, axis=1))
    log_weights = logsumexp(simulated - totals[:, None], axis=0)
    log_weights = log_weights - np.log(NUM_SIMULATIONS)
    weights = np.exp(log_weights)
    log_evidence = float(np.mean(totals))
    excess = np.where(weights > 0.0, log_likelihood - log_evidence, 0.0)
    return Weighted(
        log_weights,
        -np.cumsum(1.0 / living),
        log_evidence,
        float(np.std(totals, ddof=1)),
        float(weights @ excess),
        float(1.0 / np.sum(weights**2)),
    )


def _log_shells(
    log_volume: Float[np.ndarray, "simulation n"],
) -> Float[np.ndarray, "simulation n"]:
    """Returns the log of the volume that each point stands for; they sum to 1."""
    first = np.zeros((len(log_volume), 1))
    middle = np.logaddexp(log_volume[:, :-1], log_volume[:, 1:]) - np.log(2.0)
    outer = np.concatenate([first, middle], axis=1)
    # The last point has all that is left.
    ratio = np.exp(middle - outer[:, :-1])
    inner = np.log1p(-np.minimum(ratio, 1.0 - np.finfo(float).eps))
    shells = outer.copy()
    shells[:, :-1] += inner
    return shells


def rank_correlation(
    start_rank: Int[np.ndarray, " n"],
    rank: Int[np.ndarray, " n"],
    num_survivors: Int[np.ndarray, " n"],
) -> float:
    """Correlates the ranks of new points with those of the points they began at."""
    pairs = np.stack([start_rank, rank]) / (num_survivors + 1)
    pairs = pairs - pairs.mean(axis=1, keepdims=True)
    product = np.mean(pairs[0] * pairs[1])
    return float(product / max(np.prod(pairs.std(axis=1)), np.finfo(float).tiny))


def insertion_p_value(
    random: np.random.Generator,
    rank: Int[np.ndarray, " n"],
    num_ties: Int[np.ndarray, " n"],
    num_survivors: Int[np.ndarray, " n"],
) -> float:
    """Tests whether new points fall among the survivors as draws of the prior would.

    Ranks, and ties, are made continuous by a uniform draw, and compared with the
    uniform law by the test of Kolmogorov and Smirnov.

    Source: Fowlie, Handley and Su (2020), MNRAS 497, 5256-5263.
    """
    inside = random.uniform(size=rank.shape) * (num_ties + 1)
    share = (rank + inside) / (num_survivors + 1)
    return float(kstest(share, "uniform").pvalue)
