"""Maximum likelihood of the laws of x > 0, which are exponential families."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ..._checks import check_choice
from .._law import as_float
from ._data import find_ties, read_data
from ._family import GIG, limits
from ._mixing_em import expectations_step
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
    held = _read_fix(owner, law, fix)
    count = len(law.arg_constraints) - len(held)
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
    if held:
        fitted = _fit_held(law, values / unit, weights / jnp.sum(weights), unit, held)
    else:
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
        fix=held,
    )


def _read_fix(owner: str, law: Any, fix: Mapping[str, Any] | None) -> dict[str, Any]:
    held = {}
    for name, given in (fix or {}).items():
        if name not in law.arg_constraints:
            known = ", ".join(f"`{k}`" for k in law.arg_constraints)
            raise ValueError(
                f"`{owner}(fix={{{name!r}: ...}})`: `{name}` cannot be fixed; those "
                f"that can are {known}."
            )
        value = np.asarray(as_float(owner, name, given))
        is_good = value.ndim == 0 and np.isfinite(value)
        if not (is_good and (name == "p" or value > 0)):
            raise ValueError(
                f"`{owner}(fix={{{name!r}: {given}}})`: give one finite number"
                f"{'.' if name == 'p' else ' above 0.'}"
            )
        held[name] = value
    if held and len(held) == len(law.arg_constraints):
        raise ValueError(
            f"`{owner}(fix={held})`: all parameters are fixed, and nothing is left to "
            "fit."
        )
    return held


def _fit_held(
    law: Any, y: Array, weights: Array, unit: Array, held: Mapping[str, Any]
) -> Any:
    """The law of y times `unit`, with these parameters; `weights` sum to 1."""
    mean, inverse = jnp.sum(weights * y), jnp.sum(weights / y)
    if "loc" in held:
        m = held["loc"] / unit
        return law(held["loc"], unit * m * m / (mean - 2.0 * m + m * m * inverse))
    if "concentration" in held:
        return law(unit * mean, held["concentration"])
    # The M step of a mixing law, whose expectations are those of the data.
    log_a = jnp.log(held["a"] * unit) if "a" in held else 0.0
    log_b = jnp.log(held["b"] / unit) if "b" in held else 0.0
    c = jnp.asarray([held.get("p", -0.5), log_a, log_b], y.dtype)
    free = [float(name not in held) for name in ("p", "a", "b")]
    log_mean = jnp.sum(weights * jnp.log(y))
    c = _held_step(c, mean, inverse, log_mean, jnp.diag(jnp.asarray(free, y.dtype)))
    own = {"p": c[0], "a": jnp.exp(c[1]) / unit, "b": jnp.exp(c[2]) * unit}
    return law(**(own | {k: jnp.asarray(v, y.dtype) for k, v in held.items()}))


_held_step = jax.jit(partial(expectations_step, GIG))


def _rescaled(law: Any, unit: Array) -> Any:
    """The law of unit times x."""
    if hasattr(law, "concentration"):
        return type(law)(law.loc * unit, law.concentration * unit)
    return type(law)(law.p, law.a / unit, law.b * unit)


def _verdict(law: Any) -> tuple[FitStatus, str]:
    omega = 1.0 if not hasattr(law, "a") else float(jnp.sqrt(law.a * law.b))
    if not hasattr(law, "a") or (omega > 0 and omega > 2.0 * _least_omega(law)):
        return FitStatus.CONVERGED, "Solved: the likelihood has one maximum."
    if bool(law.p > 0):
        return (
            FitStatus.GAMMA_LIMIT,
            "On the boundary b = 0, where the law is Gamma.",
        )
    return (
        FitStatus.INVERSE_GAMMA_LIMIT,
        "On the boundary a = 0, where the law is InverseGamma.",
    )


def _least_omega(law: Any) -> float:
    return limits(law.a.dtype).omega_low


def positive_errors(fit: LawFit) -> dict[str, np.ndarray]:
    """By the Fisher information; NaN at an edge of the family."""
    law: Any = fit.law
    names = tuple(law.arg_constraints)
    moves = np.asarray([name not in fit.fix for name in names], dtype=np.bool_)
    if fit.status != FitStatus.CONVERGED:
        return {
            k: np.asarray(np.nan) for k, free in zip(names, moves, strict=True) if free
        }
    n, chosen = fit.num_observations, np.flatnonzero(np.asarray(moves))
    if hasattr(law, "concentration"):
        m, k = float(law.loc), float(law.concentration)
        # Orthogonal: what is fixed does not matter.
        errors = np.sqrt(np.asarray([m**3 / (k * n), 2.0 * k**2 / n]))[chosen]
    else:
        information = np.asarray(law.fisher_information) * n
        # (p, a, b) from (p - 1, -a / 2, -b / 2).
        inverse = np.linalg.inv(information[np.ix_(chosen, chosen)])
        errors = np.sqrt(np.diag(inverse)) * np.asarray([1.0, 2.0, 2.0])[chosen]
    free = [name for name, is_free in zip(names, moves, strict=True) if is_free]
    return {k: np.asarray(e) for k, e in zip(free, errors, strict=True)}
