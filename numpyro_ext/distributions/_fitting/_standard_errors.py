"""Standard errors by the observed information, in the identified parameters."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from ._bessel import Moments, bessel_moments
from ._density import LEAST, Params, Prior, geometry, row_log_density
from ._families_of_laws import FAMILIES, fixed_tril, is_univariate, mixing_fix
from ._family import Family, log_mean_gig, mixing_moments, mixing_params
from ._gauge import FREE, MEAN, gauge_of
from ._m_step import tril_of_factor
from ._positive import positive_errors
from ._result import LawFit
from ._verdict import FitStatus

# More parameters than that would need a Hessian of hundreds of megabytes.
MAX_PARAMETERS = 600


def standard_errors(fit: LawFit) -> dict[str, np.ndarray]:
    """See `LawFit.standard_errors`."""
    if type(fit.law) not in FAMILIES:
        return positive_errors(fit)
    family = FAMILIES[type(fit.law)]
    base, shapes = _base(fit, family)
    free = _free(fit, family)
    size = sum(int(np.prod(shapes[name])) for name in free)
    out = {name: np.full(shapes[name], np.nan) for name in free}
    if missing_reason(family, fit.status, size, fit.fix):
        return out
    has_cusp = family.kind == "gamma" and not is_smooth(fit)
    moving = tuple(name for name in free if not (has_cusp and name == "loc"))
    if gauge_of(fit.fix)[0] == MEAN:
        reported = _reported(family, base)
        errors = _errors_of_law(type(fit.law), moving, fit.x, fit.weights, reported)
    else:
        rank = shapes["cov_factor"][1] if _is_low_rank(fit) else 0
        errors = _errors(family, moving, fit.x, fit.weights, base, rank)
        if rank > 1:
            # A rotation of the factors changes nothing.
            errors["cov_factor"] = out["cov_factor"]
    return {name: np.asarray((out | errors)[name]) for name in free}


def missing_reason(
    family: Family, status: FitStatus, size: int, fix: Mapping[str, Any]
) -> str:
    """Why there are no standard errors, or nothing."""
    if status not in (FitStatus.CONVERGED, FitStatus.WEAKLY_IDENTIFIED):
        return "the fit is no maximum inside the family"
    if size > MAX_PARAMETERS:
        return f"{size} parameters are more than {MAX_PARAMETERS}"
    gauge, _ = gauge_of(fix)
    if gauge not in (FREE, MEAN):
        return f"a scale or a skew is fixed together with `{gauge}`"
    return ""


def is_smooth(fit: LawFit) -> bool:
    """Whether a variance gamma density has two derivatives at loc.

    Otherwise loc is found faster than by the root of n, and has no standard error; the
    others are as if it were known.
    """
    law: Any = fit.law
    return float(law.concentration) > 0.5 * (fit.x.shape[1] + 2)


def summary(fit: LawFit) -> pd.DataFrame:
    """See `LawFit.summary`."""
    if type(fit.law) in FAMILIES:
        family = FAMILIES[type(fit.law)]
        base, _ = _base(fit, family)
        values = _reported(family, base)
    else:
        values = fit.law.get_args()
    rows = {}
    for name, errors in fit.standard_errors.items():
        flat = np.ravel(np.asarray(values[name]))
        for i, (value, error) in enumerate(zip(flat, np.ravel(errors), strict=True)):
            label = name if flat.size == 1 else f"{name}[{_index(name, i)}]"
            rows[label] = {
                "estimate": value,
                "standard_error": error,
                "low_95": value - 1.959964 * error,
                "high_95": value + 1.959964 * error,
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def _index(name: str, i: int) -> str:
    if name != "scale_tril":
        return str(i)
    row = int((np.sqrt(8.0 * i + 1.0) - 1.0) // 2)
    return f"{row}, {i - row * (row + 1) // 2}"


def _is_low_rank(fit: LawFit) -> bool:
    return getattr(fit.law, "cov_factor", None) is not None


def _free(fit: LawFit, family: Family) -> list[str]:
    held = mixing_fix(family, fit.fix)
    names = {"gig": "alpha_bar", "gamma": "concentration", "inverse_gamma": "df"}
    out = []
    if family.kind == "gig" and family.order is None and "p" not in held:
        out.append("p")
    if "omega" not in held and "shape" not in held:
        out.append(names[family.kind])
    out += [name for name in ("loc", "skew") if name not in fit.fix]
    if fixed_tril(fit.fix) is not None:
        return out
    if _is_low_rank(fit):
        return [*out, "cov_factor", "cov_diag"]
    return [*out, "scale" if fit.x.shape[1] == 1 else "scale_tril"]


def _base(fit: LawFit, family: Family) -> tuple[dict[str, Array], dict[str, Any]]:
    """Coordinates with a = b (or 2 k): the scale of w does not move with them."""
    law: Any = fit.law
    p, a, b = law.mixing()
    dtype = law.loc.dtype
    d = fit.x.shape[1]
    if family.kind == "gig":
        unit = jnp.sqrt(b / a)
        own = {"alpha_bar": jnp.sqrt(a * b)}
        if family.order is None:
            own["p"] = jnp.asarray(p, dtype)
    elif family.kind == "gamma":
        unit = 2.0 * p / a
        own = {"concentration": law.concentration}
    else:
        unit = jnp.ones_like(b)
        own = {"df": law.df}
    own |= {
        "loc": jnp.reshape(law.loc, (d,)),
        "skew": jnp.reshape(law.skew * unit, (d,)),
    }
    if _is_low_rank(fit):
        own["cov_factor"] = law.cov_factor * jnp.sqrt(unit)
        own["cov_diag"] = law.cov_diag * unit
    elif d > 1 or hasattr(law, "univariate"):
        rows, cols = np.tril_indices(d)
        name = "scale" if d == 1 else "scale_tril"
        own[name] = (law.scale_tril * jnp.sqrt(unit))[rows, cols]
    else:
        own["scale"] = jnp.reshape(law.scale, (1,)) * jnp.sqrt(unit)
    return own, {k: v.shape for k, v in own.items()}


def _mixing(family: Family, own: dict[str, Array]) -> Array:
    """The coordinates c of the mixing law."""
    if family.kind == "gamma":
        log = jnp.log(own["concentration"])
        return jnp.stack([log, jnp.log(2.0) + log])
    if family.kind == "inverse_gamma":
        log = jnp.log(own["df"])
        return jnp.stack([log - jnp.log(2.0), log])
    log = jnp.log(own["alpha_bar"])
    if family.order is not None:
        return jnp.stack([log, log])
    return jnp.stack([own["p"], log, log])


def _reported(
    family: Family, own: dict[str, Array], m: Moments | None = None
) -> dict[str, Array]:
    """The same with E[w] = 1."""
    if family.kind != "gig":
        return own
    c = _mixing(family, own)
    p, a, b = mixing_params(family, c)
    m = mixing_moments(family, c) if m is None else m
    mean = jnp.exp(log_mean_gig(p, a, b, m))
    out = own | {"skew": own["skew"] * mean}
    for name in {"scale", "scale_tril", "cov_factor"} & own.keys():
        out[name] = own[name] * jnp.sqrt(mean)
    if "cov_diag" in own:
        out["cov_diag"] = own["cov_diag"] * mean
    return out


@partial(jax.jit, static_argnums=(0, 1, 5))
def _errors(
    family: Family,
    free: tuple[str, ...],
    x: Array,
    weights: Array,
    base: dict[str, Array],
    rank: int,
) -> dict[str, Array]:
    d = x.shape[1]
    no_prior = Prior(
        jnp.zeros((), x.dtype), jnp.zeros((), x.dtype), jnp.eye(d, dtype=x.dtype)
    )
    own_moments = mixing_moments(family, _mixing(family, base))
    moved = {name: base[name] for name in free}
    flat, unravel = jax.flatten_util.ravel_pytree(moved)

    def params_of(flat):
        own = base | unravel(flat)
        if rank:
            tril = tril_of_factor(own["cov_factor"], own["cov_diag"])
        else:
            tril = _full_tril(own, d)
        empty = jnp.zeros((d, 0), x.dtype)
        diag = jnp.ones((d,), x.dtype)
        return Params(_mixing(family, own), own["loc"], own["skew"], tril, empty, diag)

    at = params_of(flat)
    geo = geometry(x.T, at, no_prior)
    p, a, b = mixing_params(family, at.c)
    z = jnp.sqrt(jnp.maximum(a + geo.tilt, LEAST) * jnp.maximum(b + geo.squares, LEAST))
    order = p - 0.5 * d
    if family.has_order:
        order = jnp.full_like(z, order)
    rows_m = bessel_moments(order, z, with_order=family.has_order)

    def value(flat):
        params = params_of(flat)
        geo = geometry(x.T, params, no_prior)
        zero = jnp.zeros((), x.dtype)
        density = row_log_density(family, params.c, geo, zero, d, rows_m, own_moments)
        return jnp.sum(weights * density)

    information = -jax.hessian(value)(flat)
    # To the reported parameters, and to their scale, so that the inverse keeps digits.
    jacobian = jax.jacfwd(
        lambda y: jax.flatten_util.ravel_pytree(
            {k: _reported(family, base | unravel(y), own_moments)[k] for k in free}
        )[0]
    )(flat)
    # Rotations of the factors leave the law as it is.
    return unravel(_inverse_root_sums(information, jacobian, rank * (rank - 1) // 2))


def _full_tril(own: dict[str, Array], d: int) -> Array:
    rows, cols = np.tril_indices(d)
    values = own["scale" if d == 1 else "scale_tril"]
    return jnp.zeros((d, d), values.dtype).at[rows, cols].set(values)


def _inverse_root_sums(information: Array, jacobian: Array, num_null: int) -> Array:
    """Roots of the diagonal of J I^-1 J^T, without `num_null` directions."""
    size = 1.0 / jnp.sqrt(jnp.maximum(jnp.diagonal(information), 1e-300))
    scaled = information * size[:, None] * size[None, :]
    values, vectors = jnp.linalg.eigh(scaled)
    eps = jnp.finfo(information.dtype).eps
    is_definite = values[num_null] > 10.0 * eps * values[-1]
    root = (
        jacobian @ (size[:, None] * vectors / jnp.sqrt(jnp.abs(values)))[:, num_null:]
    )
    errors = jnp.sqrt(jnp.sum(root * root, axis=1))
    return jnp.where(is_definite, errors, jnp.nan)


@partial(jax.jit, static_argnums=(0, 1))
def _errors_of_law(
    law: type,
    free: tuple[str, ...],
    x: Array,
    weights: Array,
    reported: dict[str, Array],
) -> dict[str, Array]:
    """By the law's own density, where E[w] = 1 is no choice of ours."""
    d = x.shape[1]
    flat, unravel = jax.flatten_util.ravel_pytree({k: reported[k] for k in free})
    is_flat = is_univariate(law)

    def value(flat):
        own = reported | unravel(flat)
        tril = _full_tril(own, d)
        normal = {"loc": own["loc"], "skew": own["skew"], "scale_tril": tril}
        if is_flat:
            normal = {k: own[k][0] for k in ("loc", "skew", "scale")}
        if "df" in own:
            built = law(own["df"], **normal, validate_args=False)
        elif "concentration" in own:
            k = own["concentration"]
            built = law(k, k, **normal, validate_args=False)
        else:
            order = (own["p"],) if "p" in own else ()
            built = law.from_alpha_bar(*order, own["alpha_bar"], **normal)
        return jnp.sum(weights * built.log_prob(x[:, 0] if is_flat else x))

    information = -jax.hessian(value)(flat)
    return unravel(_inverse_root_sums(information, jnp.eye(flat.size), 0))
