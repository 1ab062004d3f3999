"""Whether values in (0, 1) are uniform, where they need not be independent."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import betainc

from ._bands import band_edges, binomial_cdfs

# Simulated sets that a p-value or a band is made of, and how many values in all.
NUM_SETS = 999
MIN_SETS = 199
MAX_VALUES = 500_000
# A tangent at the ends of (0, 1) is cut here.
SMALLEST_TAIL = 1e-15
# Two statistics that differ by rounding are equal.
ROUNDING = 1e-9


def num_sets(n: int) -> int:
    """Returns how many sets of `n` values are worth simulating."""
    return int(np.clip(MAX_VALUES // max(n, 1), MIN_SETS, NUM_SETS))


def departure(values: Float[np.ndarray, "set n"]) -> Float[np.ndarray, " set"]:
    r"""Measures how far sets of values are from uniform; larger is farther.

    Each order statistic $u_{(i)}$ is Beta(i, n + 1 - i) if the values are uniform and
    independent; the two-sided tails $p_i$ of all are put together as the mean of
    $\tan((1/2 - p_i) \pi)$ over those below 1/2. It sees the tails, where a wrong scale
    shows, as well as the middle.

    Source: Tesso and Vehtari (2026), arXiv:2603.02928, as `pot_c` of ArviZ.
    """
    u = np.sort(values, axis=1)
    n = u.shape[1]
    rank = np.arange(1, n + 1)
    below = betainc(rank, n + 1 - rank, u)
    tail = np.clip(2.0 * np.minimum(below, 1.0 - below), SMALLEST_TAIL, 1.0)
    return np.mean(np.where(tail < 0.5, np.tan((0.5 - tail) * np.pi), 0.0), axis=1)


def p_value(
    values: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "set n d"]
) -> float:
    """Ranks the departure of values among those of sets that are as they should be.

    Entries of vectors are judged one by one, and the largest departure counts. Where
    the sets do not know how entries depend, the level of each is that of one of `d`
    independent ones (Sidak's), which is safe for positive dependence.
    """
    own = _largest_departure(values[None])[0]
    as_far = np.sum(_largest_departure(reference) >= own * (1 - ROUNDING))
    return float((1 + as_far) / (1 + len(reference)))


def _largest_departure(values: Float[np.ndarray, "set n d"]) -> np.ndarray:
    return np.max([departure(values[..., j]) for j in range(values.shape[2])], axis=0)


def band(
    points: Float[np.ndarray, " k"],
    reference: Float[np.ndarray, "set n"],
    prob: float,
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Returns the ends of a band that holds `prob` of the reference functions whole.

    The band of `ecdf_band`, its pointwise level taken from the sets, which may be
    dependent within.
    """
    n = reference.shape[1]
    tables = binomial_cdfs(n, points)
    tails = smallest_tail(_counts(reference, points), tables)
    level = np.quantile(tails, 1.0 - prob, method="lower")
    lower, upper = band_edges(tables, level * (1 - ROUNDING))
    return lower / n, upper / n


def smallest_tail(
    counts: Int[np.ndarray, "set k"], tables: Float[np.ndarray, "k m"]
) -> Float[np.ndarray, " set"]:
    """Returns the smallest two-sided binomial tail of each set over the points."""
    above = np.concatenate([np.ones((len(tables), 1)), 1.0 - tables[:, :-1]], axis=1)
    tails = 2.0 * np.minimum(tables, above)
    return np.min(tails[np.arange(len(tables)), counts], axis=1)


def _counts(
    values: Float[np.ndarray, "set n"], points: Float[np.ndarray, " k"]
) -> Int[np.ndarray, "set k"]:
    """Counts the values of each set up to each point."""
    cells = len(points) + 1
    cell = np.searchsorted(points, values, side="left")
    cell += cells * np.arange(len(values))[:, None]
    found = np.bincount(cell.reshape(-1), minlength=cells * len(values))
    return np.cumsum(found.reshape(-1, cells), axis=1)[:, :-1]
