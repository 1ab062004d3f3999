"""Normal laws of the unconstrained position, from independent to full covariance."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float, Key

from ._flat import unravel_position
from ._guide import AbstractGuide, GuideDraw
from ._model_spec import ModelSpec
from ._path_normal import PathNormal, draw, scale_log_det

type NormalForm = Literal["mean_field", "full_rank", "low_rank"]
NORMAL_FORMS = ("mean_field", "full_rank", "low_rank")

# Of the factor of `low_rank` at the start; at zero, its gradient is zero on average.
START_FACTOR = 0.1


class NormalGuide(AbstractGuide):
    r"""A normal law, written in the coordinates of a frame.

    $z = T(v)$ with $T$ the affine map of the frame, and $v = m + d \circ x$, where
    `mean_field` has $x = e$; `full_rank` has $x = (I + K / \sqrt n) e$ with $K$
    strictly lower triangular; `low_rank` has $x = e + F f$ with $F$ of few columns.
    All noise is standard normal; the parameters are $m$, $\log d$, and $K$ or $F$.
    The frame is diagonal but for `full_rank`, so that it does not change the family.

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

    @property
    def is_unconstrained(self) -> bool:
        return True

    def bind(self, spec: ModelSpec) -> "NormalGuide":
        return self

    def start(
        self, spec: ModelSpec, key: Key[Array, ""], frame: PathNormal
    ) -> dict[str, Array]:
        zeros = jnp.zeros_like(frame.loc)
        params = {"loc": zeros, "log_scale": zeros}
        if self.form == "full_rank":
            params["factor"] = jnp.zeros((zeros.size, zeros.size), zeros.dtype)
        elif self.form == "low_rank":
            rank = self.rank or round(zeros.size**0.5)
            noise = jax.random.normal(key, (zeros.size, rank), zeros.dtype)
            params["factor"] = START_FACTOR * noise
        return params

    def draw(
        self,
        spec: ModelSpec,
        frame: PathNormal,
        params: dict[str, Array],
        key: Key[Array, ""],
    ) -> GuideDraw:
        like = frame.loc
        noise_key, factor_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, like.shape, like.dtype)
        if self.form == "full_rank":
            noise += _lower(params["factor"]) @ noise
        elif self.form == "low_rank":
            factor = params["factor"]
            noise += factor @ jax.random.normal(
                factor_key, factor.shape[1:], like.dtype
            )
        inner = params["loc"] + jnp.exp(params["log_scale"]) * noise
        frame = self.narrow(frame)
        log_prob = self.log_prob(jax.lax.stop_gradient(params), inner)
        position = unravel_position(spec)(draw(frame, inner))
        return GuideDraw(position, log_prob - scale_log_det(frame))

    def narrow(self, frame: PathNormal) -> PathNormal:
        """Returns the frame without what would leave the family."""
        if self.form == "full_rank":
            return frame
        return frame._replace(basis=frame.basis[:, :0], root=frame.root[:0, :0])

    def log_prob(
        self, params: dict[str, Array], inner: Float[Array, " n"]
    ) -> Float[Array, ""]:
        """Returns the log density in the coordinates of the frame."""
        white = (inner - params["loc"]) * jnp.exp(-params["log_scale"])
        log_det = jnp.sum(params["log_scale"])
        square = jnp.vdot(white, white)
        if self.form == "full_rank":
            lower = _lower(params["factor"])
            white = solve_triangular(lower, white, lower=True, unit_diagonal=True)
            square = jnp.vdot(white, white)
        elif self.form == "low_rank":
            # Woodbury's identity for the inverse of I + F F^T.
            factor = params["factor"]
            gram = jnp.eye(factor.shape[1], dtype=inner.dtype) + factor.T @ factor
            root = jnp.linalg.cholesky(gram)
            inside = factor.T @ white
            square -= jnp.vdot(inside, cho_solve((root, True), inside))
            log_det += jnp.sum(jnp.log(jnp.diag(root)))
        return -0.5 * (square + inner.size * jnp.log(2 * jnp.pi)) - log_det


def _lower(factor: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Scales the factor so that one step of all its entries is one step of a draw."""
    return jnp.tril(factor, -1) / jnp.sqrt(len(factor)).astype(factor.dtype)
