"""Newton's method for few coordinates, with one evaluation in its loop."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Relative to the largest, an eigenvalue below counts as this.
LEAST = 1e-8
# A step is a quarter of the last where that was worse, so often at most.
MAX_SHORTER = 12


class _State(NamedTuple):
    point: Float[Array, " n"]
    loss: Float[Array, ""]
    candidate: Float[Array, " n"]
    step: Float[Array, " n"]
    # Half the slope along the last step: what a quadratic promised.
    promise: Float[Array, ""]
    num_shorter: Int[Array, ""]
    num_steps: Int[Array, ""]
    is_over: Bool[Array, ""]


def minimise(
    loss: Callable[[Float[Array, " n"]], Float[Array, ""]],
    start: Float[Array, " n"],
    *,
    tol: Float[Array, ""] | float,
    max_steps: int,
) -> Float[Array, " n"]:
    """Returns a point where less than `tol` is to be gained; never a worse one.

    A direction of negative curvature is climbed down as if it curved the other way.
    """

    def slopes(x: Array) -> tuple[Array, tuple[Array, Array]]:
        value, gradient = jax.value_and_grad(loss)(x)
        return gradient, (value, gradient)

    def body(state: _State) -> _State:
        hessian, (value, gradient) = jax.jacfwd(slopes, has_aux=True)(state.candidate)
        is_better = value <= state.loss
        values, vectors = jnp.linalg.eigh(0.5 * (hessian + hessian.T))
        sizes = jnp.abs(values)
        least = jnp.maximum(LEAST * jnp.max(sizes), jnp.finfo(value.dtype).tiny)
        newton = -vectors @ ((vectors.T @ gradient) / jnp.maximum(sizes, least))
        promise = jnp.where(is_better, -0.5 * gradient @ newton, state.promise)
        point = jnp.where(is_better, state.candidate, state.point)
        step = jnp.where(is_better, newton, 0.25 * state.step)
        num_shorter = jnp.where(is_better, 0, state.num_shorter + 1)
        is_done = ~(promise > tol) | (num_shorter > MAX_SHORTER)
        return _State(
            point=point,
            loss=jnp.where(is_better, value, state.loss),
            candidate=point + step,
            step=step,
            promise=promise,
            num_shorter=num_shorter,
            num_steps=state.num_steps + 1,
            is_over=is_done | (state.num_steps >= max_steps),
        )

    infinite = jnp.full((), jnp.inf, start.dtype)
    zero = jnp.zeros((), jnp.int32)
    begun = _State(
        start,
        infinite,
        start,
        jnp.zeros_like(start),
        infinite,
        zero,
        zero,
        jnp.zeros((), bool),
    )
    return jax.lax.while_loop(lambda s: ~s.is_over, body, begun).point
