"""When to stop: by what remains to be gained, not by what was gained last."""

import jax.numpy as jnp
from jax import Array, lax

from ._density import Params, Sweep
from ._family import Family, clip
from ._mixing_step import line_basis
from ._state import Mixing, Problem, State

# A gain of less than that many units of rounding says nothing about the next.
ROUNDING = 16.0
# Gains are taken to shrink by one part in that many at least.
SLOWEST = 1e4


def rounding_of(value: Array) -> Array:
    """What two values of the criterion may differ by for no reason."""
    return ROUNDING * jnp.finfo(value.dtype).eps * (1.0 + jnp.abs(value))


def is_at_rest(
    family: Family,
    problem: Problem,
    mixing: Mixing,
    moves: Array,
    state: State,
    sweep: Sweep,
    gain: Array,
) -> Array:
    """Whether less than `tol` remains to be gained, after two EM steps in a row.

    Small gains alone do not say it: a step of EM gains the n-th part of what remains,
    with n in the hundreds where the law is close to normal. So two estimates of the
    rest have to agree: the sum of the geometric series that the last two gains begin,
    and the gain of a Newton step of the mixing law and of what lies along the skew,
    which are the slow directions. After an extrapolation the first is blind to a slow
    direction of small amplitude; then the length of the extrapolation stands in.
    """
    floor = rounding_of(state.value)
    tol = jnp.maximum(problem.tol, floor)
    has_two = jnp.isfinite(state.gain) & jnp.isfinite(gain)
    rate = jnp.clip(gain / state.gain, 0.0, 1.0 - 1.0 / SLOWEST)
    series = jnp.abs(gain) * jnp.maximum(rate / (1.0 - rate), 0.5 * state.slowness)
    # The slowest of the directions, from gains that are rounding errors, is not known.
    is_calm = (jnp.maximum(gain, series) <= tol) | (jnp.abs(gain) <= 0.125 * floor)
    is_calm = has_two & is_calm
    rest = lax.cond(
        is_calm,
        lambda: newton_gain(family, mixing, moves, state.safe, state.geo.tilt, sweep),
        lambda: jnp.full_like(gain, jnp.inf),
    )
    return is_calm & (rest <= tol) & has_small_change(family, problem, state, sweep)


def newton_gain(
    family: Family,
    mixing: Mixing,
    moves: Array,
    params: Params,
    tilt: Array,
    sweep: Sweep,
) -> Array:
    """What the quadratic model of the criterion promises, within the bounds."""
    c = params.c
    k = family.num_coordinates
    basis = line_basis(family, c, tilt, mixing.projector, moves, jnp.ones_like(tilt))
    slope = basis.T @ sweep.gradient
    curvature = -(basis.T @ sweep.hessian @ basis)
    curvature = jnp.where(jnp.isfinite(curvature), curvature, 0.0)
    values, vectors = jnp.linalg.eigh(0.5 * (curvature + curvature.T))
    eps = jnp.finfo(c.dtype).eps
    sizes = jnp.maximum(jnp.abs(values), eps * jnp.max(jnp.abs(values)))
    along = vectors.T @ slope
    step = basis @ (vectors @ (along / jnp.maximum(sizes, jnp.finfo(c.dtype).tiny)))
    # What a bound forbids is not to be gained.
    inside = clip(family, c + step[:k], mixing.lower, mixing.upper) - c
    return 0.5 * jnp.abs(sweep.gradient @ jnp.concatenate([inside, step[k:]]))


def has_small_change(
    family: Family, problem: Problem, state: State, sweep: Sweep
) -> Array:
    """Whether the last iteration moved no identified parameter by more than asked."""
    if state.previous.shape[0] == 0:
        return jnp.ones((), bool)
    moved = jnp.abs(identified_vector(family, state.safe, sweep.unit) - state.previous)
    return jnp.max(moved) <= problem.parameter_tol


def identified_vector(family: Family, params: Params, unit: Array) -> Array:
    """What the data can tell, at E[w] = 1 and in units without scale."""
    c = params.c
    shape = c[:1] if family.kind != "gig" else c[:-2]
    if family.kind == "gig":
        shape = jnp.append(shape, 0.5 * (c[-2] + c[-1]))
    tril = params.tril * jnp.sqrt(unit)
    return jnp.concatenate([shape, params.loc, params.skew * unit, jnp.ravel(tril)])
