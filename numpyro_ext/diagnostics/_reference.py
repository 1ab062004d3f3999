"""What transforms and outcomes look like if the model is right."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtr

from ._outcomes import Outcome
from ._uniformity import MIN_SETS, num_sets

# Beyond it, the correlation of single data is too weak to matter, and costs n^3.
MAX_CORRELATED = 2000
# The share of its variance that a datum keeps, however much leverage it has.
LEAST_SHARE = 1e-3


def reference_transforms(
    outcome: Outcome, entry: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "set n"], str]:
    """Returns sets of transforms as the model would make them, and how they depend.

    Data held out share the error of the parameters: replicated data sets, one for each
    draw, share it too. Data left out in turn predict each other: the correlation of
    their errors is that of a Gaussian model with the same means and variances.
    """
    draws = outcome.predicted.draws
    if outcome.split == "held-out" and draws is not None and len(draws) >= MIN_SETS:
        chosen = np.linspace(0, len(draws) - 1, num_sets(outcome.size)).astype(int)
        ranks = _ranks(draws[:, :, entry], rng)
        return ranks[np.unique(chosen)], "replicated data sets"
    num = num_sets(outcome.size)
    root = None
    if outcome.split == "LOO":
        root = _root_of_correlation(outcome, entry)
    if root is None:
        return rng.random((num, outcome.size)), "independent data"
    normal = rng.standard_normal((num, outcome.size)) @ root.T
    return ndtr(normal), "correlated leave-one-out errors"


def simulated_events(
    outcome: Outcome, p: Float[np.ndarray, " n"], rng: np.random.Generator
) -> Bool[np.ndarray, "set n"]:
    """Returns binary outcomes as the model would make them."""
    draws = outcome.predicted.draws
    num = num_sets(outcome.size)
    if outcome.split == "held-out" and draws is not None and len(draws) >= MIN_SETS:
        chosen = np.unique(np.linspace(0, len(draws) - 1, num).astype(int))
        return draws[chosen, :, 0] == 1
    return rng.random((num, outcome.size)) < p


def _ranks(
    draws: Float[np.ndarray, "draw n"], rng: np.random.Generator
) -> Float[np.ndarray, "draw n"]:
    """Returns the randomised rank of each draw among all, in (0, 1)."""
    ordered = np.sort(draws, axis=0)
    if np.any(ordered[1:] == ordered[:-1]):
        order = np.lexsort((rng.random(draws.shape), draws), axis=0)
    else:
        order = np.argsort(draws, axis=0)
    ranks = np.empty(draws.shape)
    steps = np.arange(len(draws), dtype=float)[:, None]
    np.put_along_axis(ranks, order, steps + rng.random(draws.shape), axis=0)
    return ranks / len(draws)


def _root_of_correlation(
    outcome: Outcome, entry: int
) -> Float[np.ndarray, "n n"] | None:
    r"""Returns a root of the correlation of leave-one-out errors.

    For $y \sim \mathrm{Normal}(\mu, V)$ with posterior covariance $C$ of $\mu$, the
    error of datum $i$ given the others is $(P y)_i / P_{ii}$ with
    $P = V^{-1} - V^{-1} C V^{-1}$: the correlation of two is
    $-C_{ij} / \sqrt{(V_i - C_{ii}) (V_j - C_{jj})}$.
    """
    laws = outcome.predicted.laws
    if "mean" not in laws or "variance" not in laws or outcome.size > MAX_CORRELATED:
        return None
    mean = laws["mean"][..., entry]
    variance = laws["variance"][..., entry].mean(axis=0)
    if len(mean) < 2 or not np.all(variance > 0):
        return None
    centred = (mean - mean.mean(axis=0)) / np.sqrt(variance)
    shared = centred.T @ centred / (len(mean) - 1)
    kept = np.sqrt(np.maximum(1.0 - np.diag(shared), LEAST_SHARE))
    correlation = -shared / np.outer(kept, kept)
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return root / np.linalg.norm(root, axis=1, keepdims=True)
