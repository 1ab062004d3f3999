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

    Given loc, skew and Sigma, with the scale of w profiled out.
    """
    k = family.num_coordinates
    information = -total * out.hessian[:k, :k]
    if family.kind == "gig":
        # log a = log omega - s, log b = log omega + s
        turn = jnp.eye(k).at[-2:, -2:].set(jnp.array([[1.0, -1.0], [1.0, 1.0]]))
    else:
        turn = jnp.eye(k).at[1, 0].set(1.0)
    information = turn.T @ information @ turn
    own = information[:-1, :-1]
    cross = information[:-1, -1:]
    own = own - cross @ cross.T / jnp.maximum(information[-1, -1], 1e-30)
    values = jnp.linalg.eigvalsh(jnp.where(jnp.isfinite(own), own, 0.0))
    return values[0], values[-1]
