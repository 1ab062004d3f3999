"""Simultaneous bands for the empirical distribution function of uniform values."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import bdtr, gammaln

from .._checks import check_open_interval, check_positive_int

MAX_POINTS = 100
BISECTIONS = 40


class Band(NamedTuple):
    """A band for an empirical distribution function.

    Attributes:
        points: where it is evaluated, in (0, 1).
        lower: lower edge, a share.
        upper: upper edge, a share.
        coverage: the exact probability that the whole function lies in the band.
    """

    points: Float[np.ndarray, " k"]
    lower: Float[np.ndarray, " k"]
    upper: Float[np.ndarray, " k"]
    coverage: float


def ecdf_band(
    n: int,
    *,
    prob: float = 0.95,
    points: Float[np.ndarray, " k"] | None = None,
) -> Band:
    r"""Band that holds the ECDF of `n` independent uniform values as a whole.

    At each point $z$ the count is binomial; the band is its central interval with the
    tail $\gamma / 2$ on either side, the same for all points, and $\gamma$ is the
    largest with
    $$P\big(\forall i:\ l_i \le n \hat F(z_i) \le u_i\big) \ge \mathrm{prob},$$
    taken exactly: the counts are a Markov chain in $i$. Counts are whole numbers, so
    the coverage that is reached is above `prob` by the weight of one step.

    Args:
        n: how many values.
        prob: probability of the whole band.
        points: where the ECDF is looked at; by default up to 100 evenly spaced points.

    Raises:
        ValueError: for no values, or a probability or point outside (0, 1).

    Source: Saeilynoja, Buerkner and Vehtari (2022), Statistics and Computing 32, 32.
    """
    check_positive_int("ecdf_band", "n", n)
    check_open_interval("ecdf_band", "prob", prob, 0.0, 1.0)
    if points is None:
        num = min(n, MAX_POINTS)
        points = np.arange(1, num + 1) / (num + 1)
    points = np.asarray(points, dtype=float)
    if not (np.all(points > 0) and np.all(points < 1) and np.all(np.diff(points) > 0)):
        raise ValueError(
            f"`ecdf_band(points=...)` must rise within (0, 1), and runs from "
            f"{points.min()} to {points.max()}. Write for example "
            "`np.linspace(0.05, 0.95, 19)`."
        )
    tables = binomial_cdfs(n, points)
    # The pointwise level lies between Bonferroni's and that of one point.
    low, high = np.log((1 - prob) / len(points)) - 1.0, np.log(1 - prob)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        edges = band_edges(tables, np.exp(middle))
        if _coverage(n, points, *edges) >= prob:
            low = middle
        else:
            high = middle
    lower, upper = band_edges(tables, np.exp(low))
    coverage = _coverage(n, points, lower, upper)
    return Band(points, lower / n, upper / n, coverage)


def binomial_cdfs(n: int, points: Float[np.ndarray, " k"]) -> Float[np.ndarray, "k m"]:
    """Returns P(count <= j) for each point and j from 0 to n."""
    return bdtr(np.arange(n + 1)[None, :], n, points[:, None])


def band_edges(
    tables: Float[np.ndarray, "k m"], gamma: float
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Returns the central interval of each count: at most gamma / 2 on either side."""
    lower = np.argmax(tables > gamma / 2, axis=1)
    upper = np.argmax(tables >= 1 - gamma / 2, axis=1)
    return lower, upper


def _coverage(
    n: int,
    points: Float[np.ndarray, " k"],
    lower: Int[np.ndarray, " k"],
    upper: Int[np.ndarray, " k"],
) -> float:
    """Returns the probability that all counts lie between the edges."""
    counts, mass = np.array([0]), np.array([1.0])
    before = 0.0
    for point, low, high in zip(points, lower, upper, strict=True):
        reached = np.arange(low, high + 1)
        share = (point - before) / (1 - before)
        mass = mass @ _binomial_pmf(
            reached - counts[:, None], n - counts[:, None], share
        )
        counts, before = reached, point
    return float(mass.sum())


def _binomial_pmf(
    successes: Int[np.ndarray, "a b"], trials: Int[np.ndarray, "a 1"], share: float
) -> Float[np.ndarray, "a b"]:
    is_possible = (successes >= 0) & (successes <= trials)
    k = np.where(is_possible, successes, 0)
    log_mass = (
        gammaln(trials + 1)
        - gammaln(k + 1)
        - gammaln(trials - k + 1)
        + k * np.log(share)
        + (trials - k) * np.log1p(-share)
    )
    return np.where(is_possible, np.exp(log_mass), 0.0)
