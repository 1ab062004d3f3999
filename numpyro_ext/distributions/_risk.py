r"""Value at risk and expected shortfall, from the distribution function alone.

x is a gain and -x the loss. With q the quantile of x at $1 - \alpha$,
$$E[x; x < q] = \mu F(q) + \gamma E[w]\,F_{p+1}(q) - \sigma^2 f(q)\,E[w \mid x = q],$$
where F and f belong to the law of x, $F_{p+1}$ has the mixing law GIG(p + 1, a, b), and
w given x is GIG too: $\int w f(w)\,\Phi\,dw$ is the distribution function under one
order more, and the normal density integrates to the density of the mixture.
Source: McNeil, Frey and Embrechts (2015), Quantitative Risk Management, sections 2.3
and 6.2; the shifted order by conjugacy.
"""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.util import not_jax_tracer

from . import _gig_moments as moments
from ._generalized_hyperbolic import GeneralizedHyperbolic
from ._generalized_inverse_gaussian import AbstractGIG, GeneralizedInverseGaussian
from ._gig_normalizer import is_proper
from ._kernel import peak, row
from ._law import as_float, describe_bad
from ._mixture_tail import tail_sums
from ._multivariate_mixture import AbstractMultivariateNormalMixture
from ._normal_mixture import AbstractNormalMixture


def value_at_risk(
    law: dist.Distribution, level: ArrayLike, *, weights: ArrayLike | None = None
) -> Array:
    r"""The loss -x that is exceeded with probability 1 - level.

    Args:
        law: Law of the gains x, such as returns: univariate, or multivariate with
            `weights`. If x is a loss, give the law of -x: negate `loc` and `skew`, or
            the weights.
        level: $\alpha$ in (0, 1), such as 0.99.
        weights: Of a multivariate law, of shape (..., d): the gain is `weights @ x`,
            which is of the univariate family again (`law.project(weights)`).

    Returns:
        $-F^{-1}(1 - \alpha)$, positive where the loss is. Differentiable in the law,
        the level and the weights.

    Shapes: `level` and the batch shape broadcast; `jax.vmap` over draws of a posterior,
        or a law with a batch of them, gives one figure for each draw.
    Raises: ValueError, for a concrete level outside (0, 1), or for weights with a
        univariate law or none with a multivariate one; TypeError, for other laws.
    Accuracy: that of `icdf`.
    """
    own = _univariate(law, weights)
    return -own.icdf(1.0 - _level("value_at_risk", level, own))


def expected_shortfall(
    law: dist.Distribution, level: ArrayLike, *, weights: ArrayLike | None = None
) -> Array:
    r"""The mean loss -x where it exceeds the value at risk: $-E[x \mid x < q]$.

    With $q = F^{-1}(1 - \alpha)$. It is also called conditional value at risk.

    Args:
        law: As for `value_at_risk`.
        level: As for `value_at_risk`.
        weights: As for `value_at_risk`.

    Returns:
        The expected shortfall. Infinite where the mean of the tail is: where E[w] is
        and the skew is negative.

    Shapes and errors: as for `value_at_risk`.
    Accuracy: relative to the size of $|\mu - q|$ and q, 1e-10 in float64.
    """
    own = _univariate(law, weights)
    tail = 1.0 - _level("expected_shortfall", level, own)
    q = own.icdf(tail)
    if isinstance(own, AbstractGIG):
        return -_mean_below_gig(own, q, tail)
    return -_mean_below(own, q, tail)


@jax.jit
def _mean_below(law: AbstractNormalMixture, q: Array, tail: Array) -> Array:
    """E[x | x < q], where P(x < q) = tail."""
    p, a, b = law._mixing_full()
    # One order more has no density, and no use, where E[w] is infinite.
    has_mean = is_proper(p + 1.0, a, b)
    safe = jnp.where(has_mean, p, -3.0)
    shifted = GeneralizedHyperbolic(
        safe + 1.0, a, b, law.loc, law.scale, law.skew, validate_args=False
    )
    first = moments.mean(safe, a, b)
    drift = law.skew * first * jnp.exp(shifted.log_cdf(q)) / tail
    # With a positive skew the heavy tail is that of the gains, and what w adds to the
    # losses is finite even so.
    is_light = ~has_mean & (law.skew > 0)
    gain = law.skew * _mixing_mean_below(law, q, is_light)
    endless = jnp.where(law.skew < 0, -jnp.inf, jnp.where(is_light, gain, 0.0))
    drift = jnp.where(has_mean, drift, endless)
    given = jnp.asarray(law.conditional_mixing(q).mean)
    density = jnp.exp(law.log_prob(q))
    return law.loc + drift - jnp.square(law.scale) * given * density / tail


def _mixing_mean_below(law: AbstractNormalMixture, q: Array, needed: Array) -> Array:
    """E[w | x < q] by quadrature, for a positive skew where `needed`."""
    q, p, a, b, loc, scale, tilt = law._full(q)
    # The lower tail is the upper one of -x.
    z, tilt = jnp.where(needed, (loc - q) / scale, 0.0), jnp.where(needed, -tilt, -1.0)
    sums = tail_sums(peak(p, a, b), p, a, b, z, tilt)
    return jnp.sum(sums.share * jnp.exp(sums.v), axis=0)


@jax.jit
def _mean_below_gig(law: AbstractGIG, q: Array, tail: Array) -> Array:
    """E[x | x < q] of a positive law: E[x] times the shifted probability."""
    p, a, b = law._full()
    has_mean = is_proper(p + 1.0, a, b)
    safe = jnp.where(has_mean, p, -3.0)
    shifted = GeneralizedInverseGaussian(safe + 1.0, a, b, validate_args=False)
    below = moments.mean(safe, a, b) * jnp.exp(shifted.log_cdf(q)) / tail
    # At a = 0 with p >= -1 the upper tail is heavy: the mean of the lower is finite,
    # the integral of a kernel that falls from q to the left.
    safe_p, safe_b = jnp.where(has_mean, -0.5, p), jnp.where(has_mean, 1.0, b)
    sink, nothing = 0.5 * safe_b / q, jnp.zeros_like(q)
    area = row(safe_p + 1.0 + sink, sink, nothing, jnp.full_like(q, jnp.inf))
    direct = q * q * jnp.exp(law.log_prob(q)) * area / tail
    return jnp.where(has_mean, below, direct)


def _univariate(
    law: dist.Distribution, weights: ArrayLike | None
) -> AbstractNormalMixture | AbstractGIG:
    name = type(law).__name__
    if isinstance(law, AbstractMultivariateNormalMixture):
        if weights is None:
            raise ValueError(
                f"The risk of a `{name}` needs `weights`, one for each of its "
                f"{law.event_shape[0]} coordinates: the gain is `weights @ x`."
            )
        return law.project(weights)
    if not isinstance(law, AbstractNormalMixture | AbstractGIG):
        raise TypeError(
            f"{name} is not a law of this family. The risk functions take the "
            "generalized hyperbolic and generalized inverse Gaussian laws."
        )
    if weights is not None:
        raise ValueError(
            f"`weights` are for multivariate laws; `{name}` has one coordinate."
        )
    return law


def _level(
    owner: str, level: ArrayLike, law: AbstractNormalMixture | AbstractGIG
) -> Array:
    dtype = law.mixing()[1].dtype if isinstance(law, AbstractNormalMixture) else None
    dtype = law.gig()[1].dtype if isinstance(law, AbstractGIG) else dtype
    array = jnp.asarray(as_float(owner, "level", level), dtype)
    is_valid = (array > 0) & (array < 1)
    if not_jax_tracer(is_valid) and not bool(jnp.all(is_valid)):
        raise ValueError(
            f"`{owner}` got `level` = {describe_bad(array, is_valid)}: it must be "
            "between 0 and 1, such as 0.99."
        )
    return jnp.broadcast_to(array, jnp.broadcast_shapes(array.shape, law.batch_shape))
