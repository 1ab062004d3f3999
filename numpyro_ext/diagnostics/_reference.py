"""What transforms and outcomes look like if the model is right."""

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import eigh
from scipy.special import ndtr

from ._outcomes import Outcome
from ._uniformity import MIN_SETS, num_sets

REPLICATED = "replicated data sets"
CORRELATED = "correlated leave-one-out errors"
INDEPENDENT = "independent data"
# Beyond it, the correlation of single data is too weak to matter, and costs n^3.
MAX_CORRELATED = 2000
# Directions that the data share less of than this are taken as their own.
LEAST_SHARED = 1e-2
# The share of its variance that a datum keeps, however much leverage it has.
LEAST_KEPT = 1e-6


def reference_transforms(
    outcome: Outcome, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "set n d"], str]:
    """Returns sets of transforms as the model would make them, and how they depend.

    Data held out share the error of the parameters: replicated data sets, one for each
    draw, share it too. Data left out in turn predict each other: the correlation of
    their errors is that of a Gaussian model with the same means and variances.
    """
    num = num_sets(outcome.observed.size)
    replicated = _replicated(outcome, num)
    if replicated is not None:
        draws, chosen = replicated
        return _ranks(draws, rng)[chosen], REPLICATED
    laws = outcome.predicted.laws
    if (
        outcome.split == "LOO"
        and not outcome.is_vector
        and {"mean", "variance"} <= laws.keys()
        and outcome.size <= MAX_CORRELATED
    ):
        variance = laws["variance"][..., 0].mean(axis=0)
        if np.all(variance > 0) and len(laws["mean"]) > 1:
            errors = correlated_errors(laws["mean"][..., 0], variance, num, rng)
            return ndtr(errors)[..., None], CORRELATED
    return rng.random((num, *outcome.observed.shape)), INDEPENDENT


def simulated_categories(
    outcome: Outcome,
    probs: Float[np.ndarray, "n category"],
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "set n"], str]:
    """Returns sets of categories as the model would make them, and how they depend."""
    num = num_sets(outcome.size)
    replicated = _replicated(outcome, num)
    if replicated is not None:
        draws, chosen = replicated
        return draws[chosen, :, 0].astype(int), REPLICATED
    ends = np.cumsum(probs, axis=1)[:, :-1]
    uniform = rng.random((num, len(probs), 1))
    return np.sum(uniform > ends, axis=2), INDEPENDENT


def _replicated(
    outcome: Outcome, num: int
) -> tuple[Float[np.ndarray, "draw n d"], Int[np.ndarray, " set"]] | None:
    """Returns draws of data held out, and which of them to take, if there are enough.

    Those of the data of the fit know these data, and are no reference.
    """
    draws = outcome.predicted.draws
    if outcome.split != "held-out" or draws is None or len(draws) < MIN_SETS:
        return None
    return draws, np.unique(np.linspace(0, len(draws) - 1, num).astype(int))


def _ranks(
    draws: Float[np.ndarray, "draw n d"], rng: np.random.Generator
) -> Float[np.ndarray, "draw n d"]:
    """Returns the randomised rank of each draw among all, in (0, 1)."""
    ordered = np.sort(draws, axis=0)
    if np.any(ordered[1:] == ordered[:-1]):
        order = np.lexsort((rng.random(draws.shape), draws), axis=0)
    else:
        order = np.argsort(draws, axis=0)
    ranks = np.empty(draws.shape)
    steps = np.arange(len(draws), dtype=float)[:, None, None]
    np.put_along_axis(ranks, order, steps + rng.random(draws.shape), axis=0)
    return ranks / len(draws)


def correlated_errors(
    mean: Float[np.ndarray, "draw n"],
    variance: Float[np.ndarray, " n"],
    num: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "set n"]:
    r"""Draws standardised leave-one-out errors of a Gaussian model.

    For $y \sim \mathrm{Normal}(\mu, V)$ with posterior covariance $C$ of $\mu$, the
    error of datum $i$ given the others is $(P y)_i / P_{ii}$ with
    $P = V^{-1} - V^{-1} C V^{-1}$: the correlation of two is
    $-C_{ij} / \sqrt{(V_i - C_{ii}) (V_j - C_{jj})}$.

    Args:
        mean: draws of $\mu$.
        variance: $V$.
        num: how many sets.
        rng: generator.
    """
    centred = (mean - mean.mean(axis=0)) / np.sqrt(variance)
    shared = centred.T @ centred / (len(mean) - 1)
    values, vectors = eigh(shared, subset_by_value=(LEAST_SHARED, np.inf))
    values = np.minimum(values, 1.0)
    normal = rng.standard_normal((num, len(variance)))
    taken = (normal @ vectors) * (1.0 - np.sqrt(1.0 - values))
    kept = 1.0 - np.sum(np.square(vectors) * values, axis=1)
    return (normal - taken @ vectors.T) / np.sqrt(np.maximum(kept, LEAST_KEPT))
