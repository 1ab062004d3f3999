"""Proper scores of predictive draws, as array functions; lower is better in all."""

import numpy as np
from jaxtyping import Float

from .._checks import check_open_interval
from ._ordered import crps as crps_of_ordered
from ._ordered import order
from ._values import Values

# Pairs of draws that an energy score holds at once.
MAX_PAIRS = 2**22


def crps(
    draws: Values, observed: Values, *, fair: bool = False, weights: Values = None
) -> Float[np.ndarray, "*obs"]:
    r"""Continuous ranked probability score of draws, for each datum.

    $$\mathrm{CRPS} = \frac{1}{S} \sum_s |x_s - y|
      - \frac{1}{2 S^2} \sum_{s,t} |x_s - x_t|,$$
    the score of the empirical distribution of the draws, in units of the data. With
    `fair`, $S^2$ becomes $S (S - 1)$: without bias for the law that the draws come
    from, so that ensembles of different size can be compared.

    Args:
        draws: predictive draws, the draws on the first axis.
        observed: the data; they broadcast against the other axes.
        fair: whether to remove the bias of a finite number of draws.
        weights: importance weights of the draws, which need not add up to 1; they
            broadcast against the draws, and take the place of $1 / S$.

    Raises:
        ValueError: for a single draw with `fair`, for weights with `fair`, for weights
            that are negative or NaN, or shapes that do not broadcast.

    Accuracy: 1e-12 relative in float64.
    Source: Gneiting and Raftery (2007), JASA 102, 359-378, eq. 20; Ferro (2014),
        Q. J. R. Meteorol. Soc. 140, 1917-1923, for the fair one.
    """
    x, y = _read("crps", draws, observed)
    num = len(x)
    if fair and num < 2:
        raise ValueError(
            "`crps(fair=True)` compares pairs of draws, and there is only one. Give "
            "two draws or more, or `fair=False`."
        )
    w = None if weights is None else _weights("crps", weights, x.shape, fair)
    return crps_of_ordered(order(x, w), np.broadcast_to(y, x.shape[1:]), fair=fair)


def interval_score(
    lower: Values, upper: Values, observed: Values, *, prob: float
) -> Float[np.ndarray, "*obs"]:
    r"""Score of a central interval: its width, and a penalty for what lies outside.

    $$u - l + \tfrac{2}{\alpha} (l - y)_+ + \tfrac{2}{\alpha} (y - u)_+,
      \quad \alpha = 1 - \mathrm{prob}.$$

    Args:
        lower: lower ends.
        upper: upper ends.
        observed: the data.
        prob: the probability that the interval should have.

    Raises:
        ValueError: if `prob` is outside (0, 1), or a lower end above its upper end.

    Source: Gneiting and Raftery (2007), JASA 102, 359-378, eq. 43.
    """
    check_open_interval("interval_score", "prob", prob, 0.0, 1.0)
    low, high, y = (np.asarray(v, dtype=float) for v in (lower, upper, observed))
    if np.any(low > high):
        raise ValueError(
            "`interval_score` got a `lower` end above its `upper` end, at index "
            f"{tuple(np.argwhere(low > high)[0].tolist())}. Are they swapped?"
        )
    outside = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    return np.asarray(high - low + 2.0 / (1.0 - prob) * outside)


def energy_score(
    draws: Values, observed: Values, *, fair: bool = False, weights: Values = None
) -> Float[np.ndarray, "*obs"]:
    r"""Energy score of vectors: the CRPS with Euclidean distances.

    $$\frac{1}{S} \sum_s \lVert x_s - y \rVert
      - \frac{1}{2 S^2} \sum_{s,t} \lVert x_s - x_t \rVert.$$

    Args:
        draws: predictive draws, the draws on the first axis, the vector on the last.
        observed: the data, the vector on the last axis.
        fair: whether to remove the bias of a finite number of draws.
        weights: as in `crps`, without the axis of the vector.

    Raises:
        ValueError: as in `crps`.

    Source: Gneiting and Raftery (2007), JASA 102, 359-378, eq. 22.
    """
    x, y = _read("energy_score", draws, observed)
    num = len(x)
    if fair and num < 2:
        raise ValueError(
            "`energy_score(fair=True)` compares pairs of draws, and there is only one. "
            "Give two draws or more, or `fair=False`."
        )
    shape = x.shape[:-1]
    if weights is None:
        w = np.full((num,) + (1,) * (len(shape) - 1), 1.0 / num)
    else:
        w = _weights("energy_score", weights, shape, fair)
    near = np.sum(w * np.linalg.norm(x - y, axis=-1), axis=0)
    block = max(1, MAX_PAIRS // max(x.size, 1))
    spread = np.zeros(shape[1:])
    for first in range(0, num, block):
        gaps = np.linalg.norm(x[first : first + block, None] - x[None], axis=-1)
        spread = spread + np.sum(w[first : first + block, None] * w * gaps, axis=(0, 1))
    return np.asarray(near - spread / 2.0 * (num / (num - 1) if fair else 1.0))


def brier_score(probability: Values, observed: Values) -> Float[np.ndarray, "*obs"]:
    r"""Brier score of probabilities of a binary outcome, $(p - y)^2$.

    Args:
        probability: predicted probability of a 1, averaged over draws.
        observed: outcomes, 0 or 1.

    Raises:
        ValueError: for a probability outside [0, 1] or an outcome that is not 0 or 1.

    Source: Brier (1950), Monthly Weather Review 78, 1-3, for two classes, halved.
    """
    p = np.asarray(probability, dtype=float)
    y = np.asarray(observed, dtype=float)
    if np.any((p < 0) | (p > 1)):
        bad = p[(p < 0) | (p > 1)].flat[0]
        raise ValueError(f"`brier_score` got the probability {bad}, outside [0, 1].")
    if np.any((y != 0) & (y != 1)):
        bad = y[(y != 0) & (y != 1)].flat[0]
        raise ValueError(
            f"`brier_score` got the outcome {bad}; outcomes are 0 or 1. For counts use "
            "`crps`."
        )
    return np.asarray(np.square(p - y))


def log_score(log_likelihood: Values) -> Float[np.ndarray, "*obs"]:
    r"""Minus the log of the mean predictive density, for each datum.

    $$-\log \frac{1}{S} \sum_s p(y \mid \theta_s).$$

    Args:
        log_likelihood: $\log p(y \mid \theta_s)$, the draws on the first axis.

    Raises:
        ValueError: without an axis of draws.

    Source: Good (1952), J. R. Statist. Soc. B 14, 107-114.
    """
    values = np.asarray(log_likelihood, dtype=float)
    if values.ndim == 0:
        raise ValueError(
            "`log_score` takes log likelihoods with the draws on the first axis, and "
            "got a number."
        )
    return np.asarray(np.log(len(values)) - np.logaddexp.reduce(values, axis=0))


def _read(
    owner: str, draws: Values, observed: Values
) -> tuple[Float[np.ndarray, "draw ..."], Float[np.ndarray, "..."]]:
    x, y = np.asarray(draws, dtype=float), np.asarray(observed, dtype=float)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(
            f"`{owner}` takes draws on the first axis, and got shape {x.shape}."
        )
    try:
        shape = np.broadcast_shapes(x.shape[1:], y.shape)
    except ValueError as error:
        raise ValueError(
            f"`{owner}`: the draws have shape {x.shape}, draws first, and the data "
            f"{y.shape}, which do not fit. Give the draws as (draw, ...) with the "
            "data's shape after it."
        ) from error
    return np.broadcast_to(x, (len(x), *shape)), y


def _weights(
    owner: str, weights: Values, shape: tuple[int, ...], fair: bool
) -> Float[np.ndarray, "draw ..."]:
    """Returns weights that add up to 1 over the draws."""
    if fair:
        raise ValueError(
            f"`{owner}` removes the bias of a number of draws, and weighted draws have "
            "none. Give `weights`, or `fair=True`."
        )
    w = np.asarray(weights, dtype=float)
    if not (np.all(w >= 0) and np.all(np.isfinite(w))):
        bad = w[~((w >= 0) & np.isfinite(w))].flat[0]
        raise ValueError(
            f"`{owner}(weights=...)` holds {bad}; weights are finite and at least 0."
        )
    w = w.reshape(w.shape + (1,) * (len(shape) - w.ndim))
    try:
        w = np.broadcast_to(w, shape)
    except ValueError as error:
        raise ValueError(
            f"`{owner}`: the weights have shape {w.shape}, and the draws {shape}."
        ) from error
    total = np.sum(w, axis=0)
    if np.any(total == 0):
        raise ValueError(
            f"`{owner}(weights=...)` are all 0 for the datum "
            f"{tuple(np.argwhere(total == 0)[0].tolist())}."
        )
    return w / total
