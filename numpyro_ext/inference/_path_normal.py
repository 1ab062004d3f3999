"""The normal law that an inverse-Hessian estimate of L-BFGS gives at a point."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float

# A pair is taken if s.z exceeds this times z.z (paper, Algorithm 3).
MIN_CURVATURE = 1e-12


class Pairs(NamedTuple):
    """What the path tells of the curvature, the oldest pair first.

    Attributes:
        steps: changes of the position.
        changes: changes of the gradient of minus the log density.
        is_filled: which rows hold a pair; the others are zero.
        diagonal: diagonal estimate of the inverse Hessian, from all pairs so far.
    """

    steps: Float[Array, "pairs n"]
    changes: Float[Array, "pairs n"]
    is_filled: Bool[Array, " pairs"]
    diagonal: Float[Array, " n"]


class PathNormal(NamedTuple):
    r"""The law of $\mu + d \circ (I + Q (L - I) Q^\top) u$ for standard normal $u$.

    Attributes:
        loc: $\mu$.
        scale: $d > 0$.
        basis: $Q$, with orthonormal columns.
        root: $L$, lower triangular.
    """

    loc: Float[Array, " n"]
    scale: Float[Array, " n"]
    basis: Float[Array, "n rank"]
    root: Float[Array, "rank rank"]


def no_pairs(num_pairs: int, like: Float[Array, " n"]) -> Pairs:
    """Returns the empty memory of a path that has not moved."""
    nothing = jnp.zeros((num_pairs, like.size), like.dtype)
    return Pairs(nothing, nothing, jnp.zeros(num_pairs, bool), jnp.ones_like(like))


def add_pair(
    pairs: Pairs, step: Float[Array, " n"], change: Float[Array, " n"]
) -> Pairs:
    r"""Adds a pair, and drops the oldest, if its curvature is positive and finite.

    With $a = z^\top A z$, $b = z^\top s$ and $c = s^\top A^{-1} s$, the diagonal
    becomes $1 / (a / (b \alpha) + z^2 / b - a s^2 / (b c \alpha^2))$.

    Source: Zhang, Carpenter, Gelman and Vehtari (2022), JMLR 23(306), Algorithm 3,
        after Gilbert and Lemarechal (1989).
    """
    alpha = pairs.diagonal
    b = jnp.vdot(change, step)
    is_taken = b > MIN_CURVATURE * jnp.vdot(change, change)
    a = jnp.vdot(change, alpha * change)
    # Shares of the pair, each at most 1, so that nothing overflows on the way.
    c = jnp.vdot(step, step / alpha)
    inverse = (
        a / (b * alpha)
        + jnp.square(change) / b
        - (a / b) * jnp.square(step / alpha) / c
    )
    diagonal = 1.0 / inverse
    is_taken &= jnp.all(jnp.isfinite(diagonal) & (diagonal > 0.0))
    new = Pairs(
        jnp.concatenate([pairs.steps[1:], step[None]]),
        jnp.concatenate([pairs.changes[1:], change[None]]),
        jnp.concatenate([pairs.is_filled[1:], jnp.ones(1, bool)]),
        diagonal,
    )
    return jax.tree.map(lambda x, old: jnp.where(is_taken, x, old), new, pairs)


def local_normal(
    position: Float[Array, " n"], gradient: Float[Array, " n"], pairs: Pairs
) -> PathNormal:
    r"""Returns the normal law of the point: covariance $H$, mean $x + H g$.

    $H = \mathrm{diag}(\alpha) + \beta \gamma \beta^\top$ with $\beta = (A Z, S)$,
    $\gamma = \begin{pmatrix} 0 & -E^{-1} \\ -E^{-\top} &
    E^{-\top} (D + Z^\top A Z) E^{-1} \end{pmatrix}$, $E$ the upper triangle of
    $S^\top Z$ and $D$ its diagonal. It is factored by a thin QR decomposition of
    $A^{-1/2} \beta$; where rounding leaves $H$ indefinite, the root is NaN.

    Args:
        position: $x$.
        gradient: $g$, of the log density.
        pairs: the memory of the path.

    Source: Zhang, Carpenter, Gelman and Vehtari (2022), equations (8) and (9) and
        Algorithm 4; Byrd, Nocedal and Schnabel (1994), theorem 2.2.
    """
    scale = jnp.sqrt(pairs.diagonal)
    steps, changes = pairs.steps / scale, pairs.changes * scale
    products = pairs.steps @ pairs.changes.T
    # A missing pair is a column of zeros; a one on the diagonal makes it harmless.
    missing = jnp.diag(jnp.where(pairs.is_filled, 0.0, 1.0).astype(products.dtype))
    upper = jnp.triu(products) + missing
    inverse = solve_triangular(upper, jnp.eye(len(upper), dtype=upper.dtype))
    middle = jnp.diag(jnp.diag(products)) + changes @ changes.T
    gamma = jnp.block(
        [
            [jnp.zeros_like(inverse), -inverse],
            [-inverse.T, inverse.T @ middle @ inverse],
        ]
    )
    basis, factor = jnp.linalg.qr(jnp.concatenate([changes, steps]).T)
    inner = jnp.eye(len(factor), dtype=factor.dtype) + factor @ gamma @ factor.T
    root = jnp.linalg.cholesky(inner)
    white = scale * gradient
    inside = basis.T @ white
    newton = white + basis @ (root @ (root.T @ inside) - inside)
    return PathNormal(position + scale * newton, scale, basis, root)


def draw(normal: PathNormal, noise: Float[Array, " n"]) -> Float[Array, " n"]:
    """Maps standard normal noise to a draw."""
    inside = normal.basis.T @ noise
    spread = noise + normal.basis @ (normal.root @ inside - inside)
    return normal.loc + normal.scale * spread


def log_prob(normal: PathNormal, value: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns the log density of the law."""
    white = (value - normal.loc) / normal.scale
    inside = normal.basis.T @ white
    # The inverse is the same for all draws. A solve with as many right sides as draws
    # goes to LAPACK's threads, which on a busy machine wait for each other for longer
    # than everything else takes.
    eye = jnp.eye(len(normal.root), dtype=normal.root.dtype)
    shrunk = solve_triangular(normal.root, eye, lower=True) @ inside
    noise = white + normal.basis @ (shrunk - inside)
    return noise_log_prob(normal, noise)


def noise_log_prob(normal: PathNormal, noise: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns the log density of the law at the draw that noise gives."""
    square = jnp.vdot(noise, noise) + noise.size * jnp.log(2 * jnp.pi)
    return -0.5 * square - scale_log_det(normal)


def scale_log_det(normal: PathNormal) -> Float[Array, ""]:
    """Returns the log determinant of the map from noise to draws."""
    root = jnp.sum(jnp.log(jnp.diag(normal.root)))
    return jnp.sum(jnp.log(normal.scale)) + root
