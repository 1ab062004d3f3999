"""Ensembles for those who own their loop: start, step, loss and prediction."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import optax
from jaxtyping import Array, Float, Key, PyTree, UInt32

from .._checks import check_positive_int
from ._layout import Layout, group_size, intermediate_bytes, map_groups

type LogJoint = Callable[..., tuple[Float[Array, ""], Float[Array, ""]]]
type Weight = Float[Array, ""] | float | int


class EnsembleState(NamedTuple):
    """Parameters and optimizer states of all members.

    Attributes:
        params: any pytree; its arrays have a leading axis of members, all other
            leaves are shared.
        opt_state: state of the optimizer, with a leading axis of members.
    """

    params: PyTree
    opt_state: PyTree


def ensemble_init(
    init_fn: Callable[[Key[Array, ""]], PyTree],
    optimizer: optax.GradientTransformation,
    *,
    ensemble_size: int,
    seed: Key[Array, ""] | UInt32[Array, "2"] | int,
) -> EnsembleState:
    """Draws the parameters of all members, and starts their optimizers.

    Args:
        init_fn: `init_fn(key) -> params`, any pytree, such as an Equinox module.
        optimizer: an optax optimizer; it sees the floating-point arrays only.
        ensemble_size: number of members.
        seed: a random key, or an integer to make one of.

    Raises:
        ValueError: if `ensemble_size` is no positive integer.
    """
    check_positive_int("ensemble_init", "ensemble_size", ensemble_size)
    key = jax.random.key(seed) if isinstance(seed, int) else seed

    def init_member(key: Array) -> EnsembleState:
        params = init_fn(key)
        return EnsembleState(params, optimizer.init(_moving(params)))

    return eqx.filter_vmap(init_member)(jax.random.split(key, ensemble_size))


def ensemble_loss(
    log_joint: LogJoint,
    *,
    prior_weight: Weight = 1.0,
    scale: Weight = 1.0,
) -> Callable[..., tuple[Float[Array, ""], PyTree]]:
    r"""Returns the loss of one member and its gradient, as one function.

    $$-(\text{scale}\,\log p(y_B \mid \theta) + w\,\log p(\theta))$$

    Args:
        log_joint: `log_joint(params, *batch) -> (log_likelihood, log_prior)`.
        prior_weight: $w$; a Python 0 leaves the prior out even where it is zero.
        scale: rows of the data by rows of the batch, N / B.

    Returns:
        `function(params, *batch) -> (loss, gradient)`, with a gradient for each
        floating-point array of the parameters and None for other leaves.
    """

    def loss(params: PyTree, *batch: Any) -> Float[Array, ""]:
        log_likelihood, log_prior = log_joint(params, *batch)
        total = scale * log_likelihood
        if not (isinstance(prior_weight, int | float) and prior_weight == 0):
            total = total + prior_weight * log_prior
        return -total

    return eqx.filter_value_and_grad(loss)


def ensemble_step(
    state: EnsembleState,
    x_batch: PyTree,
    y_batch: PyTree,
    *,
    log_joint: LogJoint,
    optimizer: optax.GradientTransformation,
    prior_weight: Weight = 1.0,
    scale: Weight = 1.0,
    layout: Layout = "auto",
) -> tuple[EnsembleState, Float[Array, " members"]]:
    """Makes one step of every member on the same batch.

    It is compiled, and may be called inside `jax.jit` or `eqx.filter_jit` too.

    Args:
        state: from `ensemble_init`, or from the last step.
        x_batch: inputs of the batch.
        y_batch: targets of the batch.
        log_joint: `log_joint(params, x_batch, y_batch)` returns the scalars
            `(log_likelihood, log_prior)`.
        optimizer: the optax optimizer of `ensemble_init`; those with line searches get
            `value`, `grad` and `value_fn`.
        prior_weight: weight of the log prior; 0 is maximum likelihood.
        scale: rows of the data by rows of the batch, N / B.
        layout: as in `EnsembleMAP`.

    Returns:
        The new state, and the loss of each member before the step.
    """
    # Python numbers are static in a compiled function: a 0 leaves the prior out.
    return _step(
        state, (x_batch, y_batch), log_joint, optimizer, prior_weight, scale, layout
    )


def ensemble_predict(
    params: PyTree, predict_fn: Callable[[PyTree, PyTree], PyTree], x: PyTree
) -> PyTree[Array]:
    """Predicts with every member: each result has a leading axis of members.

    Args:
        params: parameters with a leading axis of members, as in `EnsembleState.params`
            or from `Fit.params()`.
        predict_fn: `predict_fn(params, x)` of one member.
        x: inputs, shared by all members.
    """
    return eqx.filter_vmap(predict_fn, in_axes=(eqx.if_array(0), None))(params, x)


@eqx.filter_jit
def _step(
    state: EnsembleState,
    batch: tuple[PyTree, ...],
    log_joint: LogJoint,
    optimizer: optax.GradientTransformation,
    prior_weight: Weight,
    scale: Weight,
    layout: Layout,
) -> tuple[EnsembleState, Float[Array, " members"]]:
    value_and_grad = ensemble_loss(log_joint, prior_weight=prior_weight, scale=scale)
    arrays, fixed = eqx.partition(state, eqx.is_array)

    def step_member(arrays: EnsembleState) -> tuple[EnsembleState, Float[Array, ""]]:
        params, opt_state = eqx.combine(arrays, fixed)
        loss, grad = value_and_grad(params, *batch)
        moving, still = eqx.partition(params, eqx.is_inexact_array)

        def value_fn(moving: PyTree[Array]) -> Float[Array, ""]:
            return value_and_grad(eqx.combine(moving, still), *batch)[0]

        updates, opt_state = optax.with_extra_args_support(optimizer).update(
            grad, opt_state, moving, value=loss, grad=grad, value_fn=value_fn
        )
        new = EnsembleState(eqx.apply_updates(params, updates), opt_state)
        return eqx.filter(new, eqx.is_array), loss

    num_members = jax.tree.leaves(arrays)[0].shape[0]
    one = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), arrays
    )
    size = group_size(layout, num_members, intermediate_bytes(step_member, one))
    many = step_member if size == 1 else jax.vmap(step_member)
    arrays, losses = map_groups(many, arrays, num_members=num_members, size=size)
    return eqx.combine(arrays, fixed), losses


def _moving(params: PyTree) -> PyTree[Array]:
    return eqx.filter(params, eqx.is_inexact_array)
