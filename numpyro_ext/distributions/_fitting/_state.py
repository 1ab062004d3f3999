"""What the iteration carries, and what it is told."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ._density import Geometry, Params, Prior, Sweep
from ._family import GIG, Family
from ._gauge import FREE
from ._m_step import Held

NORMAL, MIXING = 0, 1
# After the end: the density without its penalties, at the limits; before it, at the
# rows around one that holds loc.
EXACT, LIMIT, ROWS = 2, 3, 4
RUNNING, CONVERGED, STALLED, EXHAUSTED, BROKEN, DECREASED = range(6)
MAX_HALVINGS = 6


class Settings(NamedTuple):
    """What is known when the program is compiled."""

    algorithm: str = "ecme"
    acceleration: str = "squarem"
    max_iterations: int = 500
    # Whether parameters have a tolerance too; their last values are then kept.
    has_parameter_tol: bool = False
    is_shrunk: bool = False
    # What holds the scale of w; see `_gauge`.
    gauge: str = FREE


class Mixing(NamedTuple):
    """Which coordinates move, and how far, before and after the release."""

    projector: Array
    lower: Array
    upper: Array


class Problem(NamedTuple):
    """The data of one fit, in units without scale."""

    x: Array
    weights: Array
    prior: Prior
    held: Held
    tol: Array
    parameter_tol: Array
    # Of shape (2, ...): the first is for the stage before the release.
    mixing: Mixing
    # Added to the coordinates at the release.
    push: Array
    gauge_value: Array
    # The scale, if it is fixed.
    tril: Array
    is_scale: Array


class State(NamedTuple):
    """What the loop carries."""

    candidate: Params
    geo: Geometry
    has_moved: Array
    phase: Array
    safe: Params
    value: Array
    safe_geo: Geometry
    # The last step of the mixing phase, for the case that it is too long.
    step: Array
    # The trust region, as a part of the longest step.
    radius: Array
    halvings: Array
    # Where the last candidate came from: an extrapolation, not an EM step.
    is_jump: Array
    num_iterations: Array
    sweeps: Array
    before: Array
    # Of the last EM step, infinite after anything else.
    gain: Array
    # Length of the last extrapolations: steps of EM until the end of a slow direction.
    slowness: Array
    # Identified parameters after the last iteration, or nothing.
    previous: Array
    trace: Array
    drop: Array
    status: Array
    stage: Array
    best: Params
    best_value: Array
    history: Params
    # Steps of EM since the last extrapolation.
    held_count: Array
    num_jumps: Array
    final: Sweep
    exact: Array
    spike: Array
    limit_value: Array
    verdict: Array
    # Of the search among rows: how far it is, in rows and in squared distance, and the
    # best that it found.
    row_count: Array
    reach: Array
    found: Params
    found_value: Array


def initial_state(
    family: Family, settings: Settings, problem: Problem, start: Params, stage: Array
) -> State:
    """The state before the first sweep."""
    x = problem.x
    dtype = x.dtype
    n, k = x.shape[0], family.num_coordinates
    rows, scalar = jnp.zeros((n,), dtype), jnp.zeros((), dtype)
    geo = Geometry(rows, rows, *(scalar for _ in range(6)))
    low = jnp.full((), -jnp.inf, dtype)
    sweep = Sweep(
        low,
        jnp.zeros((k + 3,), dtype),
        jnp.zeros((k + 3, k + 3), dtype),
        rows,
        rows,
        rows,
        scalar,
        scalar,
    )
    zero = jnp.zeros((), jnp.int32)
    d = x.shape[1]
    num_kept = 2 * d + d * d + (2 if family == GIG else 1)
    previous = jnp.full(
        (num_kept if settings.has_parameter_tol else 0,), jnp.inf, dtype
    )
    history = jax.tree.map(lambda y: jnp.stack([y, y]), start)
    return State(
        candidate=start,
        geo=geo,
        has_moved=jnp.ones((), bool),
        phase=zero,
        safe=start,
        value=low,
        safe_geo=geo,
        step=jnp.zeros((k + 3,), dtype),
        radius=jnp.ones((), dtype),
        halvings=zero,
        is_jump=jnp.zeros((), bool),
        num_iterations=zero,
        sweeps=zero,
        before=low,
        gain=jnp.full((), jnp.inf, dtype),
        slowness=scalar,
        previous=previous,
        trace=jnp.full((settings.max_iterations + 1,), jnp.nan, dtype),
        drop=scalar,
        status=zero,
        stage=stage,
        best=start,
        best_value=low,
        history=history,
        held_count=zero,
        num_jumps=zero,
        final=sweep,
        exact=low,
        spike=scalar,
        limit_value=low,
        verdict=zero,
        row_count=zero,
        reach=scalar,
        found=start,
        found_value=low,
    )
