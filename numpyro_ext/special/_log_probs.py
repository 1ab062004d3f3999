"""Inverse links of probabilities: (log p, log(1 - p)) as functions of eta."""

import math

import jax.numpy as jnp

from ._elementary import Real
from ._exponentials import bounded_exp, log1mexpexp, log_expit
from ._log_ndtr import log_ndtr

Pair = tuple[Real, Real]


def logit_log_probs(eta: Real) -> Pair:
    """P = 1 / (1 + exp(-eta))."""
    return log_expit(eta), log_expit(-eta)


def probit_log_probs(eta: Real) -> Pair:
    """P = Phi(eta)."""
    return log_ndtr(eta), log_ndtr(-eta)


def cloglog_log_probs(eta: Real) -> Pair:
    """P = 1 - exp(-bounded_exp(eta))."""
    return log1mexpexp(eta), -bounded_exp(eta)


def loglog_log_probs(eta: Real) -> Pair:
    """P = exp(-bounded_exp(-eta))."""
    return -bounded_exp(-eta), log1mexpexp(-eta)


def cauchit_log_probs(eta: Real) -> Pair:
    """P = 1/2 + arctan(eta) / pi."""
    # `abs` has derivative 0 at 0; this has 1.
    distance = jnp.where(eta < 0, -eta, eta)
    smaller = jnp.arctan2(jnp.ones_like(eta), distance) / math.pi
    low, high = jnp.log(smaller), jnp.log1p(-smaller)
    return jnp.where(eta < 0, low, high), jnp.where(eta < 0, high, low)
