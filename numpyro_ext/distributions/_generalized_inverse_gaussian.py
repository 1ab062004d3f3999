"""The generalized inverse Gaussian law and its best known member."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample
from numpyro.util import is_prng_key, not_jax_tracer

from . import _gig_moments as moments
from ._exponential_family import AbstractExponentialFamily, columns
from ._gig_density import gig_log_prob
from ._gig_expectation import gig_natural, log_partition_gig
from ._gig_normalizer import is_proper, log_mean, mean_log
from ._gig_quantile import log_quantile
from ._gig_sampler import sample_log
from ._gig_tail import log_tails
from ._kernel import log_mode
from ._law import AbstractLaw, as_float, promote

if TYPE_CHECKING:
    from ._fitting._result import LawFit


class AbstractGIG(AbstractLaw):
    """A law of x > 0 that is GIG(p, a, b) for the three numbers of `gig()`."""

    support = constraints.positive  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]

    def gig(self) -> tuple[Array, Array, Array]:
        """The order p and the rates a and b; they broadcast to the batch shape."""
        raise NotImplementedError

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        fix: Mapping[str, Any] | None = None,
        method: str = "em",
    ) -> "LawFit":
        """The law of maximum likelihood, as a `LawFit` with a verdict.

        Args:
            x: Positive data, of shape (n,).
            weights: How often each datum counts, of shape (n,); 1 each if None.
            fix: Nothing can be fixed; here for the sake of one interface.
            method: The likelihood has one maximum, which both "em" and "newton" find.

        Raises: ValueError, for data that no fit can use, with what to do.
        """
        from ._fitting._positive import fit_positive

        return fit_positive(cls, x, weights, fix, method)

    def _full(self, *values: ArrayLike) -> list[Array]:
        """The values and (p, a, b), broadcast to one shape."""
        p, a, b = self.gig()
        arrays = [
            jnp.asarray(as_float(type(self).__name__, "value", v), a.dtype)
            for v in values
        ]
        arrays += [jnp.asarray(x, a.dtype) for x in (p, a, b)]
        shape = jnp.broadcast_shapes(self.batch_shape, *(x.shape for x in arrays))
        return [jnp.broadcast_to(x, shape) for x in arrays]

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws with the shape `sample_shape + batch_shape`, differentiable."""
        assert is_prng_key(key)
        shape = sample_shape + self.batch_shape
        p, a, b = (jnp.broadcast_to(x, shape) for x in self._full())
        return jnp.exp(sample_log(key, p, a, b))

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log density; -inf outside x > 0, NaN at NaN and at forbidden parameters."""
        p, a, b = self.gig()
        x = jnp.asarray(as_float(type(self).__name__, "value", value), a.dtype)
        is_inside = x > 0
        inside = gig_log_prob(p, a, b, jnp.where(is_inside, x, 1.0))
        out = jnp.where(is_inside, inside, jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf))
        return jnp.where(is_proper(p, a, b), out, jnp.nan)

    def _tails(self, value: ArrayLike) -> tuple[Array, Array]:
        x, p, a, b = self._full(value)
        is_inside = x > 0
        v = jnp.log(jnp.where(is_inside, x, 1.0))
        lower, upper = log_tails(p, a, b, v)
        lower = jnp.where(is_inside, lower, jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf))
        upper = jnp.where(is_inside, upper, jnp.where(jnp.isnan(x), jnp.nan, 0.0))
        return lower, upper

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
        q, p, a, b = self._full(q)
        return jnp.exp(log_quantile(p, a, b, q))

    def _moments(self) -> tuple[Array, Array, Array, Array]:
        return moments.central_moments(*self._full())

    @property
    def mean(self) -> Array:
        """E[x]; infinite at a = 0 with p >= -1."""
        return moments.mean(*self._full())

    @property
    def variance(self) -> Array:
        """E[(x - mean)^2], to 1e-12."""
        return moments.mean_and_variance(*self._full())[1]

    @property
    def skewness(self) -> Array:
        """Third central moment over the cube of the standard deviation."""
        _, two, three, _ = self._moments()
        return three / two**1.5

    @property
    def kurtosis(self) -> Array:
        """Excess kurtosis: 0 for a normal law."""
        _, two, _, four = self._moments()
        return four / two**2 - 3.0

    @property
    def mode(self) -> Array:
        """Where the density of x is largest."""
        p, a, b = self._full()
        # The mode of log x under one order less.
        return jnp.where((b == 0) & (p <= 1), 0.0, jnp.exp(log_mode(p - 1.0, a, b)))

    def entropy(self) -> Array:
        """Differential entropy, in nats."""
        return moments.entropy(*self._full())


class GeneralizedInverseGaussian(AbstractExponentialFamily, AbstractGIG):
    r"""Generalized inverse Gaussian law of $x > 0$; gamma laws are its edges.

    $$p(x) = \frac{(a/b)^{p/2}}{2 K_p(\sqrt{ab})}
      x^{p-1} \exp\left(-\tfrac12 (a x + b / x)\right).$$
    $1/x$ is GIG(-p, b, a) and $c x$ is GIG(p, a/c, bc). b = 0 is Gamma(p, a/2),
    a = 0 is InverseGamma(-p, b/2). scipy's `geninvgauss(p, omega, scale=s)` has
    a = omega / s and b = omega s; R's and normix's (lambda, chi, psi) are (p, b, a).

    An exponential family with $T = (\log x, x, 1/x)$, $\theta = (p - 1, -a/2, -b/2)$
    and base measure 1.

    Args:
        p: Order, any real number.
        a: $a \ge 0$, rate of the upper tail, in 1 / units of x; 0 needs p < 0.
        b: $b \ge 0$, rate at the origin, in units of x; 0 needs p > 0.

    Shapes: the three broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if concrete parameters give no density; TypeError for None and
        complex numbers.
    Source: Jørgensen (1982); sampler of Devroye (2014), Stat. Comput. 24, 239-246.
    """

    arg_constraints = {
        "p": constraints.real,
        "a": constraints.nonnegative,
        "b": constraints.nonnegative,
    }
    reparametrized_params = ["p", "a", "b"]
    p: Array
    a: Array
    b: Array

    def __init__(
        self,
        p: ArrayLike,
        a: ArrayLike,
        b: ArrayLike,
        *,
        validate_args: bool | None = None,
    ):
        params, batch_shape = promote("GeneralizedInverseGaussian", p=p, a=a, b=b)
        self.p, self.a, self.b = params
        super().__init__(batch_shape, validate_args=validate_args)

    def gig(self) -> tuple[Array, Array, Array]:
        """The parameters themselves."""
        return self.p, self.a, self.b

    def _validate_jointly(self) -> None:
        check_order(type(self).__name__, self.p, self.a, self.b)

    def _refuse_edges(self) -> None:
        refuse_edges(type(self).__name__, self.a, self.b)

    log_partition = staticmethod(log_partition_gig)

    @property
    def expectation_params(self) -> Array:
        """(E[log x], E[x], E[1/x]), of shape `batch_shape + (3,)`; some may be inf."""
        p, a, b = self._full()
        parts = mean_log(p, a, b), log_mean(p, a, b), log_mean(-p, b, a)
        return jnp.stack([parts[0], jnp.exp(parts[1]), jnp.exp(parts[2])], axis=-1)

    @staticmethod
    def sufficient_statistics(value: ArrayLike) -> Array:
        """(log x, x, 1/x)."""
        x = as_float("GeneralizedInverseGaussian", "value", value)
        return jnp.stack([jnp.log(x), x, 1.0 / x], axis=-1)

    @property
    def natural_params(self) -> Array:
        """(p - 1, -a/2, -b/2)."""
        p, a, b = self._full()
        return jnp.stack([p - 1.0, -0.5 * a, -0.5 * b], axis=-1)

    @classmethod
    def from_natural(cls, theta: ArrayLike) -> "GeneralizedInverseGaussian":
        """The member with theta = (p - 1, -a/2, -b/2)."""
        order, by_x, by_inverse = columns(cls.__name__, "theta", theta, 3)
        return cls(order + 1.0, -2.0 * by_x, -2.0 * by_inverse)

    @classmethod
    def from_expectation(cls, eta: ArrayLike) -> "GeneralizedInverseGaussian":
        r"""The member with these E[log x], E[x] and E[1/x], by Newton's method.

        Expectations beyond the gamma edges (where no member has all three) give the
        gamma law that matches E[log x] and E[x], or the inverse gamma law that matches
        E[log x] and E[1/x]: there the likelihood is largest.

        Raises:
            ValueError: If a concrete eta is that of no law: it needs
                -log E[1/x] < E[log x] < log E[x]. NaN, if it is traced.

        Accuracy: the expectations of the result are eta to 2e-14 in float64. The
        parameters follow from eta as well as its digits allow: where a law is
        concentrated, the order hangs on the difference of E[log x] from
        log E[x], and loses about the square of $\sqrt{p^2 + ab}$ in relative accuracy.
        """
        eta = jnp.stack(columns(cls.__name__, "eta", eta, 3), axis=-1)
        theta = gig_natural(eta)
        is_bad = jnp.any(jnp.isnan(theta), axis=-1)
        if not_jax_tracer(is_bad) and bool(jnp.any(is_bad)):
            raise ValueError(
                f"`{cls.__name__}.from_expectation` got `eta` = "
                f"{eta[is_bad].ravel()[:3]}, expectations of log x, x and 1/x of no "
                "law: they need -log E[1/x] < E[log x] < log E[x]. Data without spread "
                "have none."
            )
        return cls.from_natural(theta)


def check_order(owner: str, p: Array, a: Array, b: Array) -> None:
    """Raises ValueError for concrete parameters whose kernel has no integral."""
    if any(not not_jax_tracer(x) for x in (p, a, b)):
        return
    shape = jnp.broadcast_shapes(p.shape, a.shape, b.shape)
    p, a, b = (jnp.broadcast_to(x, shape).ravel() for x in (p, a, b))
    for cause, is_bad in (
        ("`a` and `b` are both zero", (a == 0) & (b == 0)),
        ("needs p < 0 when a = 0", (a == 0) & (p >= 0)),
        ("needs p > 0 when b = 0", (b == 0) & (p <= 0)),
    ):
        if bool(jnp.any(is_bad)):
            i = int(jnp.argmax(is_bad))
            raise ValueError(
                f"`{owner}(p={p[i]}, a={a[i]}, b={b[i]})` has no density: {cause}."
            )


def refuse_edges(owner: str, a: Array, b: Array) -> None:
    """Raises ValueError for a concrete a = 0 or b = 0: the Fisher information."""
    for name, rate, other in (
        ("b", b, "`Gamma(p, a / 2)`"),
        ("a", a, "`InverseGamma(-p, b / 2)`"),
    ):
        if not_jax_tracer(rate) and bool(jnp.any(rate == 0)):
            raise ValueError(
                f"`{owner}.fisher_information` is not defined at {name} = 0, the edge "
                f"of the family, where `{name}` cannot move both ways. The mixing law "
                f"is {other} there: take the information of that family."
            )


class InverseGaussian(AbstractExponentialFamily, AbstractGIG):
    r"""Inverse Gaussian (Wald) law: first passage times of Brownian motion with drift.

    $$p(x) = \sqrt{\frac{\lambda}{2\pi x^3}}
      \exp\left(-\frac{\lambda (x - m)^2}{2 m^2 x}\right),$$
    which is GIG(-1/2, lambda / m^2, lambda). scipy's
    `invgauss(m / lambda, scale=lambda)`.

    An exponential family with $T = (x, 1/x)$, $\theta = (-\lambda/(2m^2), -\lambda/2)$
    and base measure $x^{-3/2}$.

    Args:
        loc: $m > 0$, the mean, in units of x.
        concentration: $\lambda > 0$, in units of x; the variance is $m^3 / \lambda$.

    Shapes: the two broadcast to `batch_shape`; `event_shape` is `()`.
    Raises: ValueError, if a concrete parameter is not positive and finite.
    Source: Chhikara and Folks (1989), The Inverse Gaussian Distribution.
    """

    arg_constraints = {
        "loc": constraints.positive,
        "concentration": constraints.positive,
    }
    reparametrized_params = ["loc", "concentration"]
    loc: Array
    concentration: Array

    def __init__(
        self,
        loc: ArrayLike = 1.0,
        concentration: ArrayLike = 1.0,
        *,
        validate_args: bool | None = None,
    ):
        params, batch_shape = promote(
            "InverseGaussian", loc=loc, concentration=concentration
        )
        self.loc, self.concentration = params
        super().__init__(batch_shape, validate_args=validate_args)

    def gig(self) -> tuple[Array, Array, Array]:
        """(-1/2, concentration / loc^2, concentration)."""
        a = self.concentration / jnp.square(self.loc)
        return jnp.full_like(a, -0.5), a, self.concentration

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list | None = None) -> Array:
        """Log density, in closed form."""
        x = jnp.asarray(value, self.loc.dtype)
        is_inside = x > 0
        safe = jnp.where(is_inside, x, 1.0)
        z = (safe - self.loc) / self.loc
        inside = 0.5 * (
            jnp.log(self.concentration / (2.0 * jnp.pi))
            - 3.0 * jnp.log(safe)
            - self.concentration * z * z / safe
        )
        return jnp.where(is_inside, inside, jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf))

    @property
    def mean(self) -> Array:
        """The parameter `loc`."""
        return jnp.broadcast_to(self.loc, self.batch_shape)

    def _moments(self) -> tuple[Array, Array, Array, Array]:
        ratio = jnp.broadcast_to(self.loc / self.concentration, self.batch_shape)
        two = ratio * jnp.square(self.loc)
        sd = jnp.sqrt(two)
        return (
            self.mean,
            two,
            3.0 * jnp.sqrt(ratio) * sd**3,
            (15.0 * ratio + 3.0) * two**2,
        )

    @property
    def variance(self) -> Array:
        """Cube of `loc` over `concentration`."""
        return self._moments()[1]

    @staticmethod
    def log_partition(theta: Array) -> Array:
        r"""$\tfrac12\log(-\pi/\theta_2) - 2\sqrt{\theta_1\theta_2}$."""
        by_x, by_inverse = theta[..., 0], theta[..., 1]
        root = jnp.sqrt(-by_x) * jnp.sqrt(-by_inverse)
        return 0.5 * jnp.log(-jnp.pi / by_inverse) - 2.0 * root

    @staticmethod
    def sufficient_statistics(value: ArrayLike) -> Array:
        """(x, 1/x)."""
        x = as_float("InverseGaussian", "value", value)
        return jnp.stack([x, 1.0 / x], axis=-1)

    @staticmethod
    def log_base_measure(value: ArrayLike) -> Array:
        """-3/2 log x."""
        return -1.5 * jnp.log(as_float("InverseGaussian", "value", value))

    @property
    def natural_params(self) -> Array:
        """(-concentration / (2 loc^2), -concentration / 2)."""
        _, a, b = self._full()
        return jnp.stack([-0.5 * a, -0.5 * b], axis=-1)

    @classmethod
    def from_natural(cls, theta: ArrayLike) -> "InverseGaussian":
        """The member with these natural parameters."""
        by_x, by_inverse = columns(cls.__name__, "theta", theta, 2)
        return cls(jnp.sqrt(by_inverse / by_x), -2.0 * by_inverse)

    @classmethod
    def from_expectation(cls, eta: ArrayLike) -> "InverseGaussian":
        """The member with these E[x] and E[1/x] = 1 / loc + 1 / concentration."""
        mean, inverse = columns(cls.__name__, "eta", eta, 2)
        return cls(mean, mean / (mean * inverse - 1.0))
