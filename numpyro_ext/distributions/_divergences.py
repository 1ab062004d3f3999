"""Kullback-Leibler and Hellinger divergences in closed form."""

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array, lax
from numpyro.distributions.kl import kl_divergence

from ._exponential_family import AbstractExponentialFamily, bregman, hellinger
from ._gamma import Gamma, InverseGamma
from ._generalized_inverse_gaussian import (
    AbstractGIG,
    GeneralizedInverseGaussian,
    InverseGaussian,
)
from ._gig_normalizer import log_mean, log_normalizer, mean_log, root
from ._joint import JointNormalMixture
from ._multivariate_normal import MultivariateNormal


def is_gig(law: dist.Distribution) -> bool:
    """True for the GIG family with its gamma edges, NumPyro's classes among them."""
    return isinstance(law, AbstractGIG | dist.Gamma | dist.InverseGamma)


def triple(law: dist.Distribution) -> tuple[Array, Array, Array]:
    """(p, a, b) of a law of the GIG family."""
    if isinstance(law, AbstractGIG):
        p, a, b = law._full()
        return p, a, b
    edge = InverseGamma if isinstance(law, dist.InverseGamma) else Gamma
    p, a, b = edge(law.concentration, law.rate, validate_args=False).gig()  # pyright: ignore
    return p, a, b


def gig_divergence(p: dist.Distribution, q: dist.Distribution) -> Array:
    r"""$E_p[\log p - \log q]$ between two members of the GIG family.

    $\log Z_q - \log Z_p + (\theta_p - \theta_q)\cdot E_p[\log x, -x/2, -1/(2x)]$.
    """
    p1, a1, b1 = triple(p)
    p2, a2, b2 = triple(q)
    by_x = jnp.where(a1 == a2, 0.0, (a2 - a1) * jnp.exp(log_mean(p1, a1, b1)))
    by_inverse = jnp.where(b1 == b2, 0.0, (b2 - b1) * jnp.exp(log_mean(-p1, b1, a1)))
    scaled = log_normalizer(p2, a2, b2) - log_normalizer(p1, a1, b1)
    # `log_normalizer` has the derivative of the integral without the root.
    omegas = lax.stop_gradient(root(a1) * root(b1) - root(a2) * root(b2))
    rest = omegas + 0.5 * (by_x + by_inverse)
    return scaled + (p1 - p2) * mean_log(p1, a1, b1) + rest


def gig_hellinger(p: dist.Distribution, q: dist.Distribution) -> Array:
    """Squared Hellinger distance between two members of the GIG family."""
    p1, a1, b1 = triple(p)
    p2, a2, b2 = triple(q)
    p3, a3, b3 = 0.5 * (p1 + p2), 0.5 * (a1 + a2), 0.5 * (b1 + b2)
    scaled = log_normalizer(p3, a3, b3) - 0.5 * (
        log_normalizer(p1, a1, b1) + log_normalizer(p2, a2, b2)
    )
    omegas = root(a3) * root(b3) - 0.5 * (root(a1) * root(b1) + root(a2) * root(b2))
    return -jnp.expm1(scaled - lax.stop_gradient(omegas))


def squared_hellinger(p: dist.Distribution, q: dist.Distribution) -> Array:
    r"""$H^2(p, q) = 1 - \int\sqrt{p(x) q(x)}\,dx$, in closed form; in [0, 1].

    Args:
        p: A law of the GIG family (`GeneralizedInverseGaussian`, `InverseGaussian`,
            `Gamma`, `InverseGamma`, NumPyro's too), or `MultivariateNormal`, or
            `JointNormalMixture`.
        q: Another law of the same family.

    Shapes: `batch_shape` of the two, broadcast.
    Raises: TypeError, for laws of different families, or of others.
    Accuracy: the absolute error is a few units in the last place of the log
        normalisers, so that the distance of nearly equal laws is 0 to about 1e-15.
    """
    if is_gig(p) and is_gig(q):
        return gig_hellinger(p, q)
    if isinstance(p, AbstractExponentialFamily) and type(p) is type(q):
        return hellinger(p, q)  # pyright: ignore
    raise TypeError(
        f"`squared_hellinger({type(p).__name__}, {type(q).__name__})` is not known in "
        "closed form. It is between two laws of the GIG family, two "
        "`MultivariateNormal` and two `JointNormalMixture`."
    )


GIGS = (
    GeneralizedInverseGaussian,
    InverseGaussian,
    Gamma,
    InverseGamma,
    dist.Gamma,
    dist.InverseGamma,
)
for left in GIGS:
    for right in GIGS:
        # NumPyro's own two pairs are left as they are.
        if {left, right} != {dist.Gamma} and {left, right} != {dist.InverseGamma}:
            kl_divergence.add((left, right), gig_divergence)  # pyright: ignore
for law in (MultivariateNormal, JointNormalMixture):
    kl_divergence.add((law, law), bregman)  # pyright: ignore
