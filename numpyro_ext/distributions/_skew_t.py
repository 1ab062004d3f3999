"""GeneralizedHyperbolicSkewT, in one dimension and in many."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from ._closed_moments import Moments, broadcast_moments, inverse_gamma_moments
from ._gig_expectation import gamma_shape
from ._gig_normalizer import Order
from ._joint_parameters import is_near, require
from ._law import promote
from ._multivariate_mixture import AbstractMultivariateNormalMixture
from ._normal_mixture import AbstractNormalMixture
from ._vectors import promote_vector


class GeneralizedHyperbolicSkewT(AbstractNormalMixture):
    r"""Student t law with skew: one tail polynomial, the other semi-heavy.

    $x = \mu + \gamma w + \sigma\sqrt{w}\,n$ with
    $w \sim \mathrm{InverseGamma}(\nu/2, \nu/2)$.
    With skew 0 it is Student's t. With skew, the variance needs more than 4 degrees of
    freedom, and the mean more than 2.

    Args:
        df: $\nu > 0$, degrees of freedom.
        loc: $\mu$, in units of x. It is the mean only without skew.
        scale: $\sigma > 0$, in units of x. The standard deviation of x given w = 1.
        skew: $\gamma$, in units of x; 0 is symmetric.

    Shapes: the parameters broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete parameter is outside its domain or not finite.
    Source: Aas and Haff (2006), J. Financial Econometrics 4, 275-309.
    """

    arg_constraints = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
        "skew": constraints.real,
    }
    reparametrized_params = [
        "df",
        "loc",
        "scale",
        "skew",
    ]
    has_edges = True
    df: Array

    def __init__(
        self,
        df: ArrayLike,
        loc: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        skew: ArrayLike = 0.0,
        *,
        validate_args: bool | None = None,
    ):
        params, batch_shape = promote(
            "GeneralizedHyperbolicSkewT", df=df, loc=loc, scale=scale, skew=skew
        )
        self.df, self.loc, self.scale, self.skew = params
        super().__init__(batch_shape, validate_args=validate_args)

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law."""
        return -0.5 * self.df, jnp.zeros_like(self.df), self.df

    def _mixing_moments(self) -> Moments:
        return broadcast_moments(
            inverse_gamma_moments(0.5 * self.df, 0.5 * self.df), self.batch_shape
        )

    def _mixing_spread(self) -> tuple[Array, Array]:
        return self._mixing_moments()[:2]

    @classmethod
    def _own_from_mixing(cls, p: Array, a: Array, b: Array) -> dict[str, Array]:
        holds = (a == 0) & is_near(b, -2.0 * p)
        require(cls.__name__, holds, "a = 0 and b = -2 p", (p, a, b))
        return {"df": b}

    @classmethod
    def _own_from_expectation(cls, eta: Array) -> dict[str, Array]:
        # log k - digamma(k) = E[log w] + E[1/w] - 1 for k = df / 2.
        return {"df": 2.0 * gamma_shape(eta[..., 0] + eta[..., 2] - 1.0)}


class MultivariateGeneralizedHyperbolicSkewT(AbstractMultivariateNormalMixture):
    r"""`GeneralizedHyperbolicSkewT` in d dimensions: one w for all coordinates of x.

    $x = \mu + \gamma w + \sqrt{w}\,S n$ with the mixing law of
    `GeneralizedHyperbolicSkewT`. An affine image of x has the same mixing law.

    Args:
        df: $\nu > 0$, degrees of freedom.
        loc: $\mu$, of shape (..., d).
        skew: $\gamma$, of shape (..., d).
        scale_tril: $S$, lower triangular with positive diagonal, of shape (..., d, d).
        cov_factor: $F$ of shape (..., d, r), instead of `scale_tril`:
            $S S^T = F F^T + \mathrm{diag}(D)$, at a cost linear in d.
        cov_diag: $D$, of shape (..., d), positive.

    Shapes: all but the event axes broadcast to `batch_shape`; `event_shape` is `(d,)`.
    Raises: ValueError, if a concrete parameter is outside its domain, or if
        shapes or the choice of scale do not fit.
    Source: Aas and Haff (2006), J. Financial Econometrics 4, 275-309.
    """

    univariate = GeneralizedHyperbolicSkewT
    arg_constraints = {
        "df": constraints.positive,
        "loc": constraints.real_vector,
        "skew": constraints.real_vector,
        "scale_tril": constraints.lower_cholesky,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    reparametrized_params = [
        "df",
        "loc",
        "skew",
        "scale_tril",
        "cov_factor",
        "cov_diag",
    ]
    has_edges = True
    df: Array

    def __init__(
        self,
        df: ArrayLike,
        loc: ArrayLike = 0.0,
        skew: ArrayLike = 0.0,
        scale_tril: ArrayLike | None = None,
        cov_factor: ArrayLike | None = None,
        cov_diag: ArrayLike | None = None,
        *,
        validate_args: bool | None = None,
    ):
        own, vectors, batch_shape, event_shape = promote_vector(
            "MultivariateGeneralizedHyperbolicSkewT",
            dict(df=df),
            loc,
            skew,
            scale_tril,
            cov_factor,
            cov_diag,
        )
        (self.df,) = own
        self.loc, self.skew, self.scale_tril, self.cov_factor, self.cov_diag = vectors
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law."""
        return -0.5 * self.df, jnp.zeros_like(self.df), self.df

    def _mixing_moments(self) -> Moments:
        return broadcast_moments(
            inverse_gamma_moments(0.5 * self.df, 0.5 * self.df), self.batch_shape
        )

    def _mixing_spread(self) -> tuple[Array, Array]:
        return self._mixing_moments()[:2]
