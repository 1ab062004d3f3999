"""Stopping a member when it no longer gets better, and giving back its best point."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._checks import check_positive_int
from ._model_spec import ModelSpec


class EarlyStopping(eqx.Module):
    """Stops each member by itself once its loss stops falling.

    The loss is the one that is descended, or with `held_out` the negative log
    likelihood of data that training does not see. With mini-batches, the training
    loss is averaged over the steps since the last check.

    Args:
        patience: a member stops when its loss has not fallen for so many steps.
        min_delta: by how much it must fall to count, in nats.
        check_every: steps between looks at the loss.
        held_out: a spec of the same model on other data.
        restore_best: whether to return the best of the points that were looked at,
            instead of the last one.

    Raises:
        ValueError: naming the argument and its value.
    """

    patience: int = 100
    min_delta: float | int = 0.0
    check_every: int = 1
    held_out: ModelSpec | None = None
    restore_best: bool = True

    def __check_init__(self) -> None:
        check_positive_int("EarlyStopping", "check_every", self.check_every)
        check_positive_int(
            "EarlyStopping", "patience", self.patience, minimum=self.check_every
        )
        if not 0.0 <= self.min_delta < float("inf"):
            raise ValueError(
                f"`EarlyStopping(min_delta={self.min_delta!r})`: `min_delta` is the "
                "fall of the loss that counts, in nats, and must be 0 or more."
            )
        if not (self.held_out is None or isinstance(self.held_out, ModelSpec)):
            raise ValueError(
                f"`EarlyStopping(held_out={self.held_out!r:.40})`: `held_out` is a "
                "`ModelSpec` on other data, such as `spec.with_data(X_new, y=y_new)`."
            )


class Watch(NamedTuple):
    """What early stopping remembers of one member.

    Attributes:
        best: the lowest loss at a check.
        best_step: the step of that check.
        reference: the loss that the next one must beat by `min_delta`.
        last_fall: the step at which it last did.
        total: sum of the losses since the last check.
    """

    best: Float[Array, ""]
    best_step: Int[Array, ""]
    reference: Float[Array, ""]
    last_fall: Int[Array, ""]
    total: Float[Array, ""]


def start_watch(dtype: jnp.dtype) -> Watch:
    """Returns the memory of a member that has not been looked at."""
    infinity = jnp.asarray(jnp.inf, dtype)
    zero = jnp.zeros((), dtype)
    never = jnp.zeros((), jnp.int32)
    return Watch(infinity, never, infinity, never, zero)


def look(
    stopping: EarlyStopping, watch: Watch, loss: Float[Array, ""], step: Int[Array, ""]
) -> tuple[Watch, Bool[Array, ""], Bool[Array, ""]]:
    """Notes a loss; returns whether it is the best so far, and whether to stop."""
    is_best = loss < watch.best
    has_fallen = loss < watch.reference - stopping.min_delta
    # The first finite loss falls from infinity, whatever `min_delta` is.
    reference = jnp.where(has_fallen, loss, watch.reference)
    last_fall = jnp.where(has_fallen, step, watch.last_fall)
    watch = Watch(
        best=jnp.where(is_best, loss, watch.best),
        best_step=jnp.where(is_best, step, watch.best_step),
        reference=reference,
        last_fall=last_fall,
        total=jnp.zeros_like(watch.total),
    )
    return watch, is_best, step - last_fall >= stopping.patience
