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
    mixing_log_normalizer,
    mixing_moments,
    mixing_params,
)
from ._mixing_step import newton_step

MAX_STEPS = 60


def mixing_em(
    family: Family, c: Array, weights: Array, sweep: Sweep, projector: Array
) -> Array:
    """New coordinates: the law whose expectations are the mean of those of the rows."""
    w, inverse, log_w = (
        jnp.sum(weights * y) for y in (sweep.mean_w, sweep.mean_inverse, sweep.mean_log)
    )
    return expectations_step(family, c, w, inverse, log_w, projector)


def expectations_step(
    family: Family, c: Array, w: Array, inverse: Array, log_w: Array, projector: Array
) -> Array:
    """New coordinates from the means of E[w], E[1/w] and E[log w]."""
    if family.kind == "gig":
        return _maximise(family, c, w, inverse, log_w, projector)
    # Gamma laws of w or of 1/w. Their second coordinate is always free.
    mean = w if family.kind == "gamma" else inverse
    gap = jnp.log(mean) + (-log_w if family.kind == "gamma" else log_w)
    bound = limits(c.dtype)
    k = jnp.clip(
        gamma_shape(jnp.maximum(gap, 1e-30)), bound.shape_low, bound.shape_high
    )
    k = jnp.where(projector[0, 0] > 0, k, jnp.exp(c[0]))
    return jnp.stack([jnp.log(k), jnp.log(2.0 * k / mean)])


def _maximise(
    family: Family, c: Array, w: Array, inverse: Array, log_w: Array, projector: Array
) -> Array:
    """Newton's method on the expected log density of w, a few dozen steps at most."""
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
        full = candidate + newton_step(family, candidate, gradient, hessian, projector)
        full = clip(family, full, -unbounded, unbounded)
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
