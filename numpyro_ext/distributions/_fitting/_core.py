"""The whole fit as one pure function of arrays, to be compiled, mapped and vmapped."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ..._vectors import wide_vectors
from ._density import Params, Prior, gram, rough_gram
from ._family import Family
from ._gauge import to_gauge
from ._loop import run
from ._m_step import Held
from ._many_columns import has_many, run_many
from ._start import MANY, Units, start_params, units_of
from ._state import Mixing, Problem, Settings, State, initial_state

LOG_2PI = math.log(2.0 * math.pi)
# Error of the log of a pivot in single precision, generously, at a pivot of 1.
ROUGH = 1e-4


class Options(NamedTuple):
    """The numbers of a fit; none of them compiles anything again.

    Shapes: k coordinates of the mixing law, d columns, s starts. `projector` (s, 2, k,
    k), `lower` and `upper` (s, 2, k), `push` (s, k), `start` (s, k), `stage` (s,);
    `loc`, `skew`, `is_loc`, `is_skew` (d,); `target` (d, d).
    """

    resolution: Array
    tol: Array
    parameter_tol: Array
    strength: Array
    target: Array
    loc: Array
    skew: Array
    is_loc: Array
    is_skew: Array
    tril: Array
    is_scale: Array
    gauge_value: Array
    projector: Array
    lower: Array
    upper: Array
    push: Array
    start: Array
    stage: Array


# Those that each start has of its own.
STARTS = ("start", "stage", "projector", "lower", "upper", "push")


class Outcome(NamedTuple):
    """What a fit returns: params in the units of the data, and its history.

    `log_likelihood` and the others are means over the weights. `status` is one of the
    codes of `_state`.
    """

    c: Array
    loc: Array
    skew: Array
    tril: Array
    factor: Array
    diag: Array
    centre: Array
    scale: Array
    log_likelihood: Array
    penalized: Array
    spike: Array
    normal: Array
    # Least share of a column's variance that the columns before it leave.
    pivot: Array
    # Of all numbers, from the centre of its column, in units of its spread.
    farthest: Array
    limit: Array
    trace: Array
    num_iterations: Array
    sweeps: Array
    status: Array
    drop: Array
    hessian: Array
    # Which of nu, eps and kappa of `Line` the fit had free.
    moves: Array
    gradient: Array
    values: Array
    chosen: Array


def fit_arrays(
    x: Array,
    weights: Array,
    options: Options,
    *,
    family: Family,
    settings: Settings,
    rank: int,
) -> Outcome:
    """Fits one data set of shape (n, d) with weights (n,)."""
    shared = _shared(x, weights, options)
    begun = _start_states(shared, options, family, settings, rank)
    endless = jnp.iinfo(jnp.int32).max
    states = _advance(shared, options, begun, endless, family, settings)
    return _outcome_of(shared, options, states)


class Shared(NamedTuple):
    """What all starts have in common, in units without scale."""

    x: Array
    weights: Array
    units: Units
    held: Held
    prior: Prior


def _shared(x: Array, weights: Array, options: Options) -> Shared:
    weights = weights / jnp.sum(weights)
    # Stored by columns: products of them take half the time.
    columns = lax.optimization_barrier(x.T)
    units = units_of(columns.T, weights)
    held = Held(
        (options.loc - units.centre) / units.scale,
        options.skew / units.scale,
        options.is_loc,
        options.is_skew,
    )
    target = options.target / (units.scale[:, None] * units.scale[None, :])
    prior = Prior(jnp.square(options.resolution), options.strength, target)
    columns = (columns - units.centre[:, None]) / units.scale[:, None]
    columns = lax.optimization_barrier(columns)
    return Shared(columns.T, weights, units, held, prior)


def _problem(shared: Shared, options: Options) -> Problem:
    """The problem of one start, of which `options` are."""
    mixing = Mixing(options.projector, options.lower, options.upper)
    return Problem(
        shared.x,
        shared.weights,
        shared.prior,
        shared.held,
        options.tol,
        options.parameter_tol,
        mixing,
        options.push,
        options.gauge_value,
        options.tril / shared.units.scale[:, None],
        options.is_scale,
    )


def _of_start(options: Options, own: tuple[Array, ...]) -> Options:
    return options._replace(**dict(zip(STARTS, own, strict=True)))


def _own(options: Options) -> tuple[Array, ...]:
    return tuple(getattr(options, name) for name in STARTS)


def start_states(
    x: Array,
    weights: Array,
    options: Options,
    *,
    family: Family,
    settings: Settings,
    rank: int,
) -> State:
    """The states before the first iteration, one for each start."""
    return _start_states(_shared(x, weights, options), options, family, settings, rank)


def _start_states(
    shared: Shared, options: Options, family: Family, settings: Settings, rank: int
) -> State:
    held = shared.held
    base, share = start_params(
        shared.x, shared.weights, rank, options.start[0], shared.prior, held
    )

    def one(own):
        mine = _of_start(options, own)
        problem = _problem(shared, mine)
        c = to_gauge(family, mine.start, settings.gauge, options.gauge_value)
        tril = jnp.where(problem.is_scale, problem.tril, base.tril)
        start = base._replace(c=c, tril=tril)
        state = initial_state(family, settings, problem, start, mine.stage)
        return state._replace(final=state.final._replace(mean_inverse=share))

    own = _own(options)
    if has_many(settings, shared.x.shape[1]):
        own = jax.tree.map(lambda z: z[:1], own)
    return jax.vmap(one)(own)


def advance(
    x: Array,
    weights: Array,
    options: Options,
    states: State,
    limit: int | Array,
    *,
    family: Family,
    settings: Settings,
) -> State:
    """Iterates from each start to its end, or until it had `limit` iterations."""
    shared = _shared(x, weights, options)
    return _advance(shared, options, states, limit, family, settings)


def _advance(
    shared: Shared,
    options: Options,
    states: State,
    limit: int | Array,
    family: Family,
    settings: Settings,
) -> State:
    def one(args):
        own, state = args
        problem = _problem(shared, _of_start(options, own))
        return run(family, settings, problem, state, jnp.asarray(limit))

    args = _own(options), states
    if has_many(settings, shared.x.shape[1]):
        # One state for all starts: they differ in the first round alone.
        own, state = jax.tree.map(lambda z: z[0], args)
        released = options.start + options.push
        problem = _problem(shared, _of_start(options, own))
        out = run_many(family, settings, problem, state, released, jnp.asarray(limit))
        return jax.tree.map(lambda z: z[None], out)
    if options.start.shape[0] == 1:
        only = one(jax.tree.map(lambda z: z[0], args))
        return jax.tree.map(lambda z: z[None], only)
    return lax.map(one, args)


def outcome_of(x: Array, weights: Array, options: Options, states: State) -> Outcome:
    """The best of the starts, in the units of the data."""
    return _outcome_of(_shared(x, weights, options), options, states)


def _outcome_of(shared: Shared, options: Options, states: State) -> Outcome:
    y, weights, units, held, _ = shared
    chosen = jnp.argmax(states.value)
    state = jax.tree.map(lambda z: z[chosen], states)
    shift = jnp.sum(jnp.log(units.scale))
    normal, pivot = _normal_value(y, weights, held, state.value)
    params: Params = state.safe
    scale = units.scale
    return Outcome(
        c=params.c,
        loc=units.centre + scale * params.loc,
        skew=scale * params.skew,
        tril=scale[:, None] * params.tril,
        factor=scale[:, None] * params.factor,
        diag=scale * scale * params.diag,
        centre=units.centre,
        scale=scale,
        log_likelihood=state.exact - shift,
        penalized=state.value - shift,
        spike=state.spike,
        normal=normal - shift,
        pivot=pivot,
        farthest=jnp.max(jnp.abs(y)),
        limit=state.limit_value - shift,
        trace=state.trace - shift,
        num_iterations=state.num_iterations,
        sweeps=jnp.sum(states.sweeps),
        status=state.status,
        drop=jnp.max(states.drop),
        hessian=state.final.hessian,
        moves=jnp.stack(
            [
                ~jnp.any(options.is_loc),
                ~jnp.any(options.is_skew),
                ~jnp.any(options.is_scale),
            ]
        ),
        gradient=state.final.gradient,
        values=states.value - shift,
        chosen=chosen,
    )


def _normal_value(
    y: Array, weights: Array, held: Held, value: Array
) -> tuple[Array, Array]:
    """Largest mean log likelihood of the normal law, and `Outcome.pivot`.

    Rough, where `value` is so far above it that no digit matters.
    """
    columns = y.T
    mean = columns @ weights
    # A held loc with a free skew bounds nothing in the normal limit.
    mean = jnp.where(held.is_loc & held.is_skew, held.loc, mean)
    centred = (columns - mean[:, None]) * jnp.sqrt(weights)
    d = y.shape[1]

    def judged(scatter):
        diagonal = jnp.diagonal(jnp.linalg.cholesky(scatter))
        normal = -0.5 * d * (LOG_2PI + 1.0) - jnp.sum(jnp.log(diagonal))
        return normal, jnp.min(jnp.square(diagonal) / jnp.diagonal(scatter))

    if d < MANY:
        return judged(gram(centred))
    normal, pivot = judged(rough_gram(centred))
    # NaN, of a scatter without a root, is not clear.
    is_clear = (value - normal) * pivot > d * ROUGH
    return lax.cond(is_clear, lambda: (normal, pivot), lambda: judged(gram(centred)))


@cache
def _compiled(function: Callable, *static: str) -> Callable:
    return jax.jit(function, static_argnames=static, compiler_options=wide_vectors())


def compiled_fit(*args: Any, **static: Any) -> Outcome:
    """`fit_arrays`, compiled."""
    return _compiled(fit_arrays, "family", "settings", "rank")(*args, **static)


def compiled_start(*args: Any, **static: Any) -> State:
    """`start_states`, compiled."""
    return _compiled(start_states, "family", "settings", "rank")(*args, **static)


def compiled_advance(*args: Any, **static: Any) -> State:
    """`advance`, compiled."""
    return _compiled(advance, "family", "settings")(*args, **static)


def compiled_outcome(*args: Any) -> Outcome:
    """`outcome_of`, compiled."""
    return _compiled(outcome_of)(*args)
