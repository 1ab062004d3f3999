r"""Normal variance-mean mixtures: what their univariate laws share.

$x = \mu + \gamma w + \sigma\sqrt{w}\,n$ with $w \sim \mathrm{GIG}(p, a, b)$. With
$z = (x-\mu)/\sigma$, $t = \gamma/\sigma$, $A = a + t^2$ and $B = b + z^2$,
$$p(x) = \frac{e^{t z}}{\sigma\sqrt{2\pi}}\,
  \frac{Z(p - 1/2, A, B)}{Z(p, a, b)},$$
where Z is the integral of the GIG kernel; given x, w is GIG(p - 1/2, A, B). A law adds
its parameters and its triple (p, a, b), whose edges a = 0 and b = 0 count.
Source: Barndorff-Nielsen, Kent, Sørensen (1982), Int. Statist. Rev. 50, 145-159.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from . import _gig_moments as moments
from ._closed_moments import Moments
from ._generalized_inverse_gaussian import GeneralizedInverseGaussian
from ._gig_normalizer import Order, is_proper
from ._gig_sampler import sample_log
from ._law import AbstractLaw, as_float
from ._mixture_density import mixture_log_prob
from ._mixture_quantile import quantile
from ._mixture_tail import log_tails

if TYPE_CHECKING:
    from ._fitting._result import LawFit


class AbstractNormalMixture(AbstractLaw):
    """Univariate normal variance-mean mixture with a GIG mixing law."""

    support = constraints.real  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    # Whether a or b can be 0.
    has_edges = True
    loc: Array
    scale: Array
    skew: Array

    @classmethod
    def standardized(
        cls, mean: ArrayLike, sd: ArrayLike, *, tilt: ArrayLike = 0.0, **mixing: Any
    ) -> "AbstractNormalMixture":
        r"""The law with this mean and standard deviation, for regression and GARCH.

        With $t = \gamma/\sigma$ (`tilt`), $\sigma = sd/\sqrt{E w + t^2 Var\,w}$ and
        $\mu = mean - t \sigma E w$. The other keywords are those of the mixing law,
        such as `a` and `b`; their free scale does not matter here.
        """
        own = cls(**mixing)
        first, two, _, _ = own._mixing_moments()
        tilt = as_float(cls.__name__, "tilt", tilt)
        mean, sd = (
            as_float(cls.__name__, "mean", mean),
            as_float(cls.__name__, "sd", sd),
        )
        scale = sd / jnp.sqrt(first + _times(tilt * tilt, two))
        skew = tilt * scale
        return cls(**mixing, loc=mean - skew * first, scale=scale, skew=skew)

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        fix: Mapping[str, Any] | None = None,
        symmetric: bool = False,
        method: str = "em",
        **options: Any,
    ) -> "LawFit":
        """The law of maximum likelihood, as a `LawFit` with a verdict.

        Args:
            x: Data, of shape (n,).
            weights: How often each row counts, of shape (n,); 1 each if None.
            fix: Parameters that are given, by name, such as `{"p": -0.5}`.
            symmetric: Whether the skew is 0.
            method: "em", or "newton", which needs a sweep less for each step.
            options: Settings of `BatchEM`, such as `tol`.

        Raises: ValueError, for data that no fit can use, with what to do.
        """
        from ._fitting._entry import fit_mixture

        return fit_mixture(cls, x, weights, fix, symmetric, method, options)

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law; they broadcast to the batch shape."""
        raise NotImplementedError

    def mixing_law(self) -> GeneralizedInverseGaussian:
        """The law of w."""
        return GeneralizedInverseGaussian(*self._mixing_full(), validate_args=False)

    def _mixing_full(self) -> tuple[Array, Array, Array]:
        p, a, b = self.mixing()
        p, a, b = (
            jnp.broadcast_to(jnp.asarray(x, self.loc.dtype), self.batch_shape)
            for x in (p, a, b)
        )
        return p, a, b

    def _mixing_moments(self) -> Moments:
        """Mean and second to fourth central moments of w."""
        return moments.central_moments(*self._mixing_full())

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws with the shape `sample_shape + batch_shape`, differentiable."""
        return self.sample_with_intermediates(key, sample_shape)[0]

    def sample_with_intermediates(
        self, key: Array | None, sample_shape: tuple[int, ...] = ()
    ) -> tuple[Array, list]:
        """Draws, and no intermediates."""
        assert key is not None
        assert is_prng_key(key)
        key_w, key_n = jax.random.split(key)
        shape = sample_shape + self.batch_shape
        p, a, b = (jnp.broadcast_to(x, shape) for x in self._mixing_full())
        v = sample_log(key_w, p, a, b)
        n = jax.random.normal(key_n, shape, self.loc.dtype)
        x = self.loc + self.skew * jnp.exp(v) + self.scale * jnp.exp(0.5 * v) * n
        return x, []

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log density, with one Bessel function for each datum."""
        p, a, b = self.mixing()
        x = jnp.asarray(as_float(type(self).__name__, "value", value), self.loc.dtype)
        z, tilt = (x - self.loc) / self.scale, self.skew / self.scale
        density = mixture_log_prob(
            p,
            a,
            b,
            tilt * tilt,
            z * z,
            tilt * z,
            jnp.zeros_like(z * tilt),
            1,
            edges=self.has_edges,
        )
        valid = is_proper(p, a, b) & (self.scale > 0)
        return jnp.where(valid, density - jnp.log(self.scale), jnp.nan)

    def _full(self, value: ArrayLike) -> list[Array]:
        """The value and (p, a, b, loc, scale, tilt), broadcast to one shape."""
        x = jnp.asarray(as_float(type(self).__name__, "value", value), self.loc.dtype)
        arrays = (x, *self._mixing_full(), self.loc, self.scale, self.skew / self.scale)
        shape = jnp.broadcast_shapes(self.batch_shape, *(y.shape for y in arrays))
        return [jnp.broadcast_to(y, shape) for y in arrays]

    def _tails(self, value: ArrayLike) -> tuple[Array, Array]:
        x, p, a, b, loc, scale, tilt = self._full(value)
        z = (x - loc) / scale
        is_finite = jnp.isfinite(z)
        lower, upper = log_tails(p, a, b, jnp.where(is_finite, z, 0.0), tilt)
        ends = jnp.where(jnp.isnan(z), jnp.nan, jnp.where(z > 0, 0.0, -jnp.inf))
        other = jnp.where(jnp.isnan(z), jnp.nan, jnp.where(z > 0, -jnp.inf, 0.0))
        return jnp.where(is_finite, lower, ends), jnp.where(is_finite, upper, other)

    def log_cdf(self, value: ArrayLike) -> Array:
        """Log of P(x < value), with full relative accuracy in the lower tail."""
        return self._tails(value)[0]

    def log_sf(self, value: ArrayLike) -> Array:
        """Log of P(x > value), with full relative accuracy in the upper tail."""
        return self._tails(value)[1]

    def cdf(self, value: ArrayLike) -> Array:
        """P(x < value)."""
        return jnp.exp(self.log_cdf(value))

    def icdf(self, q: ArrayLike) -> Array:
        """The value with P(x < value) = q."""
        q, p, a, b, loc, scale, tilt = self._full(q)
        return loc + scale * quantile(p, a, b, tilt, q)

    def conditional_mixing(self, value: ArrayLike) -> GeneralizedInverseGaussian:
        """The law of w given x: GIG(p - 1/2, a + skew^2/scale^2, b + z^2)."""
        p, a, b = self._mixing_full()
        z = (jnp.asarray(value, self.loc.dtype) - self.loc) / self.scale
        tilt = self.skew / self.scale
        return GeneralizedInverseGaussian(
            p - 0.5, a + tilt * tilt, b + z * z, validate_args=False
        )

    def _cumulants(self) -> tuple[Array, Array, Array, Array]:
        r"""From $\log E e^{sx} = \mu s + K_w(\gamma s + \sigma^2 s^2/2)$."""
        first, two, three, four = self._mixing_moments()
        g, s2 = self.skew, jnp.square(self.scale)
        # A symmetric law does not ask for moments of w that may not exist.
        g1, g2 = _times(g, two), _times(g * g, two)
        g2_three, g3_three = _times(g * g, three), _times(g**3, three)
        g4 = _times(g**4, four - 3.0 * two * two)
        return (
            self.loc + _times(g, first),
            s2 * first + g2,
            3.0 * s2 * g1 + g3_three,
            3.0 * s2 * s2 * two + 6.0 * s2 * g2_three + g4,
        )

    @property
    def mean(self) -> Array:
        """Loc + skew E[w]."""
        first = self._mixing_moments()[0]
        return jnp.broadcast_to(self.loc + _times(self.skew, first), self.batch_shape)

    @property
    def variance(self) -> Array:
        """scale^2 E[w] + skew^2 Var[w]."""
        return self._cumulants()[1]

    @property
    def skewness(self) -> Array:
        """Third central moment over the cube of the standard deviation."""
        _, two, three, _ = self._cumulants()
        return three / two**1.5

    @property
    def kurtosis(self) -> Array:
        """Excess kurtosis: 0 for a normal law."""
        _, two, _, four = self._cumulants()
        return four / (two * two)


def _times(factor: Array, moment: Array) -> Array:
    """Factor * moment, 0 where the factor is 0 even if the moment is infinite."""
    is_zero = factor == 0
    return jnp.where(is_zero, 0.0, factor * jnp.where(is_zero, 1.0, moment))
