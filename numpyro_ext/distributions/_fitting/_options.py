"""From the words of the user to the numbers of the program.

They are put on the device together, which costs less than one by one.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ._core import Options
from ._family import Family, coordinates

FREE = np.inf


def mixing_options(
    family: Family, fix: Mapping[str, float], dtype: Any, *, many: bool
) -> dict[str, np.ndarray]:
    """Starts, and which coordinates move from each of them.

    `fix` has the keys "p", "omega" and "shape" at most. `many` asks for the nested laws
    as starts of a GH law.
    """
    k = family.num_coordinates
    projector = np.eye(k)
    lower, upper = np.full(k, -FREE), np.full(k, FREE)
    if family.kind != "gig":
        shape = fix.get("shape")
        if shape is not None:
            projector[0, 0] = 0.0
        order = shape if shape is not None else (1.5 if family.kind == "gamma" else 2.5)
        rate = 2.0 * order
        if family.kind == "gamma":
            start = coordinates(family, order, rate, 0.0)
        else:
            start = coordinates(family, -order, 0.0, rate)
        return _pack([_Start(start, projector, lower, upper)], dtype)
    held = "p" in fix, "omega" in fix
    if held[0] and family.order is None:
        projector[0, 0] = 0.0
    omega = fix.get("omega", 1.0)
    if held[1]:
        # The sum of the two logs stays.
        projector[-2:, -2:] = np.array([[0.5, -0.5], [-0.5, 0.5]])
    order = family.order if family.order is not None else fix.get("p", -0.5)
    start = coordinates(family, order, omega, omega)
    first = _Start(start, projector, lower, upper)
    if family.order is not None or any(held) or not many:
        return _pack([first], dtype)
    # The normal-inverse Gaussian law first, so that the fit is never below it.
    nested = np.diag([0.0, 1.0, 1.0]), lower, upper
    first = _Start(start, projector, lower, upper, nested=nested)
    return _pack([first, _student_start(family), _gamma_start(family)], dtype)


class _Start:
    """A start, with the coordinates that move before the release if it is nested."""

    def __init__(self, c, projector, lower, upper, nested=None, push=None):
        self.c, self.free = c, (projector, lower, upper)
        self.nested = nested
        self.push = np.zeros_like(c) if push is None else push


def _student_start(family: Family) -> _Start:
    """The skew t law: a is next to 0."""
    free = np.eye(3), np.full(3, -FREE), np.full(3, FREE)
    nested = np.diag([1.0, 0.0, 1.0]), np.array([-1e3, -FREE, -FREE])
    nested = (*nested, np.array([-0.1, FREE, FREE]))
    c = np.array([-2.5, -20.0, np.log(5.0)])
    # To omega near 0.1, where its slope is felt.
    return _Start(c, *free, nested=nested, push=np.array([0.0, 14.0, 0.0]))


def _gamma_start(family: Family) -> _Start:
    """The variance gamma law: b is next to 0."""
    free = np.eye(3), np.full(3, -FREE), np.full(3, FREE)
    nested = np.diag([1.0, 1.0, 0.0]), np.array([0.1, -FREE, -FREE])
    nested = (*nested, np.array([1e3, FREE, FREE]))
    c = np.array([1.5, np.log(3.0), -24.0])
    return _Start(c, *free, nested=nested, push=np.array([0.0, 0.0, 18.0]))


def _pack(starts: list[_Start], dtype: Any) -> dict[str, np.ndarray]:
    def both(index):
        return np.stack(
            [np.stack([(s.nested or s.free)[index], s.free[index]]) for s in starts]
        )

    stage = [0 if s.nested is not None else 1 for s in starts]
    return {
        "start": np.asarray(np.stack([s.c for s in starts]), dtype),
        "stage": np.asarray(stage, np.int32),
        "projector": np.asarray(both(0), dtype),
        "lower": np.asarray(both(1), dtype),
        "upper": np.asarray(both(2), dtype),
        "push": np.asarray(np.stack([s.push for s in starts]), dtype),
    }


def make_options(
    mixing: dict[str, np.ndarray],
    dtype: Any,
    dim: int,
    *,
    tol: float,
    parameter_tol: float = np.inf,
    resolution: float,
    strength: float = 0.0,
    target: Any = None,
    loc: Any = None,
    skew: Any = None,
    tril: Any = None,
    gauge_value: float = 0.0,
) -> Options:
    """Everything, as arrays of one dtype."""

    def vector(value):
        filled = np.zeros(dim) if value is None else np.broadcast_to(value, (dim,))
        return np.asarray(filled, dtype)

    def flag(value):
        return np.full((dim,), value is not None)

    numbers = dict(
        resolution=np.asarray(resolution, dtype),
        tol=np.asarray(tol, dtype),
        parameter_tol=np.asarray(parameter_tol, dtype),
        strength=np.asarray(strength, dtype),
        target=np.asarray(np.eye(dim) if target is None else target, dtype),
        loc=vector(loc),
        skew=vector(skew),
        is_loc=flag(loc),
        is_skew=flag(skew),
        tril=np.asarray(np.eye(dim) if tril is None else tril, dtype),
        is_scale=np.asarray(tril is not None),
        gauge_value=np.asarray(gauge_value, dtype),
        **mixing,
    )
    return Options(**jax.device_put(numbers))
