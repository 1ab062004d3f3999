"""Distribution functions of observed sites, also where NumPyro has none."""

from functools import singledispatch
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import betainc
from jaxtyping import Array, ArrayLike, Float
from numpyro.distributions import constraints
from numpyro.distributions.distribution import Distribution
from numpyro.distributions.mixtures import MixtureGeneral, MixtureSameFamily

# Laws of 0, 1, 2, ... without a closed form are summed up, datum by datum.
COUNTS = (
    type(constraints.nonnegative_integer),
    type(constraints.integer_interval(0, 1)),
)


class NoCDF(NotImplementedError):
    """A law has no distribution function; the message says which law, and why."""


class CDF(NamedTuple):
    r"""The distribution function at the data.

    Attributes:
        at: $F(y) = P(Y \le y)$.
        below: $F(y^-) = P(Y < y)$; equal to `at` where the law is continuous.
    """

    at: Float[Array, "..."]
    below: Float[Array, "..."]


def cdf(law: Distribution, y: ArrayLike) -> CDF:
    r"""Returns $P(Y \le y)$ and $P(Y < y)$ of each number in `y`.

    Components of an `Independent` law have a function each. Entries behind a mask are
    NaN. Censored data, of which only a bound is known, have the interval that they may
    be in: `[F(y), 1]` for those on the right.

    Args:
        law: any NumPyro distribution of numbers, wrapped as it may be.
        y: data that broadcast against the law.

    Raises:
        NoCDF: for a law without one, as joint laws of vectors.
    """
    values = jnp.asarray(y)
    shape = jnp.broadcast_shapes(values.shape, tuple(law.shape()))
    return CDF(*(jnp.broadcast_to(x, shape) for x in _pair(law, values)))


@singledispatch
def _pair(law: Any, y: Array) -> CDF:
    at = jnp.clip(_at(law, y), 0.0, 1.0)
    return CDF(at, jnp.clip(_below(law, y, at), 0.0, 1.0))


def _below(law: Any, y: Array, at: Array) -> Float[Array, "..."]:
    if law.support.is_discrete:
        has_lower = law.support(y - 1)
        return jnp.where(has_lower, _at(law, jnp.where(has_lower, y - 1, y)), 0.0)
    # Laws with a density and one atom, at zero: hurdles, Tweedie.
    if isinstance(law, dist.HurdleProbs):
        return jnp.where(y == 0, 0.0, at)
    if hasattr(law, "log_prob_zero"):
        return jnp.where(y == 0, at - jnp.exp(law.log_prob_zero()), at)
    return at


@_pair.register(dist.ExpandedDistribution)
@_pair.register(dist.Independent)
def _inner(law: Any, y: Array) -> CDF:
    # Parameters broadcast by themselves, and components are judged one by one.
    return _pair(law.base_dist, y)


@_pair.register(dist.MaskedDistribution)
def _masked(law: Any, y: Array) -> CDF:
    mask = jnp.asarray(law._mask)
    mask = mask.reshape(mask.shape + (1,) * law.event_dim)
    return CDF(*(jnp.where(mask, x, jnp.nan) for x in _pair(law.base_dist, y)))


@_pair.register(dist.RightCensoredDistribution)
def _right_censored(law: Any, y: Array) -> CDF:
    inner = _pair(law.base_dist, y)
    return CDF(jnp.where(law.censored, 1.0, inner.at), inner.below)


@_pair.register(dist.LeftCensoredDistribution)
def _left_censored(law: Any, y: Array) -> CDF:
    inner = _pair(law.base_dist, y)
    return CDF(inner.at, jnp.where(law.censored, 0.0, inner.below))


@_pair.register(dist.TransformedDistribution)
def _transformed(law: Any, y: Array) -> CDF:
    sign = jnp.ones(())
    for transform in reversed(law.transforms):
        codomain: Any = transform.codomain
        try:
            if codomain.event_dim > 0:
                raise NotImplementedError
            sign = sign * transform.sign
        except NotImplementedError:
            raise NoCDF(
                f"`{type(law).__name__}` goes through `{type(transform).__name__}`, "
                "which neither rises nor falls with a number."
            ) from None
        y = jnp.where(codomain(y), transform.inv(y), jnp.nan)
    at, below = _pair(law.base_dist, y)
    rises = sign > 0
    return CDF(jnp.where(rises, at, 1.0 - below), jnp.where(rises, below, 1.0 - at))


@_pair.register(MixtureSameFamily)
def _same_family(law: Any, y: Array) -> CDF:
    _require_numbers(law)
    parts = _pair(law.component_distribution, y[..., None])
    return CDF(*(jnp.sum(x * law.mixing_distribution.probs, axis=-1) for x in parts))


@_pair.register(MixtureGeneral)
def _general_mixture(law: Any, y: Array) -> CDF:
    _require_numbers(law)
    shape = jnp.broadcast_shapes(y.shape, tuple(law.shape()))
    pairs = [
        cdf(part.expand(law.batch_shape), y) for part in law.component_distributions
    ]
    probs = law.mixing_distribution.probs
    parts = (jnp.stack(x, axis=-1) for x in zip(*pairs, strict=True))
    return CDF(
        *(jnp.sum(jnp.broadcast_to(x, (*shape, len(pairs))) * probs, -1) for x in parts)
    )


def _require_numbers(law: Distribution) -> None:
    if law.event_dim > 0:
        raise NoCDF(
            f"`{type(law).__name__}` is a joint law of {law.event_dim}-dimensional "
            "values, which have no order."
        )


@singledispatch
def _at(law: Any, y: Array) -> Float[Array, "..."]:
    """Returns P(Y <= y) of a law that wraps no other."""
    _require_numbers(law)
    try:
        return law.cdf(y)
    except NotImplementedError:
        support: Any = law.support
        if isinstance(support, COUNTS):
            return _sum_up(law, y)
        raise NoCDF(
            f"`{type(law).__name__}` has no `cdf` method; its data are judged by "
            "predictive draws."
        ) from None


def _sum_up(law: Distribution, y: Array) -> Float[Array, "..."]:
    """Returns the sum of the probabilities of 0, ..., y."""
    shape = jnp.broadcast_shapes(y.shape, tuple(law.shape()))
    highest = jnp.max(y).astype(int)

    def add(count: Array, total: Array) -> Array:
        # Counts beyond the datum, and beyond the support, add nothing.
        safe = jnp.minimum(count, y)
        return total + jnp.where(count <= y, jnp.exp(law.log_prob(safe)), 0.0)

    start = jnp.zeros(shape, jnp.result_type(float))
    return jax.lax.fori_loop(0, highest + 1, add, start)


def _failure(law: Any) -> Float[Array, "..."]:
    """The probability of 0 of one trial, without the loss of 1 - p where it can be."""
    if isinstance(law, dist.BernoulliLogits | dist.BinomialLogits):
        return jax.nn.sigmoid(-jnp.asarray(law.logits))
    return 1.0 - jnp.asarray(law.probs)


@_at.register(dist.BernoulliProbs)
@_at.register(dist.BernoulliLogits)
def _bernoulli(law: Any, y: Array) -> Float[Array, "..."]:
    return jnp.where(y >= 1, 1.0, jnp.where(y >= 0, _failure(law), 0.0))


@_at.register(dist.BinomialProbs)
@_at.register(dist.BinomialLogits)
def _binomial(law: Any, y: Array) -> Float[Array, "..."]:
    failure = _failure(law)
    k, n = jnp.floor(y).astype(failure.dtype), jnp.asarray(law.total_count)
    is_inside = (k >= 0) & (k < n)
    safe = jnp.where(is_inside, k, 0.0)
    rest = jnp.where(is_inside, n - safe, 1.0)
    return jnp.where(is_inside, betainc(rest, safe + 1.0, failure), k >= n)


@_at.register(dist.GeometricProbs)
@_at.register(dist.GeometricLogits)
def _geometric(law: Any, y: Array) -> Float[Array, "..."]:
    is_logits = isinstance(law, dist.GeometricLogits)
    log_failure = (
        -jax.nn.softplus(law.logits)
        if is_logits
        else jnp.log1p(-jnp.asarray(law.probs))
    )
    tries = jnp.maximum(jnp.floor(y) + 1.0, 0.0)
    # Certain success: 0 times infinity.
    return jnp.where(
        tries > 0, -jnp.expm1(jnp.where(tries > 0, tries, 1.0) * log_failure), 0.0
    )


@_at.register(dist.CategoricalProbs)
@_at.register(dist.CategoricalLogits)
def _categorical(law: Any, y: Array) -> Float[Array, "..."]:
    """By the numbers of the categories, whether their order means anything or not."""
    below = jnp.cumsum(law.probs, axis=-1)
    last = below.shape[-1] - 1
    k = jnp.clip(jnp.floor(y), 0, last).astype(int)
    shape = jnp.broadcast_shapes(k.shape, below.shape[:-1])
    below = jnp.broadcast_to(below, (*shape, last + 1))
    chosen = jnp.take_along_axis(below, jnp.broadcast_to(k, shape)[..., None], axis=-1)
    return jnp.where(y >= last, 1.0, jnp.where(y >= 0, chosen[..., 0], 0.0))


@_at.register(dist.Poisson)
@_at.register(dist.GammaPoisson)
def _counts(law: Any, y: Array) -> Float[Array, "..."]:
    # NumPyro's functions hold from zero on.
    return jnp.where(y >= 0, law.cdf(jnp.maximum(jnp.floor(y), 0.0)), 0.0)


@_at.register(dist.ZeroInflatedProbs)
def _zero_inflated(law: Any, y: Array) -> Float[Array, "..."]:
    inner = _pair(law.base_dist, y).at
    return (1.0 - law.gate) * inner + jnp.where(y >= 0, law.gate, 0.0)


@_at.register(dist.HurdleProbs)
def _hurdle(law: Any, y: Array) -> Float[Array, "..."]:
    safe = jnp.where(y > 0, y, 1)
    inner = _pair(law.base_dist, safe).at
    if law._is_discrete:
        zero = jnp.exp(law.base_dist.log_prob(jnp.zeros((), int)))
        inner = (inner - zero) / (1.0 - zero)
    positive = law.gate + (1.0 - law.gate) * inner
    return jnp.where(y > 0, positive, jnp.where(y >= 0, law.gate, 0.0))
