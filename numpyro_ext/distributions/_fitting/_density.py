r"""One sweep over the rows: their density, the moments of w given them, and slopes.

With $z = S^{-1}(x - \mu)$, $t = S^{-1}\gamma$, $A = a + |t|^2$, $B = b + |z|^2 + r$ and
$\lambda = p - d/2$,
$$\log f(x) = t\cdot z - \log|S| - \tfrac d2\log 2\pi + \log Z(\lambda, A, B)
  - \log Z(p, a, b).$$
Here $r = h^2\,\mathrm{tr}\,\Sigma^{-1}$, with h the resolution, is the penalty that
keeps the likelihood bounded. It counts every row as known to h only: f is the integral
over w with $\exp(-r/2w)$ in it, which is at most the density and differs from it by
order $h^2$ unless the law has a spike.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._bessel import Moments, bessel_moments, ratios, taylor
from ._family import (
    Family,
    log_unit,
    mixing_log_normalizer,
    mixing_moments,
    mixing_params,
    omega,
)

LOG_2 = math.log(2.0)
LOG_2PI = math.log(2.0 * math.pi)
# Stands for 0 under the square root of A B.
LEAST = 1e-20


class Params(NamedTuple):
    """Coordinates of the mixing law, and the normal law given w."""

    c: Array
    loc: Array
    skew: Array
    tril: Array
    # Low rank plus diagonal, when asked for; else of no columns.
    factor: Array
    diag: Array


class Geometry(NamedTuple):
    """All that the rows and the normal part have to say to the mixing part."""

    squares: Array
    cross: Array
    tilt: Array
    half_log_det: Array
    # Trace of the inverse of Sigma, and of it times the shrinkage target.
    trace: Array
    target_trace: Array


class Sweep(NamedTuple):
    """What one evaluation of the Bessel function gives."""

    value: Array
    gradient: Array
    hessian: Array
    mean_w: Array
    mean_inverse: Array
    mean_log: Array
    unit: Array


class Prior(NamedTuple):
    """The penalties. All but `target` are scalars.

    `strength` counts pseudo-observations for each observation: the penalty is
    -strength / 2 (log|Sigma| + tr(Sigma^-1 target)) with Sigma at E[w] = 1.
    """

    blur: Array
    strength: Array
    target: Array


def inverse_tril(tril: Array) -> Array:
    """The inverse of a lower triangle."""
    if tril.shape[-1] == 1:
        return 1.0 / tril
    eye = jnp.eye(tril.shape[-1], dtype=tril.dtype)
    return jax.scipy.linalg.solve_triangular(tril, eye, lower=True)


def geometry(x: Array, params: Params, prior: Prior) -> Geometry:
    """Distances of the rows, of shape (n,), and what the scale adds."""
    inverse = inverse_tril(params.tril)
    tilt = inverse @ params.skew
    centred = x - params.loc
    if x.shape[1] == 1:
        white = centred[:, 0] * inverse[0, 0]
        squares, cross = white * white, white * tilt[0]
    else:
        white = centred @ inverse.T
        squares = jnp.sum(white * white, axis=1)
        cross = white @ tilt
    diagonal = jnp.diagonal(params.tril)
    return Geometry(
        squares,
        cross,
        jnp.sum(tilt * tilt),
        jnp.sum(jnp.log(diagonal)),
        jnp.sum(inverse * inverse),
        jnp.sum((inverse @ prior.target) * inverse),
    )


def row_log_density(
    family: Family,
    c: Array,
    geo: Geometry,
    blur: Array,
    dim: int,
    rows: Moments,
    own: Moments,
) -> Array:
    """Log density of the rows, with derivatives exact to second order."""
    p, a, b = mixing_params(family, c)
    order = p - 0.5 * dim
    upper = jnp.maximum(a + geo.tilt, LEAST)
    lower = b + geo.squares + blur * geo.trace
    z = jnp.sqrt(upper) * jnp.sqrt(lower)
    ratio = jnp.log(lower) - jnp.log(upper)
    data = LOG_2 + taylor(rows, order, z) + 0.5 * order * ratio
    constant = geo.half_log_det + 0.5 * dim * LOG_2PI
    return geo.cross + data - constant - mixing_log_normalizer(family, c, own)


def penalty(
    family: Family, c: Array, geo: Geometry, prior: Prior, dim: int, own: Moments
) -> Array:
    """What shrinkage adds, for each observation."""
    log_w = log_unit(family, c, own)
    log_det = 2.0 * geo.half_log_det + dim * log_w
    trace = geo.target_trace * jnp.exp(-log_w)
    out = -0.5 * prior.strength * (log_det + trace)
    return jnp.where(prior.strength > 0, out, 0.0)


def evaluate(
    family: Family, c: Array, geo: Geometry, weights: Array, prior: Prior, dim: int
) -> Sweep:
    """The sweep at these coordinates.

    `weights` sum to 1; the value is the penalised log likelihood per observation.
    """
    p, a, b = mixing_params(family, c)
    order = p - 0.5 * dim
    upper = jnp.maximum(a + geo.tilt, LEAST)
    lower = jnp.maximum(b + geo.squares + prior.blur * geo.trace, LEAST)
    z = jnp.sqrt(upper) * jnp.sqrt(lower)
    rows, own = _all_moments(family, p, omega(a, b), order, z, c)
    # Without it XLA repeats the Bessel functions inside every sum that uses them.
    rows = lax.optimization_barrier(rows)
    ratio = jnp.log(lower) - jnp.log(upper)
    constant = LOG_2 - geo.half_log_det - 0.5 * dim * LOG_2PI
    data = geo.cross + rows.value + 0.5 * order * ratio + constant
    sums = _row_sums(weights, data, rows, order, z, ratio, a / upper, b / lower)

    def value_of(c):
        moved = jnp.stack(_logs(family, c)) - lax.stop_gradient(
            jnp.stack(_logs(family, c))
        )
        mean = sums[0] + sums[1] @ moved + 0.5 * moved @ (sums[2] @ moved)
        own_part = mixing_log_normalizer(family, c, own)
        return mean - own_part + penalty(family, c, geo, prior, dim, own)

    above, below = ratios(order, z, rows.by_z)
    scale = jnp.sqrt(lower / upper)
    mean_log = 0.5 * ratio
    if rows.by_v is not None:
        mean_log = mean_log + rows.by_v
    return Sweep(
        value_of(c),
        jax.grad(value_of)(c),
        jax.jacfwd(jax.grad(value_of))(c),
        scale * above,
        below / scale,
        mean_log,
        jnp.exp(log_unit(family, c, own)),
    )


def _logs(family: Family, c: Array) -> tuple[Array, Array, Array]:
    """(p, log a, log b), with 0 for what is not there."""
    zero = jnp.zeros_like(c[0])
    if family.kind == "gamma":
        return jnp.exp(c[0]), c[1], zero
    if family.kind == "inverse_gamma":
        return -jnp.exp(c[0]), zero, c[1]
    if family.order is not None:
        return zero, c[0], c[1]
    return c[0], c[1], c[2]


def _row_sums(
    weights: Array,
    data: Array,
    m: Moments,
    order: Array | float,
    z: Array,
    ratio: Array,
    share_a: Array,
    share_b: Array,
) -> tuple[Array, Array, Array]:
    """Mean of the data's part, its gradient and Hessian in (p, log a, log b).

    `share_a` is a / A, and `share_b` b / B row by row.
    """
    first = z * m.by_z
    second = 0.25 * (first + z * (z * m.by_zz))
    by_upper, by_lower = 0.5 * (first - order), 0.5 * (first + order)
    columns = [
        data,
        by_upper,
        share_b * by_lower,
        second,
        share_b * second,
        share_b * share_b * second + share_b * (1.0 - share_b) * by_lower,
    ]
    if m.by_v is not None and m.by_vv is not None and m.by_vz is not None:
        mixed = z * m.by_vz
        columns += [
            m.by_v + 0.5 * ratio,
            m.by_vv,
            0.5 * (mixed - 1.0),
            0.5 * share_b * (mixed + 1.0),
        ]
    # One reduction for each: stacking would store them all.
    sums = [jnp.sum(weights * y) for y in columns]
    mean, upper, lower, upper2, cross, lower2 = sums[:6]
    zero = jnp.zeros_like(mean)
    by_p, pp, pa, pb = sums[6:] if len(sums) > 6 else (zero, zero, zero, zero)
    aa = share_a * share_a * upper2 + share_a * (1.0 - share_a) * upper
    pa, ab = share_a * pa, share_a * cross
    gradient = jnp.stack([by_p, share_a * upper, lower])
    hessian = jnp.stack(
        [
            jnp.stack([pp, pa, pb]),
            jnp.stack([pa, aa, ab]),
            jnp.stack([pb, ab, lower2]),
        ]
    )
    return mean, gradient, hessian


def _all_moments(
    family: Family,
    p: Array | float,
    own_z: Array,
    order: Array | float,
    z: Array,
    c: Array,
) -> tuple[Moments, Moments]:
    """Those of the rows and of the mixing law, with one copy of the program."""
    if family.kind == "gig" and family.has_order:
        both_z = jnp.concatenate([z, own_z[None]])
        both_v = jnp.concatenate([jnp.full_like(z, order), jnp.reshape(p, (1,))])
        m = bessel_moments(both_v, both_z, with_order=True)
        return (
            Moments(*(None if y is None else y[:-1] for y in m)),
            Moments(*(None if y is None else y[-1] for y in m)),
        )
    rows = bessel_moments(order, z, with_order=family.has_order)
    if family.kind != "gig":
        zero = jnp.zeros_like(own_z)
        return rows, Moments(zero, zero, zero)
    return rows, mixing_moments(family, c)
