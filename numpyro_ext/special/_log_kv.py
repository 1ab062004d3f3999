from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from ._arguments import promote
from ._half_integer import is_elementary, log_kv_half_integer
from ._sweep import value


def log_kv(
    v: Real[ArrayLike, "*#batch"], z: Real[ArrayLike, "*#batch"]
) -> Float[Array, "*#batch"]:
    r"""Logarithm of the modified Bessel function of the second kind, $\log K_v(z)$.

    $$K_v(z) = \int_0^\infty e^{-z\cosh t}\cosh(vt)\,dt.$$
    It neither overflows nor underflows, and is differentiable in the order and in the
    argument, to any order, in forward and reverse mode.

    Args:
        v: Real order, of any sign: $K_{-v} = K_v$. A Python float that is a
            half-integer of at most 10 in size selects the closed form, at about a
            tenth of the time.
        z: Argument, $z > 0$.

    Returns:
        $\log K_v(z)$. At $z = 0$ and at infinite $v$ it is $+\infty$, at
        $z = \infty$ it is $-\infty$ (both infinite: NaN), and for $z < 0$ it is NaN.
        So are the second derivatives at $z = 0$ and at infinite arguments. A $z$
        below twice the smallest normal number counts as 0, and what is above a
        quarter of the largest as infinite.

    Shapes: `v` and `z` broadcast. float32 in, float32 out; integers are converted.
    Accuracy: in float64, for $|v| \le 1000$, the error is below $2\cdot10^{-14}$ of
        $\max(1, |\log K|)$, the first derivatives are right to $10^{-13}$ (that in $v$
        relative to at least the square root of the second), the second to
        $10^{-10}$; in float32 5e-6, 2e-5 (in $v$) and 1e-5 (in $z$).
    Source: the trapezoidal rule (Trefethen and Weideman 2014, SIAM Review 56,
        385-458) for $z \ge 1$, Temme's series (1975, J. Comput. Phys. 19, 324-337)
        for $z < 1$, and Olver's uniform expansion (DLMF 10.41) where
        $\sqrt{v^2 + z^2}$ is large.
    """
    order, z, dtype = promote(v, z)
    if is_elementary(v):
        return log_kv_half_integer(v, z).astype(dtype)
    return value(order, z).astype(dtype)
