"""The rates (a, b) of the mixing law from other parameters of the literature."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.util import not_jax_tracer

from ..special import log_kv_ratio
from ._law import as_float, check_definite


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


def alpha_beta_vectors(
    owner: str,
    alpha: ArrayLike,
    beta: ArrayLike,
    delta: ArrayLike,
    structure: ArrayLike | None,
) -> tuple[Array, Array, dict[str, Array]]:
    r"""$\alpha^2 - \beta^T\Delta\beta$, $\delta^2$, and skew and scale_tril.

    Raises:
        ValueError: If $\Delta$ is not positive definite, or for concrete parameters
            outside $\beta^T\Delta\beta < \alpha^2$.
    """
    method = f"{owner}.from_alpha_beta"
    given = {"alpha": alpha, "beta": beta, "delta": delta}
    alpha, beta, delta = (as_float(owner, k, x) for k, x in given.items())
    if beta.ndim == 0:
        raise ValueError(f"`{method}` got `beta` = {beta}: it needs one for each axis.")
    if structure is None:
        structure = jnp.eye(beta.shape[-1], dtype=beta.dtype)
    matrix = as_float(owner, "structure", structure)
    if matrix.shape[-2:] != 2 * beta.shape[-1:]:
        raise ValueError(
            f"`{method}` got `beta` of shape {beta.shape} and `structure` of shape "
            f"{matrix.shape}, which do not fit."
        )
    check_definite(method, "structure", matrix)
    tril = jnp.linalg.cholesky(matrix)
    white = jnp.squeeze(jnp.swapaxes(tril, -1, -2) @ beta[..., None], -1)
    square = jnp.sum(jnp.square(white), axis=-1)
    is_zero = square == 0
    size = jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, square)))
    is_outside = ~(size < alpha)
    if not_jax_tracer(is_outside) and bool(jnp.any(is_outside)):
        raise ValueError(
            f"`{method}(alpha={alpha}, beta={beta})`: the density exists for "
            f"|beta| < alpha only, with |beta|^2 = beta^T structure beta = {square}."
        )
    skew = jnp.squeeze(matrix @ beta[..., None], -1)
    vectors = {"skew": skew, "scale_tril": tril}
    return (alpha - size) * (alpha + size), delta * delta, vectors


def alpha_bar_rates(
    owner: str, lmbda: ArrayLike, alpha_bar: ArrayLike
) -> tuple[Array, Array]:
    """The (a, b) with sqrt(ab) = alpha_bar and E[w] = 1."""
    alpha_bar = as_float(owner, "alpha_bar", alpha_bar)
    if isinstance(lmbda, float) and lmbda == -0.5:
        return alpha_bar, alpha_bar
    ratio = jnp.exp(log_kv_ratio(as_float(owner, "lmbda", lmbda), alpha_bar))
    return alpha_bar * ratio, alpha_bar / ratio
