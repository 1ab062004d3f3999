"""`fit` of the laws."""

from collections.abc import Mapping
from typing import Any

from jax.typing import ArrayLike

from ..._checks import check_choice
from ._batch import BatchEM
from ._families_of_laws import is_univariate
from ._result import LawFit


def fit_mixture(
    law: type,
    x: ArrayLike,
    weights: ArrayLike | None,
    fix: Mapping[str, Any] | None,
    symmetric: bool,
    method: str,
    options: dict[str, Any],
) -> LawFit:
    """What stands behind `fit` of a normal mixture."""
    check_choice(f"{law.__name__}.fit", "method", method, ("em", "newton"))
    if method == "newton":
        if not is_univariate(law):
            raise ValueError(
                f"`{law.__name__}.fit(method='newton')` is for univariate laws; leave "
                "`method` out."
            )
        options = {"algorithm": "newton", "acceleration": "none"} | options
    return BatchEM(**options).fit(law, x, weights=weights, fix=fix, symmetric=symmetric)
