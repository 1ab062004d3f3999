r"""Multivariate normal variance-mean mixtures: what their laws share.

$x = \mu + \gamma w + \sqrt{w}\,S n$ with one GIG variable w for all coordinates. The
density is that of `_normal_mixture` with $z = S^{-1}(x - \mu)$, $t = S^{-1}\gamma$.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.batch_util import promote_batch_shape
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key

from . import _gig_moments as moments
from ._closed_moments import Moments, cumulants, times
from ._generalized_inverse_gaussian import GeneralizedInverseGaussian
from ._gig_normalizer import Order, is_proper
from ._gig_sampler import sample_log
from ._joint_parameters import AbstractJointParameters
from ._law import as_float
from ._mixture_density import Inner, mixture_log_prob
from ._mixture_entropy import entropy
from ._normal_mixture import AbstractNormalMixture

if TYPE_CHECKING:
    from ._fitting._result import LawFit


class AbstractMultivariateNormalMixture(AbstractJointParameters):
    """Multivariate normal variance-mean mixture with a GIG mixing law."""

    support = constraints.real_vector  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    has_edges = True
    # The law of the same family in one dimension.
    univariate: type[AbstractNormalMixture]
    loc: Array
    skew: Array
    scale_tril: Array | None
    cov_factor: Array | None
    cov_diag: Array | None

    def get_args(self) -> dict[str, Array]:
        """The parameters that were given."""
        args = {k: self.__dict__.get(k) for k in self.arg_constraints}
        return {k: x for k, x in args.items() if x is not None}

    @property
    def has_rsample(self) -> bool:
        """True: draws are differentiable in every parameter."""
        return True

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
            x: Data, of shape (n, d).
            weights: How often each row counts, of shape (n,); 1 each if None.
            fix: Parameters that are given, by name, such as `{"p": -0.5}`.
            symmetric: Whether the skew is 0.
            method: "em".
            options: Settings of `BatchEM`, such as `tol`.

        Raises: ValueError, for data that no fit can use, with what to do.
        """
        from ._fitting._entry import fit_mixture

        return fit_mixture(cls, x, weights, fix, symmetric, method, options)

    @classmethod
    def standardized(
        cls,
        mean: ArrayLike,
        covariance_tril: ArrayLike,
        *,
        tilt: ArrayLike = 0.0,
        **mixing: Any,
    ) -> "AbstractMultivariateNormalMixture":
        r"""The law with this mean and covariance $C C^T$.

        With $t = S^{-1}\gamma$ (`tilt`) and L the Cholesky factor of
        $E w\,I + Var\,w\,t t^T$: $S = C L^{-1}$, $\mu = mean - S t\,E w$.

        Args:
            mean: Of shape (..., d).
            covariance_tril: $C$, the lower Cholesky factor of the covariance.
            tilt: Of shape (..., d), or a number for all coordinates.
            **mixing: Parameters of the mixing law, such as `a` and `b`.
        """
        owner = f"{cls.__name__}.standardized"
        first, two = cls.univariate(**mixing)._mixing_spread()
        given = dict(mean=mean, covariance_tril=covariance_tril, tilt=tilt)
        mean, outer, tilt = (as_float(owner, k, x) for k, x in given.items())
        d = outer.shape[-1]
        tilt = jnp.broadcast_to(tilt, (*tilt.shape[:-1], d))
        eye = jnp.eye(d, dtype=outer.dtype)
        product = tilt[..., :, None] * tilt[..., None, :]
        inner = first[..., None, None] * eye + times(product, two[..., None, None])
        lower = jnp.linalg.cholesky(inner)
        shape = jnp.broadcast_shapes(outer.shape, lower.shape)
        # S L = C, transposed.
        tril = solve_triangular(
            jnp.broadcast_to(jnp.swapaxes(lower, -1, -2), shape),
            jnp.broadcast_to(jnp.swapaxes(outer, -1, -2), shape),
        )
        tril = jnp.tril(jnp.swapaxes(tril, -1, -2))
        skew = jnp.squeeze(tril @ tilt[..., None], -1)
        loc = mean - times(skew, first[..., None])
        return cls(**mixing, loc=loc, skew=skew, scale_tril=tril)

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law; they broadcast to the batch shape."""
        raise NotImplementedError

    def _vectors(self) -> tuple[Array, Array, Array]:
        tril = self.scale_tril
        if tril is None:
            tril = jnp.linalg.cholesky(self.covariance_scale)
        return self.loc, self.skew, tril

    @classmethod
    def _from_vectors(
        cls, own: dict[str, Array], loc: Array, skew: Array, scale_tril: Array
    ) -> "AbstractMultivariateNormalMixture":
        return cls(**own, loc=loc, skew=skew, scale_tril=scale_tril)

    @classmethod
    def _own_from_mixing(cls, p: Array, a: Array, b: Array) -> dict[str, Array]:
        return cls.univariate._own_from_mixing(p, a, b)

    @classmethod
    def _own_from_expectation(cls, eta: Array) -> dict[str, Array]:
        return cls.univariate._own_from_expectation(eta)

    def mixing_law(self) -> GeneralizedInverseGaussian:
        """The law of w."""
        return GeneralizedInverseGaussian(*self._mixing_full(), validate_args=False)

    def _mixing_full(self) -> tuple[Array, Array, Array]:
        p, a, b = (
            jnp.broadcast_to(jnp.asarray(x, self.loc.dtype), self.batch_shape)
            for x in self.mixing()
        )
        return p, a, b

    def _mixing_moments(self) -> Moments:
        """Mean and second to fourth central moments of w."""
        return moments.central_moments(*self._mixing_full())

    def _mixing_spread(self) -> tuple[Array, Array]:
        """Mean and variance of w, which cost less than all four moments."""
        return moments.mean_and_variance(*self._mixing_full())

    @property
    def covariance_scale(self) -> Array:
        """S S^T, the covariance of x given w = 1."""
        if self.scale_tril is not None:
            return self.scale_tril @ jnp.swapaxes(self.scale_tril, -1, -2)
        assert self.cov_factor is not None
        assert self.cov_diag is not None
        outer = self.cov_factor @ jnp.swapaxes(self.cov_factor, -1, -2)
        return outer + self.cov_diag[..., None] * jnp.eye(
            self.event_shape[0], dtype=outer.dtype
        )

    def _whiten(self, x: Array) -> tuple[Array, Array]:
        """S^-1 of x and of skew; any S with the right S S^T serves."""
        shape = jnp.broadcast_shapes(x.shape, self.batch_shape + self.event_shape)
        x, skew = jnp.broadcast_to(x, shape), jnp.broadcast_to(self.skew, shape)
        both = jnp.stack([x, skew], axis=-1)
        if self.scale_tril is None:
            return self._whiten_factor(both)
        d = self.event_shape[0]
        tril = jnp.broadcast_to(self.scale_tril, (*shape[:-1], d, d))
        white = solve_triangular(tril, both, lower=True)
        return white[..., 0], white[..., 1]

    def _capacitance(self) -> tuple[Array, Array]:
        """Cholesky factor of I + F^T D^-1 F, and D^-1/2 F."""
        assert self.cov_factor is not None
        assert self.cov_diag is not None
        factor = self.cov_factor / jnp.sqrt(self.cov_diag)[..., None]
        gram = jnp.swapaxes(factor, -1, -2) @ factor
        eye = jnp.eye(gram.shape[-1], dtype=gram.dtype)
        return jnp.linalg.cholesky(eye + gram), factor

    def _whiten_factor(self, both: Array) -> tuple[Array, Array]:
        r"""Vectors of d + r numbers with the inner products of $(FF^T + D)^{-1}$.

        The residual of the regression of $(D^{-1/2}x, 0)$ on the columns of
        $(D^{-1/2}F, I)$: Woodbury's identity without its difference.
        """
        assert self.cov_diag is not None
        cholesky, factor = self._capacitance()
        half = both / jnp.sqrt(self.cov_diag)[..., None]
        weights = jnp.swapaxes(factor, -1, -2) @ half
        shape = (*weights.shape[:-2], *cholesky.shape[-2:])
        cholesky = jnp.broadcast_to(cholesky, shape)
        inner = solve_triangular(cholesky, weights, lower=True)
        coefficient = solve_triangular(cholesky, inner, lower=True, trans=1)
        white = jnp.concatenate([half - factor @ coefficient, -coefficient], axis=-2)
        return white[..., 0], white[..., 1]

    def _half_log_det(self) -> Array:
        if self.scale_tril is not None:
            diagonal = jnp.diagonal(self.scale_tril, axis1=-2, axis2=-1)
            return jnp.sum(jnp.log(diagonal), axis=-1)
        assert self.cov_diag is not None
        cholesky, _ = self._capacitance()
        diagonal = jnp.diagonal(cholesky, axis1=-2, axis2=-1)
        return 0.5 * jnp.sum(jnp.log(self.cov_diag), -1) + jnp.sum(
            jnp.log(diagonal), -1
        )

    def _inner(self, value: ArrayLike) -> Inner:
        x = as_float(type(self).__name__, "value", value)
        z, t = self._whiten(jnp.asarray(x, self.loc.dtype) - self.loc)
        tilt2, z2, cross = (jnp.sum(u * w, -1) for u, w in ((t, t), (z, z), (t, z)))
        along = cross / jnp.where(tilt2 > 0, tilt2, 1.0)
        rest = z - along[..., None] * t
        return Inner(tilt2, z2, cross, tilt2 * jnp.sum(rest * rest, -1))

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log density, with one Bessel function for each datum."""
        p, a, b = self.mixing()
        inner = self._inner(value)
        # Where squares overflow the log density is below any that counts.
        is_far = jnp.isinf(inner.z2)
        inner = Inner(*(jnp.where(is_far, 0.0, x) for x in inner))
        density = mixture_log_prob(
            p, a, b, inner, self.event_shape[0], edges=self.has_edges
        )
        density = jnp.where(is_far, -jnp.inf, density)
        density = density - self._half_log_det()
        return jnp.where(is_proper(p, a, b), density, jnp.nan)

    def conditional_mixing(self, value: ArrayLike) -> GeneralizedInverseGaussian:
        """The law of w given x: GIG(p - d/2, a + |t|^2, b + |z|^2)."""
        p, a, b = self._mixing_full()
        tilt2, z2, _, _ = self._inner(value)
        return GeneralizedInverseGaussian(
            p - 0.5 * self.event_shape[0], a + tilt2, b + z2, validate_args=False
        )

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws with the shape `sample_shape + batch_shape + (d,)`, differentiable."""
        assert key is not None
        assert is_prng_key(key)
        key_w, key_n, key_f = jax.random.split(key, 3)
        shape = sample_shape + self.batch_shape
        p, a, b = (jnp.broadcast_to(x, shape) for x in self._mixing_full())
        v = sample_log(key_w, p, a, b)[..., None]
        n = jax.random.normal(key_n, shape + self.event_shape, self.loc.dtype)
        if self.scale_tril is not None:
            noise = jnp.squeeze(self.scale_tril @ n[..., None], -1)
        else:
            assert self.cov_factor is not None
            assert self.cov_diag is not None
            rank = self.cov_factor.shape[-1:]
            f = jax.random.normal(key_f, shape + rank, self.loc.dtype)
            noise = jnp.sqrt(self.cov_diag) * n
            noise = noise + jnp.squeeze(self.cov_factor @ f[..., None], -1)
        return self.loc + self.skew * jnp.exp(v) + jnp.exp(0.5 * v) * noise

    @property
    def mean(self) -> Array:
        """Loc + skew E[w]."""
        first = self._mixing_spread()[0][..., None]
        shape = self.batch_shape + self.event_shape
        moved = jnp.where(self.skew == 0, 0.0, self.skew * first)
        return jnp.broadcast_to(self.loc + moved, shape)

    @property
    def covariance_matrix(self) -> Array:
        """S S^T E[w] + skew skew^T Var[w]."""
        first, two = self._mixing_spread()
        outer = self.skew[..., :, None] * self.skew[..., None, :]
        spread = jnp.where(outer == 0, 0.0, outer * two[..., None, None])
        return self.covariance_scale * first[..., None, None] + spread

    @property
    def variance(self) -> Array:
        """The diagonal of `covariance_matrix`."""
        diagonal = jnp.diagonal(self.covariance_matrix, axis1=-2, axis2=-1)
        return jnp.broadcast_to(diagonal, self.batch_shape + self.event_shape)

    def _cumulants(self) -> Moments:
        """Of each coordinate by itself."""
        square = jnp.diagonal(self.covariance_scale, axis1=-2, axis2=-1)
        first, two, three, four = (x[..., None] for x in self._mixing_moments())
        return cumulants(self.skew, square, (first, two, three, four))

    @property
    def skewness(self) -> Array:
        """Of each coordinate: third central moment over the cube of the sd."""
        _, two, three, _ = self._cumulants()
        shape = self.batch_shape + self.event_shape
        return jnp.broadcast_to(three / two**1.5, shape)

    @property
    def kurtosis(self) -> Array:
        """Of each coordinate: excess kurtosis, 0 for a normal law."""
        _, two, _, four = self._cumulants()
        return jnp.broadcast_to(four / (two * two), self.batch_shape + self.event_shape)

    def entropy(self) -> Array:
        """Differential entropy, in nats, to 1e-9 in float64; differentiable.

        One integral, over the radius, in any number of dimensions.
        """
        p, a, b = self.mixing()
        tilt2 = self._inner(self.loc)[0]
        of_z = entropy(p, a, b, tilt2, self.event_shape[0])
        return jnp.broadcast_to(of_z + self._half_log_det(), self.batch_shape)

    def project(self, weights: ArrayLike) -> AbstractNormalMixture:
        """The law of `weights @ x`, which is of the same family in one dimension.

        It has the mixing law of x, `weights @ loc`, `weights @ skew`, and the scale
        |S^T weights|.

        Args:
            weights: Of shape (..., d); not all 0, since the scale would be.

        Raises: ValueError, if the last axis of `weights` is not d long.
        Source: McNeil, Frey and Embrechts (2015), proposition 6.13.
        """
        owner = f"{type(self).__name__}.project"
        weights = jnp.asarray(as_float(owner, "weights", weights), self.loc.dtype)
        if weights.shape[-1:] != self.event_shape:
            raise ValueError(
                f"`{owner}` got `weights` of shape {weights.shape}: the last axis must "
                f"have {self.event_shape[0]} entries, one for each coordinate."
            )
        if self.scale_tril is not None:
            variance = jnp.sum(jnp.square(_apply(self.scale_tril, weights)), axis=-1)
        else:
            assert self.cov_factor is not None
            assert self.cov_diag is not None
            common = jnp.square(_apply(self.cov_factor, weights))
            own = self.cov_diag * jnp.square(weights)
            variance = jnp.sum(common, axis=-1) + jnp.sum(own, axis=-1)
        return self.univariate(
            **self._own(),
            loc=jnp.sum(weights * self.loc, axis=-1),
            scale=jnp.sqrt(variance),
            skew=jnp.sum(weights * self.skew, axis=-1),
            validate_args=False,
        )

    def marginal(
        self, index: int | Sequence[int]
    ) -> "AbstractNormalMixture | AbstractMultivariateNormalMixture":
        """The law of one coordinate, or of several, in the order that is given.

        Args:
            index: An int gives the univariate law, a sequence a multivariate one. An
                index from the end is negative.

        Raises: IndexError, for an index outside the coordinates.
        """
        d = self.event_shape[0]
        chosen = [index] if isinstance(index, int) else [int(i) for i in index]
        if not chosen or any(not -d <= i < d for i in chosen):
            raise IndexError(
                f"`{type(self).__name__}.marginal({index})`: there are {d} "
                f"coordinates, 0 to {d - 1}."
            )
        if isinstance(index, int):
            return self.project(jnp.eye(d, dtype=self.loc.dtype)[index])
        rows = np.asarray(chosen)
        scale: dict[str, Array] = {}
        if self.scale_tril is not None:
            # The rows of S have the right inner products, and QR a triangle of them.
            part = jnp.swapaxes(self.scale_tril[..., rows, :], -1, -2)
            upper = jnp.linalg.qr(part, mode="r")
            diagonal = jnp.diagonal(upper, axis1=-2, axis2=-1)
            signs = jnp.where(diagonal < 0, -1.0, 1.0)[..., None, :]
            scale["scale_tril"] = jnp.swapaxes(upper, -1, -2) * signs
        else:
            assert self.cov_factor is not None
            assert self.cov_diag is not None
            scale["cov_factor"] = self.cov_factor[..., rows, :]
            scale["cov_diag"] = self.cov_diag[..., rows]
        vectors = {"loc": self.loc[..., rows], "skew": self.skew[..., rows]}
        return type(self)(**self._own(), **vectors, **scale, validate_args=False)

    def _own(self) -> dict[str, Array]:
        """The parameters of the mixing law, by name."""
        shared = ("loc", "scale", "skew")
        names = self.univariate.arg_constraints
        return {k: getattr(self, k) for k in names if k not in shared}


def _apply(matrix: Array, weights: Array) -> Array:
    """`weights @ matrix`, batched."""
    return jnp.squeeze(weights[..., None, :] @ matrix, -2)


@promote_batch_shape.register  # pyright: ignore[reportArgumentType, reportCallIssue]
def _promote(law: AbstractMultivariateNormalMixture):
    """The law after `vmap`, its new axes counted; the scale not given is left out."""
    shapes = [law.batch_shape]
    for name, x in law.get_args().items():
        rank = law.arg_constraints[name].event_dim
        shapes.append(x.shape[: max(0, x.ndim - rank)])
    promoted = copy.copy(law)
    promoted._batch_shape = jnp.broadcast_shapes(*shapes)
    return promoted
