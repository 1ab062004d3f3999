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


def regimes(v: Real, z: Real) -> tuple[Real, Real, Real]:
    """Which regime serves each point: asymptotic, trapezoidal, series."""
    form = format_of(z.dtype)
    is_olver = hypot(v, z) + form.olver_slope * v >= form.olver_radius
    is_series = (z < 1.0) & ~is_olver
    return is_olver, ~is_olver & ~is_series, is_series


def _inside(v: Real, z: Real, is_used: Real, z_inside: float) -> tuple[Real, Real]:
    """The arguments, moved into the regime where it is not used."""
    return jnp.where(is_used, v, 0.0), jnp.where(is_used, z, z_inside)


def _select(
    is_olver: Real, is_series: Real, olver: Real, trapezoid: Real, series: Real
) -> Real:
    return jnp.where(is_olver, olver, jnp.where(is_series, series, trapezoid))


def sweep(v: Real, z: Real, wanted: frozenset[Order]) -> dict[Order, Real]:
    """The wanted partial derivatives of log K, for v >= 0 and normal z > 0.

    Keyed by their orders in (v, z); (0, 0) is the value.
    """
    form = format_of(z.dtype)
    is_olver, is_trapezoid, is_series = regimes(v, z)
    v_o, z_o = _inside(v, z, is_olver, float(form.olver_radius))
    v_q, z_q = _inside(v, z, is_trapezoid, 1.0)
    v_s, z_s = _inside(v, z, is_series, 1.0)
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
            argument = _select(
                is_olver,
                is_series,
                1.0 / pair[0],
                form.step * sums[0, 0],
                argument,
            )
            rest = _select(
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
            out[w] = _select(is_olver, is_series, *(piece[w] for piece in pieces))
    return out


def _fold(v: Real) -> tuple[Real, Real]:
    """The sign and the size of the order; at 0 the derivative is that from above."""
    sign = jnp.where(v < 0.0, -1.0, 1.0).astype(v.dtype)
    return sign, sign * v


@jax.custom_jvp
def value(v: Real, z: Real) -> Real:
    """log K_v(z) for normal z > 0."""
    return sweep(jnp.abs(v), z, frozenset({(0, 0)}))[0, 0]


@value.defjvp
def _value_jvp(primals: tuple[Real, Real], tangents: tuple[Real, Real]):
    out, by_v, by_z = value_and_gradient(*primals)
    return out, by_v * tangents[0] + by_z * tangents[1]


@jax.custom_jvp
def value_and_gradient(v: Real, z: Real) -> tuple[Real, Real, Real]:
    """log K_v(z), its derivative in v, and that in z."""
    sign, size = _fold(v)
    out = sweep(size, z, FIRST | {(0, 0)})
    return out[0, 0], sign * out[1, 0], out[0, 1]


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


def second_derivatives(v: Real, z: Real) -> tuple[Real, Real, Real]:
    """The second derivatives of log K_v(z): in v twice, in v and z, in z twice."""
    sign, size = _fold(v)
    out = sweep(size, z, SECOND)
    return out[2, 0], sign * out[1, 1], out[0, 2]
