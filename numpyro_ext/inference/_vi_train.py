"""The compiled program of variational inference: every member's whole optimisation."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt

from ._data import num_bytes
from ._early_stopping import EarlyStopping, Watch, look, start_watch
from ._guide import AbstractGuide
from ._layout import (
    Layout,
    group_size,
    intermediate_bytes,
    largest_divisor,
    map_groups,
)
from ._model_spec import ModelSpec
from ._path import PathSettings, follow_path
from ._path_normal import PathNormal
from ._widths import prior_widths

# Draws that are evaluated together at the end.
DRAW_CHUNK = 64
# Of the path that leads to where a guide begins.
HISTORY_SIZE, NUM_ELBO_DRAWS, CLIMB_TOLERANCE = 6, 5, 1e-8
# Standard deviation of a guide that begins without a path, in units of the prior's
# width up to 1.
START_SCALE = 0.1

type GuideLoss = Callable[[PyTree[Array], Key[Array, ""]], Float[Array, ""]]


class VIProgram(eqx.Module):
    """The settings that the compiled program depends on.

    Attributes:
        guide: the family of laws.
        optimizer: any optax optimizer.
        kl_weight: weight of the divergence from the prior.
        early_stopping: when a member stops by itself.
        num_steps: the most updates of a member.
        num_particles: draws of the guide at each step.
        batch_size: rows of a mini-batch; None for all rows.
        num_samples: draws of each member at the end.
        layout: how members share the machine.
        num_climb_steps: iterations of the path that leads to where a guide begins.
    """

    guide: AbstractGuide
    optimizer: optax.GradientTransformation
    kl_weight: Float[Array, ""]
    early_stopping: EarlyStopping | None
    num_steps: int = eqx.field(static=True)
    num_particles: int = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    num_samples: int = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)
    num_climb_steps: int = eqx.field(static=True)


class VIMember(NamedTuple):
    """One member on its way.

    Attributes:
        params: parameters of the guide.
        opt_state: state of the optimizer.
        kept: the parameters to return, if early stopping gives back the best.
        watch: what early stopping remembers, if it is asked for.
        is_done: whether it has stopped.
        num_steps: updates so far, those that were left out included.
        num_left_out: updates that were left out, since they were not finite.
        last_finite: the step after the last one that was finite.
    """

    params: PyTree[Array]
    opt_state: PyTree[Array]
    kept: PyTree[Array] | None
    watch: Watch | None
    is_done: Bool[Array, ""]
    num_steps: Int[Array, ""]
    num_left_out: Int[Array, ""]
    last_finite: Int[Array, ""]


class VITrained(NamedTuple):
    """What is left of each member.

    Attributes:
        params: the parameters of the guide.
        positions: draws of it, each leaf (draw, ...).
        log_density: the log density at the draws, Jacobian included.
        log_ratio: log density minus that of the guide; its mean is the ELBO.
        elbos: the ELBO at each step, weighted and noisy; NaN behind the end.
        num_steps: updates in all.
        num_left_out: updates that were left out.
        last_finite: the step after the last one that was finite.
        is_stopped: whether early stopping ended it.
    """

    params: PyTree[Array]
    positions: PyTree[Array]
    log_density: Float[Array, " draws"]
    log_ratio: Float[Array, " draws"]
    elbos: Float[Array, " steps"]
    num_steps: Int[Array, ""]
    num_left_out: Int[Array, ""]
    last_finite: Int[Array, ""]
    is_stopped: Bool[Array, ""]


class _Run(NamedTuple):
    """What all members of a call share."""

    program: VIProgram
    guide: AbstractGuide
    spec: ModelSpec
    batch_key: Key[Array, ""]


@eqx.filter_jit
def train_guides(
    program: VIProgram,
    spec: ModelSpec,
    key: Key[Array, ""],
    numbers: UInt[Array, " members"],
    starts: PyTree[Array],
) -> VITrained:
    """Fits the guide of each member; data, starts and `kl_weight` are arguments.

    Args:
        program: the settings.
        spec: the model with its data.
        key: random key of the run.
        numbers: the numbers of the members, which give their keys.
        starts: a position for each member, where its guide begins.
    """
    widths_key, batch_key, member_key = jax.random.split(key, 3)
    run = _Run(program, program.guide.bind(spec), spec, batch_key)
    widths, _ = ravel_pytree(prior_widths(spec, widths_key))
    keys = jax.vmap(lambda number: jax.random.fold_in(member_key, number))(numbers)
    frames = jax.lax.map(
        lambda member: _make_frame(run, widths, *member), (keys, starts)
    )
    num_members = len(numbers)
    size = _choose_group(run, jax.tree.map(lambda leaf: leaf[0], frames), num_members)

    def train(members: tuple[Key[Array, "..."], PathNormal]) -> VITrained:
        return _train_group(run, size, *members)

    return map_groups(train, (keys, frames), num_members=num_members, size=size)


def _make_frame(
    run: _Run,
    widths: Float[Array, " n"],
    key: Key[Array, ""],
    start: PyTree[Array],
) -> PathNormal:
    """Returns the law that a guide begins with: the best one on a path, as a rule.

    Without a path it is a narrow law about the start, and where no law on the path has
    a finite ELBO, one about its end.
    """
    program, spec = run.program, _spec_at(run, run.program.num_steps)
    flat, unravel = ravel_pytree(start)
    scale = START_SCALE * jnp.minimum(widths, 1.0).astype(flat.dtype)
    if not program.num_climb_steps:
        nothing = jnp.zeros((flat.size, 0), flat.dtype)
        return PathNormal(flat, scale, nothing, nothing[:0])
    path = follow_path(
        PathSettings(
            max_iterations=program.num_climb_steps,
            history_size=HISTORY_SIZE,
            num_elbo_draws=NUM_ELBO_DRAWS,
            num_draws=1,
            tolerance=CLIMB_TOLERANCE,
        ),
        lambda z: spec.log_density(unravel(z)),
        jax.random.fold_in(key, program.num_steps + 3),
        flat,
        shared_bytes=num_bytes((spec.model.args, spec.model.kwargs)),
    )
    rank = path.normal.root.shape[0]
    root = jnp.eye(rank, dtype=flat.dtype)
    narrow = PathNormal(path.position, scale, jnp.zeros_like(path.normal.basis), root)
    return jax.tree.map(
        lambda best, other: jnp.where(jnp.isfinite(path.elbo), best, other),
        path.normal,
        narrow,
    )


def _choose_group(run: _Run, frame: PathNormal, num_members: int) -> int:
    program = run.program
    is_cpu = jax.default_backend() == "cpu"
    # No member should wait for the early stopping of another.
    if program.layout == "auto" and program.early_stopping is not None and is_cpu:
        return 1
    key = jax.random.key(0)
    params = run.guide.start(run.spec, key, frame)
    loss = _loss(run, frame, jnp.asarray(0))
    step_bytes = intermediate_bytes(jax.value_and_grad(loss), params, key)
    model = run.spec.model
    shared = 0 if program.batch_size else num_bytes((model.args, model.kwargs))
    return group_size(program.layout, num_members, step_bytes, shared)


def _loss(run: _Run, frame: PathNormal, step: Int[Array, ""]) -> GuideLoss:
    r"""Returns minus the estimate of the weighted ELBO at a step.

    $E_q[\log p(y \mid z)] - w\,\mathrm{KL}(q \,\|\, p(z))$: the Jacobian is part of
    the prior of $z$, so the weight falls on it, and not on the likelihood.
    """
    program, guide, spec = run.program, run.guide, _spec_at(run, step)

    def particle(params: PyTree[Array], key: Key[Array, ""]) -> Float[Array, ""]:
        position, log_prob = guide.draw(spec, frame, params, key)
        parts = spec.parts(position)
        log_prior = parts.log_prior - log_prob
        if guide.is_unconstrained:
            log_prior += parts.log_det
        return -parts.log_likelihood - program.kl_weight * log_prior

    def loss(params: PyTree[Array], key: Key[Array, ""]) -> Float[Array, ""]:
        if program.num_particles == 1:
            return particle(params, key)
        keys = jax.random.split(key, program.num_particles)
        return jnp.mean(jax.vmap(particle, in_axes=(None, 0))(params, keys))

    return loss


def _spec_at(run: _Run, step: Int[Array, ""] | int) -> ModelSpec:
    """Returns the spec on all rows, or on those of a step, the same for all members."""
    if run.program.batch_size is None:
        return run.spec
    rows_key = jax.random.fold_in(run.batch_key, step)
    num_rows = run.spec._require_batch().num_rows
    shape = (run.program.batch_size,)
    return run.spec.minibatch(jax.random.randint(rows_key, shape, 0, num_rows))


def _train_group(
    run: _Run, size: int, keys: Key[Array, "..."], frames: PathNormal
) -> VITrained:
    """Steps a group of members together until all have stopped."""
    program = run.program

    start = functools.partial(_start_member, run)
    advance = functools.partial(_step_member, run)
    finish = functools.partial(_finish_member, run)
    if size > 1:
        start, finish = jax.vmap(start), jax.vmap(finish, in_axes=(0, 0, 0, 1))
        # The rows of a mini-batch are then read once for the whole group.
        advance = jax.vmap(advance, in_axes=(0, 0, 0, None))

    def is_on(carry: tuple[Int[Array, ""], VIMember, Array]) -> Bool[Array, ""]:
        step, members, _ = carry
        return (step < program.num_steps) & ~jnp.all(members.is_done)

    def body(
        carry: tuple[Int[Array, ""], VIMember, Array],
    ) -> tuple[Int[Array, ""], VIMember, Array]:
        step, members, elbos = carry
        members, elbo = advance(keys, frames, members, step)
        elbos = jax.lax.dynamic_update_index_in_dim(elbos, elbo, step, 0)
        return step + 1, members, elbos

    members = start(keys, frames)
    dtype = frames.loc.dtype
    shape = (program.num_steps, *members.is_done.shape)
    elbos = jnp.full(shape, jnp.nan, dtype)
    _, members, elbos = jax.lax.while_loop(
        is_on, body, (jnp.zeros((), jnp.int32), members, elbos)
    )
    return finish(keys, frames, members, elbos)


def _start_member(run: _Run, key: Key[Array, ""], frame: PathNormal) -> VIMember:
    start_key = jax.random.fold_in(key, run.program.num_steps)
    params = run.guide.start(run.spec, start_key, frame)
    stopping = run.program.early_stopping
    dtype = frame.loc.dtype
    zero = jnp.zeros((), jnp.int32)
    return VIMember(
        params=params,
        opt_state=run.program.optimizer.init(params),
        kept=params if stopping is not None else None,
        watch=start_watch(dtype) if stopping is not None else None,
        is_done=jnp.asarray(False),
        num_steps=zero,
        num_left_out=zero,
        last_finite=zero,
    )


def _step_member(
    run: _Run,
    key: Key[Array, ""],
    frame: PathNormal,
    member: VIMember,
    step: Int[Array, ""],
) -> tuple[VIMember, Float[Array, ""]]:
    """Makes one update, unless it is not finite; returns the ELBO before it."""
    program = run.program
    loss = _loss(run, frame, step)
    step_key = jax.random.fold_in(key, step)
    value, grad = jax.value_and_grad(loss)(member.params, step_key)
    updates, opt_state = optax.with_extra_args_support(program.optimizer).update(
        grad,
        member.opt_state,
        member.params,
        value=value,
        grad=grad,
        value_fn=lambda params: loss(params, step_key),
    )
    marks = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((value, grad))]
    is_finite = jnp.all(jnp.stack(marks))
    # Without a barrier, XLA computes the scalar again in the loop over each leaf.
    moves = jax.lax.optimization_barrier(is_finite & ~member.is_done)
    params, opt_state = jax.tree.map(
        lambda new, old: jnp.where(moves, new, old),
        (optax.apply_updates(member.params, updates), opt_state),
        (member.params, member.opt_state),
    )
    watch, kept, stops = _judge(run, key, frame, member, value, step)
    num = (~member.is_done).astype(jnp.int32)
    new = VIMember(
        params=params,
        opt_state=opt_state,
        kept=kept,
        watch=watch,
        is_done=member.is_done | stops,
        num_steps=member.num_steps + num,
        num_left_out=member.num_left_out + num * ~is_finite,
        last_finite=jnp.where(moves, step + 1, member.last_finite),
    )
    return new, jnp.where(member.is_done, jnp.nan, -value)


def _judge(
    run: _Run,
    key: Key[Array, ""],
    frame: PathNormal,
    member: VIMember,
    value: Float[Array, ""],
    step: Int[Array, ""],
) -> tuple[Watch | None, PyTree[Array] | None, Bool[Array, ""]]:
    """Returns the watch, the parameters to keep, and whether to stop."""
    stopping, watch = run.program.early_stopping, member.watch
    if stopping is None or watch is None:
        return None, None, jnp.asarray(False)
    every = stopping.check_every
    watch = watch._replace(total=watch.total + value)
    no = jnp.asarray(False)

    def check(watch: Watch) -> tuple[Watch, Bool[Array, ""], Bool[Array, ""]]:
        loss = watch.total / every
        if stopping.held_out is not None:
            loss = _held_out_loss(run, stopping.held_out, key, frame, member.params)
        return look(stopping, watch, loss.astype(value.dtype), step)

    def pass_by(watch: Watch) -> tuple[Watch, Bool[Array, ""], Bool[Array, ""]]:
        return watch, no, no

    is_due = step % every == every - 1
    watch, is_best, stops = jax.lax.cond(is_due, check, pass_by, watch)
    keeps = is_best & ~member.is_done
    if not stopping.restore_best:
        keeps = ~member.is_done
    kept = jax.tree.map(
        lambda new, old: jnp.where(keeps, new, old), member.params, member.kept
    )
    return watch, kept, stops


def _held_out_loss(
    run: _Run,
    held_out: ModelSpec,
    key: Key[Array, ""],
    frame: PathNormal,
    params: PyTree[Array],
) -> Float[Array, ""]:
    """Returns minus the mean log likelihood of data that training does not see."""

    def particle(key: Key[Array, ""]) -> Float[Array, ""]:
        position = run.guide.draw(run.spec, frame, params, key).position
        return -held_out.parts(position).log_likelihood

    # The same noise at each look: parameters are compared by paired draws.
    key = jax.random.fold_in(key, run.program.num_steps + 2)
    keys = jax.random.split(key, run.program.num_particles)
    return jnp.mean(jax.vmap(particle)(keys))


def _finish_member(
    run: _Run,
    key: Key[Array, ""],
    frame: PathNormal,
    member: VIMember,
    elbos: Float[Array, " steps"],
) -> VITrained:
    """Draws from the guide that was kept, and weighs it against the posterior."""
    guide, spec, num = run.guide, run.spec, run.program.num_samples
    params = member.params if member.kept is None else member.kept

    def one(key: Key[Array, ""]) -> tuple[PyTree[Array], Array, Array]:
        position, log_prob = guide.draw(spec, frame, params, key)
        parts = spec.parts(position)
        log_density = parts.weigh(jacobian=True)
        target = log_density if guide.is_unconstrained else parts.weigh(jacobian=False)
        return position, log_density, target - log_prob

    keys = jax.random.split(jax.random.fold_in(key, run.program.num_steps + 1), num)
    positions, log_density, log_ratio = jax.lax.map(
        one, keys, batch_size=largest_divisor(num, DRAW_CHUNK)
    )
    return VITrained(
        params=params,
        positions=positions,
        log_density=log_density,
        log_ratio=log_ratio,
        elbos=elbos,
        num_steps=member.num_steps,
        num_left_out=member.num_left_out,
        last_finite=member.last_finite,
        is_stopped=member.is_done,
    )
