"""The rates (a, b) of the mixing law from other parameters of the literature."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.util import not_jax_tracer

from ..special import log_kv_ratio
from ._law import as_float


def alpha_beta_rates(
    owner: str, alpha: ArrayLike, beta: ArrayLike, delta: ArrayLike
) -> tuple[Array, Array, Array]:
    """(alpha^2 - beta^2, delta^2, beta); raises ValueError outside |beta| < alpha."""
    alpha, beta, delta = (
        as_float(owner, name, x)
        for name, x in (("alpha", alpha), ("beta", beta), ("delta", delta))
    )
    is_outside = ~(jnp.abs(beta) < alpha)
    if not_jax_tracer(is_outside) and bool(jnp.any(is_outside)):
        raise ValueError(
            f"`{owner}.from_alpha_beta(alpha={alpha}, beta={beta})`: the density "
            "exists for |beta| < alpha only."
        )
    # The product, not the difference of squares, keeps its digits near the cone.
    return (alpha - beta) * (alpha + beta), delta * delta, beta


def alpha_bar_rates(
    owner: str, lmbda: ArrayLike, alpha_bar: ArrayLike
) -> tuple[Array, Array]:
    """The (a, b) with sqrt(ab) = alpha_bar and E[w] = 1."""
    alpha_bar = as_float(owner, "alpha_bar", alpha_bar)
    if isinstance(lmbda, float) and lmbda == -0.5:
        return alpha_bar, alpha_bar
    ratio = jnp.exp(log_kv_ratio(as_float(owner, "lmbda", lmbda), alpha_bar))
    return alpha_bar * ratio, alpha_bar / ratio
