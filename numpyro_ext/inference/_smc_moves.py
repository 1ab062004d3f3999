"""Moving the particles of sequential Monte Carlo under one temperature.

All particles take the same number of leapfrog steps, so none waits for another. The
length of a step follows how narrow the density is at the particle, as the gradients of
all particles tell it: the tempered posterior of an unknown scale is a funnel, and a
step of one length for all would leave the particles in its neck where they are. There
they have the highest likelihood, and the evidence would come out too low.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from .._compat import hmc_transition
from ._kernel import DIVERGENCE_THRESHOLD
from ._metric import euclidean_metric, metric_state
from ._model_spec import ModelSpec
from ._population import batch_size, covariance, population_parts

# A quarter of the period of a Gaussian in its own metric: there, one trajectory
# forgets where it began.
TRAJECTORY = math.pi / 2
# Standard deviation of the log step size about the one that the position asks for.
JITTER = 0.4
# The log step size differs between places by no more than this, either way.
MAX_LOG_SCALE = 4.0
# Where particles lie further apart than three times the width of the density, squared,
# they are in several modes.
APART = 9.0
# Moves end when this many in a row lowered no correlation with the start that is still
# too large by so much: of particles in modes that they never leave, it stays.
MIN_FALL = 0.01
MAX_STALE_MOVES = 4


class MoveSettings(NamedTuple):
    """What is compiled into the program."""

    max_moves: int
    max_correlation: float
    max_leapfrog_steps: int
    target_accept: float


class Phase(NamedTuple):
    """Particles with their tempered log density and its gradient."""

    positions: Float[Array, "n dim"]
    log_density: Float[Array, " n"]
    grad: Float[Array, "n dim"]


class Moved(NamedTuple):
    """Particles under way, and what their moves left.

    Attributes:
        particles: where they are.
        log_step: log of the step size, in the metric of the particles.
        num_moves: trajectories of each particle so far.
        num_gradients: gradients of each particle so far.
        acceptance_rate: of the last trajectory, mean over particles.
        correlation: rank correlation with the start, by coordinate and for the density.
        lowest: the lowest one so far.
        num_stale: the last so many trajectories lowered none that is too large.
    """

    particles: Phase
    log_step: Float[Array, ""]
    num_moves: Int[Array, ""]
    num_gradients: Int[Array, ""]
    acceptance_rate: Float[Array, ""]
    correlation: Float[Array, " columns"]
    lowest: Float[Array, " columns"]
    num_stale: Int[Array, ""]


def move_particles(
    spec: ModelSpec,
    key: Key[Array, ""],
    positions: Float[Array, "n dim"],
    log_step: Float[Array, ""],
    temperature: Float[Array, ""],
    settings: MoveSettings,
) -> Moved:
    """Moves particles by Hamiltonian trajectories until they forget their start."""

    def log_density(position: Float[Array, " dim"]) -> Float[Array, ""]:
        log_prior, log_likelihood = population_parts(spec, position)
        return log_prior + temperature * log_likelihood

    def evaluate(position: Float[Array, " dim"]) -> Phase:
        return Phase(position, *jax.value_and_grad(log_density)(position))

    first = jax.lax.map(evaluate, positions, batch_size=batch_size(len(positions)))
    move = _mover(log_density, first, settings)
    start = _ranks(first)

    def goes_on(moved: Moved) -> Bool[Array, ""]:
        is_correlated = jnp.any(moved.correlation > settings.max_correlation)
        is_useful = moved.num_stale < MAX_STALE_MOVES
        return is_correlated & is_useful & (moved.num_moves < settings.max_moves)

    def body(moved: Moved) -> Moved:
        move_key = jax.random.fold_in(key, moved.num_moves)
        particles, accepted, length = move(move_key, moved.particles, moved.log_step)
        log_step = moved.log_step + accepted - settings.target_accept
        correlation = jnp.abs(jnp.mean(start * _ranks(particles), axis=0))
        is_lower = correlation < moved.lowest - MIN_FALL
        is_progress = jnp.any((moved.correlation > settings.max_correlation) & is_lower)
        return Moved(
            particles,
            jnp.minimum(log_step, math.log(TRAJECTORY)),
            moved.num_moves + 1,
            moved.num_gradients + length,
            accepted,
            correlation,
            jnp.minimum(moved.lowest, correlation),
            jnp.where(is_progress, 0, moved.num_stale + 1),
        )

    zero, ones = jnp.zeros((), jnp.int32), jnp.ones_like(start[0])
    accepted = jnp.zeros_like(log_step)
    moved = Moved(first, log_step, zero, zero, accepted, ones, ones, zero)
    return jax.lax.while_loop(goes_on, body, moved)


def _mover(
    log_density: Callable[[Float[Array, " dim"]], Float[Array, ""]],
    first: Phase,
    settings: MoveSettings,
) -> Callable[..., tuple[Phase, Array, Array]]:
    """Returns one trajectory of all particles, fitted to where they are first.

    A particle draws its step size from a lognormal law about the one that its place
    asks for. Given the step size, the law of the place is its density times that
    lognormal one, and the trajectory is one of the two together.
    """
    num = len(first.log_density)
    everyone = jnp.ones(num, bool)
    spread = covariance(first.positions, is_used=everyone)
    matrix = narrow(spread, first, fit_log_scale(first, spread))
    metric = euclidean_metric(metric_state(matrix))
    transition = hmc_transition(DIVERGENCE_THRESHOLD)
    log_scale = fit_log_scale(first, matrix)

    def move(
        key: Key[Array, ""], particles: Phase, log_step: Float[Array, ""]
    ) -> tuple[Phase, Array, Array]:
        length = jnp.ceil(TRAJECTORY / jnp.exp(log_step)).astype(jnp.int32)
        length = jnp.clip(length, 1, settings.max_leapfrog_steps)

        def one(
            inputs: tuple[Key[Array, ""], Float[Array, ""], Phase],
        ) -> tuple[Phase, Array]:
            key, noise, (position, value, grad) = inputs
            log_own = log_step + log_scale(position) + JITTER * noise

            def log_chance(position: Float[Array, " dim"]) -> Float[Array, ""]:
                away = (log_own - log_step - log_scale(position)) / JITTER
                return -0.5 * away**2

            def log_joint(position: Float[Array, " dim"]) -> Float[Array, ""]:
                return log_density(position) + log_chance(position)

            chance, slope = jax.value_and_grad(log_chance)(position)
            before = (position, value + chance, grad + slope)
            after, info = transition(
                key, before, log_joint, jnp.exp(log_own), metric, length
            )
            chance, slope = jax.value_and_grad(log_chance)(after.position)
            phase = Phase(
                after.position,
                after.logdensity - chance,
                after.logdensity_grad - slope,
            )
            return phase, jnp.nan_to_num(info.acceptance_rate)

        noise_key, key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (num,), first.positions.dtype)
        inputs = (jax.random.split(key, num), noise, particles)
        after, accepted = jax.lax.map(one, inputs, batch_size=batch_size(num))
        return after, jnp.mean(accepted), length

    return move


def _ranks(particles: Phase) -> Float[Array, "n columns"]:
    """Returns standardised ranks of the particles, by coordinate and by density."""
    values = particles.log_density[:, None]
    columns = jnp.concatenate([particles.positions, values], axis=1)
    num = len(columns)
    ranks = jnp.argsort(jnp.argsort(columns, axis=0), axis=0).astype(columns.dtype)
    return (ranks - (num - 1) / 2) / math.sqrt((num**2 - 1) / 12)


def narrow(
    matrix: Float[Array, "dim dim"] | Float[Array, " dim"],
    particles: Phase,
    log_scale: Callable[[Float[Array, " dim"]], Float[Array, ""]],
) -> Float[Array, "dim dim"] | Float[Array, " dim"]:
    r"""Shrinks a covariance along directions in which the density is narrower.

    Particles in several modes lie further apart than a mode is wide, and steps in the
    metric of their covariance leave each mode at once. For any density the gradient's
    second moment $F$ is at least the inverse of the covariance, with equality for a
    Gaussian; between modes it tells the width of one. In the metric of the covariance,
    a direction in which $F$ is $\lambda > 9$ is made narrower by $\sqrt{\lambda}$.
    Below that it is left: one mode with a neck has narrow places too, and a wide part
    that takes wide steps.
    """
    scales = jnp.exp(jax.vmap(log_scale)(particles.positions))
    grad = particles.grad * scales[:, None]
    is_used = jnp.all(jnp.isfinite(grad), axis=1, keepdims=True)
    grad = jnp.where(is_used, grad, 0.0)
    num = jnp.maximum(jnp.sum(is_used), 1)
    if matrix.ndim == 1:
        values = jnp.sum(grad**2, axis=0) / num * matrix
        return matrix / jnp.where(values > APART, values, 1.0)
    factor = jnp.linalg.cholesky(matrix)
    whitened = grad @ factor
    values, vectors = jnp.linalg.eigh(whitened.T @ whitened / num)
    root = factor @ (vectors / jnp.sqrt(jnp.where(values > APART, values, 1.0)))
    return root @ root.T


def fit_log_scale(
    particles: Phase, matrix: Float[Array, "dim dim"] | Float[Array, " dim"]
) -> Callable[[Float[Array, " dim"]], Float[Array, ""]]:
    """Learns how wide the density is where, from the gradients of the particles.

    The log of the squared gradient is regressed on the position; in a funnel, such as
    that of an unknown scale, it is linear.
    """
    positions, _, grad = particles
    is_diagonal = matrix.ndim == 1
    sd = jnp.sqrt(matrix if is_diagonal else jnp.diagonal(matrix))
    whitened = grad * matrix if is_diagonal else grad @ matrix
    squares = jnp.sum(grad * whitened, axis=1)
    narrowness = jnp.log(jnp.maximum(squares, jnp.finfo(sd.dtype).tiny))
    is_used = jnp.isfinite(narrowness)
    mean = jnp.mean(positions, axis=0)
    design = jnp.where(is_used[:, None], (positions - mean) / sd, 0.0)
    centre = jnp.mean(narrowness, where=is_used)
    target = jnp.where(is_used, narrowness - centre, 0.0)
    ridge = jnp.eye(len(sd), dtype=sd.dtype)
    slope = jnp.linalg.solve(design.T @ design + ridge, design.T @ target)

    def log_scale(position: Float[Array, " dim"]) -> Float[Array, ""]:
        predicted = -0.5 * jnp.dot(slope, (position - mean) / sd)
        return MAX_LOG_SCALE * jnp.tanh(predicted / MAX_LOG_SCALE)

    return log_scale
