"""One temperature of sequential Monte Carlo as one compiled program.

The temperature rises as far as the effective number of particles allows. Then the
particles are resampled, and moved.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .._compat import largest_increment, resample_systematically
from ._model_spec import ModelSpec
from ._population import Population, evaluate
from ._smc_moves import MoveSettings, move_particles

# In the metric of the particles, before any has moved.
FIRST_STEP = 0.5


class SMCState(NamedTuple):
    """A population at one temperature, and what the run knows so far.

    Attributes:
        particles: of equal weight.
        temperature: the power of the likelihood.
        log_step: log of the step size.
        log_evidence: of the likelihood to this power.
        variance: relative variance of that evidence, if particles are independent.
    """

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
        acceptance_rate: of the last trajectory.
        step_size: in the metric of the particles.
        num_moves: trajectories of each particle.
        num_gradients: gradients of each particle.
        correlation: the largest rank correlation with the start that the moves left.
    """

    temperature: Float[Array, ""]
    ess: Float[Array, ""]
    acceptance_rate: Float[Array, ""]
    step_size: Float[Array, ""]
    num_moves: Int[Array, ""]
    num_gradients: Int[Array, ""]
    correlation: Float[Array, ""]


class Reweighed(NamedTuple):
    """Weights that lead from one temperature to the next."""

    weights: Float[Array, " n"]
    temperature: Float[Array, ""]
    log_mean: Float[Array, ""]
    ess: Float[Array, ""]


def first_state(particles: Population) -> SMCState:
    """Returns the state at temperature 0."""
    zero = jnp.zeros((), particles.positions.dtype)
    return SMCState(particles, zero, jnp.log(zero + FIRST_STEP), zero, zero)


@eqx.filter_jit
def raise_temperature(
    spec: ModelSpec,
    key: Key[Array, ""],
    state: SMCState,
    target_ess: Float[Array, ""] | float,
    settings: MoveSettings,
) -> tuple[SMCState, SMCInfo]:
    """Goes to the next temperature: weighs, resamples and moves the particles."""
    resample_key, move_key = jax.random.split(key)
    num = len(state.particles.log_likelihood)
    new = _reweigh(state, target_ess)
    index = resample_systematically(resample_key, new.weights, num)
    # Rounding can take the index past the last particle that has a weight.
    index = jnp.where(new.weights[index] > 0.0, index, jnp.argmax(new.weights))
    positions = state.particles.positions[index]
    moved = move_particles(
        spec, move_key, positions, state.log_step, new.temperature, settings
    )
    info = SMCInfo(
        temperature=new.temperature,
        ess=new.ess,
        acceptance_rate=moved.acceptance_rate,
        step_size=jnp.exp(moved.log_step),
        num_moves=moved.num_moves,
        num_gradients=moved.num_gradients,
        correlation=jnp.max(moved.correlation),
    )
    after = SMCState(
        particles=evaluate(spec, moved.particles.positions),
        temperature=new.temperature,
        log_step=moved.log_step,
        log_evidence=state.log_evidence + new.log_mean,
        # The relative variance of the mean of `num` weights.
        variance=state.variance + 1.0 / new.ess - 1.0 / num,
    )
    return after, info


def _reweigh(state: SMCState, target_ess: Float[Array, ""] | float) -> Reweighed:
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
