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
from ._closed_moments import Moments, cumulants, times
from ._generalized_inverse_gaussian import GeneralizedInverseGaussian
from ._gig_normalizer import Order, is_proper
from ._gig_sampler import sample_log
from ._joint_parameters import AbstractJointParameters
from ._law import as_float
from ._mixture_density import univariate_log_prob
from ._mixture_entropy import entropy
from ._mixture_quantile import quantile
from ._mixture_tail import log_tails

if TYPE_CHECKING:
    from ._fitting._result import LawFit

# The number of scales whose square is a float.
FARTHEST = {"float64": 1e150, "float32": 1e18}


class AbstractNormalMixture(AbstractJointParameters):
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
        first, two = own._mixing_spread()
        tilt = as_float(cls.__name__, "tilt", tilt)
        mean, sd = (
            as_float(cls.__name__, "mean", mean),
            as_float(cls.__name__, "sd", sd),
        )
        scale = sd / jnp.sqrt(first + times(tilt * tilt, two))
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

    def _vectors(self) -> tuple[Array, Array, Array]:
        return self.loc[..., None], self.skew[..., None], self.scale[..., None, None]

    @classmethod
    def _from_vectors(
        cls, own: dict[str, Array], loc: Array, skew: Array, scale_tril: Array
    ) -> "AbstractNormalMixture":
        if loc.shape[-1] != 1:
            raise ValueError(
                f"`{cls.__name__}` is of one number, and these are parameters of "
                f"{loc.shape[-1]}: use `Multivariate{cls.__name__}`."
            )
        loc, skew, scale = loc[..., 0], skew[..., 0], scale_tril[..., 0, 0]
        return cls(**own, loc=loc, scale=scale, skew=skew)

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

    def _mixing_spread(self) -> tuple[Array, Array]:
        """Mean and variance of w, which cost less than all four moments."""
        return moments.mean_and_variance(*self._mixing_full())

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
        # Beyond, squares overflow; the log density is below any that counts.
        is_far = jnp.abs(x - self.loc) > FARTHEST[str(x.dtype)] * self.scale
        x = jnp.where(is_far, self.loc, x)
        density = univariate_log_prob(
            p, a, b, self.loc, self.scale, self.skew, x, edges=self.has_edges
        )
        density = jnp.where(is_far, -jnp.inf, density)
        valid = is_proper(p, a, b) & (self.scale > 0)
        return jnp.where(valid, density, jnp.nan)

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

    def _cumulants(self) -> Moments:
        return cumulants(self.skew, jnp.square(self.scale), self._mixing_moments())

    @property
    def mean(self) -> Array:
        """Loc + skew E[w]."""
        first = self._mixing_spread()[0]
        return jnp.broadcast_to(self.loc + times(self.skew, first), self.batch_shape)

    @property
    def variance(self) -> Array:
        """scale^2 E[w] + skew^2 Var[w]."""
        first, two = self._mixing_spread()
        return jnp.square(self.scale) * first + times(jnp.square(self.skew), two)

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

    def entropy(self) -> Array:
        """Differential entropy, in nats, to 1e-9 in float64; differentiable."""
        p, a, b = self.mixing()
        of_z = entropy(p, a, b, jnp.square(self.skew / self.scale), 1)
        return jnp.broadcast_to(of_z + jnp.log(self.scale), self.batch_shape)
