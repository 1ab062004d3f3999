r"""log K_v(z) for half-integer orders, which are elementary.

With $n = |v| - 1/2$,
$$K_v(z) = \sqrt{\frac{\pi}{2z}}\,e^{-z}
  \sum_{k=0}^n \frac{(n+k)!}{k!\,(n-k)!\,(2z)^k}.$$
Source: DLMF 10.49.12.
"""

import math
from typing import Any, TypeGuard

import jax.numpy as jnp

from ._elementary import Real, polynomial
from ._olver import HALF_LOG_HALF_PI

# Beyond, the general method is about as fast.
MAX_ORDER = 10.0


def is_elementary(v: Any) -> TypeGuard[float]:
    """Whether `v` is a Python number of this kind."""
    return isinstance(v, float) and abs(v) <= MAX_ORDER and (abs(v) - 0.5).is_integer()


def log_kv_half_integer(v: float, z: Real) -> Real:
    """Log K_v(z) in closed form."""
    n = int(abs(v) - 0.5)
    row = tuple(
        float(math.comb(n, k) * math.perm(n + k, k)) * 0.5**k for k in range(n + 1)
    )
    # By powers of z or of 1 / z, whichever are small. Edges follow apart: they must
    # not reach the arithmetic, or their infinities would spoil derivatives.
    is_inside = (z > 0.0) & (z < jnp.inf)
    z_in = jnp.where(is_inside, z, 1.0)
    is_large = z_in > 1.0
    x = jnp.where(is_large, 1.0 / jnp.where(is_large, z_in, 1.0), z_in)
    total = jnp.where(is_large, polynomial(row, x), polynomial(row[::-1], x))
    power = jnp.where(is_large, 0.5, n + 0.5).astype(z.dtype)
    out = HALF_LOG_HALF_PI - z_in - power * jnp.log(z_in) + jnp.log(total)
    edge = jnp.where(z == jnp.inf, -jnp.inf, jnp.where(z == 0.0, jnp.inf, jnp.nan))
    return jnp.where(is_inside, out, edge)
