"""Whether an answer is an answer: the codes of a fit and what they say."""

from enum import IntEnum

import jax.numpy as jnp
from jax import Array

from ._core import Outcome
from ._family import Family
from ._state import BROKEN, DECREASED, EXHAUSTED

# A limit law is named where it is as likely, to so many nats in all.
LIMIT_GAP = 0.01
# The normal law: where nothing in the mixing law pays for itself.
NORMAL_GAP = 0.5
# What the resolution may cost before the fit counts as a spike.
SPIKE = 0.5
# Information on (p, log omega), in all: below, a step of 1 costs less than half a nat.
WEAK = 1.0


class FitStatus(IntEnum):
    """The verdict on a fit."""

    CONVERGED = 0
    NORMAL_LIMIT = 1
    GAMMA_LIMIT = 2
    INVERSE_GAMMA_LIMIT = 3
    DEGENERATE = 4
    WEAKLY_IDENTIFIED = 5
    MAX_ITERATIONS = 6
    NOT_FINITE = 7
    DECREASED = 8


def verdict(family: Family, out: Outcome, total: Array) -> tuple[Array, Array, Array]:
    """FitStatus, and the smallest and largest information on the mixing law.

    Pure, so that a vmapped fit has a status for each data set. `total` is the sum of
    the weights.
    """
    least, largest = mixing_information(family, out, total)
    gap = total * (out.log_likelihood - out.normal)
    to_limit = total * (out.penalized - out.limit)
    spike = total * out.spike
    status = jnp.where(least < WEAK, FitStatus.WEAKLY_IDENTIFIED, FitStatus.CONVERGED)
    if family.kind == "gig" and family.order is None:
        side = jnp.where(
            out.c[0] > 0, FitStatus.GAMMA_LIMIT, FitStatus.INVERSE_GAMMA_LIMIT
        )
        status = jnp.where(to_limit < LIMIT_GAP, side, status)
    status = jnp.where(out.status == EXHAUSTED, FitStatus.MAX_ITERATIONS, status)
    status = jnp.where(gap < NORMAL_GAP, FitStatus.NORMAL_LIMIT, status)
    status = jnp.where(~(spike < SPIKE), FitStatus.DEGENERATE, status)
    status = jnp.where(out.status == DECREASED, FitStatus.DECREASED, status)
    is_lost = (out.status == BROKEN) | ~jnp.isfinite(out.penalized)
    status = jnp.where(is_lost, FitStatus.NOT_FINITE, status)
    return status.astype(jnp.int32), least, largest


def mixing_information(
    family: Family, out: Outcome, total: Array
) -> tuple[Array, Array]:
    """Extreme eigenvalues of the information on (p, log omega) or on log shape.

    The scale of w is profiled out, and loc, skew and Sigma along the skew: near the
    normal law they can do nearly all that the mixing law can. Across the skew they are
    taken as known, which matters little.
    """
    k = family.num_coordinates
    free = jnp.concatenate([jnp.ones((k,)), out.moves]).astype(out.hessian.dtype)
    information = -total * out.hessian * free[:, None] * free[None, :]
    information = jnp.where(jnp.isfinite(information), information, 0.0)
    if family.kind == "gig":
        # log a = log omega - s, log b = log omega + s
        turn = jnp.eye(k).at[-2:, -2:].set(jnp.array([[1.0, -1.0], [1.0, 1.0]]))
    else:
        turn = jnp.eye(k).at[1, 0].set(1.0)
    turn = jnp.eye(k + 3).at[:k, :k].set(turn).astype(information.dtype)
    information = turn.T @ information @ turn
    own, cross = information[: k - 1, : k - 1], information[: k - 1, k - 1 :]
    rest = information[k - 1 :, k - 1 :]
    # Each in its own unit. What does not move, or has no effect, drops out.
    diagonal = jnp.diagonal(rest)
    size = jnp.where(diagonal > 0, 1.0 / jnp.sqrt(jnp.abs(diagonal)), 0.0)
    values, vectors = jnp.linalg.eigh(rest * size[:, None] * size[None, :])
    is_there = values > 1e3 * jnp.finfo(values.dtype).eps
    spread = jnp.where(is_there, 1.0 / jnp.where(is_there, values, 1.0), 0.0)
    turned = (cross * size) @ vectors
    values = jnp.linalg.eigvalsh(own - (turned * spread) @ turned.T)
    return values[0], values[-1]
