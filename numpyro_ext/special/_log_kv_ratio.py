import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from jaxtyping import Real as RealNumber

from . import _olver, _temme, _trapezoid
from ._arguments import promote
from ._elementary import Real, exp, hypot, log, log_ratio
from ._sweep import inside, limit, regimes, select, split, value_and_gradient


def log_kv_ratio(
    v: RealNumber[ArrayLike, "*#batch"], z: RealNumber[ArrayLike, "*#batch"]
) -> Float[Array, "*#batch"]:
    r"""Logarithm of the ratio of consecutive orders, $\log(K_{v+1}(z) / K_v(z))$.

    It is odd about $v = -1/2$ and increases with $v$. The difference of two values of
    `log_kv` would lose digits where they are large; each regime forms the ratio itself
    as a sum of positive terms.

    Args:
        v: Real order, of any sign.
        z: Argument, $z > 0$.

    Returns:
        The logarithm of the ratio. At $z = 0$ and at infinite $v$ it is infinite, with
        the sign of $v + 1/2$, and 0 at $v = -1/2$; at $z = \infty$ it is 0 (both
        infinite: NaN); for $z < 0$ it is NaN.

    Shapes: `v` and `z` broadcast. float32 in, float32 out; integers are converted.
    Accuracy: in float64 the error is below $10^{-14}$ of the larger of 1 and the
        result; in float32 5e-6.
    Source: as for `log_kv`; DLMF 10.29.2 gives the ratio from $K_v'/K_v$.
    """
    v, z, dtype = promote(v, z)
    is_inside, v_in, z_in = inside(v, z)
    is_falling = v_in < -0.5
    order = jnp.where(is_falling, -1.0 - v_in, v_in)
    out = _rising(order, z_in)
    out = jnp.where(is_falling, -out, out)
    at_zero = jnp.where(v == -0.5, 0.0, jnp.inf * jnp.sign(v + 0.5))
    edge = limit(v, z, at_zero=at_zero, at_infinity=0.0, of_order=at_zero)
    return jnp.where(is_inside, out, edge).astype(dtype)


@jax.custom_jvp
def _asinh_ratio(v: Real, z: Real) -> Real:
    """asinh(v/z) for v not far below 0."""
    return log_ratio(v + hypot(v, z), z)


@_asinh_ratio.defjvp
def _asinh_ratio_jvp(primals: tuple[Real, Real], tangents: tuple[Real, Real]):
    (v, z), (v_dot, z_dot) = primals, tangents
    kappa = hypot(v, z)
    return _asinh_ratio(v, z), (v_dot - (v / z) * z_dot) / kappa


def asymptotic_excess(v: Real, z: Real) -> Real:
    """K_{v+1}(z)/K_v(z) times z/(v + kappa), less 1: small and positive."""
    kappa = hypot(v, z)
    return -_olver.slope(v, z, kappa) * (z / (v + kappa))


def asymptotic(v: Real, z: Real) -> Real:
    """The logarithm in the asymptotic regime, in a form that differentiates well."""
    return _asinh_ratio(v, z) + jnp.log1p(asymptotic_excess(v, z))


@jax.custom_jvp
@jax.jit
def _rising(v: Real, z: Real) -> Real:
    """log(K_{v+1}(z) / K_v(z)) for v >= -1/2."""
    is_used = is_olver, is_trapezoid, is_series = regimes(jnp.abs(v), z)
    (v_o, z_o), (v_q, z_q), (v_s, z_s) = split(v, z, is_used)
    lower, upper = (
        _trapezoid.sums(order, z_q, frozenset({(0, 0)}))[0, 0]
        for order in (v_q, v_q + 1.0)
    )
    series = _temme.series(v_s, z_s, order=0)
    # k_1 / K_mu for n = 0, where K_mu lacks its power of z.
    first = exp(series.mu * series.growth) * (series.last[0] / series.first[0])
    later = v_s + series.before[0] / series.last[0]
    series_argument = jnp.where(series.is_first, (2.0 / z_s) * first, later)
    series_addend = jnp.where(series.is_first, 0.0, series.growth)
    excess = 1.0 + asymptotic_excess(v_o, z_o)
    argument = select(is_olver, is_series, excess, upper / lower, series_argument)
    addend = select(
        is_olver, is_series, _asinh_ratio(v_o, z_o), jnp.zeros_like(z), series_addend
    )
    return addend + log(argument)


@_rising.defjvp
def _rising_jvp(primals: tuple[Real, Real], tangents: tuple[Real, Real]):
    v, z = primals
    is_used = regimes(jnp.abs(v), z)
    _, far_dot = jax.jvp(asymptotic, split(v, z, is_used)[0], tangents)
    _, lower_v, lower_z = value_and_gradient(v, z)
    _, upper_v, upper_z = value_and_gradient(v + 1.0, z)
    near_dot = (upper_v - lower_v) * tangents[0] + (upper_z - lower_z) * tangents[1]
    return _rising(v, z), jnp.where(is_used[0], far_dot, near_dot)
