"""Hyperbolic, in one dimension and in many."""

from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from ._fixed_order import rates_of_fixed_order
from ._gig_normalizer import Order
from ._joint_parameters import is_near, require
from ._law import promote
from ._multivariate_mixture import AbstractMultivariateNormalMixture
from ._normal_mixture import AbstractNormalMixture
from ._parametrizations import (
    alpha_bar_rates,
    alpha_beta_rates,
    alpha_beta_vectors,
)
from ._vectors import promote_vector


class Hyperbolic(AbstractNormalMixture):
    r"""Law whose log density is a hyperbola: exponential tails, and skew.

    $x = \mu + \gamma w + \sigma\sqrt{w}\,n$ with $w \sim \mathrm{GIG}(1, a, b)$.

    Args:
        a: $a > 0$; larger means lighter tails.
        b: $b > 0$; larger means closer to normal at the centre.
        loc: $\mu$, in units of x. It is the mean only without skew.
        scale: $\sigma > 0$, in units of x. The standard deviation of x given w = 1.
        skew: $\gamma$, in units of x; 0 is symmetric.

    Shapes: the parameters broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete parameter is outside its domain or not finite.
    Source: Eberlein and Keller (1995), Bernoulli 1, 281-299.
    """

    arg_constraints = {
        "a": constraints.positive,
        "b": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
        "skew": constraints.real,
    }
    reparametrized_params = [
        "a",
        "b",
        "loc",
        "scale",
        "skew",
    ]
    has_edges = False
    a: Array
    b: Array

    def __init__(
        self,
        a: ArrayLike,
        b: ArrayLike,
        loc: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        skew: ArrayLike = 0.0,
        *,
        validate_args: bool | None = None,
    ):
        params, batch_shape = promote(
            "Hyperbolic", a=a, b=b, loc=loc, scale=scale, skew=skew
        )
        self.a, self.b, self.loc, self.scale, self.skew = params
        super().__init__(batch_shape, validate_args=validate_args)

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law."""
        return 1.0, self.a, self.b

    @classmethod
    def _own_from_mixing(cls, p: Array, a: Array, b: Array) -> dict[str, Array]:
        require(cls.__name__, is_near(p, 1.0), "p = 1", (p, a, b))
        return {"a": a, "b": b}

    @classmethod
    def _own_from_expectation(cls, eta: Array) -> dict[str, Array]:
        a, b = rates_of_fixed_order(1.0, eta[..., 1], eta[..., 2])
        return {"a": a, "b": b}

    @classmethod
    def from_alpha_beta(
        cls,
        alpha: ArrayLike,
        beta: ArrayLike,
        delta: ArrayLike,
        mu: ArrayLike = 0.0,
    ) -> "Hyperbolic":
        r"""The parameters of Barndorff-Nielsen (1977): $|\beta| < \alpha$.

        $a = \alpha^2 - \beta^2$, $b = \delta^2$, scale 1, $\gamma = \beta$.
        """
        a, b, beta = alpha_beta_rates(cls.__name__, alpha, beta, delta)
        return cls(a, b, mu, 1.0, beta)

    @classmethod
    def from_alpha_bar(
        cls,
        alpha_bar: ArrayLike,
        loc: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        skew: ArrayLike = 0.0,
    ) -> "Hyperbolic":
        r"""The identified parameters: E[w] = 1 and $\bar\alpha = \sqrt{ab}$.

        $a = \bar\alpha R$ and $b = \bar\alpha / R$ with
        $R = K_2(\bar\alpha)/K_1(\bar\alpha)$; the mean is loc + skew.
        Source: McNeil, Frey, Embrechts (2015), section 6.2.3; R's `ghyp`.
        """
        a, b = alpha_bar_rates(cls.__name__, 1.0, alpha_bar)
        return cls(a, b, loc, scale, skew)


class MultivariateHyperbolic(AbstractMultivariateNormalMixture):
    r"""`Hyperbolic` in d dimensions: one w for all coordinates of x.

    $x = \mu + \gamma w + \sqrt{w}\,S n$ with the mixing law of
    `Hyperbolic`. An affine image of x has the same mixing law.

    Args:
        a: $a > 0$; larger means lighter tails.
        b: $b > 0$; larger means closer to normal at the centre.
        loc: $\mu$, of shape (..., d).
        skew: $\gamma$, of shape (..., d).
        scale_tril: $S$, lower triangular with positive diagonal, of shape (..., d, d).
        cov_factor: $F$ of shape (..., d, r), instead of `scale_tril`:
            $S S^T = F F^T + \mathrm{diag}(D)$, at a cost linear in d.
        cov_diag: $D$, of shape (..., d), positive.

    Shapes: all but the event axes broadcast to `batch_shape`; `event_shape` is `(d,)`.
    Raises: ValueError, if a concrete parameter is outside its domain, or if
        shapes or the choice of scale do not fit.
    Source: Eberlein and Keller (1995), Bernoulli 1, 281-299.
    """

    univariate = Hyperbolic
    arg_constraints = {
        "a": constraints.positive,
        "b": constraints.positive,
        "loc": constraints.real_vector,
        "skew": constraints.real_vector,
        "scale_tril": constraints.lower_cholesky,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    reparametrized_params = [
        "a",
        "b",
        "loc",
        "skew",
        "scale_tril",
        "cov_factor",
        "cov_diag",
    ]
    has_edges = False
    a: Array
    b: Array

    def __init__(
        self,
        a: ArrayLike,
        b: ArrayLike,
        loc: ArrayLike = 0.0,
        skew: ArrayLike = 0.0,
        scale_tril: ArrayLike | None = None,
        cov_factor: ArrayLike | None = None,
        cov_diag: ArrayLike | None = None,
        *,
        validate_args: bool | None = None,
    ):
        own, vectors, batch_shape, event_shape = promote_vector(
            "MultivariateHyperbolic",
            dict(a=a, b=b),
            loc,
            skew,
            scale_tril,
            cov_factor,
            cov_diag,
        )
        (
            self.a,
            self.b,
        ) = own
        self.loc, self.skew, self.scale_tril, self.cov_factor, self.cov_diag = vectors
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law."""
        return 1.0, self.a, self.b

    @classmethod
    def from_alpha_beta(
        cls,
        alpha: ArrayLike,
        beta: ArrayLike,
        delta: ArrayLike,
        mu: ArrayLike = 0.0,
        structure: ArrayLike | None = None,
    ) -> "MultivariateHyperbolic":
        r"""The parameters of Barndorff-Nielsen: $\beta^T\Delta\beta < \alpha^2$.

        $a = \alpha^2 - \beta^T\Delta\beta$, $b = \delta^2$,
        $\gamma = \Delta\beta$ and $S S^T = \Delta$, the `structure` matrix, which is
        the unit matrix unless given. With determinant 1 the parameters are unique.
        Source: Blæsild and Jensen (1981), Statistical Distributions in Scientific
        Work 4, 45-66.
        """
        a, b, vectors = alpha_beta_vectors(cls.__name__, alpha, beta, delta, structure)
        return cls(a, b, mu, **vectors)

    @classmethod
    def from_alpha_bar(
        cls,
        alpha_bar: ArrayLike,
        loc: ArrayLike = 0.0,
        skew: ArrayLike = 0.0,
        scale_tril: ArrayLike | None = None,
        cov_factor: ArrayLike | None = None,
        cov_diag: ArrayLike | None = None,
    ) -> "MultivariateHyperbolic":
        r"""The identified parameters: E[w] = 1 and $\bar\alpha = \sqrt{ab}$.

        $a = \bar\alpha R$ and $b = \bar\alpha / R$ with
        $R = K_2(\bar\alpha)/K_1(\bar\alpha)$; the mean is loc + skew.
        Source: McNeil, Frey, Embrechts (2015), section 6.2.3; R's `ghyp`.
        """
        a, b = alpha_bar_rates(cls.__name__, 1.0, alpha_bar)
        return cls(a, b, loc, skew, scale_tril, cov_factor, cov_diag)
