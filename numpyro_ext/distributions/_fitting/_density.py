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
# Triangles of so many rows at most are left to LAPACK.
BLOCK = 64


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
    # |Sigma^-1 skew|^2, and the same with the target in the middle.
    pull: Array
    target_pull: Array


class Sweep(NamedTuple):
    """What one evaluation of the Bessel function gives."""

    value: Array
    gradient: Array
    hessian: Array
    mean_w: Array
    mean_inverse: Array
    mean_log: Array
    unit: Array
    # The part of the value that shrinkage makes.
    shrunk: Array


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
    d = len(tril)
    if d == 1:
        return 1.0 / tril
    if d <= BLOCK:
        eye = jnp.eye(d, dtype=tril.dtype)
        return jax.scipy.linalg.solve_triangular(tril, eye, lower=True)
    half = d // 2
    top, low = inverse_tril(tril[:half, :half]), inverse_tril(tril[half:, half:])
    cross = -low @ (tril[half:, :half] @ top)
    none = jnp.zeros((half, d - half), tril.dtype)
    return jnp.block([[top, none], [cross, low]])


def solve_tril(tril: Array, columns: Array) -> Array:
    """The inverse of a lower triangle times columns, by products of blocks.

    LAPACK's own takes twice the time for hundreds of columns.
    """
    d = len(tril)
    if d <= BLOCK:
        return inverse_tril(tril) @ columns
    half = d // 2
    top = solve_tril(tril[:half, :half], columns[:half])
    rest = columns[half:] - tril[half:, :half] @ top
    return jnp.concatenate([top, solve_tril(tril[half:, half:], rest)])


def geometry(columns: Array, params: Params, prior: Prior) -> Geometry:
    """Distances of the rows, of shape (n,), and what the scale adds.

    The data have the shape (d, n): products of such arrays take half the time.
    """
    inverse = inverse_tril(params.tril)
    tilt = inverse @ params.skew
    if columns.shape[0] == 1:
        white = (columns[0] - params.loc[0]) * inverse[0, 0]
        squares, cross = white * white, white * tilt[0]
    else:
        white = solve_tril(params.tril, columns - params.loc[:, None])
        squares = jnp.sum(white * white, axis=0)
        cross = tilt @ white
    diagonal = jnp.diagonal(params.tril)
    pulled = inverse.T @ tilt
    return Geometry(
        squares,
        cross,
        jnp.sum(tilt * tilt),
        jnp.sum(jnp.log(diagonal)),
        jnp.sum(inverse * inverse),
        jnp.sum((inverse @ prior.target) * inverse),
        jnp.sum(pulled * pulled),
        jnp.sum(pulled * (prior.target @ pulled)),
    )


def gram(columns: Array) -> Array:
    """All products of two columns; of many, the half that is needed."""
    d = len(columns)
    if d <= 2 * BLOCK:
        return columns @ columns.T
    top, low = columns[: d // 2], columns[d // 2 :]
    cross = low @ top.T
    return jnp.block([[top @ top.T, cross.T], [cross, low @ low.T]])


def rough_gram(columns: Array) -> Array:
    """`gram` in single precision, which takes half the time."""
    return gram(columns.astype(jnp.float32)).astype(columns.dtype)


class Line(NamedTuple):
    r"""A move along the skew: loc + nu skew, (1 + eps) skew, Sigma + kappa skew skew^T.

    Near the normal law these and the mixing law can be told apart by third moments
    only, and EM alone creeps. Their effect on the rows follows from two numbers a row.
    """

    nu: Array
    eps: Array
    kappa: Array


def move_geometry(geo: Geometry, line: Line) -> Geometry:
    """The geometry after the move, by the formula of Sherman and Morrison."""
    growth = 1.0 + line.kappa * geo.tilt
    share = line.kappa / growth
    along = geo.cross - line.nu * geo.tilt
    squares = geo.squares - line.nu * (2.0 * geo.cross - line.nu * geo.tilt)
    stretch = (1.0 + line.eps) / growth
    return Geometry(
        jnp.maximum(squares - share * along * along, 0.0),
        stretch * along,
        geo.tilt * (1.0 + line.eps) * stretch,
        geo.half_log_det + 0.5 * jnp.log(growth),
        geo.trace - share * geo.pull,
        geo.target_trace - share * geo.target_pull,
        geo.pull * stretch * stretch,
        geo.target_pull * stretch * stretch,
    )


def compose_lines(first: Line, then: Line) -> Line:
    """Both moves, one after the other, as one."""
    growth = 1.0 + first.eps
    return Line(
        first.nu + growth * then.nu,
        first.eps + growth * then.eps,
        first.kappa + growth * growth * then.kappa,
    )


def move_params(params: Params, line: Line) -> Params:
    """The params after the move."""
    skew = params.skew
    if params.tril.shape[0] == 1:
        tril = jnp.sqrt(jnp.square(params.tril) + line.kappa * skew * skew)
    else:
        outer = line.kappa * skew[:, None] * skew[None, :]
        tril = lax.cond(
            line.kappa == 0.0,
            lambda: params.tril,
            lambda: jnp.linalg.cholesky(params.tril @ params.tril.T + outer),
        )
    return params._replace(
        loc=params.loc + line.nu * skew, skew=(1.0 + line.eps) * skew, tril=tril
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

    `weights` sum to 1; the value is the penalised log likelihood per observation. Its
    slopes are in the coordinates c, and after them nu, eps and kappa of `Line`.
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
    data = LOG_2 + rows.value + 0.5 * order * ratio
    mean, slope, bend = _row_sums(
        weights, data, rows, order, z, ratio, _lower_shares(geo, prior, b, lower)
    )
    mean_cross = jnp.sum(weights * geo.cross)

    def value_of(theta):
        c, nu, eps, kappa = theta[:-3], theta[-3], theta[-2], theta[-1]
        place = jnp.stack([*_places(family, c, geo, eps, kappa), nu, kappa])
        moved = place - lax.stop_gradient(place)
        out = mean + slope @ moved + 0.5 * moved @ (bend @ moved)
        growth = 1.0 + kappa * geo.tilt
        cross = (1.0 + eps) * (mean_cross - nu * geo.tilt) / growth
        share = kappa / growth
        after = geo._replace(
            half_log_det=geo.half_log_det + 0.5 * jnp.log(growth),
            target_trace=geo.target_trace - share * geo.target_pull,
        )
        out = out + cross - after.half_log_det - 0.5 * dim * LOG_2PI
        out = out - mixing_log_normalizer(family, c, own)
        return out + penalty(family, c, after, prior, dim, own)

    theta = jnp.concatenate([c, jnp.zeros((3,), c.dtype)])
    above, below = ratios(order, z, rows.by_z)
    scale = jnp.sqrt(lower / upper)
    mean_log = 0.5 * ratio
    if rows.by_v is not None:
        mean_log = mean_log + rows.by_v
    return Sweep(
        value_of(theta),
        jax.grad(value_of)(theta),
        jax.jacfwd(jax.grad(value_of))(theta),
        scale * above,
        below / scale,
        mean_log,
        jnp.exp(log_unit(family, c, own)),
        penalty(family, c, geo, prior, dim, own),
    )


def _places(
    family: Family, c: Array, geo: Geometry, eps: Array, kappa: Array
) -> tuple[Array, Array, Array]:
    """(p, log A, log b), with 0 for what is not there."""
    zero = jnp.zeros_like(c[0])
    p, a, b = mixing_params(family, c)
    tilt = geo.tilt * jnp.square(1.0 + eps) / (1.0 + kappa * geo.tilt)
    order = p if isinstance(p, Array) else zero
    log_b = zero if family.kind == "gamma" else jnp.log(b)
    return order, jnp.log(jnp.maximum(a + tilt, LEAST)), log_b


class _Shares(NamedTuple):
    """Derivatives of B in (log b, nu, kappa), divided by B, row by row."""

    first: tuple[Array, Array, Array]
    # Those of second order which are not 0.
    by_bb: Array
    by_nunu: Array
    by_nukappa: Array
    by_kappakappa: Array


def _lower_shares(geo: Geometry, prior: Prior, b: Array, lower: Array) -> _Shares:
    inverse = 1.0 / lower
    square = geo.cross * geo.cross + prior.blur * geo.pull
    twice = 2.0 * geo.tilt
    by_b = b * inverse
    return _Shares(
        (by_b, -2.0 * geo.cross * inverse, -square * inverse),
        by_b,
        twice * inverse,
        twice * geo.cross * inverse,
        twice * square * inverse,
    )


def _row_sums(
    weights: Array,
    data: Array,
    m: Moments,
    order: Array | float,
    z: Array,
    ratio: Array,
    shares: _Shares,
) -> tuple[Array, Array, Array]:
    """Mean of the data's part, its slope and Hessian in (p, log A, log b, nu, kappa).

    log K enters by z, which depends on log A and log B alike.
    """
    first = z * m.by_z
    second = 0.25 * (first + z * (z * m.by_zz))
    by_upper, by_lower = 0.5 * (first - order), 0.5 * (first + order)
    one, nu, kappa = shares.first

    def mean(y):
        # One reduction for each: stacking would store them all.
        return jnp.sum(weights * y)

    bent = second - by_lower
    bb = mean(bent * one * one + by_lower * shares.by_bb)
    nn = mean(bent * nu * nu + by_lower * shares.by_nunu)
    nk = mean(bent * nu * kappa + by_lower * shares.by_nukappa)
    kk = mean(bent * kappa * kappa + by_lower * shares.by_kappakappa)
    bn, bk = mean(bent * one * nu), mean(bent * one * kappa)
    ab, an, ak = (mean(second * y) for y in shares.first)
    zero = jnp.zeros_like(bb)
    by_p = pp = pa = pb = pn = pk = zero
    if m.by_v is not None and m.by_vv is not None and m.by_vz is not None:
        mixed = 0.5 * z * m.by_vz
        by_p, pp = mean(m.by_v + 0.5 * ratio), mean(m.by_vv)
        pa = mean(mixed - 0.5)
        pb, pn, pk = (mean((mixed + 0.5) * y) for y in shares.first)
    slope = [by_p, mean(by_upper), *(mean(by_lower * y) for y in shares.first)]
    rows = (
        (pp, pa, pb, pn, pk),
        (pa, mean(second), ab, an, ak),
        (pb, ab, bb, bn, bk),
        (pn, an, bn, nn, nk),
        (pk, ak, bk, nk, kk),
    )
    return mean(data), jnp.stack(slope), jnp.stack([jnp.stack(r) for r in rows])


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
            jax.tree.map(lambda y: y[:-1], m),
            jax.tree.map(lambda y: y[-1], m),
        )
    rows = bessel_moments(order, z, with_order=family.has_order)
    if family.kind != "gig":
        zero = jnp.zeros_like(own_z)
        return rows, Moments(zero, zero, zero)
    return rows, mixing_moments(family, c)
