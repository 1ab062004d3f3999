"""The observed information at the end of EM."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from ._completion import AbstractCompletion, Position
from ._curvature import dense_spectrum
from ._gaussian import Gaussian


class Curvature(NamedTuple):
    """The law of the observed information, and how near its mode the point is.

    Attributes:
        law: Gaussian, repaired where the curvature is not positive.
        decrement: what a Newton step of the objective promises, in nats.
        num_bad: directions without curvature, or with the wrong sign.
    """

    law: Gaussian
    decrement: Float[Array, ""]
    num_bad: Int[Array, ""]


@eqx.filter_jit
def curvature(completion: AbstractCompletion, theta: Position) -> Curvature:
    """Reads the Hessian of the objective, the latents integrated out."""
    flat, unravel = ravel_pytree(theta)
    last = completion.begin(theta)

    def loss(flat: Array) -> Array:
        return -completion.expect(unravel(flat), last)[1]

    gradient, hessian = jax.grad(loss)(flat), jax.jacfwd(jax.grad(loss))(flat)
    spectrum = dense_spectrum(hessian)
    law = Gaussian(flat, *spectrum.repaired())
    num_bad = jnp.sum(spectrum.eigenvalues <= spectrum.threshold())
    return Curvature(law, 0.5 * gradient @ law.solve(gradient), num_bad)
