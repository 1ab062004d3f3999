"""What sets the families apart: the mixing law and its coordinates."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln

from ._bessel import Moments, bessel_moments, ratios, taylor

LOG_2 = math.log(2.0)


class Family(NamedTuple):
    r"""The mixing law of w, by coordinates without an edge in between.

    | kind | law of w | coordinates c |
    |---|---|---|
    | "gig" | GIG(p, a, b) | p, log a, log b; without p, if `order` states it |
    | "gamma" | GIG(k, a, 0) | log k, log a |
    | "inverse_gamma" | GIG(-k, 0, b) | log k, log b |

    The scale of w is free: w / s with the skew and the squared scale times s are the
    same law of x. A Newton step moves along this direction as well, which is why EM
    with it needs fewer iterations.
    """

    kind: str
    order: float | None = None

    @property
    def num_coordinates(self) -> int:
        """How many coordinates there are."""
        return 3 if self.kind == "gig" and self.order is None else 2

    @property
    def has_order(self) -> bool:
        """Whether the order of the Bessel function moves."""
        return self.order is None

    @property
    def num_mixing(self) -> int:
        """How many parameters of the mixing law can be identified."""
        return self.num_coordinates - 1


GIG = Family("gig")
GAMMA = Family("gamma")
INVERSE_GAMMA = Family("inverse_gamma")


class Limits(NamedTuple):
    """Where the coordinates end: beyond, the law is its limit to working accuracy."""

    order: float
    omega_low: float
    omega_high: float
    shape_low: float
    shape_high: float


def limits(dtype) -> Limits:
    """The bounds for this dtype."""
    if jnp.dtype(dtype) == jnp.float64:
        return Limits(1e3, 1e-6, 1e5, 0.02, 1e5)
    return Limits(100.0, 1e-3, 3e2, 0.1, 3e2)


def mixing_params(family: Family, c: Array) -> tuple[Array | float, Array, Array]:
    """(p, a, b); the order is a number where the family states it."""
    zero = jnp.zeros_like(c[0])
    if family.kind == "gamma":
        return jnp.exp(c[0]), jnp.exp(c[1]), zero
    if family.kind == "inverse_gamma":
        return -jnp.exp(c[0]), zero, jnp.exp(c[1])
    if family.order is not None:
        return family.order, jnp.exp(c[0]), jnp.exp(c[1])
    return c[0], jnp.exp(c[1]), jnp.exp(c[2])


def coordinates(family: Family, p: float, a: float, b: float) -> np.ndarray:
    """The inverse of `mixing_params`."""
    if family.kind == "gamma":
        return np.log([p, a])
    if family.kind == "inverse_gamma":
        return np.log([-p, b])
    own = [] if family.order is not None else [p]
    return np.asarray([*own, math.log(a), math.log(b)])


def omega(a: Array, b: Array) -> Array:
    """The argument of the Bessel function of the mixing law."""
    return jnp.sqrt(a) * jnp.sqrt(b)


def clip(family: Family, c: Array, lower: Array, upper: Array) -> Array:
    """The coordinates within the bounds, the scale of w as it was."""
    bound = limits(c.dtype)
    c = jnp.clip(c, lower, upper)
    if family.kind != "gig":
        k = jnp.clip(c[0], math.log(bound.shape_low), math.log(bound.shape_high))
        # With the shape moves the rate, so that the scale of w stays.
        return jnp.stack([k, c[1] + (k - c[0])])
    total = c[-2] + c[-1]
    low, high = 2.0 * math.log(bound.omega_low), 2.0 * math.log(bound.omega_high)
    moved = 0.5 * (jnp.clip(total, low, high) - total)
    rates = c[-2:] + moved
    if family.order is not None:
        return rates
    return jnp.concatenate([jnp.clip(c[:1], -bound.order, bound.order), rates])


def mixing_log_normalizer(family: Family, c: Array, m: Moments) -> Array:
    """Log integral of the kernel of w; `m` holds log K_p(omega) for kind "gig"."""
    p, a, b = mixing_params(family, c)
    if family.kind == "gamma":
        return gammaln(p) - p * (jnp.log(a) - LOG_2)
    if family.kind == "inverse_gamma":
        return gammaln(-p) + p * (jnp.log(b) - LOG_2)
    return LOG_2 + taylor(m, p, omega(a, b)) + 0.5 * p * (jnp.log(b) - jnp.log(a))


def mixing_moments(family: Family, c: Array) -> Moments:
    """What `mixing_log_normalizer` needs, where no other row evaluates it."""
    p, a, b = mixing_params(family, c)
    return bessel_moments(p, omega(a, b), with_order=family.has_order)


def log_unit(family: Family, c: Array, m: Moments) -> Array:
    """Log of the scale of w: E[w], or 1 / E[1/w] of an inverse gamma law.

    Its first derivative is exact, which is what the penalties need.
    """
    p, a, b = mixing_params(family, c)
    if family.kind == "gamma":
        return jnp.log(p) + LOG_2 - jnp.log(a)
    if family.kind == "inverse_gamma":
        return jnp.log(b) - LOG_2 - jnp.log(-p)
    return log_mean_gig(p, a, b, m)


def log_mean_gig(p: Array | float, a: Array, b: Array, m: Moments) -> Array:
    """Log E[w] of a GIG law, with its first derivatives."""
    from jax import lax

    z = omega(a, b)
    m, z0, p0 = lax.stop_gradient((m, z, jnp.asarray(p, z.dtype)))
    upper, _ = ratios(p0, z0, m.by_z)
    # R = -L_z + p / z, and its derivatives.
    slope = (-m.by_zz - p0 / (z0 * z0)) / upper
    out = jnp.log(upper) + slope * (z - z0)
    if m.by_vz is not None:
        out = out + (1.0 / z0 - m.by_vz) / upper * (p - p0)
    return out + 0.5 * (jnp.log(b) - jnp.log(a))
