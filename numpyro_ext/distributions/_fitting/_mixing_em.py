"""The mixing law from the mean expectations of w: the M step of plain EM."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from .._gig_expectation import gamma_shape
from ._density import Sweep
from ._family import (
    Family,
    clip,
    limits,
    log_unit,
    mixing_log_normalizer,
    mixing_moments,
    mixing_params,
)
from ._gauge import MEAN, tangent, to_gauge
from ._mixing_step import newton_step

MAX_STEPS = 60


def mixing_em(
    family: Family,
    c: Array,
    weights: Array,
    sweep: Sweep,
    projector: Array,
    *,
    keeps_unit: bool = False,
) -> Array:
    """New coordinates: the law whose expectations are the mean of those of the rows.

    `keeps_unit` leaves the scale of w as it is. Shrinkage needs that: it pulls at Sigma
    in units of w, and a new scale of w would move it after its own step.
    """
    w, inverse, log_w = (
        jnp.sum(weights * y) for y in (sweep.mean_w, sweep.mean_inverse, sweep.mean_log)
    )
    if not keeps_unit:
        return expectations_step(family, c, w, inverse, log_w, projector)
    unit = log_unit(family, c, mixing_moments(family, c))
    if family.kind == "gig":
        return _maximise(family, c, w, inverse, log_w, projector, unit)
    # With the mean m of the gamma law held, the shape solves
    # log k - digamma(k) = log m - E[log] + E / m - 1.
    is_gamma = family.kind == "gamma"
    mean, log_held = (w, unit) if is_gamma else (inverse, -unit)
    gap = log_held + (-log_w if is_gamma else log_w)
    gap = gap + mean * jnp.exp(-log_held) - 1.0
    return _from_gap(c, gap, jnp.exp(log_held), projector)


def expectations_step(
    family: Family, c: Array, w: Array, inverse: Array, log_w: Array, projector: Array
) -> Array:
    """New coordinates from the means of E[w], E[1/w] and E[log w]."""
    if family.kind == "gig":
        return _maximise(family, c, w, inverse, log_w, projector)
    # Gamma laws of w or of 1/w. Their second coordinate is always free.
    mean = w if family.kind == "gamma" else inverse
    gap = jnp.log(mean) + (-log_w if family.kind == "gamma" else log_w)
    return _from_gap(c, gap, mean, projector)


def _from_gap(c: Array, gap: Array, mean: Array, projector: Array) -> Array:
    """The gamma law of this mean with log k - digamma(k) = gap."""
    bound = limits(c.dtype)
    k = jnp.clip(
        gamma_shape(jnp.maximum(gap, 1e-30)), bound.shape_low, bound.shape_high
    )
    k = jnp.where(projector[0, 0] > 0, k, jnp.exp(c[0]))
    return jnp.stack([jnp.log(k), jnp.log(2.0 * k / mean)])


def _maximise(
    family: Family,
    c: Array,
    w: Array,
    inverse: Array,
    log_w: Array,
    projector: Array,
    unit: Array | None = None,
) -> Array:
    """Newton's method on the expected log density of w, a few dozen steps at most.

    With `unit`, on the laws of that log scale.
    """
    unbounded = jnp.full_like(c, jnp.inf)

    def expected(c):
        own = mixing_moments(family, c)

        def value(c):
            p, a, b = mixing_params(family, c)
            kernel = (p - 1.0) * log_w - 0.5 * (a * w + b * inverse)
            return kernel - mixing_log_normalizer(family, c, own)

        return value(c), jax.grad(value)(c), jax.jacfwd(jax.grad(value))(c)

    def step(state):
        count, best, least, candidate, cut, _ = state
        value, gradient, hessian = expected(candidate)
        is_better = value > least
        if unit is None:
            along = projector
        else:
            along = tangent(family, candidate, MEAN, unit, projector)
        full = candidate + newton_step(family, candidate, gradient, hessian, along)
        full = clip(family, full, -unbounded, unbounded)
        if unit is not None:
            full = to_gauge(family, full, MEAN, unit)
        nothing = jnp.finfo(c.dtype).eps * (1.0 + jnp.abs(value))
        is_done = is_better & (value - least <= nothing) | (cut < 1e-3)
        cut = jnp.where(is_better, 1.0, 0.25 * cut)
        best = jnp.where(is_better, candidate, best)
        back = best + 0.25 * (candidate - best)
        return (
            count + 1,
            best,
            jnp.maximum(value, least),
            jnp.where(is_better, full, back),
            cut,
            is_done,
        )

    start = (
        jnp.zeros((), jnp.int32),
        c,
        jnp.full((), -jnp.inf, c.dtype),
        c,
        jnp.ones((), c.dtype),
        jnp.zeros((), bool),
    )
    return lax.while_loop(lambda s: (s[0] < MAX_STEPS) & ~s[5], step, start)[1]
