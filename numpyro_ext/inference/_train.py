"""The compiled program of an ensemble: every member's whole training."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from .._vectors import wide_vectors
from ._data import num_bytes
from ._descent import (
    Cause,
    Descent,
    Member,
    Objective,
    count_steps,
    start_member,
    step_member,
)
from ._layout import (
    Layout,
    group_size,
    intermediate_bytes,
    map_groups,
    rows_per_block,
)
from ._model_spec import ModelSpec
from ._objective import Weight, full_parts
from ._parts import Parts
from ._widths import prior_widths

# |coordinate| from where a positive site has all but reached 0: exp(-8) = 3e-4.
FAR = 8.0


class Trained(NamedTuple):
    """What training leaves of each member, on all rows.

    Attributes:
        position: the point that was kept.
        loss: minus the weighted log density there.
        parts: log likelihood, log prior and log |Jacobian| there.
        gradient_norm: Euclidean norm of the gradient of the loss.
        relative_gradient: the scale-free size of the gradient.
        outward: by leaf, how much the gradient still drives far coordinates out.
        kept_step: updates that led to the point.
        num_steps: updates in all.
        cause: why the member stopped, as `Cause`.
    """

    position: PyTree[Array]
    loss: Float[Array, ""]
    parts: Parts
    gradient_norm: Float[Array, ""]
    relative_gradient: Float[Array, ""]
    outward: PyTree[Array]
    kept_step: Int[Array, ""]
    num_steps: Int[Array, ""]
    cause: Int[Array, ""]


class Program(eqx.Module):
    """The settings that the compiled program depends on."""

    descent: Descent
    prior_weight: Weight
    jacobian: bool = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)


@functools.cache
def train_program() -> Callable[..., tuple[Trained, Array]]:
    """Returns `train`, to be compiled for the default backend."""
    # Its overloads leave out the options of `jax.jit` that it passes on.
    jitted: Any = eqx.filter_jit
    return jitted(train, compiler_options=wide_vectors())


def train(
    program: Program,
    spec: ModelSpec,
    key: Key[Array, ""],
    starts: PyTree[Array],
) -> tuple[Trained, Float[Array, "members steps"]]:
    """Trains members from their starts; data and starts are arguments.

    Compiled by `train_program`.

    Args:
        program: the settings.
        spec: the model with its data.
        key: random key of the run; it gives the mini-batches.
        starts: the starting points, with a leading axis of members.

    Returns:
        What is left of each member, and the loss before each step (NaN once the
        member has stopped).
    """
    widths_key, batch_key = jax.random.split(key)
    position = jax.tree.map(lambda leaf: leaf[0], starts)
    num_members = jax.tree.leaves(starts)[0].shape[0]
    objective = choose_rows(program, spec, prior_widths(spec, widths_key), position)
    size = choose_group(program, objective, position, num_members)

    def train_group(group: PyTree[Array]) -> tuple[Trained, Float[Array, "..."]]:
        return _train_group(objective, program.descent, size, batch_key, group)

    return map_groups(train_group, starts, num_members=num_members, size=size)


def choose_rows(
    program: Program, spec: ModelSpec, widths: PyTree[Array], position: PyTree[Array]
) -> Objective:
    """Returns the objective, in blocks of rows if all rows would leave the cache."""
    objective = Objective(
        spec=spec,
        prior_weight=program.prior_weight,
        widths=widths,
        jacobian=program.jacobian,
        batch_size=program.batch_size,
        rows=None,
    )
    if spec.batch is None:
        return objective
    whole = intermediate_bytes(jax.value_and_grad(objective.full()), position)
    rows = rows_per_block(spec.batch.num_rows, whole)
    return eqx.tree_at(lambda o: o.rows, objective, rows, is_leaf=lambda x: x is None)


def choose_group(
    program: Program,
    objective: Objective,
    position: PyTree[Array],
    num_members: int,
) -> int:
    """Returns how many members step together, from shapes alone."""
    descent = program.descent
    # No member should wait for the line search or the early stopping of another.
    varies = descent.early_stopping is not None or descent.searches_lines(position)
    if program.layout == "auto" and varies and jax.default_backend() == "cpu":
        return 1
    loss = objective.at_step(jax.random.key(0), jnp.asarray(0))
    step_bytes = intermediate_bytes(jax.value_and_grad(loss), position)
    shared_bytes = 0 if program.batch_size else _data_bytes(objective)
    return group_size(program.layout, num_members, step_bytes, shared_bytes)


def _data_bytes(objective: Objective) -> int:
    """Counts the bytes of data that one evaluation, or one block of it, reads."""
    model = objective.spec.model
    total = num_bytes((model.args, model.kwargs))
    if objective.rows is None:
        return total
    return total * objective.rows // objective.spec._require_batch().num_rows


def _train_group(
    objective: Objective,
    descent: Descent,
    size: int,
    key: Key[Array, ""],
    starts: PyTree[Array],
) -> tuple[Trained, Float[Array, "..."]]:
    """Steps a group of members together until all have stopped."""

    def start(position: PyTree[Array]) -> Member:
        return start_member(objective, descent, position)

    def advance(
        member: Member, step: Int[Array, ""]
    ) -> tuple[Member, Float[Array, ""]]:
        return step_member(objective, descent, key, member, step)

    def finish(member: Member, losses: Float[Array, " steps"]) -> Trained:
        return finish_member(objective, member, losses)

    if size > 1:
        start, finish = jax.vmap(start), jax.vmap(finish, in_axes=(0, 1))
        # The rows of a mini-batch are then read once for the whole group.
        advance = jax.vmap(advance, in_axes=(0, None))

    def is_on(carry: tuple[Int[Array, ""], Member, Array]) -> Array:
        step, members, _ = carry
        is_active = members.cause == Cause.NONE
        return (step <= descent.num_steps) & jnp.any(is_active)

    def body(
        carry: tuple[Int[Array, ""], Member, Array],
    ) -> tuple[Int[Array, ""], Member, Array]:
        step, members, losses = carry
        members, loss = advance(members, step)
        losses = jax.lax.dynamic_update_index_in_dim(losses, loss, step, 0)
        return step + 1, members, losses

    members = start(starts)
    # One row more: the last point is evaluated too, and its loss is `Trained.loss`.
    shape = (descent.num_steps + 1, *members.kept_loss.shape)
    losses = jnp.full(shape, jnp.nan, members.kept_loss.dtype)
    _, members, losses = jax.lax.while_loop(
        is_on, body, (jnp.zeros((), jnp.int32), members, losses)
    )
    return finish(members, losses), jnp.moveaxis(losses[:-1], 0, -1)


def finish_member(
    objective: Objective, member: Member, losses: Float[Array, " steps"]
) -> Trained:
    """Looks once more at the point that was kept, on all rows."""
    kept_step, num_steps = count_steps(objective, member, losses)
    position = member.kept
    loss, grad = jax.value_and_grad(objective.full())(position)
    return Trained(
        position=position,
        loss=loss,
        parts=full_parts(objective.spec, position, rows=objective.rows),
        gradient_norm=jnp.sqrt(_sum(jax.tree.map(_square_sum, grad))),
        relative_gradient=_relative_gradient(objective, position, loss, grad),
        outward=jax.tree.map(_outward, position, grad),
        kept_step=kept_step,
        num_steps=num_steps,
        cause=member.cause,
    )


def _relative_gradient(
    objective: Objective,
    position: PyTree[Array],
    loss: Float[Array, ""],
    grad: PyTree[Array],
) -> Float[Array, ""]:
    r"""Returns $\max_i |g_i| \max(|z_i|, s_i) / \max(|f|, 1)$.

    The relative gradient of Dennis and Schnabel (1983), Numerical Methods for
    Unconstrained Optimization, section 7.2: the relative change of the loss for a
    relative change of a coordinate. The typical size $s_i$ is the prior width, up to 1.
    """

    def leaf(g: Array, z: Array, s: Array) -> Float[Array, ""]:
        return jnp.max(
            jnp.abs(g) * jnp.maximum(jnp.abs(z), jnp.minimum(s, 1.0)), initial=0.0
        )

    sizes = jax.tree.leaves(jax.tree.map(leaf, grad, position, objective.widths))
    return jnp.max(jnp.stack(sizes)) / jnp.maximum(jnp.abs(loss), 1.0)


def _outward(position: Array, grad: Array) -> Float[Array, ""]:
    drive = jnp.where(jnp.abs(position) > FAR, -grad * jnp.sign(position), 0.0)
    return jnp.max(drive, initial=0.0)


def _square_sum(leaf: Array) -> Float[Array, ""]:
    return jnp.sum(jnp.square(leaf))


def _sum(tree: PyTree[Array]) -> Float[Array, ""]:
    return jax.tree.reduce(jnp.add, tree)
