"""Which family a law belongs to, and how its parameters are read and written."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ...special import log_kv_ratio
from .._generalized_hyperbolic import (
    GeneralizedHyperbolic,
    MultivariateGeneralizedHyperbolic,
)
from .._hyperbolic import Hyperbolic, MultivariateHyperbolic
from .._law import as_float
from .._normal_inverse_gaussian import (
    MultivariateNormalInverseGaussian,
    NormalInverseGaussian,
)
from .._normal_mixture import AbstractNormalMixture
from .._skew_t import (
    GeneralizedHyperbolicSkewT,
    MultivariateGeneralizedHyperbolicSkewT,
)
from .._variance_gamma import MultivariateVarianceGamma, VarianceGamma
from ._family import GAMMA, GIG, INVERSE_GAMMA, Family, mixing_params

FAMILIES: dict[type, Family] = {
    GeneralizedHyperbolic: GIG,
    MultivariateGeneralizedHyperbolic: GIG,
    NormalInverseGaussian: Family("gig", -0.5),
    MultivariateNormalInverseGaussian: Family("gig", -0.5),
    Hyperbolic: Family("gig", 1.0),
    MultivariateHyperbolic: Family("gig", 1.0),
    VarianceGamma: GAMMA,
    MultivariateVarianceGamma: GAMMA,
    GeneralizedHyperbolicSkewT: INVERSE_GAMMA,
    MultivariateGeneralizedHyperbolicSkewT: INVERSE_GAMMA,
}


def is_univariate(law: type) -> bool:
    """Whether the law is of one dimension."""
    return issubclass(law, AbstractNormalMixture)


def fixable(law: type) -> tuple[str, ...]:
    """The names that `fix` takes."""
    family = FAMILIES[law]
    own = {
        "gig": ("a", "b", "alpha_bar"),
        "gamma": ("concentration", "rate"),
        "inverse_gamma": ("df",),
    }[family.kind]
    own = ("p", *own) if family == GIG else own
    return (*own, "loc", "skew", "scale" if is_univariate(law) else "scale_tril")


def fixed_tril(fix: Mapping[str, Any]) -> np.ndarray | None:
    """The Cholesky factor of a scale that is fixed."""
    if "scale" in fix:
        return np.reshape(fix["scale"], (1, 1))
    return fix.get("scale_tril")


def read_fix(
    owner: str, law: type, fix: Mapping[str, Any] | None, *, symmetric: bool
) -> dict[str, Any]:
    """What is fixed, by name, checked."""
    fix = dict(fix or {})
    for name in fix:
        if name not in fixable(law):
            known = ", ".join(f"`{k}`" for k in fixable(law))
            raise ValueError(
                f"`{owner}(fix={{{name!r}: ...}})`: `{name}` cannot be fixed; those "
                f"that can are {known}."
            )
        value = np.asarray(as_float(owner, name, fix[name]))
        if not np.all(np.isfinite(value)):
            raise ValueError(f"`{owner}(fix={{{name!r}: {fix[name]}}})` is not finite.")
        if name == "scale_tril":
            _check_tril(owner, value)
        elif name not in ("p", "loc", "skew") and not np.all(value > 0):
            raise ValueError(
                f"`{owner}(fix={{{name!r}: {fix[name]}}})`: `{name}` must be positive."
            )
        if name not in ("loc", "skew", "scale_tril") and value.ndim:
            raise ValueError(
                f"`{owner}(fix={{{name!r}: ...}})`: give one number, not {value.shape}."
            )
        fix[name] = value
    if symmetric:
        if np.any(fix.get("skew", 0.0)):
            raise ValueError(
                f"`{owner}(symmetric=True, fix={{'skew': {fix['skew']}}})`: a "
                "symmetric law has skew 0; leave one of the two out."
            )
        fix["skew"] = np.asarray(0.0)
    return fix


def _check_tril(owner: str, value: np.ndarray) -> None:
    is_square = value.ndim == 2 and value.shape[0] == value.shape[1]
    if is_square and np.all(np.diag(value) > 0) and not np.any(np.triu(value, 1)):
        return
    raise ValueError(
        f"`{owner}(fix={{'scale_tril': ...}})`, of shape {value.shape}, is no lower "
        "triangle with a positive diagonal. For a matrix S write "
        "`np.linalg.cholesky(S)`."
    )


def mixing_fix(family: Family, fix: Mapping[str, Any]) -> dict[str, float]:
    """Those of the fixed values that hold the mixing law, whatever its scale."""
    out: dict[str, float] = {}
    if "p" in fix:
        out["p"] = float(fix["p"])
    if "alpha_bar" in fix:
        out["omega"] = float(fix["alpha_bar"])
    if "a" in fix and "b" in fix:
        out["omega"] = float(np.sqrt(fix["a"] * fix["b"]))
    if "concentration" in fix:
        out["shape"] = float(fix["concentration"])
    if "df" in fix:
        out["shape"] = 0.5 * float(fix["df"])
    return out


@partial(jax.jit, static_argnums=0)
def identified(
    family: Family, c: Array, fix: Mapping[str, ArrayLike]
) -> tuple[tuple[Array, Array, Array], Array]:
    """(p, a, b) with E[w] = 1, or with the scale that `fix` asks for, and the factor.

    The factor s is what Sigma and skew are to be multiplied by. `fix` holds "a", "b"
    and "rate" at most.
    """
    p, a, b = mixing_params(family, c)
    if family.kind == "gamma":
        unit = jnp.asarray(2.0 * p / a)
        target = 2.0 * fix["rate"] / a if "rate" in fix else unit
    elif family.kind == "inverse_gamma":
        target = b / (-2.0 * p)
    elif "a" in fix:
        target = fix["a"] / a
    elif "b" in fix:
        target = b / fix["b"]
    else:
        omega = jnp.sqrt(a) * jnp.sqrt(b)
        ratio = log_kv_ratio(jnp.asarray(p, a.dtype), omega)
        target = jnp.exp(ratio) * jnp.sqrt(b / a)
    target = jnp.asarray(target, a.dtype)
    return (jnp.asarray(p, a.dtype), a * target, b / target), target


def build_law(
    law: type,
    family: Family,
    c: Array,
    fix: Mapping[str, Any],
    part: Any,
    identification: str = "mean",
):
    """The law of these coordinates; `part` has loc, skew, tril, factor and diag."""
    given = {name: fix[name] for name in ("a", "b", "rate") if name in fix}
    (p, a, b), unit = identified(family, c, given)
    if identification == "det":
        diagonal = jnp.diagonal(part.tril)
        further = jnp.exp(-2.0 * jnp.mean(jnp.log(diagonal))) / unit
        a, b, unit = a * further, b / further, unit * further
    if family.kind == "gamma":
        own = {"concentration": p, "rate": 0.5 * a}
    elif family.kind == "inverse_gamma":
        own = {"df": -2.0 * p}
    elif family.order is None:
        own = {"p": p, "a": a, "b": b}
    else:
        own = {"a": a, "b": b}
    root = jnp.sqrt(unit)
    if is_univariate(law):
        return law(
            **own,
            loc=part.loc[0],
            scale=root * part.tril[0, 0],
            skew=unit * part.skew[0],
            validate_args=False,
        )
    if part.factor.shape[1]:
        scale = {"cov_factor": root * part.factor, "cov_diag": unit * part.diag}
    else:
        scale = {"scale_tril": root * part.tril}
    return law(**own, loc=part.loc, skew=unit * part.skew, **scale, validate_args=False)
