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
        grad: the gradient of the log density.
        is_finite: whether the log density and its gradient are finite there.
        data_are_valid: whether all data lie in the support of their distribution.
    """

    position: PyTree[Array]
    log_density: Float[Array, ""]
    grad: PyTree[Array]
    is_finite: Bool[Array, ""]
    data_are_valid: Bool[Array, ""]


def find_start(
    spec: "ModelSpec",
    key: Key[Array, ""],
    *,
    strategy: str,
    num_candidates: int,
    max_tries: Int[Array, ""] | int,
    given: PyTree[Array] | None = None,
    is_given: Bool[Array, ""] | bool = False,
) -> Start:
    """Draws candidates until one has a finite value and gradient; keeps the best.

    Pure, for one point: it is traced into the compiled program of an engine. Where
    `is_given`, every candidate is the `given` position, so that a start that is given
    and one that is drawn go through the same compiled density.
    """

    def draw(key: Key[Array, ""]) -> Start:
        position = spec.model.draw_start(key, strategy=strategy)
        if given is not None:
            position = jax.tree.map(
                lambda mine, drawn: jnp.where(is_given, mine, drawn), given, position
            )
        value, grad = jax.value_and_grad(spec.log_density)(position)
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(grad)]
        is_finite = jnp.isfinite(value) & jnp.all(jnp.stack(finite))
        return Start(position, value, grad, is_finite, jnp.ones((), bool))

    def draw_best(key: Key[Array, ""]) -> Start:
        if num_candidates == 1:
            return draw(key)
        found = jax.vmap(draw)(jax.random.split(key, num_candidates))
        best = jnp.argmax(jnp.where(found.is_finite, found.log_density, -jnp.inf))
        return jax.tree.map(lambda leaf: leaf[best], found)

    def is_missing(state: tuple[Int[Array, ""], Start]) -> Bool[Array, ""]:
        num_tries, start = state
        return ~start.is_finite & (num_tries < max_tries)

    def redraw(state: tuple[Int[Array, ""], Start]) -> tuple[Int[Array, ""], Start]:
        num_tries, _ = state
        return num_tries + 1, draw_best(jax.random.fold_in(key, num_tries))

    shapes = jax.eval_shape(draw, key)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    _, start = jax.lax.while_loop(is_missing, redraw, (jnp.asarray(0), nothing))
    return start._replace(data_are_valid=data_are_valid(spec, start.position))


def data_are_valid(spec: "ModelSpec", position: PyTree[Array]) -> Bool[Array, ""]:
    """Whether no datum lies outside the support of its distribution."""
    marks = spec.model.data_violations(position).values()
    return (
        ~jnp.any(jnp.stack([jnp.any(m) for m in marks])) if marks else jnp.array(True)
    )
