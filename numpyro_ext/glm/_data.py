"""The data of one fit, and the passes over their rows."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

# Numbers of one block of X: the block and its weighted copy stay in the second-level
# cache, which makes a Gram matrix two to three times as fast as one over all rows.
_BLOCK = 25_600
# Rows of X that are turned at once: their lines stay in the first-level cache.
_TILE = 512


class Data(NamedTuple):
    """What a fit is conditioned on; parts that were not given are None."""

    X: Float[Array, "n p"]
    y: Float[Array, " n"]
    offset: Float[Array, "n ..."] | None = None
    trials: Float[Array, " n"] | None = None
    freq_weights: Float[Array, " n"] | None = None
    var_weights: Float[Array, " n"] | None = None
    l2: Float[Array, " p"] | None = None

    @property
    def weights(self) -> Float[Array, " n"] | None:
        """What multiplies each row's part of the objective."""
        if self.freq_weights is None:
            return self.var_weights
        if self.var_weights is None:
            return self.freq_weights
        return self.freq_weights * self.var_weights

    @property
    def num_rows(self) -> Float[Array, ""]:
        """The number of observations: the sum of the frequency weights."""
        if self.freq_weights is None:
            return jnp.asarray(self.X.shape[0], self.X.dtype)
        return jnp.sum(self.freq_weights)


class Block(eqx.Module):
    """Some rows, in both orders: a product then runs along the memory of each side."""

    X: Float[Array, "b p"]
    Xt: Float[Array, "p b"]
    y: Float[Array, " b"]
    offset: Float[Array, "b ..."] | None
    trials: Float[Array, " b"] | None
    weights: Float[Array, " b"] | None

    def predictor(self, coefficients: Float[Array, "m p"]) -> Float[Array, "b ..."]:
        """Returns the linear predictor: (b,), or (b, m) if there are several."""
        eta = coefficients @ self.Xt
        eta = eta[0] if coefficients.shape[0] == 1 else eta.T
        return eta if self.offset is None else eta + self.offset


def linear_predictor(
    data: Data, coefficients: Float[Array, "m p"]
) -> Float[Array, "n ..."]:
    """Returns `X beta + offset`, (n,) or (n, m)."""
    eta = data.X @ coefficients.T
    eta = eta[:, 0] if coefficients.shape[0] == 1 else eta
    return eta if data.offset is None else eta + data.offset


def features_first(data: Data) -> Float[Array, "..."]:
    """Returns a copy of X for many passes: (p, n), or (blocks, p, size) if n is large.

    The last block overlaps the one before it.
    """
    n, size = data.y.size, _block_size(data)
    if n <= 2 * size:
        return _transposed(data.X)
    return lax.map(
        lambda i: _cut(data.X, i, size).T, jnp.arange(-(-n // size), dtype=jnp.int32)
    )


def sum_over_rows(
    data: Data,
    rows: tuple[Array, ...],
    body: Callable[..., PyTree[Array]],
    Xt: Float[Array, "..."] | None = None,
) -> PyTree[Array]:
    """Sums `body(block, *rows of the block)` over the blocks of the data.

    `body` must be additive over rows, and give zero for a row of weight zero: the last
    block overlaps the one before it, with the rows met twice at weight zero there.
    `Xt` is what `features_first` returns, if it is at hand.
    """
    n, size = data.y.size, _block_size(data)
    arrays = (data.X, data.y, data.offset, data.trials, data.weights, *rows)
    Xt = features_first(data) if Xt is None else Xt
    if n <= 2 * size:
        block = Block(data.X, Xt, data.y, data.offset, data.trials, data.weights)
        return body(block, *rows)

    def step(i: Array, Xt: Array) -> PyTree[Array]:
        X, y, offset, trials, weights, *others = jax.tree.map(
            lambda x: _cut(x, i, size), arrays
        )
        is_new = jnp.minimum(i * size, n - size) + jnp.arange(size) >= i * size
        weights = is_new.astype(Xt.dtype) if weights is None else weights * is_new
        return body(Block(X, Xt, y, offset, trials, weights), *others)

    blocks = (jnp.arange(-(-n // size), dtype=jnp.int32), Xt)
    shapes = jax.eval_shape(step, *jax.tree.map(lambda x: x[0], blocks))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = lax.scan(
        lambda acc, block: (jax.tree.map(jnp.add, acc, step(*block)), None),
        zero,
        blocks,
    )
    return total


def _transposed(X: Float[Array, "n p"]) -> Float[Array, "p n"]:
    """Returns a copy of X in the other order, written tile by tile.

    XLA reads a plain `X.T` crosswise in each product that it appears in.
    """
    n, p = X.shape
    # Two tiles at least: a loop of one turn is unrolled into a plain `X.T`.
    tile = min(_TILE, -(-n // 2))

    def write(i: Array, copy: Array) -> Array:
        start = jnp.minimum(i * tile, n - tile)
        return lax.dynamic_update_slice_in_dim(copy, _cut(X, i, tile).T, start, 1)

    return lax.fori_loop(0, -(-n // tile), write, jnp.zeros((p, n), X.dtype))


def _block_size(data: Data) -> int:
    return max(64, _BLOCK // data.X.shape[1])


def _cut(rows: Array, i: Array, size: int) -> Array:
    """Returns the rows of block `i`; those of the last block end with the data."""
    start = jnp.minimum(i * size, rows.shape[0] - size)
    return lax.dynamic_slice_in_dim(rows, start, size)
