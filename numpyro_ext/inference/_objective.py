"""What an ensemble descends: minus the weighted log density, whole or by rows."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ._model_spec import ModelSpec
from ._parts import Parts

type Weight = Float[Array, ""] | float | int
type Loss = Callable[[PyTree[Array]], Float[Array, ""]]


def batch_loss(
    spec: ModelSpec, indices: Int[Array, " b"], *, jacobian: bool, prior_weight: Weight
) -> Loss:
    """Returns the loss on these rows: unbiased for the loss on all rows."""
    return _plain_loss(spec.minibatch(indices), jacobian, prior_weight)


def full_loss(
    spec: ModelSpec, *, jacobian: bool, prior_weight: Weight, rows: int | None
) -> Loss:
    r"""Returns $-\log\pi$ as a function of the position.

    With `rows`, value and gradient are summed over blocks of so many rows, so that
    the memory is the one of a block. The function then carries its own derivative:
    a block's activations are gone before the next one is read.
    """
    plain = _plain_loss(spec, jacobian, prior_weight)
    if rows is None:
        return plain

    def evaluate(position: PyTree[Array]) -> tuple[Float[Array, ""], PyTree[Array]]:
        def others(position: PyTree[Array]) -> Float[Array, ""]:
            _, parts = spec._rows(jnp.asarray(0), rows)._split_parts(position)
            return -parts.weigh(jacobian=jacobian, prior_weight=prior_weight)

        def block(
            start: Int[Array, ""], size: int, position: PyTree[Array]
        ) -> Float[Array, ""]:
            parts, _ = spec._rows(start, size)._split_parts(position)
            return -parts.weigh(jacobian=jacobian, prior_weight=prior_weight)

        return _sum_blocks(
            jax.value_and_grad(others)(position),
            lambda start, size: jax.value_and_grad(
                functools.partial(block, start, size)
            )(position),
            num_rows=_num_rows(spec),
            rows=rows,
        )

    @jax.custom_jvp
    def loss(position: PyTree[Array]) -> Float[Array, ""]:
        return evaluate(position)[0]

    @loss.defjvp
    def derivative(
        primals: tuple[PyTree[Array]], tangents: tuple[PyTree[Array]]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        value, grad = evaluate(*primals)
        products = jax.tree.map(jnp.vdot, grad, *tangents)
        return value, jax.tree.reduce(jnp.add, products)

    return loss


def full_parts(spec: ModelSpec, position: PyTree[Array], *, rows: int | None) -> Parts:
    """Returns the three parts on all rows, by blocks of `rows` of them."""
    if rows is None:
        return spec.parts(position)
    _, others = spec._rows(jnp.asarray(0), rows)._split_parts(position)
    return _sum_blocks(
        others,
        lambda start, size: spec._rows(start, size)._split_parts(position)[0],
        num_rows=_num_rows(spec),
        rows=rows,
    )


def _plain_loss(spec: ModelSpec, jacobian: bool, prior_weight: Weight) -> Loss:
    def loss(position: PyTree[Array]) -> Float[Array, ""]:
        return -spec.log_density(position, jacobian=jacobian, prior_weight=prior_weight)

    return loss


def _num_rows(spec: ModelSpec) -> int:
    return spec._require_batch().num_rows


def _sum_blocks[T](
    first: T, block: Callable[[Array, int], T], *, num_rows: int, rows: int
) -> T:
    """Adds `block(start, size)` over all rows to `first`, one block at a time."""

    def add(total: T, start: Int[Array, ""]) -> tuple[T, None]:
        return jax.tree.map(jnp.add, total, block(start, rows)), None

    num_blocks, remainder = divmod(num_rows, rows)
    starts = jnp.arange(num_blocks) * rows
    total, _ = jax.lax.scan(add, first, starts)
    if remainder:
        last = block(jnp.asarray(num_blocks * rows), remainder)
        total = jax.tree.map(jnp.add, total, last)
    return total
