"""One temperature of sequential Monte Carlo as one compiled program.

The temperature rises as far as the effective number of particles allows. Then the
particles are resampled, and moved by Hamiltonian trajectories in the metric of their
own covariance. All particles take the same number of leapfrog steps, so none waits
for another.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .._compat import hmc_transition, largest_increment, resample_systematically
from ._model_spec import ModelSpec
from ._nuts_chunk import DIVERGENCE_THRESHOLD, euclidean_metric
from ._population import (
    Population,
    batch_size,
    covariance,
    evaluate,
    population_parts,
)
from ._warmup import metric_state

# A quarter of the period of a Gaussian in its own metric: there, one trajectory
# forgets where it began.
TRAJECTORY = math.pi / 2
# Steps differ by this factor between particles, so that no orbit closes on itself.
JITTER = (0.5, 1.5)


class SMCSettings(NamedTuple):
    """What is compiled into the program."""

    num_mcmc_steps: int
    max_leapfrog_steps: int
    target_ess: float
    target_accept: float


class SMCState(NamedTuple):
    """A population at one temperature, and what the run knows so far."""

    particles: Population
    temperature: Float[Array, ""]
    log_step: Float[Array, ""]
    log_evidence: Float[Array, ""]
    variance: Float[Array, ""]


class SMCInfo(NamedTuple):
    """What one temperature left.

    Attributes:
        temperature: the power of the likelihood.
        ess: effective number of particles before they were resampled.
        acceptance_rate: mean over particles and trajectories.
        step_size: in the metric of the particles.
        num_gradients: gradients of one particle.
    """

    temperature: Float[Array, ""]
    ess: Float[Array, ""]
    acceptance_rate: Float[Array, ""]
    step_size: Float[Array, ""]
    num_gradients: Int[Array, ""]


class Reweighed(NamedTuple):
    """Weights that lead from one temperature to the next."""

    weights: Float[Array, " n"]
    temperature: Float[Array, ""]
    log_mean: Float[Array, ""]
    ess: Float[Array, ""]


def first_state(particles: Population) -> SMCState:
    """Returns the state at temperature 0."""
    zero = jnp.zeros((), particles.positions.dtype)
    return SMCState(particles, zero, jnp.log(zero + 0.5), zero, zero)


@eqx.filter_jit
def raise_temperature(
    spec: ModelSpec, key: Key[Array, ""], state: SMCState, settings: SMCSettings
) -> tuple[SMCState, SMCInfo]:
    """Goes to the next temperature: weighs, resamples and moves the particles."""
    resample_key, move_key = jax.random.split(key)
    num = len(state.particles.log_likelihood)
    new = _reweigh(state, settings.target_ess)
    index = resample_systematically(resample_key, new.weights, num)
    # Rounding can take the index past the last particle that has a weight.
    index = jnp.where(new.weights[index] > 0.0, index, jnp.argmax(new.weights))
    positions = state.particles.positions[index]
    positions, log_step, accepted, num_gradients = _move(
        spec, move_key, positions, state.log_step, new.temperature, settings
    )
    info = SMCInfo(
        new.temperature, new.ess, accepted, jnp.exp(log_step), num_gradients
    )
    particles = evaluate(spec, positions)
    log_evidence = state.log_evidence + new.log_mean
    # The relative variance of the mean of `num` weights.
    variance = state.variance + 1.0 / new.ess - 1.0 / num
    after = SMCState(particles, new.temperature, log_step, log_evidence, variance)
    return after, info


def _reweigh(state: SMCState, target_ess: float) -> Reweighed:
    """Raises the temperature until the effective number of particles falls too low.

    Particles of likelihood zero are lost at any temperature above 0, so that the
    target is a share of the others.
    """
    log_likelihood = state.particles.log_likelihood
    is_possible = log_likelihood > -jnp.inf
    num = jnp.sum(is_possible).astype(log_likelihood.dtype)
    # The largest is taken out, so that large values keep their differences.
    centre = jnp.max(log_likelihood)
    excess = jnp.where(is_possible, log_likelihood - centre, 0.0)

    def log_weights(increment: Float[Array, ""]) -> Float[Array, " n"]:
        return jnp.where(is_possible, increment * excess, -jnp.inf)

    def log_ess(increment: Float[Array, ""] | float) -> Float[Array, ""]:
        logs = log_weights(jnp.asarray(increment, excess.dtype))
        return 2 * jax.nn.logsumexp(logs) - jax.nn.logsumexp(2 * logs)

    def is_enough(increment: Float[Array, ""] | float) -> Float[Array, ""]:
        return log_ess(increment) - jnp.log(target_ess * num)

    left = 1.0 - state.temperature
    increment = jnp.asarray(largest_increment(is_enough, left), excess.dtype)
    # The last step ends at 1 exactly.
    is_last = increment >= left
    temperature = jnp.where(is_last, 1.0, state.temperature + increment)
    logs = log_weights(increment)
    total = jax.nn.logsumexp(logs)
    log_mean = total - jnp.log(len(logs)) + increment * centre
    weights = jnp.exp(logs - total)
    return Reweighed(weights, temperature, log_mean, 1.0 / jnp.sum(weights**2))


def _move(
    spec: ModelSpec,
    key: Key[Array, ""],
    positions: Float[Array, "n dim"],
    log_step: Float[Array, ""],
    temperature: Float[Array, ""],
    settings: SMCSettings,
) -> tuple[Array, Array, Array, Array]:
    """Moves each particle along trajectories; returns what they left."""
    num = len(positions)
    dtype = positions.dtype
    is_used = jnp.ones(num, bool)
    metric = euclidean_metric(metric_state(covariance(positions, is_used=is_used)))
    transition = hmc_transition(DIVERGENCE_THRESHOLD)

    def log_density(position: Float[Array, " dim"]) -> Float[Array, ""]:
        log_prior, log_likelihood = population_parts(spec, position)
        return log_prior + temperature * log_likelihood

    def start(position: Float[Array, " dim"]) -> tuple[Array, Array, Array]:
        value, gradient = jax.value_and_grad(log_density)(position)
        return position, value, gradient

    def move(
        carry: tuple[tuple[Array, Array, Array], Array], key: Key[Array, ""]
    ) -> tuple[tuple[tuple[Array, Array, Array], Array], tuple[Array, Array]]:
        states, log_step = carry
        length = jnp.ceil(TRAJECTORY / jnp.exp(log_step)).astype(jnp.int32)
        length = jnp.clip(length, 1, settings.max_leapfrog_steps)

        def one(inputs: tuple[Key[Array, ""], Array, tuple[Array, Array, Array]]):
            key, step_size, state = inputs
            after, info = transition(
                key, state, log_density, step_size, metric, length
            )
            return tuple(after), jnp.nan_to_num(info.acceptance_rate)

        step_key, key = jax.random.split(key)
        jitter = jax.random.uniform(step_key, (num,), dtype, *JITTER)
        inputs = (jax.random.split(key, num), jitter * jnp.exp(log_step), states)
        states, accepted = jax.lax.map(one, inputs, batch_size=batch_size(num))
        accepted = jnp.mean(accepted)
        log_step = log_step + accepted - settings.target_accept
        log_step = jnp.minimum(log_step, math.log(TRAJECTORY))
        return (states, log_step), (accepted, length)

    states = jax.lax.map(start, positions, batch_size=batch_size(num))
    keys = jax.random.split(key, settings.num_mcmc_steps)
    (states, log_step), (accepted, lengths) = jax.lax.scan(
        move, (states, log_step), keys
    )
    return states[0], log_step, jnp.mean(accepted), jnp.sum(lengths)
