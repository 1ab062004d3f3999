"""The log density of the Tweedie law, as a sum over numbers of jumps."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ...special._elementary import log
from ...special._exponentials import bounded_exp, expm1_minus, log1p_minus_near
from ...special._log_gap import log_gap, residual
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


def _deviance(count: Array, log_count: Array, mean: Array, log_mean: Array) -> Array:
    """Count * log(count / mean) - (count - mean), to all digits where it is small."""
    x = (mean - count) / count
    is_near = jnp.abs(x) < 0.4
    safe = jnp.where(is_near, x, 0.0)
    near = count * (safe * safe * log1p_minus_near(safe))
    return jnp.where(is_near, near, (mean - count) - count * (log_mean - log_count))


def _bent(scale: Array, log_scale: Array, x: Array) -> Array:
    """Scale * (e^x - 1 - x), where e^x may overflow and the product not."""
    is_usual = jnp.abs(x) < 30.0
    usual = scale * expm1_minus(jnp.where(is_usual, x, 0.0))
    return jnp.where(is_usual, usual, bounded_exp(log_scale + x) - scale * (1.0 + x))


class Parts(NamedTuple):
    r"""What the density of y > 0 is made of, for $r = 2 - p$, $l = p - 1$, $a = r / l$.

    Given y, the number of jumps is near $c = y^r / (\phi r)$, whatever the mean. With
    the gap $g = \log y - \eta$, the expected number is $c e^{-r g}$ and a jump's scale
    gives $y / \theta = a c e^{l g}$. Both deviances of a term, of j jumps from
    $c e^{-r g}$ and of $j a$ from $a c e^{l g}$, are in sum $(1 + a)$ times that of j
    from c, and two numbers that do not depend on j: `by_rate` and `by_scale`. No part
    is a difference of large numbers, so that derivatives keep their digits when they
    are small: they are sums of these parts.

    Attributes:
        by_rate: $c (e^{-r g} - 1 + r g)$.
        by_scale: $a c (e^{l g} - 1 - l g)$; with `by_rate`, half the unit deviance
            over the dispersion.
        log_sum: log of the sum over j.
        excess: mean of j - c under the terms as weights.
        spread: mean deviance of j from c.
        remainder: mean of j a P(j a), where P is what is left of digamma(j a).
        slope: $c r g$, so that $c - c e^{-r g}$ is `slope - by_rate`, and
            $a c e^{l g} - a c$ is `slope + by_scale`.
    """

    by_rate: Array
    by_scale: Array
    log_sum: Array
    excess: Array
    spread: Array
    remainder: Array
    slope: Array


def _parts(y: Array, eta: Array, dispersion: Array, power: Array) -> Parts:
    rest, less = 2.0 - power, power - 1.0
    a, log_y, gap = rest / less, jnp.log(y), log_gap(y, eta)
    log_c = rest * log_y - jnp.log(dispersion * rest)
    c = bounded_exp(rest * log_y) / (dispersion * rest)
    whole = jnp.broadcast_shapes(y.shape, eta.shape, c.shape)
    centre = jnp.broadcast_to(c, whole)
    width = jnp.sqrt(centre * less)
    j, distance = lax.stop_gradient(nodes(centre, jnp.broadcast_to(width, whole)))
    log_j = log(j)
    deviance = _deviance(j, log_j, c, log_c)
    tails = stirling_error_from_one(j) + stirling_error(j * a)
    log_terms = -deviance / less - tails
    errors = digamma_error(j * a)
    weights = jax.nn.softmax(log_terms, axis=0)
    log_sum = jax.nn.logsumexp(log_terms, axis=0) + jnp.log(distance)
    # The slopes of the terms of a wide sum have the mean 0. Added to j - c, they leave
    # numbers that are positive, whose mean does not cancel.
    is_wide = (width > 1.6) & (centre > 6.4 * width)
    safe, log_safe = jnp.where(is_wide, c, 1.0), jnp.where(is_wide, log_c, 0.0)
    positive = _deviance(safe, log_safe, j, log_j)
    positive += less * (safe / j) * (digamma_error(j) + errors)
    return Parts(
        by_rate=_bent(c, log_c, -rest * gap),
        by_scale=_bent(a * c, log_c + jnp.log(a), less * gap),
        log_sum=log_sum + 0.5 * jnp.log(a) - LOG_2PI,
        excess=jnp.sum(weights * jnp.where(is_wide, positive, j - c), axis=0),
        spread=jnp.sum(weights * deviance, axis=0),
        remainder=jnp.sum(weights * errors, axis=0),
        slope=c * rest * gap,
    )


@jax.custom_jvp
def tweedie_log_density(y: Array, eta: Array, dispersion: Array, power: Array) -> Array:
    """Of y > 0, for mean exp(eta)."""
    parts = _parts(y, eta, dispersion, power)
    return parts.log_sum - jnp.log(y) - (parts.by_rate + parts.by_scale)


def _tweedie_jvp(primals: Args, tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """The derivatives are means over the number of jumps given y, and one closed form.

    In eta it is (y - mu) / (phi mu^(p - 1)), as for every exponential dispersion law.
    """
    y, eta, dispersion, power = primals
    value = tweedie_log_density(*primals)
    rest, less = 2.0 - power, power - 1.0
    a = rest / less

    def by_value() -> Array:
        parts = _parts(*primals)
        return (a * parts.excess - 1.0 - (parts.slope + parts.by_scale)) / y

    def by_eta() -> Array:
        return residual(y, eta) * bounded_exp((1.0 - power) * eta) / dispersion

    def by_dispersion() -> Array:
        parts = _parts(*primals)
        deviance = parts.by_rate + parts.by_scale
        return (deviance - parts.excess / less) / dispersion

    def by_power() -> Array:
        parts = _parts(*primals)
        by_gap = parts.by_scale * (1.0 / less + eta) - parts.by_rate * (
            1.0 / rest - eta
        )
        by_centre = parts.excess * (1.0 / rest - jnp.log(y)) / less
        by_shape = parts.spread - (0.5 + parts.remainder) / a
        return by_gap + by_centre + by_shape / (less * less)

    coefficients = by_value, by_eta, by_dispersion, by_power
    return value, weighted_tangents(value, *zip(coefficients, tangents, strict=True))


tweedie_log_density.defjvp(_tweedie_jvp, symbolic_zeros=True)
