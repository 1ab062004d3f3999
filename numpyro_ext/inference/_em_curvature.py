"""The observed information at the end of EM."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from ._completion import AbstractCompletion, Position
from ._curvature import dense_spectrum
from ._em_loop import centre_of
from ._gaussian import Gaussian

# Of the differences, in sds: what they leave out is of its fourth power.
STEP = {"float64": 1e-2, "float32": 0.2}


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
    """Reads the observed information, the latents integrated out.

    The gradient of the objective is that of the expected log density, with the latents'
    law at the same point (Louis, 1982, eq. 3.1); its derivative is taken by central
    differences of fourth order.
    """
    flat, unravel = ravel_pytree(theta)

    # The model's latents are compiled once for the passes here, once for all slopes.
    def look(last: PyTree[Array], _: None) -> tuple[PyTree[Array], PyTree[Array]]:
        expectation = completion.expect(unravel(flat), last)[0]
        return centre_of(expectation), (last, expectation)

    _, passes = jax.lax.scan(look, completion.begin(theta), length=2)
    last, expectation = jax.tree.map(lambda x: x[1], passes)

    def slope(point: Float[Array, " n"]) -> Float[Array, " n"]:
        expectation, _ = completion.expect(unravel(point), last)
        return jax.grad(lambda z: completion.expected(unravel(z), expectation))(point)

    whole = jax.hessian(lambda z: completion.expected(unravel(z), expectation))(flat)
    size = jnp.maximum(jnp.abs(jnp.diagonal(whole)), jnp.finfo(flat.dtype).tiny)
    # In units of the sd that there would be if the latents were known.
    steps = STEP[flat.dtype.name] * jnp.minimum(1.0 / jnp.sqrt(size), 1.0)
    shifts = jnp.asarray([-2.0, -1.0, 1.0, 2.0], flat.dtype)
    weights = jnp.asarray([1.0, -8.0, 8.0, -1.0], flat.dtype) / 12.0
    n = flat.size
    moves = (shifts[:, None, None] * jnp.diag(steps)).reshape(-1, n)
    slopes = jax.lax.map(slope, flat + jnp.vstack([jnp.zeros(n, flat.dtype), moves]))
    gradient, moved = slopes[0], slopes[1:].reshape(-1, n, n)
    hessian = -jnp.einsum("s,sij->ij", weights, moved) / steps[:, None]
    spectrum = dense_spectrum(0.5 * (hessian + hessian.T))
    law = Gaussian(flat, *spectrum.repaired())
    num_bad = jnp.sum(spectrum.eigenvalues <= spectrum.threshold())
    return Curvature(law, 0.5 * gradient @ law.solve(gradient), num_bad)
