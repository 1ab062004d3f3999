"""The log density of the Tweedie law, as a sum over numbers of jumps."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from ...special._elementary import log, polynomial
from ...special._exponentials import EXPM1_MINUS, bounded_exp
from ...special._log_gap import residual
from ...special._one_argument import weighted_tangents
from ...special._stirling import digamma_error, stirling_error, stirling_error_from_one

LOG_2PI = math.log(2.0 * math.pi)
Args = tuple[Array, Array, Array, Array]
NUM_NODES = 112
# How many standard deviations of terms matter, below and above the largest.
BELOW, ABOVE = 8.6, 9.9


def nodes(centre: Array, width: Array) -> tuple[Array, Array]:
    """Numbers of jumps to sum over, along a new first axis, and their distance.

    The terms of the sum rise and fall around `centre` like Poisson probabilities, with
    standard deviation `width`. A narrow sum runs over integers, from 1 or around the
    centre; a wide one, whose terms are negligible at 1, over points further apart. The
    error of that is exp(-2 pi^2 width^2 / distance^2), by Poisson's summation formula.
    """
    distance = jnp.maximum((BELOW + ABOVE) * width / (NUM_NODES - 1), 1.0)
    distance = jnp.where(centre > 6.4 * width, distance, 1.0)
    first = centre - BELOW * jnp.maximum(width, distance)
    first = jnp.maximum(jnp.round(first), 1.0)
    k = jnp.arange(NUM_NODES, dtype=centre.dtype)
    k = k.reshape((-1, *[1] * centre.ndim))
    return first + k * distance, distance


def jumps(log_mean: Array, dispersion: Array, power: Array) -> tuple[Array, ...]:
    """log(lambda), the shape a of a jump, and the log of its scale theta."""
    rest = 2.0 - power
    log_dispersion = jnp.log(dispersion)
    log_rate = rest * log_mean - log_dispersion - jnp.log(rest)
    log_scale = log_dispersion + jnp.log(power - 1.0) + (power - 1.0) * log_mean
    return log_rate, rest / (power - 1.0), log_scale


def _deviance(count: Array, expected: Array, gap: Array) -> Array:
    """Expected - count - count * gap for gap = log(expected / count)."""
    is_near = jnp.abs(gap) < 0.7
    safe = jnp.where(is_near, gap, 0.0)
    near = count * (safe * safe * polynomial(EXPM1_MINUS, safe))
    return jnp.where(is_near, near, (expected - count) - count * gap)


def _terms(y: Array, eta: Array, dispersion: Array, power: Array) -> tuple[Array, ...]:
    """The numbers of jumps j; log(y / (j a theta)); the log of each term; the distance.

    A term is the product of the Poisson probability of j and the gamma density of y
    given j, both as deviance and Stirling's remainder.
    """
    log_rate, a, log_scale = jumps(eta, dispersion, power)
    log_y = jnp.log(y)
    # The number of jumps that is most likely given y does not depend on the mean.
    rest = 2.0 - power
    centre = bounded_exp(rest * log_y) / (dispersion * rest)
    whole = jnp.broadcast_shapes(y.shape, eta.shape, centre.shape)
    centre = jnp.broadcast_to(centre, whole)
    width = jnp.sqrt(centre / (1.0 + a))
    j, distance = lax.stop_gradient(nodes(centre, jnp.broadcast_to(width, whole)))
    log_j = log(j)
    jump_gap, gap = log_rate - log_j, (log_y - log_scale - jnp.log(a)) - log_j
    deviance = _deviance(j, bounded_exp(log_rate), jump_gap) + _deviance(
        j * a, bounded_exp(log_y - log_scale), gap
    )
    rest = stirling_error_from_one(j) + stirling_error(j * a)
    log_terms = 0.5 * jnp.log(a) - LOG_2PI - log_y - deviance - rest
    return j, gap, log_terms, distance


@jax.custom_jvp
def tweedie_log_density(y: Array, eta: Array, dispersion: Array, power: Array) -> Array:
    """Of y > 0, for mean exp(eta)."""
    _, _, log_terms, distance = _terms(y, eta, dispersion, power)
    return jax.nn.logsumexp(log_terms, axis=0) + jnp.log(distance)


def _tweedie_jvp(primals: Args, tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """The derivatives are means over the number of jumps given y, and one closed form.

    In eta it is (y - mu) / (phi mu^(p - 1)), as for every exponential dispersion law.
    """
    y, eta, dispersion, power = primals
    value = tweedie_log_density(*primals)
    log_rate, a, log_scale = jumps(eta, dispersion, power)
    rate, tilt = bounded_exp(log_rate), bounded_exp(jnp.log(y) - log_scale)

    def means() -> tuple[Array, Array]:
        """Of j, and of the derivative of log p(y, j) in the shape a."""
        j, gap, log_terms, _ = _terms(y, eta, dispersion, power)
        weights = jax.nn.softmax(log_terms, axis=0)
        slope = j * gap + (0.5 + digamma_error(j * a)) / a
        return jnp.sum(weights * j, axis=0), jnp.sum(weights * slope, axis=0)

    def by_value() -> Array:
        return (a * means()[0] - 1.0 - tilt) / y

    def by_eta() -> Array:
        return residual(y, eta) * bounded_exp((1.0 - power) * eta) / dispersion

    def by_dispersion() -> Array:
        mean = means()[0]
        return ((rate - mean) + (tilt - a * mean)) / dispersion

    def by_power() -> Array:
        mean, by_shape = means()
        rest, less = 2.0 - power, power - 1.0
        by_rate = (mean - rate) * (1.0 / rest - eta)
        by_scale = (tilt - a * mean) * (1.0 / less + eta)
        return by_rate + by_scale - by_shape / (less * less)

    coefficients = by_value, by_eta, by_dispersion, by_power
    return value, weighted_tangents(value, *zip(coefficients, tangents, strict=True))


tweedie_log_density.defjvp(_tweedie_jvp, symbolic_zeros=True)
