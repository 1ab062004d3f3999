"""The laws at 40 digits: the committed table, and ours at its inputs."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_ext import distributions as distx

TABLE = Path(__file__).parent / "data" / "laws.npz"
LAWS = {
    "gig": distx.GeneralizedInverseGaussian,
    "inverse_gaussian": distx.InverseGaussian,
    "gh": distx.GeneralizedHyperbolic,
    "nig": distx.NormalInverseGaussian,
    "hyperbolic": distx.Hyperbolic,
    "variance_gamma": distx.VarianceGamma,
    "skew_t": distx.GeneralizedHyperbolicSkewT,
    "multivariate_gh": distx.MultivariateGeneralizedHyperbolic,
    "multivariate_nig": distx.MultivariateNormalInverseGaussian,
}
WITH_TAILS = ("gig", "gh", "nig", "variance_gamma", "skew_t")
DIM = 3
# Orders up to here are promised; beyond, digits are lost in proportion.
LARGEST_ORDER = 100.0


@cache
def table() -> dict[str, np.ndarray]:
    with np.load(TABLE) as data:
        return dict(data)


def order(name: str, inputs: np.ndarray) -> np.ndarray:
    """The order p of the mixing law."""
    first = inputs[:, 0]
    if name in ("nig", "multivariate_nig", "inverse_gaussian"):
        return np.full_like(first, -0.5)
    if name == "hyperbolic":
        return np.ones_like(first)
    return -0.5 * first if name == "skew_t" else first


def rows(name: str, dtype=np.float64) -> dict[str, np.ndarray]:
    """The rows of a law whose inputs the dtype represents."""
    columns = ("inputs", "log_prob", "grad", "condition")
    part = {k: table()[f"{name}_{k}"].astype(np.float64) for k in columns}
    is_exact = np.all(part["inputs"].astype(dtype) == part["inputs"], axis=1)
    is_in = is_exact & (np.abs(order(name, part["inputs"])) <= LARGEST_ORDER)
    return {k: x[is_in] for k, x in part.items()}


def tails(name: str) -> dict[str, np.ndarray]:
    """Parameters and value, the side (1 is above the value), the log probability."""
    columns = table()[f"{name}_tails"]
    inputs = columns[:, :-2]
    # The table has (p, a, b) of the mixing law first.
    p, a, b = inputs[:, :3].T
    own = {"nig": [a, b], "variance_gamma": [p, a / 2], "skew_t": [b]}
    if name in own:
        inputs = np.column_stack([*own[name], inputs[:, 3:]])
    return {"inputs": inputs, "side": columns[:, -2], "log": columns[:, -1]}


def build(name: str, inputs: jax.Array):
    """The law of one row, and its value."""
    if not name.startswith("multivariate"):
        *parameters, value = inputs
        return LAWS[name](*parameters, validate_args=False), value
    own = inputs.size - 3 * DIM - DIM * (DIM + 1) // 2
    loc, skew, tail = (inputs[own + i * DIM :] for i in range(3))
    packed, value = tail[:-DIM], tail[-DIM:]
    spots = np.tril_indices(DIM)
    tril = jnp.zeros((DIM, DIM), inputs.dtype).at[spots].set(packed)
    parameters = (*inputs[:own], loc[:DIM], skew[:DIM], tril)
    return LAWS[name](*parameters, validate_args=False), value


def log_prob(name: str) -> Callable:
    def of_row(inputs):
        law, value = build(name, inputs)
        return law.log_prob(value)

    return of_row


def both_tails(name: str) -> Callable:
    def of_row(inputs):
        law, value = build(name, inputs)
        return law.log_cdf(value), law.log_sf(value)

    return of_row


def over_rows(function: Callable, inputs: np.ndarray):
    """The function at every row, compiled once, in the dtype of the rows."""
    out = jax.jit(jax.vmap(function))(jnp.asarray(inputs))
    return jax.tree.map(np.asarray, out)


def beyond(name: str, inputs, got, want, bar) -> list[str]:
    """The entries that miss the bar, worst first; NaN misses every bar."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert np.all(np.isfinite(bar))
    error = np.abs(got - want)
    ratio = error / np.where(bar > 0, bar, np.finfo(np.float64).tiny)
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    is_bad = (ratio > 1.0) & (error != 0.0)
    spots = sorted(np.argwhere(is_bad).tolist(), key=lambda s: -ratio[tuple(s)])
    lines = []
    for spot in map(tuple, spots):
        where = f"d/d input {spot[1]}: " if len(spot) == 2 else ""
        lines.append(
            f"{name}{tuple(inputs[spot[0]].tolist())}: {where}got {got[spot]!r}, "
            f"want {want[spot]!r}, {ratio[spot]:.3g} times the bar"
        )
    return lines


def report(lines: list[str], total: int) -> str:
    return "\n".join([f"{len(lines)} of {total} beyond the bar:", *lines[:12]])
