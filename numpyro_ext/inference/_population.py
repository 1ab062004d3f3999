"""Populations of particles that start as draws of the prior."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ._check import raise_bad_start, refuse_params
from ._constrain import CHUNK
from ._flat import unravel_position
from ._init_values import InitLike, given_positions
from ._model_spec import ModelSpec
from ._starts import Start, data_are_valid

# How often a draw that overflows in the unconstrained space is made again.
MAX_DRAWS = 20
# A covariance of d x d from fewer particles than this times d is noise.
PARTICLES_PER_DIMENSION = 5


class Population(NamedTuple):
    """Particles of equal weight, as flat vectors, with the parts of their density.

    Attributes:
        positions: unconstrained points, in the order of `ravel_pytree`.
        log_prior: log prior and log |Jacobian|.
        log_likelihood: -inf where it is NaN: such a particle has no weight.
    """

    positions: Float[Array, "n dim"]
    log_prior: Float[Array, " n"]
    log_likelihood: Float[Array, " n"]


class FirstPopulation(NamedTuple):
    """Draws of the prior, and what is known of the model there.

    Attributes:
        particles: the draws.
        unlike_draws: sites whose log prior is not that of their draws.
        data_are_valid: whether all data lie in the support of their distribution.
    """

    particles: Population
    unlike_draws: dict[str, Bool[Array, ""]]
    data_are_valid: Bool[Array, ""]


def population_parts(
    spec: ModelSpec, position: Float[Array, " dim"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns (log prior with log |Jacobian|, log likelihood) at a flat point."""
    parts = spec.parts(unravel_position(spec)(position))
    # A part without sites has the default dtype, whatever the others have.
    log_prior = jnp.asarray(parts.log_prior + parts.log_det, position.dtype)
    return log_prior, jnp.asarray(parts.log_likelihood, position.dtype)


def batch_size(num: int) -> int:
    """How many particles are mapped together: all of them on an accelerator."""
    return min(num, CHUNK) if jax.default_backend() == "cpu" else num


def evaluate(spec: ModelSpec, positions: Float[Array, "n dim"]) -> Population:
    """Evaluates the density at flat points; NaN becomes a likelihood of zero."""

    def parts(position: Float[Array, " dim"]) -> tuple[Array, Array]:
        return population_parts(spec, position)

    size = batch_size(len(positions))
    log_prior, log_likelihood = jax.lax.map(parts, positions, batch_size=size)
    is_bad = jnp.isnan(log_likelihood) | ~jnp.isfinite(log_prior)
    return Population(positions, log_prior, jnp.where(is_bad, -jnp.inf, log_likelihood))


@eqx.filter_jit
def draw_population(spec: ModelSpec, key: Key[Array, ""], num: int) -> FirstPopulation:
    """Draws from the prior; a draw that is no finite point is made again."""

    def draw(key: Key[Array, ""]) -> Float[Array, " dim"]:
        return ravel_pytree(spec.model.draw_prior(key))[0]

    def draw_all(key: Key[Array, ""]) -> Float[Array, "n dim"]:
        return jax.lax.map(draw, jax.random.split(key, num), batch_size=batch_size(num))

    def is_missing(state: tuple[Int[Array, ""], Float[Array, "n dim"]]) -> Array:
        num_draws, positions = state
        return (num_draws < MAX_DRAWS) & ~jnp.all(jnp.isfinite(positions))

    def redraw(
        state: tuple[Int[Array, ""], Float[Array, "n dim"]],
    ) -> tuple[Int[Array, ""], Float[Array, "n dim"]]:
        num_draws, positions = state
        is_finite = jnp.all(jnp.isfinite(positions), axis=1, keepdims=True)
        new = draw_all(jax.random.fold_in(key, num_draws))
        return num_draws + 1, jnp.where(is_finite, positions, new)

    shape = jax.eval_shape(draw_all, key)
    nothing = jnp.full(shape.shape, jnp.nan, shape.dtype)
    _, positions = jax.lax.while_loop(is_missing, redraw, (jnp.asarray(0), nothing))
    first = unravel_position(spec)(positions[0])
    return FirstPopulation(
        evaluate(spec, positions),
        spec.model.unlike_draws(first),
        data_are_valid(spec, first),
    )


def check_prior(engine: str, spec: ModelSpec, init: InitLike) -> None:
    """Raises before the first draw for what has no prior, and for a wrong `init`.

    Raises:
        ValueError: for params, improper priors and an `init` that does not fit.
    """
    refuse_params(engine, spec)
    jax.eval_shape(spec.model.draw_prior, jax.random.key(0))
    if init is not None:
        given_positions(engine, spec, init, 1)


def check_population(spec: ModelSpec, first: FirstPopulation) -> None:
    """Raises unless the draws are those of the prior and one of them is possible.

    Raises:
        ValueError: for data outside their support, and naming the site, if a scale,
            a mask or a factor makes its log prior differ from that of its draws.
        InitializationError: if no draw has a finite log density.
    """
    particles = first.particles
    is_finite = np.isfinite(np.asarray(particles.log_likelihood))
    start = Start(
        jax.tree.map(lambda x: x[None], unravel_position(spec)(particles.positions[0])),
        particles.log_likelihood[:1],
        None,
        jnp.asarray([is_finite.any()]),
        jnp.asarray([first.data_are_valid]),
    )
    raise_bad_start(spec, start, len(is_finite))
    for name, mark in first.unlike_draws.items():
        if not mark:
            continue
        if spec.sites[name].kind == "factor":
            raise ValueError(
                f"The factor `{name}` counts as prior, and a prior with a factor has "
                "no draws to start from. Count it as likelihood: "
                f'`ModelSpec(..., observed=("{name}", ...))` with the names of all '
                "observed sites."
            )
        raise ValueError(
            f"The log prior of site `{name}` is not that of its draws, because of a "
            "`handlers.scale` or a mask around it, so its normalisation is unknown. "
            "Take the site out of the handler, or use `NUTS`."
        )


def covariance(
    positions: Float[Array, "n dim"], *, is_used: Bool[Array, " n"]
) -> Float[Array, "dim dim"] | Float[Array, " dim"]:
    """Returns a positive definite covariance, a diagonal (dim,) for few particles.

    Particles that are not used count for nothing; directions without spread get a
    little, so that a factor exists.
    """
    num, dim = positions.shape
    tiny = jnp.sqrt(jnp.finfo(positions.dtype).eps)
    weight = is_used / jnp.maximum(jnp.sum(is_used), 1)
    weight = weight.astype(positions.dtype)
    centred = jnp.where(is_used[:, None], positions, 0.0)
    mean = weight @ centred
    centred = jnp.where(is_used[:, None], positions - mean, 0.0)
    sd = jnp.sqrt(weight @ centred**2)
    sd = jnp.maximum(sd, tiny * (1.0 + jnp.abs(mean)))
    if num < PARTICLES_PER_DIMENSION * dim:
        return sd**2
    scaled = centred / sd
    correlation = (weight * scaled.T) @ scaled
    identity = jnp.eye(dim, dtype=sd.dtype)
    correlation = (correlation + tiny * identity) / (1.0 + tiny)
    return sd[:, None] * correlation * sd


@eqx.filter_jit
def unravel_all(
    spec: ModelSpec, positions: Float[Array, "chain draw dim"]
) -> PyTree[Array]:
    """Makes positions of the spec of flat vectors."""
    return jax.vmap(jax.vmap(unravel_position(spec)))(positions)
