"""log K_v(z) and its derivatives from the three regimes, and their rules.

Every regime is evaluated at every point, on arguments moved into the regime where they
lie outside, and one is selected: no branches, no loops, no gathers. `value` and
`value_and_gradient` are nested `custom_jvp`s; third derivatives and higher come by
automatic differentiation of `second_derivatives`, whose pieces all have derivatives.
"""

import jax
import jax.numpy as jnp
from jax import lax

from . import _olver, _temme, _trapezoid
from ._elementary import (
    Mask,
    Order,
    Real,
    hypot,
    hypot_pair,
    log,
    log_ratio_pair,
    two_sum,
)
from ._formats import format_of

FIRST = frozenset({(1, 0), (0, 1)})
SECOND = frozenset({(2, 0), (1, 1), (0, 2)})


def regimes(v: Real, z: Real) -> tuple[Mask, Mask, Mask]:
    """Which regime serves each point: asymptotic, trapezoidal, series."""
    form = format_of(z.dtype)
    is_olver = hypot(v, z) + form.olver_slope * v >= form.olver_radius
    is_series = (z < 1.0) & ~is_olver
    return is_olver, ~is_olver & ~is_series, is_series


def _inside(v: Real, z: Real, is_used: Mask, z_inside: float) -> tuple[Real, Real]:
    """The arguments, moved into the regime where it is not used."""
    return jnp.where(is_used, v, 0.0), jnp.where(is_used, z, z_inside)


def split(
    v: Real, z: Real, is_used: tuple[Mask, Mask, Mask]
) -> list[tuple[Real, Real]]:
    """The arguments for each regime."""
    places = format_of(z.dtype).olver_radius, 1.0, 1.0
    return [_inside(v, z, u, place) for u, place in zip(is_used, places, strict=True)]


def select(
    is_olver: Mask, is_series: Mask, olver: Real, trapezoid: Real, series: Real
) -> Real:
    return jnp.where(is_olver, olver, jnp.where(is_series, series, trapezoid))


def sweep(v: Real, z: Real, wanted: frozenset[Order]) -> dict[Order, Real]:
    """The wanted partial derivatives of log K, for v >= 0 and normal z > 0.

    Keyed by their orders in (v, z); (0, 0) is the value.
    """
    form = format_of(z.dtype)
    is_used = is_olver, _, is_series = regimes(v, z)
    (v_o, z_o), (v_q, z_q), (v_s, z_s) = split(v, z, is_used)
    moments = frozenset().union(*(_trapezoid.MOMENTS[w] for w in wanted))
    sums = _trapezoid.sums(v_q, z_q, moments)
    series = _temme.series(v_s, z_s, order=max(w[0] for w in wanted))
    # Without barriers XLA repeats the sums inside every kernel that uses them.
    sums, series = lax.optimization_barrier((sums, series))
    growth = None
    out = {}
    if wanted & {(0, 0), (1, 0)}:
        pair = hypot_pair(v_o, z_o)
        top, low = two_sum(v_o, pair[0])
        growth = log_ratio_pair((top, low + pair[1]), z_o)
        if (0, 0) in wanted:
            main, remainder = _olver.value(v_o, pair, growth)
            addend, argument = _temme.value(v_s, series)
            argument = select(
                is_olver,
                is_series,
                1.0 / pair[0],
                form.step * sums[0, 0],
                argument,
            )
            rest = select(
                is_olver,
                is_series,
                remainder + _olver.HALF_LOG_HALF_PI,
                jnp.zeros_like(z),
                addend,
            )
            logarithm = log(argument)
            rest = rest + jnp.where(is_olver, 0.5 * logarithm, logarithm)
            out[0, 0] = jnp.where(is_olver, main, 0.0) + rest
    wanted = wanted - {(0, 0)}
    if wanted:
        growth = None if growth is None else growth[0] + growth[1]
        pieces = (
            _olver.derivatives(v_o, z_o, hypot(v_o, z_o), growth, wanted),
            _trapezoid.derivatives(v_q, z_q, sums, wanted),
            _temme.derivatives(v_s, z_s, series, wanted),
        )
        for w in wanted:
            out[w] = select(is_olver, is_series, *(piece[w] for piece in pieces))
    return out


def fold(v: Real) -> tuple[Real, Real]:
    """The sign and the size of the order; at 0 the derivative is that from above."""
    sign = jnp.where(v < 0.0, -1.0, 1.0).astype(v.dtype)
    return sign, sign * v


def inside(v: Real, z: Real) -> tuple[Mask, Real, Real]:
    """Where the sweep applies, and arguments that it can take everywhere."""
    form = format_of(z.dtype)
    is_inside = (z >= form.tiny) & (z <= form.huge) & (jnp.abs(v) <= form.huge)
    return is_inside, *_inside(v, z, is_inside, 1.0)


def limit(
    v: Real,
    z: Real,
    at_zero: Real | float,
    at_infinity: float,
    of_order: Real | float,
) -> Real:
    """What holds at z = 0, at z = inf and at an infinite order; else NaN."""
    form = format_of(z.dtype)
    is_order, is_argument = jnp.abs(v) > form.huge, z > form.huge
    out = jnp.where(is_order & (z >= 0.0) & ~is_argument, of_order, jnp.nan)
    out = jnp.where(is_argument & (jnp.abs(v) <= form.huge), at_infinity, out)
    is_zero = (z >= 0.0) & (z < form.tiny) & ~jnp.isnan(v)
    return jnp.where(is_zero, at_zero, out)


def _value_limit(v: Real, z: Real) -> Real:
    return limit(v, z, jnp.inf, -jnp.inf, jnp.inf)


@jax.custom_jvp
@jax.jit
def value(v: Real, z: Real) -> Real:
    """Log K_v(z)."""
    is_inside, v_in, z_in = inside(v, z)
    out = sweep(jnp.abs(v_in), z_in, frozenset({(0, 0)}))[0, 0]
    return jnp.where(is_inside, out, _value_limit(v, z))


@value.defjvp
def _value_jvp(primals: tuple[Real, Real], tangents: tuple[Real, Real]):
    out, by_v, by_z = value_and_gradient(*primals)
    return out, by_v * tangents[0] + by_z * tangents[1]


@jax.custom_jvp
@jax.jit
def value_and_gradient(v: Real, z: Real) -> tuple[Real, Real, Real]:
    """Log K_v(z), its derivative in v, and that in z."""
    is_inside, v_in, z_in = inside(v, z)
    sign, size = fold(v_in)
    out = sweep(size, z_in, FIRST | {(0, 0)})
    # sign(v) inf, and 0 for v = 0.
    by_order = jnp.where(v == 0.0, 0.0, jnp.inf * jnp.sign(v))
    by_v_limit = limit(v, z, by_order, 0.0, by_order)
    by_z_limit = limit(v, z, -jnp.inf, -1.0, -jnp.inf)
    return (
        jnp.where(is_inside, out[0, 0], _value_limit(v, z)),
        jnp.where(is_inside, sign * out[1, 0], by_v_limit),
        jnp.where(is_inside, out[0, 1], by_z_limit),
    )


@value_and_gradient.defjvp
def _value_and_gradient_jvp(primals: tuple[Real, Real], tangents: tuple[Real, Real]):
    out, by_v, by_z = value_and_gradient(*primals)
    by_vv, by_vz, by_zz = second_derivatives(*primals)
    v_dot, z_dot = tangents
    tangents_out = (
        by_v * v_dot + by_z * z_dot,
        by_vv * v_dot + by_vz * z_dot,
        by_vz * v_dot + by_zz * z_dot,
    )
    return (out, by_v, by_z), tangents_out


@jax.jit
def second_derivatives(v: Real, z: Real) -> tuple[Real, Real, Real]:
    """The second derivatives of log K_v(z): in v twice, in v and z, in z twice.

    NaN where z is 0 or infinite, or the order infinite.
    """
    is_inside, v_in, z_in = inside(v, z)
    sign, size = fold(v_in)
    out = sweep(size, z_in, SECOND)
    out = out[2, 0], sign * out[1, 1], out[0, 2]
    by_vv, by_vz, by_zz = (jnp.where(is_inside, x, jnp.nan) for x in out)
    return by_vv, by_vz, by_zz
