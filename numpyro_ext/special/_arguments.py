"""What every public function does with its two arguments."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from ._elementary import Real


def promote(v: ArrayLike, z: ArrayLike) -> tuple[Real, Real, Any]:
    """The arguments in one format, and the dtype of the result.

    Half precision is computed in single. A scalar stays a scalar, so that what depends
    on it alone is computed once.
    """
    dtype = jnp.result_type(v, z)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    wide = dtype if dtype in (jnp.float32, jnp.float64) else jnp.float32
    v, z = jnp.asarray(v).astype(wide), jnp.asarray(z).astype(wide)
    if v.ndim and z.ndim:
        v, z = jnp.broadcast_arrays(v, z)
    return v, z, dtype
