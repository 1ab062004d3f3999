"""The iteration: one `while_loop` whose body holds one sweep over the rows.

A body evaluates a candidate. In the normal phase an accepted candidate gets a new loc,
skew and scale (the M step); in the mixing phase, new coordinates of the mixing law. A
candidate that is worse than the last accepted point is pulled back towards it. So the
accepted values never decrease, accelerated or not, and the Bessel function is compiled
once.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._density import (
    Line,
    Params,
    Sweep,
    evaluate,
    geometry,
    move_geometry,
    move_params,
)
from ._family import Family, clip
from ._gauge import tangent, to_gauge
from ._m_step import line_moves, normal_step
from ._mixing_em import mixing_em
from ._mixing_step import line_step, retract
from ._pinned import is_near, is_pinned, moved_to, next_row, squares_of
from ._squarem import extrapolate
from ._state import (
    BROKEN,
    CONVERGED,
    DECREASED,
    EXACT,
    EXHAUSTED,
    LIMIT,
    MAX_HALVINGS,
    MIXING,
    NORMAL,
    ROWS,
    RUNNING,
    STALLED,
    Mixing,
    Problem,
    Settings,
    State,
)
from ._stopping import identified_vector, is_at_rest, rounding_of

# One extrapolation in so many waits for so many steps of EM.
LONG_EVERY, LONG_WAIT = 4, 8


def run(
    family: Family, settings: Settings, problem: Problem, state: State, limit: Array
) -> State:
    """Iterates to the end, or until there were `limit` iterations."""

    def body(state):
        return _body(family, settings, problem, state)

    def goes_on(state):
        return (state.status == RUNNING) & (state.num_iterations < limit)

    return lax.while_loop(goes_on, body, state)


def _body(family: Family, settings: Settings, problem: Problem, state: State) -> State:
    x, prior = problem.x, problem.prior
    geo = lax.cond(
        state.has_moved,
        lambda: geometry(x.T, state.candidate, prior),
        lambda: state.geo,
    )
    is_exact = state.phase == EXACT
    sweep = evaluate(
        family,
        state.candidate.c,
        geo,
        problem.weights,
        prior._replace(
            blur=jnp.where(is_exact, 0.0, prior.blur),
        ),
        x.shape[1],
    )
    value = jnp.where(jnp.isnan(sweep.value), -jnp.inf, sweep.value)
    slack = 64.0 * jnp.finfo(x.dtype).eps * (1.0 + jnp.abs(state.value))
    is_accepted = (value >= state.value - slack) & jnp.isfinite(value)
    state = state._replace(geo=geo, sweeps=state.sweeps + 1)
    is_over = state.phase >= EXACT
    which = jnp.where(is_accepted | is_over, state.phase, ROWS + 1)
    return lax.switch(
        which,
        [
            lambda s: _after_mixing(family, settings, problem, s, sweep, value),
            lambda s: _after_normal(family, settings, problem, s, sweep, value),
            lambda s: _after_exact(family, s, sweep),
            lambda s: _after_limit(s, value),
            lambda s: _after_row(problem, s, value),
            lambda s: _rejected(family, settings, problem, s, value),
        ],
        state,
    )


def _accept(state: State, value: Array) -> State:
    return state._replace(
        safe=state.candidate,
        safe_geo=state.geo,
        value=value,
        halvings=jnp.zeros_like(state.halvings),
    )


def _stage(
    family: Family, settings: Settings, problem: Problem, state: State
) -> Mixing:
    mixing = jax.tree.map(lambda y: y[state.stage], problem.mixing)
    gauge, value = settings.gauge, problem.gauge_value
    turned = tangent(family, state.safe.c, gauge, value, mixing.projector)
    return mixing._replace(projector=turned)


def _clip(
    family: Family, settings: Settings, problem: Problem, c: Array, mixing: Mixing
) -> Array:
    c = clip(family, c, mixing.lower, mixing.upper)
    return to_gauge(family, c, settings.gauge, problem.gauge_value)


def _with_held_scale(problem: Problem, params: Params) -> Params:
    return params._replace(tril=jnp.where(problem.is_scale, problem.tril, params.tril))


def _after_mixing(
    family: Family,
    settings: Settings,
    problem: Problem,
    state: State,
    sweep: Sweep,
    value: Array,
) -> State:
    """One iteration is over: judge it, then take the next M step or a long step."""
    state = _accept(state, value)._replace(
        final=sweep, radius=jnp.minimum(2.0 * state.radius, 1.0)
    )
    # The first sweep of a stage ends no iteration.
    is_first = ~jnp.isfinite(state.before)
    state = state._replace(
        trace=state.trace.at[state.num_iterations].set(value, mode="drop")
    )
    # The gain of a jump says nothing about the next.
    gain = jnp.where(state.is_jump | is_first, jnp.inf, value - state.before)
    mixing, moves = _stage(family, settings, problem, state), _moves(problem, state)
    is_over = is_at_rest(family, problem, mixing, moves, state, sweep, gain)
    state = state._replace(before=value, gain=gain)
    if settings.has_parameter_tol:
        now = identified_vector(family, state.safe, sweep.unit)
        state = state._replace(previous=now)
    is_out = state.num_iterations >= settings.max_iterations
    return lax.switch(
        jnp.where(is_over, jnp.where(state.stage == 0, 1, 2), jnp.where(is_out, 3, 0)),
        [
            lambda s: _advance(family, settings, problem, s, sweep),
            lambda s: _release(family, settings, problem, s),
            lambda s: _settle(problem, s, CONVERGED),
            lambda s: _finish(s, EXHAUSTED),
        ],
        state,
    )


def _advance(
    family: Family, settings: Settings, problem: Problem, state: State, sweep: Sweep
) -> State:
    """The next candidate: an extrapolation, or an EM step."""
    if settings.acceleration == "none":
        return _em_step(family, settings, problem, state, sweep)
    # Two steps, but more from time to time: those damp the fast directions, and the
    # next length is that of a slow one. With two alone the iteration can zigzag.
    is_long = state.num_jumps % LONG_EVERY == LONG_EVERY - 1
    is_jump = state.held_count >= jnp.where(is_long, LONG_WAIT, 2)
    jumped = state._replace(
        held_count=jnp.zeros_like(state.held_count), num_jumps=state.num_jumps + 1
    )

    def jump(state):
        params, length = extrapolate(state.history, state.safe)
        mixing = _stage(family, settings, problem, state)
        c = _clip(family, settings, problem, params.c, mixing)
        return jumped._replace(
            candidate=_with_held_scale(problem, params)._replace(c=c),
            # Lengths differ much from one to the next.
            slowness=jnp.maximum(length, 0.5 * state.slowness),
            has_moved=jnp.ones_like(state.has_moved),
            is_jump=jnp.ones_like(state.is_jump),
        )

    def step(state):
        history = jax.tree.map(
            lambda h, y: jnp.stack([h[1], y]), state.history, state.safe
        )
        state = state._replace(history=history, held_count=state.held_count + 1)
        return _em_step(family, settings, problem, state, sweep)

    return lax.cond(is_jump, jump, step, state)


def _em_step(
    family: Family, settings: Settings, problem: Problem, state: State, sweep: Sweep
) -> State:
    if settings.algorithm != "newton":
        return _m_step(family, settings, problem, state, sweep)
    # Newton's method needs no M step, but for a start that has no skew.
    return lax.cond(
        (state.geo.tilt > 1e-8) & (jnp.min(_moves(problem, state)) > 0),
        lambda s: _take_step(
            family,
            settings,
            problem,
            s._replace(num_iterations=s.num_iterations + 1),
            sweep,
        ),
        lambda s: _m_step(family, settings, problem, s, sweep),
        state,
    )


def _m_step(
    family: Family, settings: Settings, problem: Problem, state: State, sweep: Sweep
) -> State:
    params = normal_step(
        problem.x.T, problem.weights, sweep, state.safe, problem.prior, problem.held
    )
    params = _with_held_scale(problem, params)
    phase = jnp.full_like(state.phase, MIXING)
    count = state.num_iterations + 1
    if settings.algorithm == "em":
        mixing = _stage(family, settings, problem, state)
        c = _mixing_em(family, settings, problem, sweep, params.c, mixing)
        params = params._replace(c=clip(family, c, mixing.lower, mixing.upper))
        phase = jnp.full_like(state.phase, NORMAL)
    return state._replace(
        candidate=params,
        has_moved=jnp.ones_like(state.has_moved),
        phase=phase,
        num_iterations=count,
        is_jump=jnp.zeros_like(state.is_jump),
    )


def _mixing_em(
    family: Family,
    settings: Settings,
    problem: Problem,
    sweep: Sweep,
    c: Array,
    mixing: Mixing,
) -> Array:
    return mixing_em(
        family,
        c,
        problem.weights,
        sweep,
        mixing.projector,
        keeps_unit=settings.is_shrunk,
    )


def _after_normal(
    family: Family,
    settings: Settings,
    problem: Problem,
    state: State,
    sweep: Sweep,
    value: Array,
) -> State:
    """The M step was good; now the mixing law."""
    return _take_step(family, settings, problem, _accept(state, value), sweep)


def _take_step(
    family: Family, settings: Settings, problem: Problem, state: State, sweep: Sweep
) -> State:
    """A step of the mixing law, and of what lies along the skew."""
    mixing = _stage(family, settings, problem, state)
    c = state.safe.c
    if settings.algorithm == "mcecm":
        new = _mixing_em(family, settings, problem, sweep, c, mixing)
        step = jnp.concatenate([new - c, jnp.zeros((3,), c.dtype)])
    else:
        step = line_step(
            family,
            c,
            state.geo.tilt,
            sweep.gradient,
            sweep.hessian,
            mixing.projector,
            _moves(problem, state),
            state.radius,
        )
    is_jump = jnp.zeros_like(state.is_jump)
    state = state._replace(
        phase=jnp.full_like(state.phase, NORMAL), step=step, is_jump=is_jump
    )
    return _along(family, settings, problem, state)


def _moves(problem: Problem, state: State) -> Array:
    whole = line_moves(problem.held, state.safe)
    return whole.at[2].multiply(~problem.is_scale)


def _along(family: Family, settings: Settings, problem: Problem, state: State) -> State:
    """The candidate at the safe point plus the step."""
    mixing = _stage(family, settings, problem, state)
    k = family.num_coordinates
    old, step = state.safe.c, state.step
    c = _clip(family, settings, problem, old + step[:k], mixing)
    line = retract(family, old, c, step, state.safe_geo.tilt)
    is_whole = jnp.all(_moves(problem, state) > 0) & (state.safe_geo.tilt > 1e-10)
    # No step must be no step to the last bit: it is where a failed one ends.
    is_whole = is_whole & jnp.any(step != 0.0)
    line = jax.tree.map(lambda y, z: jnp.where(is_whole, y, z), line, Line(*step[k:]))
    return state._replace(
        candidate=move_params(state.safe, line)._replace(c=c),
        geo=move_geometry(state.safe_geo, line),
        has_moved=jnp.zeros_like(state.has_moved),
    )


def _rejected(
    family: Family, settings: Settings, problem: Problem, state: State, value: Array
) -> State:
    """Back towards the last good point; at its end, stop or go on without the step."""
    is_em = state.phase == MIXING
    if settings.algorithm == "em":
        is_em = is_em | ~state.is_jump
    # By theory this cannot be, but for rounding.
    drop = jnp.where(is_em, jnp.maximum(state.drop, state.value - value), state.drop)
    is_start = ~jnp.isfinite(state.value)
    relative = jnp.finfo(value.dtype).eps * 5e6 * (1.0 + jnp.abs(state.value))
    is_drop = drop > relative
    halvings = state.halvings + 1
    is_spent = (halvings > MAX_HALVINGS) | state.is_jump
    shorter = jnp.where(is_spent, 0.0, 0.25) * state.step
    state = _along(family, settings, problem, state._replace(step=shorter))
    state = state._replace(
        phase=jnp.zeros_like(state.phase),
        halvings=halvings,
        radius=jnp.maximum(0.25 * state.radius, 1e-4),
        drop=drop,
    )
    verdict = jnp.where(is_start, BROKEN, jnp.where(is_drop, DECREASED, STALLED))
    return lax.cond(
        is_em | is_start, lambda s: _settle(problem, s, verdict), lambda s: s, state
    )


def _release(
    family: Family, settings: Settings, problem: Problem, state: State
) -> State:
    """The nested law is fitted: remember it, and let its parameters go."""
    mixing = jax.tree.map(lambda y: y[1], problem.mixing)
    c = _clip(family, settings, problem, state.safe.c + problem.push, mixing)
    is_better = state.value > state.best_value
    best = jax.tree.map(lambda y, z: jnp.where(is_better, y, z), state.safe, state.best)
    released = state._replace(
        stage=jnp.ones_like(state.stage),
        best=best,
        best_value=jnp.maximum(state.value, state.best_value),
        has_moved=jnp.zeros_like(state.has_moved),
        value=jnp.full_like(state.value, -jnp.inf),
    )
    return _begin_again(released, state.safe._replace(c=c))


def _settle(problem: Problem, state: State, verdict: int | Array) -> State:
    """To the end, or to the rows around the one that holds loc."""
    squares = squares_of(problem, state)
    begun = state._replace(
        phase=jnp.full_like(state.phase, ROWS),
        verdict=jnp.asarray(verdict, state.verdict.dtype),
        row_count=jnp.zeros_like(state.row_count),
        reach=jnp.min(squares),
        found=state.safe,
        found_value=state.value,
    )
    is_held = is_pinned(problem, state.final) & (state.value >= state.best_value)
    return lax.cond(
        is_held & ((verdict == CONVERGED) | (verdict == STALLED)),
        lambda: _try_row(problem, begun),
        lambda: _finish(state, verdict),
    )


def _try_row(problem: Problem, state: State) -> State:
    """The next row is the candidate; after the last, on from the best or to the end."""
    row, reach, is_there = next_row(
        squares_of(problem, state), state.reach, state.row_count
    )
    tried = state._replace(
        candidate=moved_to(problem, state, row),
        has_moved=jnp.ones_like(state.has_moved),
        row_count=state.row_count + 1,
        reach=reach,
    )
    tol = jnp.maximum(problem.tol, rounding_of(state.value))
    is_gain = state.found_value > state.value + tol
    is_more = is_there & is_near(reach, state.safe_geo.tilt, problem.x.shape[1])
    which = jnp.where(is_more, 0, jnp.where(is_gain, 1, 2))
    return lax.switch(
        which,
        [
            lambda: tried,
            lambda: _begin_again(
                state._replace(num_iterations=state.num_iterations + 1), state.found
            ),
            lambda: _finish(state, state.verdict),
        ],
    )


def _after_row(problem: Problem, state: State, value: Array) -> State:
    is_best = value > state.found_value
    found = jax.tree.map(
        lambda y, z: jnp.where(is_best, y, z), state.candidate, state.found
    )
    return _try_row(
        problem,
        state._replace(
            found=found, found_value=jnp.where(is_best, value, state.found_value)
        ),
    )


def _begin_again(state: State, start: Params) -> State:
    """An iteration that knows nothing of the last."""
    return state._replace(
        candidate=start,
        phase=jnp.zeros_like(state.phase),
        before=jnp.full_like(state.value, -jnp.inf),
        slowness=jnp.zeros_like(state.slowness),
        gain=jnp.full_like(state.gain, jnp.inf),
        held_count=jnp.zeros_like(state.held_count),
        is_jump=jnp.zeros_like(state.is_jump),
    )


def _finish(state: State, verdict: int | Array) -> State:
    """To the last sweeps, with the best of the stages."""
    is_worse = state.best_value > state.value
    safe = jax.tree.map(lambda y, z: jnp.where(is_worse, y, z), state.best, state.safe)
    return state._replace(
        safe=safe,
        candidate=safe,
        value=jnp.maximum(state.value, state.best_value),
        has_moved=jnp.ones_like(state.has_moved),
        phase=jnp.full_like(state.phase, EXACT),
        verdict=jnp.asarray(verdict, state.verdict.dtype),
    )


def _after_exact(family: Family, state: State, sweep: Sweep) -> State:
    state = state._replace(
        exact=sweep.value - sweep.shrunk,
        spike=sweep.value - state.value,
        has_moved=jnp.zeros_like(state.has_moved),
    )
    if family.kind != "gig" or family.order is not None:
        return state._replace(status=state.verdict)
    c = limit_coordinates(state.safe.c)
    return state._replace(
        candidate=state.safe._replace(c=c),
        phase=jnp.full_like(state.phase, LIMIT),
    )


def _after_limit(state: State, value: Array) -> State:
    return state._replace(limit_value=value, status=state.verdict)


def limit_coordinates(c: Array) -> Array:
    """The variance gamma (p > 0) or the skew t law (p < 0) beside a GH law.

    Its E[w] or E[1/w] is that of the law, so that Sigma can stay.
    """
    least = jnp.asarray(-30.0, c.dtype)
    p, la, lb = c[0], c[1], c[2]
    size = jnp.maximum(jnp.abs(p), 0.05)
    # b -> 0 at p > 0, with 2 p / a as the mean; else a -> 0, with -2 p / b.
    return jnp.where(p > 0, jnp.stack([size, la, least]), jnp.stack([-size, least, lb]))
