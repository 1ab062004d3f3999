"""How strongly the scale is pulled towards a target, and where to."""

from typing import Any

import numpy as np
from jax import Array

from ..._checks import check_choice


def shrinkage_of(
    owner: str, fitter: Any, x: Array, weights: Array
) -> tuple[float, np.ndarray | None]:
    """Pseudo-observations for each observation, and the target matrix."""
    wanted = fitter.shrinkage
    if isinstance(wanted, str):
        check_choice(owner, "shrinkage", wanted, ("ledoit-wolf",))
    elif not 0 <= wanted < 1:
        raise ValueError(
            f"`{owner}(shrinkage={wanted})`: the intensity must lie in [0, 1), or be "
            "'ledoit-wolf'."
        )
    if wanted == 0.0:
        return 0.0, None
    rows = np.asarray(x, np.float64)
    w = np.asarray(weights, np.float64)
    centred = rows - np.average(rows, axis=0, weights=w)
    covariance = (centred * (w / w.sum())[:, None]).T @ centred
    target = _target(owner, fitter.target, covariance)
    if isinstance(wanted, str):
        wanted = ledoit_wolf(centred, w, covariance, target)
    # The M step divides by 1 + strength, so that the weights are 1 - tau and tau.
    return wanted / (1.0 - wanted), target


def _target(owner: str, target: Any, covariance: np.ndarray) -> np.ndarray:
    d = covariance.shape[0]
    if isinstance(target, str):
        check_choice(owner, "target", target, ("diagonal", "identity"))
        if target == "diagonal":
            return np.diag(np.diag(covariance))
        return np.eye(d) * np.trace(covariance) / d
    matrix = np.asarray(target, np.float64)
    if matrix.shape != (d, d) or not np.allclose(matrix, matrix.T):
        raise ValueError(
            f"`{owner}`: `target` of shape {matrix.shape} must be a symmetric matrix "
            f"of shape {(d, d)}."
        )
    return matrix


def ledoit_wolf(
    centred: np.ndarray, w: np.ndarray, covariance: np.ndarray, target: np.ndarray
) -> float:
    """Intensity of least expected squared error, of the sample covariance.

    Source: Ledoit and Wolf (2004), J. Multivariate Analysis 88, 365-411, section 3.3.
    """
    share = w / w.sum()
    norms = np.sum(centred * centred, axis=1) ** 2
    noise = np.sum(share * share * norms) - np.sum(share * share) * np.sum(
        covariance**2
    )
    gap = np.sum((covariance - target) ** 2)
    return float(np.clip(noise / max(gap, 1e-300), 0.0, 0.99))
