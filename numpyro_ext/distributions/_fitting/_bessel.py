r"""$\log K_v(z)$ of the rows, and a polynomial with its derivatives.

A sum over rows is differentiated often, the Bessel function is dear to evaluate and
dear to compile. So it is evaluated once, with its derivatives, and replaced by its
Taylor polynomial of second degree about the point: automatic differentiation of what
contains the polynomial is then exact to second order.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ...special import log_kv, log_kv_moments
from ...special._half_integer import is_elementary
from ...special._sweep import sweep

# Below, the lesser of the two ratios is its leading term; see `ratios`.
SMALL = 1e-4


class Moments(NamedTuple):
    """Log K with its derivatives; those in v are None where the order is a number."""

    value: Array
    by_z: Array
    by_zz: Array
    by_v: Array | None = None
    by_vv: Array | None = None
    by_vz: Array | None = None


def bessel_moments(v: Array | float, z: Array, *, with_order: bool) -> Moments:
    """All derivatives that the fits need, in one sweep."""
    if with_order:
        m = log_kv_moments(v, z)
        return Moments(m.value, m.by_z, m.by_zz, m.by_v, m.by_vv, m.by_vz)
    if is_elementary(v):
        value, back = jax.vjp(lambda y: log_kv(v, y), z)
        (by_z,) = back(jnp.ones_like(value))
    else:
        size = jnp.broadcast_to(jnp.abs(jnp.asarray(v, z.dtype)), z.shape)
        out = sweep(size, z, frozenset({(0, 0), (0, 1)}))
        value, by_z = out[0, 0], out[0, 1]
    # Bessel's equation. It cancels for large z, and serves Newton steps only.
    by_zz = 1.0 + jnp.square(v / z) - by_z / z - jnp.square(by_z)
    return Moments(value, by_z, by_zz)


def ratios(v: Array | float, z: Array, by_z: Array) -> tuple[Array, Array]:
    r"""$K_{v+1}/K_v$ and $K_{v-1}/K_v$ from the derivative of $\log K$.

    The lesser of the two is a difference, $-\partial_z\log K - |v|/z$, which has no
    digits left where z is small against v; there it is $z/(2(|v| - 1))$ to
    relative order $z^2$.
    """
    size = jnp.abs(jnp.asarray(v, z.dtype))
    turn = size / z
    lesser = -by_z - turn
    is_small = (z < SMALL) & (size > 1.2)
    leading = 0.5 * z / jnp.where(size > 1.2, size - 1.0, 1.0)
    lesser = jnp.where(is_small, leading, lesser)
    lesser = jnp.maximum(lesser, jnp.finfo(z.dtype).tiny * 1e4)
    greater = lesser + 2.0 * turn
    is_right = jnp.asarray(v, z.dtype) > 0
    return jnp.where(is_right, greater, lesser), jnp.where(is_right, lesser, greater)


def taylor(m: Moments, v: Array | float, z: Array) -> Array:
    """Log K as the polynomial about (v, z), whose derivatives are exact to second."""
    m = lax.stop_gradient(m)
    # In log z, where log K is close to linear for small z and no overflow threatens.
    z0 = lax.stop_gradient(z)
    step = jnp.log(z) - jnp.log(z0)
    first = z0 * m.by_z
    second = first + z0 * (z0 * m.by_zz)
    out = m.value + first * step + 0.5 * second * step * step
    if m.by_v is not None and m.by_vv is not None and m.by_vz is not None:
        order = v - lax.stop_gradient(v)
        out = out + order * (m.by_v + z0 * m.by_vz * step + 0.5 * m.by_vv * order)
    return out
