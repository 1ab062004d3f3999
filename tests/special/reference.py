"""Reference values to 50 digits: the committed table, and mpmath itself."""

from collections.abc import Callable
from pathlib import Path

import jax
import mpmath
import numpy as np

TABLE = Path(__file__).parent / "data" / "log_kv.npz"
# Points per call of a compiled function: at least those of the table.
SIZE = 11_000
NAMES = ("value", "by_v", "by_z", "by_vv", "by_vz", "by_zz")


def table(dtype=np.float64) -> dict[str, np.ndarray]:
    """The rows of the table whose arguments the dtype represents."""
    with np.load(TABLE) as data:
        rows = dict(data)
    is_exact = (rows["v"].astype(dtype) == rows["v"]) & (
        rows["z"].astype(dtype) == rows["z"]
    )
    return {name: column[is_exact] for name, column in rows.items()}


def compiled(function: Callable) -> Callable:
    """The function at any points, compiled once per dtype.

    Compilation is most of what these tests cost, so that every call has one size.
    """
    jitted = jax.jit(function)

    def call(v, z):
        points = np.broadcast_arrays(v, z)
        size, shape = points[0].size, points[0].shape
        padded = [np.pad(x.ravel(), (0, SIZE - size), mode="edge") for x in points]
        return jax.tree.map(
            lambda x: np.asarray(x)[:size].reshape(shape), jitted(*padded)
        )

    return call


def relative(ours, reference: np.ndarray, scale: np.ndarray | None = None) -> float:
    """The largest error relative to `scale`, and exactly 0 where that is 0."""
    scale = np.abs(reference if scale is None else scale)
    error = np.abs(np.asarray(ours, np.float64) - reference)
    assert np.all(error[scale == 0.0] == 0.0)
    return float(np.max(error[scale > 0.0] / scale[scale > 0.0]))


def errors(moments, rows: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest error of each moment, by the scale of its bar."""
    scales = {
        "value": np.maximum(1.0, np.abs(rows["value"])),
        "by_v": np.maximum(np.abs(rows["by_v"]), np.sqrt(rows["by_vv"])),
    }
    return {
        name: relative(getattr(moments, name), rows[name], scales.get(name))
        for name in NAMES
    }


def log_kv(v: float, z: float) -> mpmath.mpf:
    return mpmath.log(mpmath.besselk(v, z))


def derivative(v: float, z: float, orders: tuple[int, int]) -> float:
    with mpmath.workdps(50):
        point = mpmath.mpf(v), mpmath.mpf(z)
        if orders == (0, 0):
            return float(log_kv(*point))
        return float(mpmath.diff(log_kv, point, orders))


def log_ratio(v: float, z: float) -> float:
    with mpmath.workdps(50):
        v, z = mpmath.mpf(v), mpmath.mpf(z)
        return float(log_kv(v + 1, z) - log_kv(v, z))
