"""Priors that say little, in the units of the data."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import Distribution, constraints

from ._data import Data
from ._each_prior import SortedDraws
from ._family import AbstractFamily
from ._links import CLogLog, Log, Logit, LogLog, Probit

# Standard deviations of the linear predictor that a column may explain.
_WIDTH = 2.5
_SCALELESS = (Log, Logit, Probit, CLogLog, LogLog)


def default_coefficients(
    family: AbstractFamily, data: Data
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the means and standard deviations of normal priors of the coefficients.

    A column with standard deviation s gets N(0, 2.5 u / s), u being the unit of the
    linear predictor: 1 for a log or a probability link, else the standard deviation of
    the response, carried through the link. A constant column gets the link of the mean
    response, less the mean offset, and what the other columns add to an intercept that
    lies outside of their data.
    """
    X, y = np.asarray(data.X), np.asarray(data.y)
    spread, centre = X.std(axis=0), X.mean(axis=0)
    level, unit = _level(family, data, y)
    is_constant = spread <= 1e-12 * np.abs(centre)
    width = _WIDTH * unit / np.where(is_constant, 1.0, spread)
    shift = np.sum(np.square(centre * width), where=~is_constant)
    at_zero = math.sqrt((_WIDTH * unit) ** 2 + shift)
    size = np.where(centre == 0, 1.0, centre)
    loc = np.where(is_constant & (centre != 0), level / size, 0.0)
    scale = np.where(is_constant, at_zero / np.abs(size), width)
    return loc, scale


def _level(family: AbstractFamily, data: Data, y: np.ndarray) -> tuple[float, float]:
    """Returns the linear predictor of the mean response, and its unit."""
    if family.num_predictors > 1 or family.has_cutpoints:
        return 0.0, 1.0
    trials = 1.0 if data.trials is None else np.asarray(data.trials)
    mean = float(np.sum(y) / np.sum(np.broadcast_to(trials, y.shape)))
    level, slope = jax.value_and_grad(lambda m: family.link(m))(jnp.asarray(mean))
    unit = 1.0
    if not isinstance(family.link, _SCALELESS):
        unit = float(np.std(y) * jnp.abs(slope))
    unit = unit if math.isfinite(unit) and unit > 0 else 1.0
    shift = 0.0 if data.offset is None else float(jnp.mean(data.offset))
    level = float(level) - shift
    return (level if math.isfinite(level) else 0.0), unit


def default_nuisance(
    family: AbstractFamily, data: Data, name: str, start: Any
) -> Distribution:
    """Returns the prior of a nuisance.

    `start` is its estimate by moments, in the right units.
    """
    constraint = family.nuisance.get(name, constraints.positive)
    if constraint is constraints.ordered_vector:
        _, scale = default_coefficients(family, data)
        far = np.square(np.mean(np.asarray(data.X), axis=0) * scale)
        law = dist.Normal if isinstance(family.link, Probit) else dist.Logistic
        width = math.sqrt(1.0 + float(np.sum(far)))
        return SortedDraws(law(0.0, width), int(np.size(start)))
    if name == "df":
        return dist.Gamma(2.0, 0.1)
    if constraint is constraints.positive:
        size = float(start)
        return dist.HalfCauchy(size if math.isfinite(size) and size > 0 else 1.0)
    if constraint is constraints.real:
        return dist.Logistic(0.0, 1.0)
    low = getattr(constraint, "lower_bound", None)
    high = getattr(constraint, "upper_bound", None)
    if low is not None and high is not None:
        return dist.Uniform(low, high)
    raise ValueError(
        f"The parameter `{name}` of {family.name} lies in {constraint}, for which "
        f"there is no default prior. Write `priors={{{name!r}: ...}}`."
    )


def dispersion_start(family: AbstractFamily, data: Data) -> float:
    """Returns the dispersion of the response about its mean."""
    y = data.y
    mean = jnp.mean(y)
    variance = family.variance(jnp.asarray(family.link(mean)), {}, None)
    return float(jnp.var(y) / variance)
