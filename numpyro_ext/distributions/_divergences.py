"""Kullback-Leibler divergences in closed form, for `numpyro`'s `kl_divergence`."""

import jax.numpy as jnp
from jax import Array
from numpyro.distributions.kl import kl_divergence

from ._generalized_inverse_gaussian import GeneralizedInverseGaussian, InverseGaussian
from ._gig_normalizer import log_mean, log_normalizer, mean_log, root

GIG = GeneralizedInverseGaussian | InverseGaussian


def gig_divergence(p: GIG, q: GIG) -> Array:
    r"""$E_p[\log p - \log q]$ between two members of the GIG family.

    $\log Z_q - \log Z_p + (\theta_p - \theta_q)\cdot E_p[\log x, -x/2, -1/(2x)]$.
    """
    p1, a1, b1 = p._full()
    p2, a2, b2 = q._full()
    by_x = jnp.where(a1 == a2, 0.0, (a2 - a1) * jnp.exp(log_mean(p1, a1, b1)))
    by_inverse = jnp.where(b1 == b2, 0.0, (b2 - b1) * jnp.exp(log_mean(-p1, b1, a1)))
    scaled = log_normalizer(p2, a2, b2) - log_normalizer(p1, a1, b1)
    omegas = root(a1) * root(b1) - root(a2) * root(b2)
    rest = omegas + 0.5 * (by_x + by_inverse)
    return scaled + (p1 - p2) * mean_log(p1, a1, b1) + rest


for left in (GeneralizedInverseGaussian, InverseGaussian):
    for right in (GeneralizedInverseGaussian, InverseGaussian):
        kl_divergence.add((left, right), gig_divergence)  # pyright: ignore
