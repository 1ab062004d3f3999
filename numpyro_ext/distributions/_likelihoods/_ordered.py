"""Ordered categories, by a linear predictor and cutpoints."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array, random
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from ...special._exponentials import (
    bounded_exp,
    log1mexp,
    log1mexpexp,
    log_expit,
)
from .._law import as_float
from ._base import AbstractLikelihood, is_between, outside, step_cdf
from ._counts import count_dtype
from ._links import log_probs_of


def _name_of(link: Any) -> str:
    return getattr(link, "name", "")


def _cloglog_between(a: Array, b: Array) -> Array:
    gap = b - a
    return -bounded_exp(a) + log1mexpexp(a + gap + log1mexp(gap))


# log(F(b) - F(a)) from the distance of the two, which loses nothing for near cutpoints.
EXACT: dict[str, Callable[[Array, Array], Array]] = {
    "logit": lambda a, b: log_expit(b) + log_expit(-a) + log1mexp(b - a),
    "cloglog": _cloglog_between,
    "loglog": lambda a, b: _cloglog_between(-b, -a),
    "cauchit": lambda a, b: jnp.log(jnp.arctan2(b - a, 1.0 + a * b) / math.pi),
}


class OrderedLink(AbstractLikelihood):
    r"""Ordered categories 0, ..., K - 1: a latent variable between cutpoints.

    With F the inverse of the link and cutpoints $c_1 < \dots < c_{K-1}$,
    $$P(Y = k) = F(c_{k+1} - \eta) - F(c_k - \eta), \qquad
      c_0 = -\infty, \quad c_K = \infty.$$

    Args:
        eta: $\eta$, any real number; larger favours larger categories.
        cutpoints: K - 1 rising numbers, along the last axis.
        link: "logit" (proportional odds), "probit", or as for `BernoulliLink`.

    Shapes: `eta` and the leading axes of `cutpoints` broadcast to `batch_shape`;
        `event_shape` is `()`.
    Raises: ValueError, if a concrete `eta` is not finite, if `cutpoints` have no axis
        or do not rise, or for an unknown link.
    """

    arg_constraints = {
        "eta": constraints.real,
        "cutpoints": constraints.ordered_vector,
    }
    pytree_aux_fields = ("link",)
    has_enumerate_support = True
    eta: Array
    cutpoints: Array
    link: Any

    def __init__(
        self,
        eta: ArrayLike,
        cutpoints: ArrayLike,
        link: Any = "logit",
        *,
        validate_args: bool | None = None,
    ):
        log_probs_of("OrderedLink", link)
        self.link = link
        eta, cutpoints = (
            as_float("OrderedLink", name, x)
            for name, x in (("eta", eta), ("cutpoints", cutpoints))
        )
        if cutpoints.ndim == 0 or cutpoints.shape[-1] == 0:
            raise ValueError(
                f"`OrderedLink` got `cutpoints` of shape {cutpoints.shape}: it needs "
                "K - 1 of them along the last axis, for K categories."
            )
        dtype = jnp.result_type(eta, cutpoints)
        batch_shape = jnp.broadcast_shapes(eta.shape, cutpoints.shape[:-1])
        self.eta, self.cutpoints = eta.astype(dtype), cutpoints.astype(dtype)
        super().__init__(batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)  # pyright: ignore[reportArgumentType]
    def support(self) -> constraints.Constraint:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Integers from 0 to the number of cutpoints."""
        return constraints.integer_interval(0, self.cutpoints.shape[-1])

    @classmethod
    def infer_shapes(
        cls, eta: tuple[int, ...], cutpoints: tuple[int, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The batch and event shapes for parameters of these shapes."""
        return jnp.broadcast_shapes(eta, cutpoints[:-1]), ()

    def _at_cutpoint(self, index: Array) -> tuple[Array, Array, Array]:
        """The cutpoint less eta, and the log probabilities below and above it."""
        cuts = jnp.broadcast_to(
            self.cutpoints, (*index.shape, self.cutpoints.shape[-1])
        )
        cut = jnp.take_along_axis(cuts, index[..., None], axis=-1)[..., 0]
        x = cut - self.eta
        return x, *log_probs_of("OrderedLink", self.link)(x)

    def _log_between(self, lower: tuple, upper: tuple) -> Array:
        """log(F(b) - F(a)) for a < b, in the tail where F is small."""
        (a, low_a, high_a), (b, low_b, high_b) = lower, upper
        name = self.link if isinstance(self.link, str) else _name_of(self.link)
        if name in EXACT:
            return EXACT[name](a, b)
        is_low = low_a < high_b
        large = jnp.where(is_low, low_b, high_a)
        small = jnp.where(is_low, low_a, high_b)
        return large + log1mexp(large - small)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log probability; -inf for what is no category."""
        y = self._floats(value)
        last = self.cutpoints.shape[-1]
        is_inside = is_between(y, 0.0, float(last)) & (y == jnp.floor(y))
        shape = jnp.broadcast_shapes(y.shape, self.batch_shape)
        k = jnp.broadcast_to(jnp.where(is_inside, y, 0.0).astype(int), shape)
        is_first, is_last = k == 0, k == last
        upper = self._at_cutpoint(jnp.where(is_last, last - 1, k))
        lower = self._at_cutpoint(jnp.where(is_first, 0, k - 1))
        is_edge = is_first | is_last
        # Where the two cutpoints are the same, a distance that is not 0.
        apart = jnp.where(is_edge, 1.0, 0.0).astype(y.dtype)
        far = (upper[0] + apart, *(jnp.where(is_edge, 0.0, x) for x in upper[1:]))
        near = (lower[0], *(jnp.where(is_edge, -1.0, x) for x in lower[1:]))
        between = self._log_between(near, far)
        inside = jnp.where(is_first, upper[1], jnp.where(is_last, lower[2], between))
        return jnp.where(is_inside, inside, outside(y))

    def log_probs(self) -> Array:
        """The log probabilities of the categories, along a new last axis."""
        categories = jnp.arange(self.cutpoints.shape[-1] + 1)
        values = categories.reshape((-1, *[1] * len(self.batch_shape)))
        return jnp.moveaxis(self.log_prob(values), 0, -1)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Integers from 0."""
        assert key is not None
        assert is_prng_key(key)
        shape = sample_shape + self.batch_shape
        draws = random.categorical(key, self.log_probs(), shape=shape)
        return draws.astype(count_dtype())

    @property
    def mean(self) -> Array:
        """The mean number of the category."""
        probs = jnp.exp(self.log_probs())
        return jnp.sum(probs * jnp.arange(probs.shape[-1]), axis=-1)

    @property
    def variance(self) -> Array:
        """The variance of the number of the category."""
        probs = jnp.exp(self.log_probs())
        distance = jnp.arange(probs.shape[-1]) - self.mean[..., None]
        return jnp.sum(probs * jnp.square(distance), axis=-1)

    def cdf(self, value: ArrayLike) -> Array:
        """P(Y <= value)."""
        y = self._floats(value)
        last = self.cutpoints.shape[-1]
        shape = jnp.broadcast_shapes(y.shape, self.batch_shape)
        k = jnp.clip(jnp.nan_to_num(jnp.floor(y)), 0, last - 1).astype(int)
        inside = jnp.exp(self._at_cutpoint(jnp.broadcast_to(k, shape))[1])
        return step_cdf(y, jnp.where(y >= last, 1.0, inside))

    def _above(self, y: Array) -> Array:
        last = self.cutpoints.shape[-1]
        shape = jnp.broadcast_shapes(y.shape, self.batch_shape)
        k = jnp.clip(jnp.nan_to_num(jnp.floor(y)), 0, last - 1).astype(int)
        above = jnp.exp(self._at_cutpoint(jnp.broadcast_to(k, shape))[2])
        return jnp.where(y >= last, 0.0, above)

    def enumerate_support(self, expand: bool = True) -> Array:
        """0, ..., K - 1."""
        count = self.cutpoints.shape[-1] + 1
        values = jnp.arange(count).reshape((-1, *[1] * len(self.batch_shape)))
        return (
            jnp.broadcast_to(values, (count, *self.batch_shape)) if expand else values
        )

    def log_prob_zero(self) -> Array:
        """Log P(Y = 0)."""
        return self._whole(self.log_prob(jnp.zeros(())))

    def log_prob_positive(self) -> Array:
        """Log P(Y > 0)."""
        first = jnp.zeros(self.batch_shape, int)
        return self._at_cutpoint(first)[2]
