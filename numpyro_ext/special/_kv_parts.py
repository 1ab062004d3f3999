r"""log K_v(z) + z and K_{v-1}(z)/K_v(z), in parts that keep their digits for large z.

In the normal limit the moments of the generalized inverse Gaussian law differ from
those of a point by 1/z, and the score of a mixture by the differences of such
differences. They follow from the ratio $r = K_{v-1}(z)/K_v(z)$, its excess $r - 1$, and
the balance $1 + 2z(1 + \partial_z \log K_v(z)) = 1 + 2z - z(K_{v-1} + K_{v+1})/K_v$,
each of them a sum of terms that do not cancel.
Source: as for `log_kv`; DLMF 10.29.2, and 10.41.4 for large arguments.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from . import _olver, _temme, _trapezoid
from ._elementary import Real, exp, hypot, log
from ._formats import format_of
from ._sweep import regimes, second_derivatives, select, value_and_gradient

# From this argument on the expansion for large arguments serves, at every order.
FAR = 30.0
# Beyond this many times 1 + v, four terms of Hankel's expansion serve.
HANKEL = 3000.0


class KvParts(NamedTuple):
    """What the laws need of K_v(z).

    Attributes:
        scaled: log K_v(z) + z.
        by_v: The derivative of log K_v(z) in v.
        ratio: K_{v-1}(z) / K_v(z).
        excess: `ratio` - 1.
        balance: 1 + 2z(1 + d/dz log K_v(z)), for z >= FAR.
    """

    scaled: Real
    by_v: Real
    ratio: Real
    excess: Real
    balance: Real


def _asymptotic(v: Real, z: Real) -> KvParts:
    kappa = hypot(v, z)
    total = kappa + z
    root = z / (kappa + v)
    m = (v / kappa) * (v / kappa)
    weight = (z / kappa) * (z / kappa)
    remainder, euler = _olver.remainder(m, kappa)
    slope = (euler - 0.5) * (z / kappa) / kappa
    # asinh(v / z), accurate relative to itself.
    growth = jnp.log1p((v / z) * (1.0 + v / total))
    scaled = v * (growth - v / total) + _olver.HALF_LOG_HALF_PI - 0.5 * log(kappa)
    balance = m - 2.0 * v * (v / total) + 2.0 * weight * euler
    return KvParts(
        scaled + remainder,
        growth + _olver.by_order(m, kappa, euler) * (v / kappa) / kappa,
        root - slope,
        -v * (1.0 + root) / total - slope,
        jnp.where(z > HANKEL * (1.0 + v), _hankel_balance(v, z), balance),
    )


def _hankel_balance(v: Real, z: Real) -> Real:
    """The balance far beyond v, exact in the zero that it has at v = 1/2.

    It is -2 (c_1/z + 2 c_2/z^2 + ...), with the c_k of the logarithm of Hankel's
    expansion (DLMF 10.40.2), in all of which 4 v^2 - 1 is a factor.
    """
    m, s = 4.0 * v * v, 1.0 / z
    series = 1.0 - s * (1.0 + s * ((m - 25.0) / 16.0 - s * (m - 13.0) / 4.0))
    return -0.25 * (2.0 * v - 1.0) * (2.0 * v + 1.0) * s * series


def _places(v: Real, z: Real) -> tuple[tuple[Real, Real], ...]:
    """Arguments that each regime can take, unchanged where it is used."""
    form = format_of(z.dtype)
    is_olver, is_trapezoid, is_series = regimes(v, z)
    few = jnp.minimum(v, form.max_order)
    return (
        (v, jnp.where(is_olver, z, form.olver_radius)),
        (few, jnp.where(is_trapezoid, z, 1.0)),
        (few, jnp.where(is_series, z, 1.0)),
    )


@jax.custom_jvp
@jax.jit
def kv_parts(v: Real, z: Real) -> KvParts:
    """The parts for v >= 0 and z > 0; the order may be a scalar."""
    form = format_of(z.dtype)
    is_nan = jnp.isnan(v + z)
    z = jnp.clip(z, form.tiny, form.huge)
    is_olver, _, is_series = regimes(v, z)
    far, (v_q, z_q), (v_s, z_s) = _places(v, z)
    sums = _trapezoid.sums(v_q, z_q, frozenset({(0, 0), (1, 0)}))
    before = _trapezoid.sums(jnp.abs(v_q - 1.0), z_q, frozenset({(0, 0)}))[0, 0]
    series = _temme.series(v_s, z_s, order=1)
    # Without barriers XLA repeats the sums inside every kernel that uses them.
    sums, before, series = lax.optimization_barrier((sums, before, series))
    out = _asymptotic(*far)
    addend, argument = _temme.value(v_s, series)
    logarithm = log(jnp.where(is_series, argument, form.step * sums[0, 0]))
    near = z + logarithm + jnp.where(is_series, addend, 0.0)
    slope = _temme.derivatives(v_s, z_s, series, frozenset({(1, 0)}))[1, 0]
    mirrored = exp(-series.mu * series.growth) * series.mirror / series.first[0]
    stepped = jnp.where(
        series.is_first,
        (2.0 / z_s) * mirrored,
        (2.0 / z_s) * (series.before[0] / series.last[0]),
    )
    ratio = jnp.where(is_series, stepped, before / sums[0, 0])
    parts = KvParts(
        jnp.where(is_olver, out.scaled, near),
        select(is_olver, is_series, out.by_v, sums[1, 0] / sums[0, 0], slope),
        jnp.where(is_olver, out.ratio, ratio),
        jnp.where(is_olver, out.excess, ratio - 1.0),
        out.balance,
    )
    return KvParts(*(jnp.where(is_nan, jnp.nan, x) for x in parts))


@partial(kv_parts.defjvp, symbolic_zeros=True)
def _kv_parts_jvp(primals: tuple[Real, Real], tangents: tuple[Any, Any]):
    v, z = primals
    out = kv_parts(v, z)
    # A constant order needs no derivatives in it, which are most of the program.
    is_fixed = isinstance(tangents[0], SymbolicZero)
    v_dot, z_dot = (
        jnp.zeros_like(out.ratio)
        if isinstance(x, SymbolicZero)
        else jnp.broadcast_to(x, out.ratio.shape)
        for x in tangents
    )
    is_far = regimes(v, z)[0]
    v_far = jnp.broadcast_to(v, out.ratio.shape)
    far = jax.jvp(_asymptotic, (v_far, _places(v, z)[0][1]), (v_dot, z_dot))[1]
    by_vv, by_vz, _ = second_derivatives(v, z)
    # d/dz of log K without its -1, from the ratio; that of the ratio by recurrence.
    scaled = (1.0 - v / z - out.ratio) * z_dot
    by_z = out.ratio * out.ratio - 1.0 + (2.0 * v - 1.0) * out.ratio / z
    ratio = by_z * z_dot
    if not is_fixed:
        scaled = scaled + out.by_v * v_dot
        by_v = value_and_gradient(v - 1.0, z)[1] - out.by_v
        ratio = ratio + out.ratio * by_v * v_dot
    order = by_vv * v_dot + by_vz * z_dot
    near = KvParts(scaled, order, ratio, ratio, jnp.zeros_like(ratio))
    chosen = (jnp.where(is_far, x, y) for x, y in zip(far, near, strict=True))
    return out, KvParts(*chosen)
