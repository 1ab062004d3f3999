r"""The joint law of x and its mixing variable w, for EM and for Gibbs sampling."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ._closed_moments import times
from ._exponential_family import AbstractExponentialFamily
from ._generalized_inverse_gaussian import (
    GeneralizedInverseGaussian,
    check_order,
    refuse_edges,
)
from ._gig_expectation import gig_natural, log_partition_gig
from ._law import AbstractLaw, as_float
from ._multivariate_normal import (
    LOG_2PI,
    half_log_det,
    inverse,
    pack,
    pack_precision,
    times_inverse,
    unpack,
    unpack_precision,
)
from ._vectors import promote_vector


class JointNormalMixture(AbstractExponentialFamily, AbstractLaw):
    r"""Joint law of (x, w): w is GIG(p, a, b), x given w is normal.

    $x = \mu + \gamma w + \sqrt{w}\,n$ with $n \sim N(0, \Sigma)$. Unlike the law of x
    alone it is an exponential family. A value is the d coordinates of x, and w after
    them. With $\Lambda = \Sigma^{-1}$ the statistics and natural parameters are, in
    this order,

    - $\log w$, $w$, $1/w$ with $p - 1 - d/2$, $-(a + \gamma^T\Lambda\gamma)/2$,
      $-(b + \mu^T\Lambda\mu)/2$;
    - $x$ and $x/w$ with $\Lambda\gamma$ and $\Lambda\mu$;
    - $x_i x_j / w$ for $i \ge j$, row by row, with
      $-\Lambda_{ij} / (1 + \delta_{ij})$.

    The base measure is 1. EM for a multivariate law of the family is `from_expectation`
    of the mean over the data of $E[T(x, w) \mid x]$, which `conditional_mixing` gives.

    Args:
        p: Order, any real number.
        a: $a \ge 0$; 0 needs p < 0.
        b: $b \ge 0$; 0 needs p > 0.
        loc: $\mu$, of shape (..., d).
        skew: $\gamma$, of shape (..., d).
        scale_tril: Lower Cholesky factor of $\Sigma$, of shape (..., d, d).

    Shapes: all but the event axes broadcast to `batch_shape`; `event_shape` is
        `(d + 1,)`.
    Raises: ValueError, if a concrete parameter is outside its domain, or if shapes do
        not fit.
    Source: McNeil, Frey and Embrechts (2015), Quantitative Risk Management,
        section 15.1.
    """

    arg_constraints = {
        "p": constraints.real,
        "a": constraints.nonnegative,
        "b": constraints.nonnegative,
        "loc": constraints.real_vector,
        "skew": constraints.real_vector,
        "scale_tril": constraints.lower_cholesky,
    }
    reparametrized_params = ["p", "a", "b", "loc", "skew", "scale_tril"]
    support = constraints.real_vector  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    p: Array
    a: Array
    b: Array
    loc: Array
    skew: Array
    scale_tril: Array

    def __init__(
        self,
        p: ArrayLike,
        a: ArrayLike,
        b: ArrayLike,
        loc: ArrayLike,
        skew: ArrayLike,
        scale_tril: ArrayLike,
        *,
        validate_args: bool | None = None,
    ):
        own, vectors, batch_shape, event_shape = promote_vector(
            "JointNormalMixture",
            dict(p=p, a=a, b=b),
            loc,
            skew,
            scale_tril,
            None,
            None,
        )
        self.p, self.a, self.b = own
        self.loc, self.skew, self.scale_tril = vectors[:3]
        shape = (event_shape[0] + 1,)
        super().__init__(batch_shape, shape, validate_args=validate_args)

    def _validate_jointly(self) -> None:
        check_order(type(self).__name__, self.p, self.a, self.b)

    def _refuse_edges(self) -> None:
        refuse_edges(type(self).__name__, self.a, self.b)

    def mixing_law(self) -> GeneralizedInverseGaussian:
        """The law of w."""
        p, a, b = (
            jnp.broadcast_to(x, self.batch_shape) for x in (self.p, self.a, self.b)
        )
        return GeneralizedInverseGaussian(p, a, b, validate_args=False)

    def given(self, w: Array) -> dist.MultivariateNormal:
        """The law of x given w."""
        loc = self.loc + self.skew * w[..., None]
        tril = self.scale_tril * jnp.sqrt(w)[..., None, None]
        return dist.MultivariateNormal(loc, scale_tril=tril, validate_args=False)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log density of (x, w); -inf for w <= 0."""
        value = jnp.asarray(as_float(type(self).__name__, "value", value), self.a.dtype)
        w = value[..., -1]
        safe = jnp.where(w > 0, w, 1.0)
        given = self.given(safe).log_prob(value[..., :-1])
        return jnp.where(w > 0, given, 0.0) + self.mixing_law().log_prob(w)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws with the shape `sample_shape + batch_shape + (d + 1,)`."""
        assert key is not None
        assert is_prng_key(key)
        key_w, key_x = jax.random.split(key)
        w = self.mixing_law().sample(key_w, sample_shape)
        return jnp.concatenate([self.given(w).sample(key_x), w[..., None]], axis=-1)

    @property
    def mean(self) -> Array:
        """(loc + skew E[w], E[w])."""
        first = jnp.asarray(self.mixing_law().mean)[..., None]
        return jnp.concatenate([self.loc + self.skew * first, first], axis=-1)

    @staticmethod
    def log_partition(theta: Array) -> Array:
        r"""$\tfrac12\log|2\pi\Sigma| + \mu^T\Lambda\gamma + \log Z(p, a, b)$."""
        p, a, b, loc, skew, precision, cholesky = _classical(theta)
        d = loc.shape[-1]
        mixing = log_partition_gig(jnp.stack([p - 1.0, -0.5 * a, -0.5 * b], axis=-1))
        cross = jnp.sum(theta[..., 3 + d : 3 + 2 * d] * skew, axis=-1)
        return 0.5 * d * LOG_2PI - half_log_det(cholesky) + cross + mixing

    @staticmethod
    def sufficient_statistics(value: ArrayLike) -> Array:
        """(log w, w, 1/w, x, x/w, x_i x_j / w for i >= j)."""
        value = as_float("JointNormalMixture", "value", value)
        x, w = value[..., :-1], value[..., -1:]
        square = pack(x[..., :, None] * x[..., None, :])
        return jnp.concatenate([jnp.log(w), w, 1.0 / w, x, x / w, square / w], axis=-1)

    @property
    def natural_params(self) -> Array:
        """Theta, in the order of the class's docstring."""
        eye = jnp.eye(self.loc.shape[-1], dtype=self.loc.dtype)
        tril = self.scale_tril
        white = jax.scipy.linalg.solve_triangular(
            tril, jnp.broadcast_to(eye, tril.shape), lower=True
        )
        precision = jnp.swapaxes(white, -1, -2) @ white
        by_x = jnp.squeeze(precision @ self.skew[..., None], -1)
        by_ratio = jnp.squeeze(precision @ self.loc[..., None], -1)
        d = self.loc.shape[-1]
        scalars = (
            self.p - 1.0 - 0.5 * d,
            -0.5 * (self.a + jnp.sum(self.skew * by_x, axis=-1)),
            -0.5 * (self.b + jnp.sum(self.loc * by_ratio, axis=-1)),
        )
        parts = [x[..., None] for x in scalars]
        parts += [by_x, by_ratio, pack_precision(precision)]
        return jnp.concatenate(
            [jnp.broadcast_to(x, self.batch_shape + x.shape[-1:]) for x in parts], -1
        )

    @classmethod
    def from_natural(cls, theta: ArrayLike) -> "JointNormalMixture":
        """The member with these natural parameters."""
        theta = as_float(cls.__name__, "theta", theta)
        p, a, b, loc, skew, precision, _ = _classical(theta)
        # Differences: what is left of an edge is rounding, of either sign.
        a, b = _unless_rounding(a, theta[..., 1]), _unless_rounding(b, theta[..., 2])
        return cls(p, a, b, loc, skew, jnp.linalg.cholesky(inverse(precision)))

    @classmethod
    def from_expectation(cls, eta: ArrayLike) -> "JointNormalMixture":
        """The member whose statistics have this mean: the M step of EM."""
        eta = as_float(cls.__name__, "eta", eta)
        d = dimension(eta.shape[-1])
        mixing = gig_natural(eta[..., :3])
        p, a, b = mixing[..., 0] + 1.0, -2.0 * mixing[..., 1], -2.0 * mixing[..., 2]
        return cls(p, a, b, *normal_part(eta, d))

    @property
    def expectation_params(self) -> Array:
        """Eta, in the order of the class's docstring; infinite where a moment is."""
        of_w = self.mixing_law().expectation_params
        w, over_w = of_w[..., 1:2], of_w[..., 2:3]
        loc, skew = self.loc, self.skew
        ratio = times(loc, over_w) + skew
        square = self.scale_tril @ jnp.swapaxes(self.scale_tril, -1, -2)
        cross = loc[..., :, None] * skew[..., None, :]
        square = square + cross + jnp.swapaxes(cross, -1, -2)
        for vector, moment in ((loc, over_w), (skew, w)):
            outer = vector[..., :, None] * vector[..., None, :]
            square = square + times(outer, moment[..., None])
        parts = [of_w, loc + times(skew, w), ratio, pack(square)]
        return jnp.concatenate(
            [jnp.broadcast_to(x, self.batch_shape + x.shape[-1:]) for x in parts], -1
        )


def normal_part(eta: Array, d: int) -> tuple[Array, Array, Array]:
    """(loc, skew, scale_tril) of the expectations, whatever the law of w."""
    w, over_w = eta[..., 1:2], eta[..., 2:3]
    x, ratio = eta[..., 3 : 3 + d], eta[..., 3 + d : 3 + 2 * d]
    spread = w * over_w - 1.0
    loc, skew = (w * ratio - x) / spread, (over_w * x - ratio) / spread
    # E[(x - loc - skew w)(x - loc - skew w)^T / w]
    cross = loc[..., :, None] * ratio[..., None, :]
    tilted = skew[..., :, None] * x[..., None, :]
    scale = unpack(eta[..., 3 + 2 * d :]) - cross - tilted
    scale = 0.5 * (scale + jnp.swapaxes(scale, -1, -2))
    return loc, skew, jnp.linalg.cholesky(scale)


def _unless_rounding(rate: Array, theta: Array) -> Array:
    """The rate; 0 if it is within rounding of the coordinate that it is part of."""
    noise = 64.0 * jnp.finfo(rate.dtype).eps * jnp.abs(theta)
    return jnp.where(jnp.abs(rate) <= noise, 0.0, rate)


def dimension(count: int) -> int:
    """The d with 3 + 2 d + d (d + 1) / 2 = count."""
    d = (math.isqrt(8 * count + 1) - 5) // 2
    if d < 1 or 3 + 2 * d + d * (d + 1) // 2 != count:
        raise ValueError(
            f"`JointNormalMixture` got {count} coordinates: d dimensions have "
            "3 + 2 d + d (d + 1) / 2 of them, such as 6, 10 or 15."
        )
    return d


def _classical(theta: Array) -> tuple[Any, ...]:
    """(p, a, b, loc, skew, precision, its Cholesky factor) of natural parameters."""
    d = dimension(theta.shape[-1])
    by_x, by_ratio = theta[..., 3 : 3 + d], theta[..., 3 + d : 3 + 2 * d]
    precision = unpack_precision(theta[..., 3 + 2 * d :])
    cholesky = jnp.linalg.cholesky(precision)
    skew, loc = times_inverse(cholesky, by_x), times_inverse(cholesky, by_ratio)
    p = theta[..., 0] + 1.0 + 0.5 * d
    a = -2.0 * theta[..., 1] - jnp.sum(skew * by_x, axis=-1)
    b = -2.0 * theta[..., 2] - jnp.sum(loc * by_ratio, axis=-1)
    return p, a, b, loc, skew, precision, cholesky
