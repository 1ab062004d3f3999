from typing import NamedTuple

from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from ._arguments import promote
from ._sweep import second_derivatives, value_and_gradient


class LogKvMoments(NamedTuple):
    r"""$\log K_v(z)$ with its first and second derivatives.

    Attributes:
        value: $\log K_v(z)$.
        by_v: $\partial_v \log K_v(z)$.
        by_z: $\partial_z \log K_v(z)$.
        by_vv: $\partial_v^2 \log K_v(z)$.
        by_vz: $\partial_v \partial_z \log K_v(z)$.
        by_zz: $\partial_z^2 \log K_v(z)$.
    """

    value: Float[Array, "*#batch"]
    by_v: Float[Array, "*#batch"]
    by_z: Float[Array, "*#batch"]
    by_vv: Float[Array, "*#batch"]
    by_vz: Float[Array, "*#batch"]
    by_zz: Float[Array, "*#batch"]


def log_kv_moments(
    v: Real[ArrayLike, "*#batch"], z: Real[ArrayLike, "*#batch"]
) -> LogKvMoments:
    r"""$\log K_v(z)$ with all its first and second derivatives, in one sweep.

    They are moments: if $u$ has the density $e^{vu - z\cosh u}/(2K_v(z))$, then
    $\partial_v \log K = E\,u$, $\partial_z \log K = -E\cosh u$,
    $\partial_v^2 \log K = \mathrm{Var}\,u$,
    $\partial_v\partial_z \log K = -\mathrm{Cov}(u, \cosh u)$ and
    $\partial_z^2 \log K = \mathrm{Var}\cosh u$. Under `jax.jit` the sums that they
    share are computed once.

    Args:
        v: Real order, of any sign.
        z: Argument, $z > 0$.

    Returns:
        The value and derivatives, each of the broadcast shape.

    Shapes, accuracy, edges and source: as for `log_kv`.
    """
    v, z, dtype = promote(v, z)
    out = (*value_and_gradient(v, z), *second_derivatives(v, z))
    return LogKvMoments(*(x.astype(dtype) for x in out))
