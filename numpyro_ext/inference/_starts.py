"""Starting points with a finite log density and a finite gradient."""

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

if TYPE_CHECKING:
    from ._model_spec import ModelSpec

StartStrategy = Literal["prior", "uniform"]
START_STRATEGIES = get_args(StartStrategy)


class Start(NamedTuple):
    """A starting point, and what is known of it.

    Attributes:
        position: the point in unconstrained space.
        log_density: its log density.
        is_finite: whether the log density and its gradient are finite there.
        data_are_valid: whether all data lie in the support of their distribution.
    """

    position: PyTree[Array]
    log_density: Float[Array, ""]
    is_finite: Bool[Array, ""]
    data_are_valid: Bool[Array, ""]


def find_start(
    spec: "ModelSpec",
    key: Key[Array, ""],
    *,
    strategy: str,
    num_candidates: int,
    max_tries: int,
    jacobian: bool,
) -> Start:
    """Draws candidates until one has a finite value and gradient; keeps the best.

    Pure, for one point: it is traced into the compiled program of an engine.
    """

    def draw(key: Key[Array, ""]) -> tuple[PyTree[Array], Array, Array]:
        position = spec.model.draw_start(key, strategy=strategy)
        value, is_finite = evaluate_start(spec, position, jacobian=jacobian)
        return position, value, is_finite

    def draw_best(key: Key[Array, ""]) -> tuple[PyTree[Array], Array, Array]:
        if num_candidates == 1:
            return draw(key)
        found = jax.vmap(draw)(jax.random.split(key, num_candidates))
        _, values, are_finite = found
        best = jnp.argmax(jnp.where(are_finite, values, -jnp.inf))
        return jax.tree.map(lambda leaf: leaf[best], found)

    def is_missing(state: tuple[Int[Array, ""], tuple]) -> Bool[Array, ""]:
        num_tries, (_, _, is_finite) = state
        return ~is_finite & (num_tries < max_tries)

    def redraw(state: tuple[Int[Array, ""], tuple]) -> tuple[Int[Array, ""], tuple]:
        num_tries, _ = state
        return num_tries + 1, draw_best(jax.random.fold_in(key, num_tries))

    shapes = jax.eval_shape(draw, key)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    _, (position, value, is_finite) = jax.lax.while_loop(
        is_missing, redraw, (jnp.asarray(0), nothing)
    )
    return Start(position, value, is_finite, data_are_valid(spec, position))


def evaluate_start(
    spec: "ModelSpec", position: PyTree[Array], *, jacobian: bool
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Returns the log density, and whether it and its gradient are finite."""

    def log_density(position: PyTree[Array]) -> Float[Array, ""]:
        return spec.log_density(position, jacobian=jacobian)

    value, grad = jax.value_and_grad(log_density)(position)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(grad)]
    return value, jnp.isfinite(value) & jnp.all(jnp.stack(finite))


def data_are_valid(spec: "ModelSpec", position: PyTree[Array]) -> Bool[Array, ""]:
    """Whether no datum lies outside the support of its distribution."""
    marks = spec.model.data_violations(position).values()
    return (
        ~jnp.any(jnp.stack([jnp.any(m) for m in marks])) if marks else jnp.array(True)
    )
