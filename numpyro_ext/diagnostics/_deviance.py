"""Unit deviances of the laws of generalised linear models."""

from functools import singledispatch
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import xlogy
from jaxtyping import Array, Float

from ..distributions import (
    BernoulliLink,
    BinomialLink,
    GammaLog,
    InverseGaussian,
    InverseGaussianLog,
    NegativeBinomialLog,
    PoissonLog,
)


@singledispatch
def unit_deviance(law: Any, y: Array) -> Float[Array, "..."]:
    r"""Returns $2 (\log p(y \mid \mu = y) - \log p(y \mid \mu))$ of each datum.

    The dispersion is that of the law, so that the deviance is the scaled one.

    Raises:
        NotImplementedError: for a law that is none of a GLM.

    Source: McCullagh and Nelder (1989), Generalized Linear Models, table 2.1.
    """
    raise NotImplementedError(f"`{type(law).__name__}` is no law of a GLM.")


@unit_deviance.register(dist.ExpandedDistribution)
@unit_deviance.register(dist.Independent)
@unit_deviance.register(dist.MaskedDistribution)
def _inner(law: Any, y: Array) -> Float[Array, "..."]:
    return unit_deviance(law.base_dist, y)


@unit_deviance.register(dist.Normal)
def _normal(law: Any, y: Array) -> Float[Array, "..."]:
    return jnp.square((y - law.loc) / law.scale)


@unit_deviance.register(dist.Poisson)
@unit_deviance.register(PoissonLog)
def _poisson(law: Any, y: Array) -> Float[Array, "..."]:
    mean = law.mean
    return 2.0 * (xlogy(y, y / mean) - (y - mean))


@unit_deviance.register(dist.BernoulliProbs)
@unit_deviance.register(dist.BernoulliLogits)
@unit_deviance.register(BernoulliLink)
def _bernoulli(law: Any, y: Array) -> Float[Array, "..."]:
    return -2.0 * law.log_prob(y)


@unit_deviance.register(dist.BinomialProbs)
@unit_deviance.register(dist.BinomialLogits)
@unit_deviance.register(BinomialLink)
def _binomial(law: Any, y: Array) -> Float[Array, "..."]:
    n, mean = law.total_count, law.mean
    return 2.0 * (xlogy(y, y / mean) + xlogy(n - y, (n - y) / (n - mean)))


@unit_deviance.register(dist.GammaPoisson)
@unit_deviance.register(NegativeBinomialLog)
def _negative_binomial(law: Any, y: Array) -> Float[Array, "..."]:
    is_ours = isinstance(law, NegativeBinomialLog)
    size = 1.0 / law.alpha if is_ours else law.concentration
    mean = law.mean
    rest = (y + size) * jnp.log((y + size) / (mean + size))
    return 2.0 * (xlogy(y, y / mean) - rest)


@unit_deviance.register(dist.Gamma)
@unit_deviance.register(GammaLog)
def _gamma(law: Any, y: Array) -> Float[Array, "..."]:
    is_ours = isinstance(law, GammaLog)
    shape = 1.0 / law.dispersion if is_ours else law.concentration
    ratio = y / law.mean
    return 2.0 * shape * (ratio - 1.0 - jnp.log(ratio))


@unit_deviance.register(InverseGaussian)
@unit_deviance.register(InverseGaussianLog)
def _inverse_gaussian(law: Any, y: Array) -> Float[Array, "..."]:
    is_ours = isinstance(law, InverseGaussianLog)
    shape = 1.0 / law.dispersion if is_ours else law.concentration
    return shape * jnp.square(y - law.mean) / (jnp.square(law.mean) * y)
