r"""EM for real latents: exactly where the log density is quadratic in them.

Given the rest, the latents are then normal with the mean m where the gradient vanishes
and the covariance $C = L L^T = -H^{-1}$, and
$E[f] = f(m) + \tfrac12 \sum_k L_k^T \nabla^2 f\, L_k$. Elsewhere the same formulas at
the mode are Laplace's approximation.
"""

import math
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ._completion import AbstractCompletion, Position, weighed_sites
from ._model_spec import ModelSpec
from ._newton import minimise
from ._objective import Weight

# Newton steps of an E step; of a quadratic, the first is the last.
MAX_STEPS = 50
SETTLED = 1e-10


class Normals(NamedTuple):
    """The law of the latents: its mean and a root of its covariance."""

    mean: Float[Array, " m"]
    root: Float[Array, "m m"]


class NormalCompletion(AbstractCompletion):
    """Real latents, of any dependence."""

    first_passes: ClassVar[int] = 0
    spec: ModelSpec
    latent: tuple[str, ...]
    prior_weight: Weight
    jacobian: bool

    def begin(self, theta: Position) -> Float[Array, " m"]:
        return ravel_pytree(self._zeros())[0]

    def expect(
        self, theta: Position, last: Float[Array, " m"]
    ) -> tuple[Normals, Float[Array, ""]]:
        log_density, slope = self._functions(theta)
        mean = minimise(
            lambda z: -log_density(z), last, tol=SETTLED, max_steps=MAX_STEPS
        )
        # The way to the mode has no derivative. One more Newton step, whose gain is
        # that of a quadratic, has that of the mode in theta.
        mean = jax.lax.stop_gradient(mean)
        value, gradient = log_density(mean), slope(mean)
        lower = jnp.linalg.cholesky(-jax.jacfwd(slope)(mean))
        white = jax.scipy.linalg.solve_triangular(lower, gradient, lower=True)
        constant = 0.5 * mean.size * math.log(2.0 * math.pi)
        value = value + 0.5 * white @ white + constant
        value = value - jnp.sum(jnp.log(jnp.diagonal(lower)))
        identity = jnp.eye(mean.size, dtype=mean.dtype)
        root = jax.scipy.linalg.solve_triangular(lower, identity, lower=True).T
        return jax.lax.stop_gradient(Normals(mean, root)), value

    def expected(self, theta: Position, expectation: Normals) -> Float[Array, ""]:
        log_density, slope = self._functions(theta)
        mean, root = expectation

        def bend(direction: Array) -> Array:
            return direction @ jax.jvp(slope, (mean,), (direction,))[1]

        return log_density(mean) + 0.5 * jnp.sum(jax.vmap(bend)(root.T))

    def whole(self, theta: Position, expectation: Normals) -> Position:
        return theta | self._unravel(expectation.mean)

    def misfit(self, theta: Position, z: Float[Array, " m"]) -> Float[Array, ""]:
        """How far the log density is from a quadratic: 0 up to rounding."""
        _, slope = self._functions(theta)
        hessian = jax.jacfwd(slope)(z)
        other = jax.jacfwd(slope)(z + 0.5 + 0.1 * jnp.arange(z.size) / z.size)
        return jnp.max(jnp.abs(other - hessian)) / (1.0 + jnp.max(jnp.abs(hessian)))

    def _functions(self, theta: Position):
        def log_density(z: Array) -> Array:
            return weighed_sites(
                self.spec,
                theta | self._unravel(z),
                self.latent,
                prior_weight=self.prior_weight,
                jacobian=self.jacobian,
            )

        return log_density, jax.grad(log_density)

    def _zeros(self) -> Position:
        return {
            name: jnp.zeros(self.spec.sites[name].unconstrained_shape)
            for name in self.latent
        }

    def _unravel(self, z: Float[Array, " m"]) -> Position:
        return ravel_pytree(self._zeros())[1](z)
