"""VarianceGamma, in one dimension and in many."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from ._closed_moments import Moments, broadcast_moments, gamma_moments
from ._gamma import Gamma
from ._gig_normalizer import Order
from ._joint_parameters import require
from ._law import promote
from ._multivariate_mixture import AbstractMultivariateNormalMixture
from ._normal_mixture import AbstractNormalMixture
from ._vectors import promote_vector


class VarianceGamma(AbstractNormalMixture):
    r"""Normal law whose variance is gamma distributed; Laplace's law is one.

    $x = \mu + \gamma w + \sigma\sqrt{w}\,n$ with $w \sim \mathrm{Gamma}(k, r)$. For k
    at most half the dimension of x the density is infinite at `loc`.

    Args:
        concentration: $k > 0$, the shape of the gamma law.
        rate: $r > 0$, its rate.
        loc: $\mu$, in units of x. It is the mean only without skew.
        scale: $\sigma > 0$, in units of x. The standard deviation of x given w = 1.
        skew: $\gamma$, in units of x; 0 is symmetric.

    Shapes: the parameters broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete parameter is outside its domain or not finite.
    Source: Madan, Carr and Chang (1998), European Finance Review 2, 79-105.
    """

    arg_constraints = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
        "skew": constraints.real,
    }
    reparametrized_params = [
        "concentration",
        "rate",
        "loc",
        "scale",
        "skew",
    ]
    has_edges = True
    concentration: Array
    rate: Array

    def __init__(
        self,
        concentration: ArrayLike,
        rate: ArrayLike,
        loc: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        skew: ArrayLike = 0.0,
        *,
        validate_args: bool | None = None,
    ):
        params, batch_shape = promote(
            "VarianceGamma",
            concentration=concentration,
            rate=rate,
            loc=loc,
            scale=scale,
            skew=skew,
        )
        self.concentration, self.rate, self.loc, self.scale, self.skew = params
        super().__init__(batch_shape, validate_args=validate_args)

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law."""
        return self.concentration, 2.0 * self.rate, jnp.zeros_like(self.rate)

    def _mixing_moments(self) -> Moments:
        return broadcast_moments(
            gamma_moments(self.concentration, self.rate), self.batch_shape
        )

    def _mixing_spread(self) -> tuple[Array, Array]:
        return self._mixing_moments()[:2]

    @classmethod
    def _own_from_mixing(cls, p: Array, a: Array, b: Array) -> dict[str, Array]:
        require(cls.__name__, (b == 0) & (p > 0), "b = 0 and p > 0", (p, a, b))
        return {"concentration": p, "rate": 0.5 * a}

    @classmethod
    def _own_from_expectation(cls, eta: Array) -> dict[str, Array]:
        law = Gamma.from_expectation(eta[..., :2])
        return {
            "concentration": jnp.asarray(law.concentration),
            "rate": jnp.asarray(law.rate),
        }


class MultivariateVarianceGamma(AbstractMultivariateNormalMixture):
    r"""`VarianceGamma` in d dimensions: one w for all coordinates of x.

    $x = \mu + \gamma w + \sqrt{w}\,S n$ with the mixing law of
    `VarianceGamma`. An affine image of x has the same mixing law.

    Args:
        concentration: $k > 0$, the shape of the gamma law.
        rate: $r > 0$, its rate.
        loc: $\mu$, of shape (..., d).
        skew: $\gamma$, of shape (..., d).
        scale_tril: $S$, lower triangular with positive diagonal, of shape (..., d, d).
        cov_factor: $F$ of shape (..., d, r), instead of `scale_tril`:
            $S S^T = F F^T + \mathrm{diag}(D)$, at a cost linear in d.
        cov_diag: $D$, of shape (..., d), positive.

    Shapes: all but the event axes broadcast to `batch_shape`; `event_shape` is `(d,)`.
    Raises: ValueError, if a concrete parameter is outside its domain, or if
        shapes or the choice of scale do not fit.
    Source: Madan, Carr and Chang (1998), European Finance Review 2, 79-105.
    """

    univariate = VarianceGamma
    arg_constraints = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
        "loc": constraints.real_vector,
        "skew": constraints.real_vector,
        "scale_tril": constraints.lower_cholesky,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    reparametrized_params = [
        "concentration",
        "rate",
        "loc",
        "skew",
        "scale_tril",
        "cov_factor",
        "cov_diag",
    ]
    has_edges = True
    concentration: Array
    rate: Array

    def __init__(
        self,
        concentration: ArrayLike,
        rate: ArrayLike,
        loc: ArrayLike = 0.0,
        skew: ArrayLike = 0.0,
        scale_tril: ArrayLike | None = None,
        cov_factor: ArrayLike | None = None,
        cov_diag: ArrayLike | None = None,
        *,
        validate_args: bool | None = None,
    ):
        own, vectors, batch_shape, event_shape = promote_vector(
            "MultivariateVarianceGamma",
            dict(concentration=concentration, rate=rate),
            loc,
            skew,
            scale_tril,
            cov_factor,
            cov_diag,
        )
        (
            self.concentration,
            self.rate,
        ) = own
        self.loc, self.skew, self.scale_tril, self.cov_factor, self.cov_diag = vectors
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law."""
        return self.concentration, 2.0 * self.rate, jnp.zeros_like(self.rate)

    def _mixing_moments(self) -> Moments:
        return broadcast_moments(
            gamma_moments(self.concentration, self.rate), self.batch_shape
        )

    def _mixing_spread(self) -> tuple[Array, Array]:
        return self._mixing_moments()[:2]
