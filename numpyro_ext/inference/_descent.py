"""One step of one member: evaluate, keep the point if it is good, move on."""

import enum

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ._early_stopping import EarlyStopping, Watch, look, start_watch
from ._model_spec import ModelSpec
from ._objective import Loss, Weight, batch_loss, full_loss

# A line search at the floor of rounding fails at every step, and each failure costs it
# many evaluations; one or two failures also happen on the way.
MAX_STALLS = 5
ROUNDING = 8.0


class Cause(enum.IntEnum):
    """Why a member stopped moving."""

    NONE = 0
    NONFINITE_VALUE = 1
    NONFINITE_GRADIENT = 2
    STOPPED_EARLY = 3
    SETTLED = 4


class Objective(eqx.Module):
    """The loss of all members, and how it is read.

    Attributes:
        spec: the model with its data.
        prior_weight: weight of the log prior.
        widths: the scale of each coordinate under the prior.
        jacobian: whether log |Jacobian| counts.
        batch_size: rows of a mini-batch, drawn with replacement; None for all rows.
        rows: rows that are summed at a time, if all at once would leave the cache.
    """

    spec: ModelSpec
    prior_weight: Weight
    widths: PyTree[Array]
    jacobian: bool = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    rows: int | None

    def full(self) -> Loss:
        """Returns the loss on all rows."""
        return full_loss(
            self.spec,
            jacobian=self.jacobian,
            prior_weight=self.prior_weight,
            rows=self.rows,
        )

    def at_step(self, key: Key[Array, ""], step: Int[Array, ""]) -> Loss:
        """Returns the loss at one step, the same for all members."""
        if self.batch_size is None:
            return self.full()
        num_rows = self.spec._require_batch().num_rows
        indices = jax.random.randint(
            jax.random.fold_in(key, step), (self.batch_size,), 0, num_rows
        )
        return batch_loss(
            self.spec, indices, jacobian=self.jacobian, prior_weight=self.prior_weight
        )


class Descent(eqx.Module):
    """How members descend.

    Attributes:
        optimizer: any optax optimizer.
        early_stopping: when a member stops by itself.
        num_steps: the most updates of a member.
        in_widths: whether updates are in units of each coordinate's prior width.
    """

    optimizer: optax.GradientTransformation
    early_stopping: EarlyStopping | None
    num_steps: int = eqx.field(static=True)
    in_widths: bool = eqx.field(static=True)

    def searches_lines(self, position: PyTree[Array]) -> bool:
        """Whether the optimizer evaluates the loss itself, who knows how often."""
        state = jax.eval_shape(self.optimizer.init, position)
        return optax.tree.get(state, "value") is not None


class Member(eqx.Module):
    """One member on its way: only what the next step needs, since each counts.

    Attributes:
        position: where it is; may be anything once it has stopped.
        opt_state: state of the optimizer.
        kept: the point to return: the best one, or the last finite one.
        kept_loss: the loss there.
        cause: why it stopped, as `Cause`; `NONE` while it moves.
        watch: what early stopping remembers, if it is asked for.
        num_stalls: steps without a real fall, for line searches on a full loss.
    """

    position: PyTree[Array]
    opt_state: PyTree[Array]
    kept: PyTree[Array]
    kept_loss: Float[Array, ""]
    cause: Int[Array, ""]
    watch: Watch | None
    num_stalls: Int[Array, ""] | None


def start_member(
    objective: Objective, descent: Descent, position: PyTree[Array]
) -> Member:
    """Returns a member at its start, not evaluated yet."""
    loss = jax.eval_shape(objective.full(), position)
    can_settle = objective.batch_size is None and descent.searches_lines(position)
    return Member(
        position=position,
        opt_state=descent.optimizer.init(position),
        kept=position,
        kept_loss=jnp.asarray(jnp.inf, loss.dtype),
        cause=jnp.asarray(Cause.NONE, jnp.int32),
        watch=start_watch(loss.dtype) if descent.early_stopping else None,
        num_stalls=jnp.zeros((), jnp.int32) if can_settle else None,
    )


def step_member(
    objective: Objective,
    descent: Descent,
    key: Key[Array, ""],
    member: Member,
    step: Int[Array, ""],
) -> tuple[Member, Float[Array, ""]]:
    """Evaluates the member where it is, keeps the point if it is good, and moves.

    Returns:
        The member after the step, and its loss before it; NaN if it has stopped.
    """
    loss = objective.at_step(key, step)
    value, grad = _evaluate(objective, descent, loss, member)
    is_active = member.cause == Cause.NONE
    value_is_finite = jnp.isfinite(value)
    is_usable = value_is_finite & _is_finite(grad)
    watch, is_best, is_done = _judge(objective, descent, member, value, step)
    updates, opt_state = optax.with_extra_args_support(descent.optimizer).update(
        grad, member.opt_state, member.position, value=value, grad=grad, value_fn=loss
    )
    if descent.in_widths:
        updates = jax.tree.map(jnp.multiply, updates, objective.widths)
    position = optax.apply_updates(member.position, updates)
    num_stalls = _count_stalls(member, value)
    cause = is_done * Cause.STOPPED_EARLY
    if num_stalls is not None:
        cause = jnp.where(num_stalls >= MAX_STALLS, Cause.SETTLED, cause)
    failure = jnp.where(
        value_is_finite, Cause.NONFINITE_GRADIENT, Cause.NONFINITE_VALUE
    )
    cause = jnp.where(is_usable, cause, failure)
    # Without a barrier, XLA computes the scalar again in the loop over each leaf.
    keep = jax.lax.optimization_barrier(is_active & is_usable & is_best)
    kept, kept_loss = jax.tree.map(
        lambda new, old: jnp.where(keep, new, old),
        (member.position, value),
        (member.kept, member.kept_loss),
    )
    new = Member(
        position=position,
        opt_state=opt_state,
        kept=kept,
        kept_loss=kept_loss,
        cause=jnp.where(is_active, cause, member.cause).astype(jnp.int32),
        watch=watch,
        num_stalls=num_stalls,
    )
    return new, jnp.where(is_active & value_is_finite, value, jnp.nan)


def count_steps(
    objective: Objective, member: Member, losses: Float[Array, " steps"]
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Returns the updates that led to the kept point, and all updates.

    Args:
        objective: the loss.
        member: the member at its end.
        losses: its loss before each step and at the end, NaN where it had stopped.
    """
    num_seen = jnp.sum(~jnp.isnan(losses), dtype=jnp.int32)
    # The point where the value is NaN was reached, but has no loss.
    num_steps = num_seen - (member.cause != Cause.NONFINITE_VALUE)
    if member.watch is not None:
        kept_step = member.watch.best_step
    elif objective.batch_size is None:
        kept_step = jnp.argmax(losses == member.kept_loss)
    else:
        kept_step = num_seen - 1
    return kept_step.astype(jnp.int32), num_steps.astype(jnp.int32)


def _is_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    """Whether all entries of all leaves are finite."""
    marks = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(marks))


def _evaluate(
    objective: Objective, descent: Descent, loss: Loss, member: Member
) -> tuple[Float[Array, ""], PyTree[Array]]:
    state = member.opt_state
    # A line search may leave the value and gradient of the point where it ended.
    if objective.batch_size is None and optax.tree.get(state, "grad") is not None:
        value_and_grad = optax.value_and_grad_from_state(loss)
        value, grad = value_and_grad(member.position, state=state)
        return jnp.asarray(value), grad
    return jax.value_and_grad(loss)(member.position)


def _judge(
    objective: Objective,
    descent: Descent,
    member: Member,
    value: Float[Array, ""],
    step: Int[Array, ""],
) -> tuple[Watch | None, Bool[Array, ""], Bool[Array, ""]]:
    """Returns the watch, whether the point is one to keep, and whether to stop."""
    yes, no = jnp.asarray(True), jnp.asarray(False)
    stopping, watch = descent.early_stopping, member.watch
    if stopping is None or watch is None:
        # The loss of one mini-batch says little about the point: keep the last.
        is_best = value < member.kept_loss if objective.batch_size is None else yes
        return None, is_best, no
    every = stopping.check_every
    watch = watch._replace(total=watch.total + value)

    def check(watch: Watch) -> tuple[Watch, Bool[Array, ""], Bool[Array, ""]]:
        loss = value
        if stopping.held_out is not None:
            loss = -stopping.held_out.parts(member.position).log_likelihood
        elif objective.batch_size is not None:
            loss = watch.total / every
        return look(stopping, watch, loss.astype(value.dtype), step)

    def pass_by(watch: Watch) -> tuple[Watch, Bool[Array, ""], Bool[Array, ""]]:
        return watch, no, no

    # An average over mini-batches needs a whole window; a full loss is known at once.
    phase = 0 if objective.batch_size is None else every - 1
    watch, is_best, is_done = jax.lax.cond(step % every == phase, check, pass_by, watch)
    return watch, is_best if stopping.restore_best else yes, is_done


def _count_stalls(member: Member, value: Float[Array, ""]) -> Int[Array, ""] | None:
    """Counts the steps since the loss fell by more than its rounding error."""
    if member.num_stalls is None:
        return None
    rounding = ROUNDING * jnp.finfo(value.dtype).eps * jnp.abs(value)
    has_fallen = value < member.kept_loss - rounding
    return jnp.where(has_fallen, 0, member.num_stalls + 1)
