"""Nuisance parameters as one vector of real numbers, on a log scale where positive."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import biject_to, constraints

from ._family import AbstractFamily, Aux

# A nuisance that has run this far is at its edge: exp(-28) is 7e-13.
_FAR = 28.0


def names(family: AbstractFamily) -> tuple[str, ...]:
    """The nuisances in the order of the vector."""
    return tuple(family.nuisance)


def pack(family: AbstractFamily, aux: Aux) -> Float[Array, " q"]:
    """Returns the vector of unconstrained nuisances."""
    parts = [
        jnp.ravel(biject_to(constraint).inv(aux[name]))
        for name, constraint in family.nuisance.items()
    ]
    return jnp.concatenate(parts) if parts else jnp.zeros(0)


def unpack(
    family: AbstractFamily, theta: Float[Array, " q"], shapes: dict[str, tuple]
) -> Aux:
    """Returns the nuisances by name."""
    aux, start = {}, 0
    for name, constraint in family.nuisance.items():
        size = int(np.prod(shapes[name]))
        part = theta[start : start + size].reshape(shapes[name])
        aux[name] = biject_to(constraint)(part)
        start += size
    return aux


def limits(family: AbstractFamily, shapes: dict[str, tuple]) -> np.ndarray:
    """The largest size of each entry of the vector; infinite where it may roam."""
    parts = [
        np.full(
            int(np.prod(shapes[name])),
            np.inf if constraint is constraints.ordered_vector else _FAR,
        )
        for name, constraint in family.nuisance.items()
    ]
    return np.concatenate(parts) if parts else np.zeros(0)
