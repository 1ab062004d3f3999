"""GeneralizedHyperbolic, in one dimension and in many."""

from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from ._generalized_inverse_gaussian import check_order
from ._gig_normalizer import Order
from ._law import promote
from ._multivariate_mixture import AbstractMultivariateNormalMixture
from ._normal_mixture import AbstractNormalMixture
from ._parametrizations import (
    alpha_bar_rates,
    alpha_beta_rates,
    alpha_beta_vectors,
)
from ._vectors import promote_vector


class GeneralizedHyperbolic(AbstractNormalMixture):
    r"""Normal law whose variance is generalized inverse Gaussian: tails and skew.

    $x = \mu + \gamma w + \sigma\sqrt{w}\,n$ with $w \sim \mathrm{GIG}(p, a, b)$. The
    four (a, b, scale, skew) have a free scale: (ca, b / c, scale sqrt(c), c skew) gives
    the same law. For priors use `from_alpha_bar`, which fixes E[w] = 1.

    Args:
        p: Order, any real number.
        a: $a \ge 0$; larger means lighter tails. 0 needs p < 0.
        b: $b \ge 0$; larger means closer to normal at the centre. 0 needs p > 0.
        loc: $\mu$, in units of x. It is the mean only without skew.
        scale: $\sigma > 0$, in units of x. The standard deviation of x given w = 1.
        skew: $\gamma$, in units of x; 0 is symmetric.

    Shapes: the parameters broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete parameter is outside its domain or not finite.
    Source: Barndorff-Nielsen (1977), Proc. R. Soc. A 353, 401-419; McNeil, Frey and
        Embrechts (2015), Quantitative Risk Management, section 6.2.
    """

    arg_constraints = {
        "p": constraints.real,
        "a": constraints.nonnegative,
        "b": constraints.nonnegative,
        "loc": constraints.real,
        "scale": constraints.positive,
        "skew": constraints.real,
    }
    reparametrized_params = [
        "p",
        "a",
        "b",
        "loc",
        "scale",
        "skew",
    ]
    has_edges = True
    p: Array
    a: Array
    b: Array

    def __init__(
        self,
        p: ArrayLike,
        a: ArrayLike,
        b: ArrayLike,
        loc: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        skew: ArrayLike = 0.0,
        *,
        validate_args: bool | None = None,
    ):
        params, batch_shape = promote(
            "GeneralizedHyperbolic", p=p, a=a, b=b, loc=loc, scale=scale, skew=skew
        )
        self.p, self.a, self.b, self.loc, self.scale, self.skew = params
        super().__init__(batch_shape, validate_args=validate_args)

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law."""
        return self.p, self.a, self.b

    @classmethod
    def from_alpha_beta(
        cls,
        lmbda: ArrayLike,
        alpha: ArrayLike,
        beta: ArrayLike,
        delta: ArrayLike,
        mu: ArrayLike = 0.0,
    ) -> "GeneralizedHyperbolic":
        r"""The parameters of Barndorff-Nielsen (1977): $|\beta| < \alpha$.

        p = lambda, $a = \alpha^2 - \beta^2$, $b = \delta^2$, scale 1, $\gamma = \beta$.
        scipy's `genhyperbolic(p, a, b, loc, scale)` has alpha = a / scale,
        beta = b / scale and delta = scale.
        """
        a, b, beta = alpha_beta_rates(cls.__name__, alpha, beta, delta)
        return cls(lmbda, a, b, mu, 1.0, beta)

    @classmethod
    def from_alpha_bar(
        cls,
        lmbda: ArrayLike,
        alpha_bar: ArrayLike,
        loc: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        skew: ArrayLike = 0.0,
    ) -> "GeneralizedHyperbolic":
        r"""The identified parameters: E[w] = 1 and $\bar\alpha = \sqrt{ab}$.

        $a = \bar\alpha R$ and $b = \bar\alpha / R$ with
        $R = K_{\lambda+1}(\bar\alpha)/K_\lambda(\bar\alpha)$; the mean is loc + skew.
        Source: McNeil, Frey, Embrechts (2015), section 6.2.3; R's `ghyp`.
        """
        a, b = alpha_bar_rates(cls.__name__, lmbda, alpha_bar)
        return cls(lmbda, a, b, loc, scale, skew)

    def _validate_jointly(self) -> None:
        check_order(type(self).__name__, self.p, self.a, self.b)


class MultivariateGeneralizedHyperbolic(AbstractMultivariateNormalMixture):
    r"""`GeneralizedHyperbolic` in d dimensions: one w for all coordinates of x.

    $x = \mu + \gamma w + \sqrt{w}\,S n$ with the mixing law of
    `GeneralizedHyperbolic`. An affine image of x has the same mixing law.

    Args:
        p: Order, any real number.
        a: $a \ge 0$; larger means lighter tails. 0 needs p < 0.
        b: $b \ge 0$; larger means closer to normal at the centre. 0 needs p > 0.
        loc: $\mu$, of shape (..., d).
        skew: $\gamma$, of shape (..., d).
        scale_tril: $S$, lower triangular with positive diagonal, of shape (..., d, d).
        cov_factor: $F$ of shape (..., d, r), instead of `scale_tril`:
            $S S^T = F F^T + \mathrm{diag}(D)$, at a cost linear in d.
        cov_diag: $D$, of shape (..., d), positive.

    Shapes: all but the event axes broadcast to `batch_shape`; `event_shape` is `(d,)`.
    Raises: ValueError, if a concrete parameter is outside its domain, or if
        shapes or the choice of scale do not fit.
    Source: Barndorff-Nielsen (1977), Proc. R. Soc. A 353, 401-419; McNeil, Frey and
        Embrechts (2015), Quantitative Risk Management, section 6.2.
    """

    univariate = GeneralizedHyperbolic
    arg_constraints = {
        "p": constraints.real,
        "a": constraints.nonnegative,
        "b": constraints.nonnegative,
        "loc": constraints.real_vector,
        "skew": constraints.real_vector,
        "scale_tril": constraints.lower_cholesky,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    reparametrized_params = [
        "p",
        "a",
        "b",
        "loc",
        "skew",
        "scale_tril",
        "cov_factor",
        "cov_diag",
    ]
    has_edges = True
    p: Array
    a: Array
    b: Array

    def __init__(
        self,
        p: ArrayLike,
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
            "MultivariateGeneralizedHyperbolic",
            dict(p=p, a=a, b=b),
            loc,
            skew,
            scale_tril,
            cov_factor,
            cov_diag,
        )
        (
            self.p,
            self.a,
            self.b,
        ) = own
        self.loc, self.skew, self.scale_tril, self.cov_factor, self.cov_diag = vectors
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law."""
        return self.p, self.a, self.b

    def _validate_jointly(self) -> None:
        check_order(type(self).__name__, self.p, self.a, self.b)

    @classmethod
    def from_alpha_beta(
        cls,
        lmbda: ArrayLike,
        alpha: ArrayLike,
        beta: ArrayLike,
        delta: ArrayLike,
        mu: ArrayLike = 0.0,
        structure: ArrayLike | None = None,
    ) -> "MultivariateGeneralizedHyperbolic":
        r"""The parameters of Barndorff-Nielsen: $\beta^T\Delta\beta < \alpha^2$.

        p = lambda, $a = \alpha^2 - \beta^T\Delta\beta$, $b = \delta^2$,
        $\gamma = \Delta\beta$ and $S S^T = \Delta$, the `structure` matrix, which is
        the unit matrix unless given. With determinant 1 the parameters are unique.
        Source: Blæsild and Jensen (1981), Statistical Distributions in Scientific
        Work 4, 45-66.
        """
        a, b, vectors = alpha_beta_vectors(cls.__name__, alpha, beta, delta, structure)
        return cls(lmbda, a, b, mu, **vectors)

    @classmethod
    def from_alpha_bar(
        cls,
        lmbda: ArrayLike,
        alpha_bar: ArrayLike,
        loc: ArrayLike = 0.0,
        skew: ArrayLike = 0.0,
        scale_tril: ArrayLike | None = None,
        cov_factor: ArrayLike | None = None,
        cov_diag: ArrayLike | None = None,
    ) -> "MultivariateGeneralizedHyperbolic":
        r"""The identified parameters: E[w] = 1 and $\bar\alpha = \sqrt{ab}$.

        $a = \bar\alpha R$ and $b = \bar\alpha / R$ with
        $R = K_{\lambda+1}(\bar\alpha)/K_\lambda(\bar\alpha)$; the mean is loc + skew.
        Source: McNeil, Frey, Embrechts (2015), section 6.2.3; R's `ghyp`.
        """
        a, b = alpha_bar_rates(cls.__name__, lmbda, alpha_bar)
        return cls(lmbda, a, b, loc, skew, scale_tril, cov_factor, cov_diag)
