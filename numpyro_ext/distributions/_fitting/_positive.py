"""Maximum likelihood of the laws of x > 0, which are exponential families."""

import time
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ..._checks import check_choice
from ._data import find_ties, read_data
from ._result import LawFit
from ._verdict import FitStatus


def fit_positive(
    law: Any,
    x: ArrayLike,
    weights: ArrayLike | None,
    fix: Mapping[str, Any] | None,
    method: str,
) -> LawFit:
    """What stands behind `fit` of the generalized and the inverse Gaussian law."""
    begin = time.perf_counter()
    owner = f"{law.__name__}.fit"
    check_choice(owner, "method", method, ("em", "newton"))
    if fix:
        raise ValueError(
            f"`{owner}(fix={dict(fix)})`: nothing can be fixed here. Fit "
            "`InverseGaussian` for p = -1/2, or NumPyro's `Gamma` for b = 0."
        )
    count = len(law.arg_constraints)
    rows, weights = read_data(
        owner, x, weights, is_univariate=True, num_parameters=count
    )
    values = rows[:, 0]
    least = float(jnp.min(values))
    if least <= 0:
        bad = int(jnp.sum(values <= 0))
        first = int(jnp.argmax(values <= 0))
        raise ValueError(
            f"`{owner}`: {bad} of {values.shape[0]} values are not positive, the first "
            f"({values[first]}) at index {first}. The law is one of x > 0; leave them "
            "out, or shift the data."
        )
    # In units of the mean, so that no power overflows.
    unit = jnp.sum(weights * values) / jnp.sum(weights)
    fitted = _rescaled(law.fit_mle(values / unit, weights), unit)
    log_likelihood = float(jnp.sum(weights * fitted.log_prob(values)))
    status, message = _verdict(fitted)
    ties = find_ties(np.asarray(rows), np.asarray(weights))
    if ties.size > max(2.0, 0.01 * ties.total):
        message += f" {ties.size} of {ties.total} values are {ties.value[0]:.6g}."
    total = float(jnp.sum(weights))
    return LawFit(
        law=fitted,
        log_likelihood=log_likelihood,
        penalized_log_likelihood=log_likelihood,
        history=np.asarray([log_likelihood / total]),
        num_iterations=1,
        seconds=time.perf_counter() - begin,
        status=status,
        message=message,
        num_parameters=count,
        num_observations=total,
        information=(float("nan"), float("nan")),
        x=rows,
        weights=weights,
        fix={},
    )


def _rescaled(law: Any, unit: Array) -> Any:
    """The law of unit times x."""
    if hasattr(law, "concentration"):
        return type(law)(law.loc * unit, law.concentration * unit)
    return type(law)(law.p, law.a / unit, law.b * unit)


def _verdict(law: Any) -> tuple[FitStatus, str]:
    if not hasattr(law, "a") or bool((law.a > 0) & (law.b > 0)):
        return FitStatus.CONVERGED, "Solved: the likelihood has one maximum."
    if bool(law.b == 0):
        return (
            FitStatus.GAMMA_LIMIT,
            "On the boundary b = 0, where the law is Gamma.",
        )
    return (
        FitStatus.INVERSE_GAMMA_LIMIT,
        "On the boundary a = 0, where the law is InverseGamma.",
    )


def positive_errors(fit: LawFit) -> dict[str, np.ndarray]:
    """By the Fisher information; NaN at an edge of the family."""
    law: Any = fit.law
    names = tuple(law.arg_constraints)
    if fit.status != FitStatus.CONVERGED:
        return {name: np.asarray(np.nan) for name in names}
    n = fit.num_observations
    if hasattr(law, "concentration"):
        m, k = float(law.loc), float(law.concentration)
        errors = np.sqrt([m**3 / (k * n), 2.0 * k**2 / n])
    else:
        information = np.asarray(law.fisher_information) * n
        # (p, a, b) from (p - 1, -a / 2, -b / 2).
        errors = np.sqrt(np.diag(np.linalg.inv(information))) * [1.0, 2.0, 2.0]
    return {k: np.asarray(e) for k, e in zip(names, errors, strict=True)}
