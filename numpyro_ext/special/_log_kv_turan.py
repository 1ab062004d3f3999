"""The ratio of two consecutive ratios of K, where neither of the two cancels."""

import jax
import jax.numpy as jnp

from ._elementary import Real, hypot
from ._formats import format_of
from ._log_kv_ratio import asymptotic, asymptotic_excess, log_kv_ratio
from ._sweep import value_and_gradient


def log_kv_turan(v: Real, z: Real) -> tuple[Real, Real]:
    r"""Log of $R_{u-1}$ and of $R_u / R_{u-1} = K_{u+1}K_{u-1}/K_u^2$, for $u = |v|$.

    $R_v = K_{v+1}(z)/K_v(z)$. The second is positive (Turán's inequality) and even in
    v, and close to $1/\kappa$ for large $\kappa = \sqrt{v^2 + z^2}$. There it is the
    difference of two forms of `log_kv_ratio`, taken term by term; elsewhere it
    follows from the recurrence $R_u = 2u/z + 1/R_{u-1}$ of positive terms.

    Args:
        v: Order, a floating array.
        z: Argument, $z > 0$, of the same dtype.

    Accuracy: in float64 the relative error of the second is below 1e-12.
    """
    u = jnp.abs(v)
    below = _ratio(u - 1.0, z)
    radius = format_of(z.dtype).olver_radius
    is_far = hypot(u - 1.0, z) >= radius
    near = jnp.log(2.0 * u / z + jnp.exp(-below)) - below
    u_far, z_far = jnp.where(is_far, u, 0.0), jnp.where(is_far, z, radius)
    kappa, lesser = hypot(u_far, z_far), hypot(u_far - 1.0, z_far)
    step = 1.0 + (2.0 * u_far - 1.0) / (kappa + lesser)
    far = jnp.log1p(step / (u_far - 1.0 + lesser))
    above, excess = (asymptotic_excess(x, z_far) for x in (u_far, u_far - 1.0))
    far = far + jnp.log1p(above) - jnp.log1p(excess)
    return below, jnp.where(is_far, far, near)


@jax.custom_jvp
def _ratio(v: Real, z: Real) -> Real:
    """`log_kv_ratio` for arrays of one shape, whose derivative compiles faster."""
    return log_kv_ratio(v, z)


@_ratio.defjvp
def _ratio_jvp(primals: tuple[Real, Real], tangents: tuple[Real, Real]):
    v, z = primals
    radius = format_of(z.dtype).olver_radius
    is_far = (v > -0.5) & (hypot(v, z) >= radius)
    v_far, z_far = jnp.where(is_far, v, 0.0), jnp.where(is_far, z, radius)
    _, far_dot = jax.jvp(asymptotic, (v_far, z_far), tangents)
    # Both orders in one sweep: half the program of two.
    pair = value_and_gradient(jnp.stack([v, v + 1.0]), jnp.stack([z, z]))
    by_v, by_z = (x[1] - x[0] for x in pair[1:])
    near_dot = by_v * tangents[0] + by_z * tangents[1]
    return _ratio(v, z), jnp.where(is_far, far_dot, near_dot)
