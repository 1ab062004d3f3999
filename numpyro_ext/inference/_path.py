"""One path of Pathfinder: climb by L-BFGS, and keep the best normal law on the way."""

import enum
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from ._layout import group_size, intermediate_bytes, largest_divisor
from ._path_normal import (
    Pairs,
    PathNormal,
    add_pair,
    draw,
    local_normal,
    no_pairs,
    noise_log_prob,
)

# Falls of the loss below this many units of rounding are none.
ROUNDING = 8.0
# A failed line search may be followed by one that succeeds from new curvature.
MAX_STALLS = 2
MAX_SEARCH = 20

type LogDensity = Callable[[Float[Array, " n"]], Float[Array, ""]]


class PathEnd(enum.IntEnum):
    """Why a path ended."""

    ON_ITS_WAY = 0
    SETTLED = 1
    NONFINITE = 2


class PathSettings(eqx.Module):
    """The settings that a path's compiled program depends on."""

    max_iterations: int = eqx.field(static=True)
    history_size: int = eqx.field(static=True)
    num_elbo_draws: int = eqx.field(static=True)
    num_draws: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)


class Path(NamedTuple):
    """What a path leaves.

    Attributes:
        normal: the law with the highest ELBO.
        elbo: that ELBO; minus infinity if none was finite.
        best: iteration of that law, counted from 1.
        num_iterations: iterations in all.
        end: why it ended, as `PathEnd`.
        position: where it ended, the highest point of finite density.
        draws: draws of the law.
        log_density: the log density at the draws.
        log_densities: the log density after each iteration, NaN behind the end.
        elbos: the ELBO after each iteration, NaN behind the end.
    """

    normal: PathNormal
    elbo: Float[Array, ""]
    best: Int[Array, ""]
    num_iterations: Int[Array, ""]
    end: Int[Array, ""]
    position: Float[Array, " n"]
    draws: Float[Array, "draws n"]
    log_density: Float[Array, " draws"]
    log_densities: Float[Array, " iterations"]
    elbos: Float[Array, " iterations"]


class _Climb(NamedTuple):
    """A path on its way: no more than the memory of L-BFGS and one normal law."""

    position: Float[Array, " n"]
    value: Float[Array, ""]
    grad: Float[Array, " n"]
    direction: Float[Array, " n"]
    search_state: Any
    pairs: Pairs
    normal: PathNormal
    elbo: Float[Array, ""]
    best: Int[Array, ""]
    iteration: Int[Array, ""]
    num_stalls: Int[Array, ""]
    end: Int[Array, ""]
    log_densities: Float[Array, " iterations"]
    elbos: Float[Array, " iterations"]


def follow_path(
    settings: PathSettings,
    log_density: LogDensity,
    key: Key[Array, ""],
    start: Float[Array, " n"],
    *,
    shared_bytes: int,
) -> Path:
    """Climbs from `start`; returns the best law on the way, with draws of it.

    The ELBO is estimated at each iterate as soon as it is reached, so that one law is
    alive beside the best one, and the memory does not grow with the path.

    Args:
        settings: how long to climb, and how many draws to take.
        log_density: of a flat position.
        key: random key of the path.
        start: where to begin.
        shared_bytes: data that all draws read, for the choice of how many of them are
            evaluated together.
    """
    search = optax.scale_by_zoom_linesearch(
        max_linesearch_steps=MAX_SEARCH, initial_guess_strategy="one"
    )
    draw_bytes = intermediate_bytes(log_density, start)
    elbo_key, draws_key = jax.random.split(key)
    # The same noise at each iterate: laws are compared by paired draws.
    elbo_noise = _noise(elbo_key, settings.num_elbo_draws, start)

    def evaluate(
        normal: PathNormal, noise: Float[Array, "num n"]
    ) -> tuple[Float[Array, "num n"], Float[Array, " num"]]:
        size = group_size("auto", len(noise), draw_bytes, shared_bytes)

        def one(noise: Float[Array, " n"]) -> tuple[Array, Array]:
            value = draw(normal, noise)
            return value, log_density(value)

        return jax.lax.map(one, noise, batch_size=largest_divisor(len(noise), size))

    def step(climb: _Climb) -> _Climb:
        climb = _move(settings, search, log_density, climb)
        normal = local_normal(climb.position, -climb.grad, climb.pairs)
        _, target = evaluate(normal, elbo_noise)
        own = jax.vmap(functools.partial(noise_log_prob, normal))(elbo_noise)
        elbo = jnp.mean(target - own)
        # Such a law is never the best one.
        elbo = jnp.where(jnp.isfinite(elbo), elbo, -jnp.inf)
        is_best = elbo > climb.elbo
        kept = jax.tree.map(
            lambda new, old: jnp.where(is_best, new, old),
            (normal, elbo, climb.iteration),
            (climb.normal, climb.elbo, climb.best),
        )
        place = climb.iteration - 1
        newton = normal.loc - climb.position
        # Where rounding spoils the estimate, the gradient itself is left.
        is_downhill = jnp.vdot(newton, climb.grad) < 0.0
        return climb._replace(
            direction=jnp.where(is_downhill, newton, _steepest(climb.grad)),
            normal=kept[0],
            elbo=kept[1],
            best=kept[2],
            log_densities=climb.log_densities.at[place].set(-climb.value),
            elbos=climb.elbos.at[place].set(elbo),
        )

    def is_on(climb: _Climb) -> Bool[Array, ""]:
        has_time = climb.iteration < settings.max_iterations
        return has_time & (climb.end == PathEnd.ON_ITS_WAY)

    climb = jax.lax.while_loop(
        is_on, step, _begin(settings, search, log_density, start)
    )
    noise = _noise(draws_key, settings.num_draws, start)
    draws, target = evaluate(climb.normal, noise)
    return Path(
        normal=climb.normal,
        elbo=climb.elbo,
        best=climb.best,
        num_iterations=climb.iteration,
        end=climb.end,
        position=climb.position,
        draws=draws,
        log_density=target,
        log_densities=climb.log_densities,
        elbos=climb.elbos,
    )


def _noise(
    key: Key[Array, ""], num: int, like: Float[Array, " n"]
) -> Float[Array, "num n"]:
    return jax.random.normal(key, (num, like.size), like.dtype)


def _begin(
    settings: PathSettings,
    search: optax.GradientTransformationExtraArgs,
    log_density: LogDensity,
    start: Float[Array, " n"],
) -> _Climb:
    value, grad = jax.value_and_grad(lambda z: -log_density(z))(start)
    pairs = no_pairs(settings.history_size, start)
    zero = jnp.zeros((), jnp.int32)
    nothing = jnp.full(settings.max_iterations, jnp.nan, value.dtype)
    return _Climb(
        position=start,
        value=value,
        grad=grad,
        direction=_steepest(grad),
        search_state=search.init(start),
        pairs=pairs,
        normal=local_normal(start, -grad, pairs),
        elbo=jnp.asarray(-jnp.inf, value.dtype),
        best=zero,
        iteration=zero,
        num_stalls=zero,
        end=jnp.where(_all_finite(value, grad), PathEnd.ON_ITS_WAY, PathEnd.NONFINITE),
        log_densities=nothing,
        elbos=nothing,
    )


def _move(
    settings: PathSettings,
    search: optax.GradientTransformationExtraArgs,
    log_density: LogDensity,
    climb: _Climb,
) -> _Climb:
    """Makes one step of L-BFGS, and notes what it tells of the curvature."""

    def loss(position: Float[Array, " n"]) -> Float[Array, ""]:
        return -log_density(position)

    updates, search_state = search.update(
        climb.direction,
        climb.search_state,
        climb.position,
        value=climb.value,
        grad=climb.grad,
        value_fn=loss,
    )
    position = climb.position + jnp.asarray(updates)
    # The line search leaves the value and gradient of the point where it ended.
    value_and_grad = optax.value_and_grad_from_state(loss)
    value, grad = map(jnp.asarray, value_and_grad(position, state=search_state))
    is_finite = _all_finite(value, grad)
    # A step to where the density is not finite is not made.
    position = jnp.where(is_finite, position, climb.position)
    pairs = add_pair(climb.pairs, position - climb.position, grad - climb.grad)
    rounding = ROUNDING * jnp.finfo(value.dtype).eps
    size = jnp.maximum(jnp.maximum(jnp.abs(climb.value), jnp.abs(value)), 1.0)
    has_risen = climb.value - value > max(settings.tolerance, rounding) * size
    num_stalls = jnp.where(has_risen, 0, climb.num_stalls + 1)
    end = jnp.where(num_stalls >= MAX_STALLS, PathEnd.SETTLED, PathEnd.ON_ITS_WAY)
    return climb._replace(
        position=position,
        value=value,
        grad=grad,
        search_state=search_state,
        pairs=pairs,
        iteration=climb.iteration + 1,
        num_stalls=num_stalls,
        end=jnp.where(is_finite, end, PathEnd.NONFINITE),
    )


def _steepest(grad: Float[Array, " n"]) -> Float[Array, " n"]:
    """Returns the direction of a path that knows no curvature: at most of length 1."""
    return -grad / jnp.maximum(jnp.linalg.norm(grad), 1.0)


def _all_finite(value: Float[Array, ""], grad: Float[Array, " n"]) -> Bool[Array, ""]:
    return jnp.isfinite(value) & jnp.all(jnp.isfinite(grad))
