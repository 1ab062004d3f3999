"""The priors of a model: those that are given, and the defaults of all others."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions import Distribution, constraints

from .._checks import nearest
from ._data import Data
from ._default_priors import default_coefficients, default_nuisance, dispersion_start
from ._each_prior import EachPrior
from ._family import AbstractFamily
from ._fit import start_aux
from ._geometry import design_rank


def choose_priors(
    family: AbstractFamily, data: Data, names: tuple[str, ...], priors: Any
) -> tuple[dict[str, Distribution], dict[str, Array]]:
    """Returns the prior of each site, and the nuisances that are held at a value."""
    given = _read_priors(family, names, priors)
    start = start_aux(family, data)
    nuisances = list(family.nuisance)
    if family.has_dispersion:
        nuisances.append("dispersion")
        start = {**start, "dispersion": dispersion_start(family, data)}
    laws, held = {"beta": _coefficients(family, data, names, given)}, {}
    for name in nuisances:
        prior = given.get(name)
        constraint = family.nuisance.get(name, constraints.positive)
        if isinstance(prior, int | float):
            held[name] = _held(name, prior, constraint, data)
        elif isinstance(prior, Distribution):
            laws[name] = _checked(name, prior, constraint, np.shape(start[name]))
        elif prior == "flat":
            laws[name] = _flat(constraint, np.shape(start[name]))
        else:
            laws[name] = default_nuisance(family, data, name, start[name])
    return laws, held


def _read_priors(
    family: AbstractFamily, names: tuple[str, ...], priors: Any
) -> dict[str, Any]:
    """Returns the given priors by name of coefficient or nuisance."""
    nuisances = [*family.nuisance, *(["dispersion"] if family.has_dispersion else [])]
    if priors is None:
        return {}
    if isinstance(priors, str):
        _check_word("priors", priors)
        return dict.fromkeys(["beta", *nuisances], priors)
    if isinstance(priors, Distribution):
        return {"beta": priors}
    if not isinstance(priors, Mapping):
        raise TypeError(
            f"`model(priors=...)` is of type {type(priors).__name__}. Give 'flat', a "
            "NumPyro distribution for every coefficient, or a dictionary such as "
            f"`{{{names[-1]!r}: dist.Normal(0, 1)}}`."
        )
    for name, prior in priors.items():
        if name not in ("beta", *names, *nuisances):
            raise ValueError(
                f"`model(priors=...)` names `{name}`, which is no coefficient and no "
                f"parameter of {family.name}; "
                + nearest(str(name), ("beta", *names, *nuisances))
            )
        if isinstance(prior, str):
            _check_word(name, prior)
        elif isinstance(prior, int | float) and name not in nuisances:
            raise TypeError(
                f"`model(priors=...)` holds the coefficient `{name}` at {prior}. Give "
                "its part of the linear predictor as `offset=`, and leave its column "
                "out."
            )
        elif not isinstance(prior, Distribution | int | float):
            raise TypeError(
                f"`model(priors=...)`: the prior of `{name}` is of type "
                f"{type(prior).__name__}. Give a NumPyro distribution, or 'flat'."
            )
    return dict(priors)


def _check_word(name: str, word: str) -> None:
    if word != "flat":
        raise ValueError(
            f"`model(priors=...)`: {name} is {word!r}. Write 'flat', a NumPyro "
            "distribution, or leave it out for the default."
        )


def _coefficients(
    family: AbstractFamily, data: Data, names: tuple[str, ...], given: dict[str, Any]
) -> Distribution:
    p, m = len(names), family.num_predictors
    shape, axis = ((p,), -1) if m == 1 else ((p, m), -2)
    own = {name: given[name] for name in names if name in given}
    rest = tuple(j for j, name in enumerate(names) if name not in own)
    laws, places, flat = [], [], []
    common = given.get("beta")
    if rest:
        size = (len(rest), *shape[1:])
        if common == "flat":
            flat += rest
            laws.append(_flat(constraints.real, size))
        elif isinstance(common, Distribution):
            laws.append(_scalar("beta", common).expand(size))
        else:
            loc, scale = default_coefficients(family, data)
            pick = (np.asarray(rest), *((None,) if m > 1 else ()))
            dtype = data.X.dtype
            law = dist.Normal(
                jnp.asarray(loc[pick], dtype), jnp.asarray(scale[pick], dtype)
            )
            laws.append(law.expand(size))
        places.append(rest)
    for j, name in enumerate(names):
        if name in own:
            size = (1, *shape[1:])
            if own[name] == "flat":
                flat.append(j)
                laws.append(_flat(constraints.real, size))
            else:
                laws.append(_scalar(name, own[name]).expand(size))
            places.append((j,))
    if flat:
        _check_proper(family, data, names)
    if len(laws) == 1:
        return laws[0]
    return EachPrior(tuple(laws), tuple(places), shape, axis)


def _check_proper(family: AbstractFamily, data: Data, names: tuple[str, ...]) -> None:
    rank = int(design_rank(family, data))
    n, p = data.X.shape
    if rank < p:
        raise ValueError(
            f"The priors are flat, and the posterior is improper: X has rank {rank}, "
            f"with n = {n} and p = {p} ({', '.join(names[:8])}"
            f"{', ...' if p > 8 else ''}). Leave `priors` out for the proper defaults, "
            "or drop the columns that depend on others."
        )


def _scalar(name: str, law: Distribution) -> Distribution:
    if law.batch_shape or law.event_shape or law.is_discrete:
        raise ValueError(
            f"`model(priors=...)`: the prior of `{name}` has shape "
            f"{law.batch_shape + law.event_shape} on {law.support}. Give one law of a "
            "continuous number, such as `dist.Normal(0, 1)`, and other coefficients "
            "theirs by name."
        )
    return law


def _checked(
    name: str, law: Distribution, constraint: Any, shape: tuple[int, ...]
) -> Distribution:
    """Returns the prior of a nuisance, if its draws are values of it."""
    if law.batch_shape + law.event_shape != shape:
        raise ValueError(
            f"`model(priors=...)`: the prior of `{name}` has shape "
            f"{law.batch_shape + law.event_shape}, and needs {shape}."
        )
    try:
        drawn = law.sample(jax.random.key(0), (100,))
    except NotImplementedError:
        return law
    if not bool(jnp.all(constraint(drawn))):
        raise ValueError(
            f"`model(priors=...)`: the prior of `{name}` lies on {law.support}, and "
            f"`{name}` must be {constraint}. Give a law there, such as "
            "`dist.HalfNormal(1)` of a positive number."
        )
    return law


def _held(name: str, value: float | int, constraint: Any, data: Data) -> Array:
    number = jnp.asarray(value, data.X.dtype)
    if not bool(constraint(number)):
        raise ValueError(
            f"`model(priors=...)` holds `{name}` at {value}, which is not {constraint}."
        )
    return number


def _flat(constraint: Any, shape: tuple[int, ...]) -> Distribution:
    if constraint.event_dim:
        return dist.ImproperUniform(constraint, (), shape)
    return dist.ImproperUniform(constraint, shape, ())
