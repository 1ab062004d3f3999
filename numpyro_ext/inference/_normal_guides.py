"""Normal laws of the unconstrained position, from independent to full covariance."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float, Key, PyTree

from ._guide import AbstractGuide, GuideDraw
from ._model_spec import ModelSpec

type NormalForm = Literal["mean_field", "full_rank", "low_rank"]
NORMAL_FORMS = ("mean_field", "full_rank", "low_rank")

# Standard deviation at the start, in units of the prior's width up to 1.
START_SCALE = 0.1


class NormalGuide(AbstractGuide):
    r"""The law of $z = \mu + d \circ v$, with $v$ standard normal, $(I + K) e$ or $e + F f$.

    `mean_field` has $v = e$; `full_rank` has $v = (I + K) e$ with $K$ strictly lower
    triangular; `low_rank` has $v = e + F f$ with $F$ of few columns. All noise is
    standard normal, and $\log d$ is the parameter.

    The gradient of a draw's density goes through the draw alone ("sticking the
    landing"): the derivative by the parameters is zero on average, and without it the
    gradient has no noise once the guide is the posterior.

    Attributes:
        form: which of the three.
        rank: columns of $F$; None for about the square root of the coordinates.

    Source: Roeder, Wu and Duvenaud (2017), arXiv:1703.09194.
    """

    form: NormalForm = eqx.field(static=True)
    rank: int | None = eqx.field(static=True, default=None)
    is_unconstrained: ClassVar[bool] = True

    def bind(self, spec: ModelSpec) -> "NormalGuide":
        return self

    def start(
        self,
        spec: ModelSpec,
        key: Key[Array, ""],
        position: PyTree[Array],
        widths: PyTree[Array],
    ) -> dict[str, Array]:
        loc, _ = ravel_pytree(position)
        width, _ = ravel_pytree(widths)
        scale = START_SCALE * jnp.minimum(width, 1.0)
        params = {"loc": loc, "log_scale": jnp.log(scale).astype(loc.dtype)}
        if self.form == "full_rank":
            params["factor"] = jnp.zeros((loc.size, loc.size), loc.dtype)
        elif self.form == "low_rank":
            rank = self.rank or round(loc.size**0.5)
            # Not zero, where the gradient of the factor is zero on average.
            noise = jax.random.normal(key, (loc.size, rank), loc.dtype)
            params["factor"] = START_SCALE * noise
        return params

    def units(
        self, params: dict[str, Array], widths: PyTree[Array]
    ) -> dict[str, Array]:
        width, _ = ravel_pytree(widths)
        ones = {name: jnp.ones((), x.dtype) for name, x in params.items()}
        return ones | {"loc": width.astype(params["loc"].dtype)}

    def draw(
        self, spec: ModelSpec, params: dict[str, Array], key: Key[Array, ""]
    ) -> GuideDraw:
        loc, scale = params["loc"], jnp.exp(params["log_scale"])
        if self.form == "low_rank":
            noise_key, factor_key = jax.random.split(key)
            noise = jax.random.normal(noise_key, loc.shape, loc.dtype)
            factor = params["factor"]
            noise += factor @ jax.random.normal(factor_key, factor.shape[1:], loc.dtype)
        else:
            noise = jax.random.normal(key, loc.shape, loc.dtype)
            if self.form == "full_rank":
                noise += jnp.tril(params["factor"], -1) @ noise
        flat = loc + scale * noise
        log_prob = self.log_prob(jax.lax.stop_gradient(params), flat)
        return GuideDraw(_unravel(spec)(flat), log_prob)

    def log_prob(
        self, params: dict[str, Array], flat: Float[Array, " n"]
    ) -> Float[Array, ""]:
        """Returns the log density at a flat position."""
        white = (flat - params["loc"]) * jnp.exp(-params["log_scale"])
        log_det = jnp.sum(params["log_scale"])
        square = jnp.vdot(white, white)
        if self.form == "full_rank":
            lower = jnp.tril(params["factor"], -1)
            white = solve_triangular(lower, white, lower=True, unit_diagonal=True)
            square = jnp.vdot(white, white)
        elif self.form == "low_rank":
            # Woodbury's identity for the inverse of I + F F^T.
            factor = params["factor"]
            inner = jnp.eye(factor.shape[1], dtype=flat.dtype) + factor.T @ factor
            root = jnp.linalg.cholesky(inner)
            inside = factor.T @ white
            square -= jnp.vdot(inside, cho_solve((root, True), inside))
            log_det += jnp.sum(jnp.log(jnp.diag(root)))
        return -0.5 * (square + flat.size * jnp.log(2 * jnp.pi)) - log_det


def _unravel(spec: ModelSpec):
    prototype = jax.eval_shape(
        lambda: spec.model.draw_start(jax.random.key(0), strategy="uniform")
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), prototype)
    return ravel_pytree(zeros)[1]
