r"""The iteration for many columns, where passes over the normal part are dear.

Distances and scatter cost n d^2 each, the mixing law at given distances n. So a round
takes Newton steps of the mixing law, and of what lies along the skew, until nothing is
gained at these distances, and then one M step.

That M step goes too short in a way that is known beforehand, and is made longer; see
`overshoot`. A candidate that is worse is replaced by the plain M step, so that the
accepted values never fall.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._density import (
    Geometry,
    Line,
    Params,
    Sweep,
    compose_lines,
    evaluate,
    geometry,
    move_geometry,
    move_params,
)
from ._family import GIG, Family, clip
from ._gauge import FREE
from ._loop import limit_coordinates
from ._m_step import line_moves, normal_step, overshoot
from ._mixing_step import line_step, retract
from ._start import MANY
from ._state import (
    BROKEN,
    CONVERGED,
    DECREASED,
    EXACT,
    EXHAUSTED,
    LIMIT,
    MAX_HALVINGS,
    RUNNING,
    STALLED,
    Mixing,
    Problem,
    Settings,
    State,
)
from ._stopping import newton_gain

MAX_STEPS = 30
# Nats for each row that the mixing law of the first round may lack.
ROUGH = 1e-4
# Where gains shrink faster than that, the next can be told from the last two.
FAST = 0.1


class Rounds(NamedTuple):
    """What the loop carries."""

    state: State
    # A move of the last accepted point that its scale has still to make.
    line: Line
    # Log of the factors of the rows that made the candidate's scale.
    pull: Array
    # Which of the starts is tried.
    number: Array


class Settled(NamedTuple):
    """The best mixing law, and move along the skew, at given distances."""

    c: Array
    line: Line
    geo: Geometry
    sweep: Sweep
    value: Array
    is_settled: Array
    num_steps: Array


def has_many(settings: Settings, dim: int) -> bool:
    """Whether this iteration is the one to be taken."""
    is_plain = settings.gauge == FREE and not settings.has_parameter_tol
    return dim >= MANY and settings.algorithm == "ecme" and is_plain


def run_many(
    family: Family,
    settings: Settings,
    problem: Problem,
    state: State,
    starts: Array,
    limit: Array,
) -> State:
    """Iterates to the end, or until there were `limit` iterations.

    `starts`, of shape (s, k), are tried at the distances of the first round; the best
    goes on. `state.final.mean_inverse` holds the factors that made the scale.
    """
    columns = problem.x.T

    def body(rounds):
        return _body(family, settings, problem, columns, starts, rounds)

    def goes_on(rounds):
        state = rounds.state
        return (state.status == RUNNING) & (state.num_iterations < limit)

    zero = jnp.zeros_like(state.value)
    pull = jnp.log(state.final.mean_inverse)
    is_new = ~jnp.isfinite(state.value)
    index = jnp.where(is_new, 0, len(starts))
    first = jnp.where(is_new, starts[0], state.candidate.c)
    state = state._replace(candidate=state.candidate._replace(c=first))
    rounds = Rounds(state, Line(zero, zero, zero), pull, index)
    rounds = lax.while_loop(goes_on, body, rounds)
    return rounds.state._replace(safe=move_params(rounds.state.safe, rounds.line))


def _body(
    family: Family,
    settings: Settings,
    problem: Problem,
    columns: Array,
    starts: Array,
    rounds: Rounds,
) -> Rounds:
    state, prior = rounds.state, problem.prior
    geo = lax.cond(
        state.has_moved,
        lambda: geometry(columns, state.candidate, prior),
        lambda: state.geo,
    )
    is_over = state.phase >= EXACT
    blur = jnp.where(state.phase == EXACT, 0.0, prior.blur)
    settled = _settle(
        family,
        problem._replace(prior=prior._replace(blur=blur)),
        state.candidate,
        geo,
        jnp.abs(state.gain),
        jnp.where(is_over, 1, MAX_STEPS),
    )
    state = state._replace(geo=geo, sweeps=state.sweeps + settled.num_steps)
    rounds = rounds._replace(state=state)

    def goes_on(rounds):
        return _after_round(family, settings, problem, columns, starts, rounds, settled)

    return lax.switch(
        jnp.where(is_over, state.phase - 1, 0),
        [
            goes_on,
            lambda r: r._replace(state=_after_exact(family, r.state, settled.sweep)),
            lambda r: r._replace(
                state=r.state._replace(
                    limit_value=settled.value, status=r.state.verdict
                )
            ),
        ],
        rounds,
    )


def _settle(
    family: Family,
    problem: Problem,
    params: Params,
    geo: Geometry,
    last_gain: Array,
    limit: Array,
) -> Settled:
    """Newton steps at fixed distances, `limit` evaluations at most."""
    mixing: Mixing = jax.tree.map(lambda y: y[1], problem.mixing)
    moves = line_moves(problem.held, params)
    k = family.num_coordinates
    dim = problem.x.shape[1]
    # Far from the end, less will do.
    tol = jnp.maximum(0.1 * dim * problem.tol, jnp.minimum(1e-4 * last_gain, ROUGH))
    zero = jnp.zeros_like(geo.tilt)

    def along(best, step):
        c = clip(family, best.c + step[:k], mixing.lower, mixing.upper)
        tilt = best.geo.tilt
        line = retract(family, best.c, c, step, tilt)
        is_whole = jnp.all(moves > 0) & (tilt > 1e-10)
        line = jax.tree.map(
            lambda y, z: jnp.where(is_whole, y, z), line, Line(*step[k:])
        )
        return c, compose_lines(best.line, line), move_geometry(best.geo, line)

    def body(loop):
        best, (c, line, geo), step, radius, halvings, _ = loop
        sweep = evaluate(family, c, geo, problem.weights, problem.prior, dim)
        value = jnp.where(jnp.isnan(sweep.value), -jnp.inf, sweep.value)
        is_better = value > best.value
        gain = value - best.value
        new = Settled(c, line, geo, sweep, value, gain <= tol, best.num_steps)
        best = jax.tree.map(lambda y, z: jnp.where(is_better, y, z), new, best)
        halvings = jnp.where(is_better, 0, halvings + 1)
        # What is lost by rounding is not worth a shorter step.
        eps = 16.0 * jnp.finfo(value.dtype).eps * (1.0 + jnp.abs(best.value))
        is_spent = (halvings > MAX_HALVINGS) | (~is_better & (gain >= -eps))
        best = best._replace(
            num_steps=best.num_steps + 1, is_settled=best.is_settled | is_spent
        )
        radius = jnp.where(
            is_better, jnp.minimum(2.0 * radius, 1.0), jnp.maximum(0.25 * radius, 1e-4)
        )
        newton = line_step(
            family,
            best.c,
            best.geo.tilt,
            best.sweep.gradient,
            best.sweep.hessian,
            mixing.projector,
            moves,
            radius,
        )
        # Half the slope along the step: what a quadratic gains by it.
        promise = 0.5 * best.sweep.gradient @ newton
        is_small = is_better & (jnp.abs(promise) <= tol)
        best = best._replace(is_settled=best.is_settled | is_small)
        step = jnp.where(is_better, newton, 0.25 * step)
        is_over = (
            best.is_settled | (best.num_steps >= limit) | ~jnp.isfinite(best.value)
        )
        return best, along(best, step), step, radius, halvings, is_over

    line = Line(zero, zero, zero)
    best = Settled(
        params.c,
        line,
        geo,
        _empty_sweep(family, geo),
        jnp.full_like(zero, -jnp.inf),
        jnp.zeros((), bool),
        jnp.zeros((), jnp.int32),
    )
    start = (
        best,
        (params.c, line, geo),
        jnp.zeros((k + 3,), zero.dtype),
        jnp.ones_like(zero),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), bool),
    )
    return lax.while_loop(lambda loop: ~loop[5], body, start)[0]


def _empty_sweep(family: Family, geo: Geometry) -> Sweep:
    size = family.num_coordinates + 3
    rows, none = jnp.zeros_like(geo.squares), jnp.zeros_like(geo.tilt)
    slope = jnp.zeros((size,), rows.dtype)
    return Sweep(
        none, slope, jnp.zeros((size, size), rows.dtype), rows, rows, rows, none, none
    )


def _after_round(
    family: Family,
    settings: Settings,
    problem: Problem,
    columns: Array,
    starts: Array,
    rounds: Rounds,
    settled: Settled,
) -> Rounds:
    """Judges a round, or a start, and takes the next M step, or start."""
    state, value = rounds.state, settled.value
    is_screen = rounds.number < len(starts)
    slack = 64.0 * jnp.finfo(value.dtype).eps * (1.0 + jnp.abs(state.value))
    is_better = (value >= state.value - slack) & jnp.isfinite(value)
    state = _accept(state, settled, is_better)
    line = _choose(is_better, settled.line, rounds.line)
    is_last = rounds.number + 1 >= len(starts)
    more = is_screen & ~is_last
    # A plain M step that lowers the value: by rounding, or a defect.
    is_fall = ~is_screen & ~is_better & ~state.is_jump
    drop = jnp.where(is_fall, state.value - value, 0.0)
    relative = jnp.finfo(value.dtype).eps * 5e6 * (1.0 + jnp.abs(state.value))
    is_rest, gain = _judge(family, problem, state, settled, is_better & ~is_screen)
    verdict = jnp.where(is_rest, CONVERGED, RUNNING)
    is_out = state.num_iterations >= settings.max_iterations
    verdict = jnp.where(is_out & ~is_rest, EXHAUSTED, verdict)
    verdict = jnp.where(is_fall, STALLED, verdict)
    verdict = jnp.where(is_fall & (drop > relative), DECREASED, verdict)
    verdict = jnp.where(~jnp.isfinite(state.value), BROKEN, verdict)
    verdict = jnp.where(more, RUNNING, verdict).astype(state.verdict.dtype)
    state = state._replace(
        trace=state.trace.at[state.num_iterations].set(state.value, mode="drop"),
        drop=jnp.maximum(state.drop, drop),
        before=state.value,
        gain=gain,
        verdict=verdict,
    )
    rounds = Rounds(state, line, rounds.pull, rounds.number + 1)
    is_plain = ~is_better & ~is_screen
    return lax.switch(
        jnp.where(more, 0, jnp.where(verdict == RUNNING, 1, 2)),
        [
            lambda r: _next_start(starts, r),
            lambda r: _m_step(settings, problem, columns, r, is_plain),
            _finish,
        ],
        rounds,
    )


def _choose(condition, one, other):
    return jax.tree.map(lambda y, z: jnp.where(condition, y, z), one, other)


def _accept(state: State, settled: Settled, is_better: Array) -> State:
    safe = state.candidate._replace(c=settled.c)
    return state._replace(
        safe=_choose(is_better, safe, state.safe),
        safe_geo=_choose(is_better, settled.geo, state.safe_geo),
        final=_choose(is_better, settled.sweep, state.final),
        value=jnp.where(is_better, settled.value, state.value),
    )


def _judge(
    family: Family, problem: Problem, state: State, settled: Settled, is_round: Array
) -> tuple[Array, Array]:
    """Whether less than `tol` for each number remains to be gained, and the gain."""
    gain = jnp.where(is_round, state.value - state.before, jnp.inf)
    tol = problem.tol * problem.x.shape[1]
    has_two = jnp.isfinite(gain) & jnp.isfinite(state.gain)
    rate = jnp.clip(gain / state.gain, 0.0, 0.95)
    remaining = gain * rate / (1.0 - rate)
    is_calm = (remaining <= tol) & ((rate <= FAST) | (gain <= tol))
    # Gains that are rounding errors have no rate.
    floor = 2.0 * jnp.finfo(gain.dtype).eps * (1.0 + jnp.abs(state.value))
    is_calm = has_two & settled.is_settled & (is_calm | (gain <= floor))
    mixing: Mixing = jax.tree.map(lambda y: y[1], problem.mixing)
    moves = line_moves(problem.held, state.safe)
    tilt = state.safe_geo.tilt
    rest = newton_gain(family, mixing, moves, state.safe, tilt, state.final)
    return is_calm & (rest <= tol), gain


def _next_start(starts: Array, rounds: Rounds) -> Rounds:
    state = rounds.state
    candidate = state.candidate._replace(c=starts[rounds.number])
    has_moved = jnp.zeros_like(state.has_moved)
    return rounds._replace(
        state=state._replace(candidate=candidate, has_moved=has_moved)
    )


def _m_step(
    settings: Settings,
    problem: Problem,
    columns: Array,
    rounds: Rounds,
    is_plain: Array,
) -> Rounds:
    """The M step from the last accepted point, beyond its end unless `is_plain`."""
    state = rounds.state
    sweep = state.final
    pull = jnp.log(sweep.mean_inverse)
    more = jnp.zeros_like(pull)
    is_full = state.safe.factor.shape[1] == 0
    if settings.acceleration != "none" and is_full:
        squares = state.safe_geo.squares / (1.0 + problem.prior.strength)
        old = jnp.exp(rounds.pull)
        more = overshoot(problem.weights, squares, sweep.mean_inverse, old)
        more = jnp.where(is_plain, 0.0, more)
    factor = jnp.exp(more)
    pushed = sweep._replace(
        mean_inverse=sweep.mean_inverse * factor, mean_w=sweep.mean_w / factor
    )
    params = normal_step(
        columns, problem.weights, pushed, state.safe, problem.prior, problem.held
    )
    state = state._replace(
        candidate=params,
        has_moved=jnp.ones_like(state.has_moved),
        is_jump=jnp.any(more != 0.0),
        num_iterations=state.num_iterations + 1,
    )
    return rounds._replace(state=state, pull=pull + more)


def _finish(rounds: Rounds) -> Rounds:
    """To the last sweeps, at the distances that are known."""
    state = rounds.state
    safe = move_params(state.safe, rounds.line)
    state = state._replace(
        safe=safe,
        candidate=safe,
        geo=state.safe_geo,
        has_moved=jnp.zeros_like(state.has_moved),
        phase=jnp.full_like(state.phase, EXACT),
    )
    line = jax.tree.map(jnp.zeros_like, rounds.line)
    return rounds._replace(state=state, line=line)


def _after_exact(family: Family, state: State, sweep: Sweep) -> State:
    is_over = family != GIG
    c = state.safe.c if is_over else limit_coordinates(state.safe.c)
    status = state.verdict if is_over else state.status
    return state._replace(
        exact=sweep.value - sweep.shrunk,
        spike=sweep.value - state.value,
        candidate=state.safe._replace(c=c),
        phase=jnp.full_like(state.phase, LIMIT),
        status=status,
    )
