"""The scale of w, where something holds it.

w / s with the skew and Sigma times s is the same law of x, and the iteration leaves s
open. A skew that is fixed and not 0, or a scale that is fixed, means something at one s
only: at E[w] = 1, or at the a, b or rate that is fixed as well.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ._family import Family, log_unit, mixing_moments

FREE, MEAN, BY_A, BY_B = "free", "mean", "a", "b"


def gauge_of(fix: Mapping[str, Any]) -> tuple[str, float]:
    """What holds the scale of w, and the log of the value that is held."""
    is_held = "scale" in fix or "scale_tril" in fix or np.any(fix.get("skew", 0.0))
    if not is_held:
        return FREE, 0.0
    if "a" in fix:
        return BY_A, float(np.log(fix["a"]))
    if "rate" in fix:
        return BY_A, float(np.log(2.0 * fix["rate"]))
    if "b" in fix:
        return BY_B, float(np.log(fix["b"]))
    return MEAN, 0.0


def _direction(family: Family, dtype: Any) -> Array:
    """Along it w gets smaller, by the same factor in every one of its values."""
    own = {"gig": [1.0, -1.0], "gamma": [1.0], "inverse_gamma": [-1.0]}[family.kind]
    rest = family.num_coordinates - len(own)
    return jnp.asarray([0.0] * rest + own, dtype)


def _excess(family: Family, c: Array, gauge: str, value: Array) -> Array:
    """Log of the factor by which w is too large."""
    if gauge == BY_A:
        return value - c[-2 if family.kind == "gig" else -1]
    if gauge == BY_B:
        return c[-1] - value
    return log_unit(family, c, mixing_moments(family, c)) - value


def to_gauge(family: Family, c: Array, gauge: str, value: Array) -> Array:
    """The coordinates with the scale of w that is held."""
    if gauge == FREE:
        return c
    return c + _excess(family, c, gauge, value) * _direction(family, c.dtype)


def tangent(
    family: Family, c: Array, gauge: str, value: Array, projector: Array
) -> Array:
    """The columns of `projector`, turned so that the scale of w stays as it is."""
    if gauge == FREE:
        return projector
    slope = jax.grad(lambda y: _excess(family, y, gauge, value))(c)
    return projector + jnp.outer(_direction(family, c.dtype), slope @ projector)
