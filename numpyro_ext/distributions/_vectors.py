"""The arguments of the multivariate laws, in one dtype and of shapes that fit."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ._law import as_float


def promote_vector(
    owner: str,
    own: dict[str, ArrayLike],
    loc: ArrayLike,
    skew: ArrayLike,
    scale_tril: ArrayLike | None,
    cov_factor: ArrayLike | None,
    cov_diag: ArrayLike | None,
) -> tuple[list, tuple, tuple[int, ...], tuple[int, ...]]:
    """Checks and broadcasts; returns own parameters, vectors, batch and event shape."""
    has_factor = cov_factor is not None and cov_diag is not None
    if (scale_tril is None) != has_factor or (cov_factor is None) != (cov_diag is None):
        raise ValueError(
            f"`{owner}` takes either `scale_tril` or both `cov_factor` and `cov_diag`."
        )
    given = {"loc": loc, "skew": skew, "scale_tril": scale_tril}
    given |= {"cov_factor": cov_factor, "cov_diag": cov_diag}
    arrays = {k: as_float(owner, k, x) for k, x in given.items() if x is not None}
    arrays |= {k: as_float(owner, k, x) for k, x in own.items()}
    dtype = jnp.result_type(*arrays.values())
    arrays = {k: jnp.asarray(x, dtype) for k, x in arrays.items()}
    matrix = "scale_tril" if scale_tril is not None else "cov_factor"
    d = arrays[matrix].shape[-2] if arrays[matrix].ndim >= 2 else -1
    ranks = {"loc": 1, "skew": 1, "scale_tril": 2, "cov_factor": 2, "cov_diag": 1}
    for name in ("loc", "skew"):
        if arrays[name].ndim == 0 and d > 0:
            arrays[name] = jnp.full((d,), arrays[name])
    for name, rank in ranks.items():
        fits = name not in arrays or arrays[name].shape[-rank:][:1] == (d,)
        if name == "scale_tril" and name in arrays:
            fits = arrays[name].shape[-2:] == (d, d)
        if not fits or d < 0:
            raise ValueError(
                f"`{owner}`: `loc` {arrays['loc'].shape}, `skew` "
                f"{arrays['skew'].shape} and `{matrix}` {arrays[matrix].shape} do not "
                f"fit: `{name}` is at odds."
            )
    batch_shape = jnp.broadcast_shapes(
        *(x.shape[: x.ndim - ranks.get(k, 0)] for k, x in arrays.items())
    )

    def lift(name: str) -> Array | None:
        if name not in arrays:
            return None
        x, rank = arrays[name], ranks.get(name, 0)
        lead = (1,) * (len(batch_shape) + rank - x.ndim)
        return x.reshape(lead + x.shape) if lead else x

    vectors = tuple(lift(k) for k in ranks)
    return [lift(k) for k in own], vectors, batch_shape, (d,)
