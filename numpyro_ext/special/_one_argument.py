"""What functions of one real argument share."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from ._elementary import Real


def in_floats(function: Callable[[Real], Real]) -> Callable[[ArrayLike], Real]:
    """Lets a function of a float32 or float64 array take any real number or array.

    Integers become the default floating dtype; half precision is computed in single.
    """

    @wraps(function)
    def wrapped(x: ArrayLike) -> Real:
        array = jnp.asarray(x)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            array = array.astype(jnp.result_type(float))
        if array.dtype in (jnp.float32, jnp.float64):
            return function(array)
        return function(array.astype(jnp.float32)).astype(array.dtype)

    return wrapped


def weighted_tangents(value: Real, *terms: tuple[Callable[[], Real], Any]) -> Real:
    """The sum of coefficient() * tangent over the tangents that are not zero.

    A coefficient is computed only if its argument is differentiated.
    """
    total = jnp.zeros_like(value)
    for coefficient, tangent in terms:
        if not isinstance(tangent, SymbolicZero):
            total = total + coefficient() * tangent
    return total
