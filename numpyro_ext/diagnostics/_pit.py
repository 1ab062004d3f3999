"""Probability integral transforms of data under predictive draws or a law."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.special import ndtri

from .._checks import check_key
from ._values import Values


def pit(
    draws: Values, observed: Values, *, key: Key[Array, ""]
) -> Float[np.ndarray, "*obs"]:
    r"""Randomised rank of each datum among predictive draws, in (0, 1).

    $$u = \frac{\#\{x_s < y\} + U\,(\#\{x_s = y\} + 1)}{S + 1},
      \quad U \sim \mathrm{Uniform}(0, 1).$$
    If the draws and the datum come from one law, $u$ is uniform for every number of
    draws, and for counts too. Intervals made of quantiles of the draws have no such
    property: with 8 draws, a 95 % interval by NumPy's default holds 75 % of the data.

    Args:
        draws: predictive draws, the draws on the first axis.
        observed: the data; they broadcast against the other axes.
        key: random key of U.

    Raises:
        ValueError: for shapes that do not broadcast, or NaN.

    Source: Smith (1985), J. Forecasting 4, 283-291, with ranks for the law.
    """
    x, y = np.asarray(draws), np.asarray(observed)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"`pit` takes draws on the first axis, and got {x.shape}.")
    for name, value in (("draws", x), ("observed", y)):
        if np.isnan(value).any():
            raise ValueError(
                f"`pit` got NaN in `{name}`, and a rank among NaN means nothing. Leave "
                "those entries out."
            )
    try:
        less, equal = np.sum(x < y, axis=0), np.sum(x == y, axis=0)
    except ValueError as error:
        raise ValueError(
            f"`pit`: the draws have shape {x.shape}, draws first, and the data "
            f"{y.shape}, which do not fit."
        ) from error
    uniform = _uniform(check_key("pit", key), less.shape)
    return (less + uniform * (equal + 1)) / (len(x) + 1)


def quantile_residuals(
    cdf: Values,
    cdf_below: Values = None,
    *,
    key: Key[Array, ""] | None = None,
) -> Float[np.ndarray, "*obs"]:
    r"""Randomised quantile residuals: standard normal if the law is right.

    $$r = \Phi^{-1}(u), \quad u \sim \mathrm{Uniform}(F(y^-), F(y)).$$
    For a continuous law $F(y^-) = F(y)$ and nothing is random.

    Args:
        cdf: $F(y)$ of each datum.
        cdf_below: $F(y^-)$, the probability of less than the datum; for counts
            $F(y - 1)$. None for a continuous law.
        key: random key, needed with `cdf_below`.

    Raises:
        ValueError: for values outside [0, 1] or NaN, for `cdf_below` above `cdf`, and
            for `cdf_below` without a key.

    Source: Dunn and Smyth (1996), J. Comput. Graph. Statist. 5, 236-244.
    """
    high = _probability("cdf", cdf)
    if cdf_below is None:
        return ndtri(high)
    low = _probability("cdf_below", cdf_below)
    if np.any(low > high):
        raise ValueError(
            "`quantile_residuals`: `cdf_below` is above `cdf`, at index "
            f"{tuple(np.argwhere(low > high)[0].tolist())}. It is the probability of "
            "less than the datum: for counts, the cdf at `y - 1`."
        )
    if key is None:
        raise ValueError(
            "`quantile_residuals` draws between `cdf_below` and `cdf`, and needs "
            "`key=jax.random.key(0)`."
        )
    uniform = _uniform(check_key("quantile_residuals", key), high.shape)
    return ndtri(low + uniform * (high - low))


def _probability(name: str, value: Values) -> Float[np.ndarray, "..."]:
    array = np.asarray(value, dtype=float)
    is_bad = ~((array >= 0) & (array <= 1))
    if is_bad.any():
        raise ValueError(
            f"`quantile_residuals({name}=...)` holds {array[is_bad].flat[0]}, which is "
            "no probability."
        )
    return array


def _uniform(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Draws in the open interval: neither end is a rank that can be looked up."""
    dtype = jnp.result_type(float)
    tiny = float(jnp.finfo(dtype).eps)
    return np.asarray(jax.random.uniform(key, shape, dtype, tiny, 1.0), dtype=float)
