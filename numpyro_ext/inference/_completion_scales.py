r"""EM for positive latents whose conditional laws are generalized inverse Gaussian.

Given the rest, such a latent w enters by $c_1 \log w + c_2 w + c_3 / w$ alone: scales
and precisions of normal data with gamma, inverse gamma or GIG priors, for instance. The
slope in log w, $g = c_1 + c_2 w - c_3 / w$, at three points gives the three numbers,
and so the expectation of the log density under any law of w that has E[log w], E[w] and
E[1/w]. No part of the model has to be recognised; only that slopes elsewhere agree.
"""

import math
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ..distributions import GeneralizedInverseGaussian
from ..distributions._gig_normalizer import log_normalizer
from ._completion import AbstractCompletion, Position, weighed_sites
from ._model_spec import ModelSpec
from ._objective import Weight

# The slopes are taken at the centre and at so many times that, up and down.
FACTOR = 2.0
# Where in log w, in units of log FACTOR.
PLACES = (0.0, 1.0, -1.0)


class Scales(NamedTuple):
    r"""The law of the latents: E[log w], and the weights of three slopes.

    With them $E[f] = f + \sum_j k_j g_j$, f and its slopes about exp E[log w].
    """

    centre: Float[Array, " m"]
    weights: Float[Array, "3 m"]


class ScaleCompletion(AbstractCompletion):
    """Positive latents, independent of each other given the rest.

    `spec` has the latents as sites. For a model that has none, it is the user's spec
    with the latents added, and `is_added` is true.
    """

    first_passes: ClassVar[int] = 3
    spec: ModelSpec
    latent: tuple[str, ...]
    prior_weight: Weight
    jacobian: bool
    is_added: bool

    def begin(self, theta: Position) -> Float[Array, " m"]:
        return ravel_pytree(self._zeros())[0]

    def expect(
        self, theta: Position, last: Float[Array, " m"]
    ) -> tuple[Scales, Float[Array, ""]]:
        """Reads the law from slopes at log w = `last`."""
        values, slopes = self._slopes(theta, last)
        order, by_w, by_inverse = _coefficients(slopes)
        scale = jnp.exp(last)
        a, b = -2.0 * by_w / scale, -2.0 * by_inverse * scale
        # Rounding can leave a vanishing rate below 0.
        p, a, b = order + 1.0, jnp.maximum(a, 0.0), jnp.maximum(b, 0.0)
        at_last = order * last - 0.5 * (a * scale + b / scale)
        omega = jax.lax.stop_gradient(jnp.sqrt(a) * jnp.sqrt(b))
        integral = log_normalizer(p, a, b) - omega
        value = values[0] + jnp.sum(integral - at_last)
        law = GeneralizedInverseGaussian(p, a, b, validate_args=False)
        found = _scales_of(jnp.moveaxis(law.expectation_params, -1, 0))
        return jax.lax.stop_gradient(found), value

    def expected(self, theta: Position, expectation: Scales) -> Float[Array, ""]:
        values, slopes = self._slopes(theta, expectation.centre)
        return values[0] + jnp.sum(expectation.weights * slopes)

    def whole(self, theta: Position, expectation: Scales) -> Position:
        if self.is_added:
            return theta
        return theta | self._unravel(expectation.centre)

    def misfit(self, theta: Position, u: Float[Array, " m"]) -> Float[Array, ""]:
        """How far the latents are from entering as they must: 0 up to rounding.

        Slopes at places that differ from latent to latent must be those that each
        latent's own three numbers tell.
        """
        _, slopes = self._slopes(theta, u)
        order, by_w, by_inverse = _coefficients(slopes)
        size = jnp.max(jnp.abs(slopes), axis=0) + 1.0
        number = jnp.arange(u.size)
        worst = jnp.zeros(())
        for step in (0.7, -1.3):
            moved = step * jnp.where(number % 2 == 0, 1.0, -0.6)
            told = order + by_w * jnp.exp(moved) - by_inverse * jnp.exp(-moved)
            found = jax.grad(lambda u: self._log_density(theta, u))(u + moved)
            worst = jnp.maximum(worst, jnp.max(jnp.abs(found - told) / size))
        return worst

    def _slopes(
        self, theta: Position, u: Float[Array, " m"]
    ) -> tuple[Float[Array, " 3"], Float[Array, "3 m"]]:
        """The log density, and its slope in each log w, at three places."""
        shifts = jnp.asarray(PLACES, u.dtype) * math.log(FACTOR)
        both = jax.value_and_grad(self._log_density, argnums=1)
        return jax.vmap(lambda shift: both(theta, u + shift))(shifts)

    def _log_density(self, theta: Position, u: Float[Array, " m"]) -> Array:
        return weighed_sites(
            self.spec,
            theta | self._unravel(u),
            self.latent,
            prior_weight=self.prior_weight,
            jacobian=self.jacobian,
        )

    def _zeros(self) -> Position:
        return {
            name: jnp.zeros(self.spec.sites[name].unconstrained_shape)
            for name in self.latent
        }

    def _unravel(self, u: Float[Array, " m"]) -> Position:
        return ravel_pytree(self._zeros())[1](u)


def _coefficients(slopes: Float[Array, "3 m"]) -> tuple[Array, Array, Array]:
    """The three numbers, in units of w at the first place."""
    here, above, below = slopes
    up, down = FACTOR - 1.0, 1.0 - 1.0 / FACTOR
    # above - here = up by_w + down by_inverse; here - below = down by_w + up by_inverse
    first, second = _difference(above, here), _difference(here, below)
    det = up * up - down * down
    by_w = _difference(up * first, down * second) / det
    by_inverse = _difference(up * second, down * first) / det
    return here - by_w + by_inverse, by_w, by_inverse


def _difference(one: Float[Array, " m"], other: Float[Array, " m"]) -> Array:
    """The difference, or 0 where that is all rounding."""
    rounding = 64.0 * jnp.finfo(one.dtype).eps * (jnp.abs(one) + jnp.abs(other))
    found = one - other
    return jnp.where(jnp.abs(found) > rounding, found, 0.0)


def _scales_of(moments: Float[Array, "3 m"]) -> Scales:
    """The law with these E[log w], E[w] and E[1/w]."""
    centre, mean, inverse = moments
    # What is infinite does not occur in the log density.
    up = jnp.where(jnp.isfinite(mean), mean * jnp.exp(-centre), 1.0)
    down = jnp.where(jnp.isfinite(inverse), inverse * jnp.exp(centre), 1.0)
    # k_0 + k_1 + k_2 = 0, sum k_j r_j = up - 1, -sum k_j / r_j = down - 1.
    above, below = FACTOR - 1.0, 1.0 - 1.0 / FACTOR
    det = above * above - below * below
    one = (above * (up - 1.0) - below * (down - 1.0)) / det
    other = (below * (up - 1.0) - above * (down - 1.0)) / det
    return Scales(centre, jnp.stack([-one - other, one, other]))
