"""The mixtures by the parameters of the joint law of x and its mixing variable."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float
from numpyro.util import not_jax_tracer

from ._gig_expectation import gig_natural
from ._gig_normalizer import Order
from ._joint import JointNormalMixture, dimension, normal_part
from ._law import AbstractLaw, as_float


class AbstractJointParameters(AbstractLaw):
    """The law of x alone is no exponential family; that of (x, w) is."""

    def mixing(self) -> tuple[Order, Array, Array]:
        """(p, a, b) of the mixing law; they broadcast to the batch shape."""
        raise NotImplementedError

    def _vectors(self) -> tuple[Array, Array, Array]:
        """Loc, skew and the Cholesky factor of the scale, with their event axes."""
        raise NotImplementedError

    @classmethod
    def _from_vectors(
        cls, own: dict[str, Array], loc: Array, skew: Array, scale_tril: Array
    ) -> "AbstractJointParameters":
        raise NotImplementedError

    @classmethod
    def _own_from_mixing(cls, p: Array, a: Array, b: Array) -> dict[str, Array]:
        """The law's own parameters for a mixing law; refuses one that it has not."""
        return {"p": p, "a": a, "b": b}

    @classmethod
    def _own_from_expectation(cls, eta: Array) -> dict[str, Array]:
        """The law's own parameters of most likelihood for E[log w, w, 1/w]."""
        theta = gig_natural(eta)
        return {
            "p": theta[..., 0] + 1.0,
            "a": -2.0 * theta[..., 1],
            "b": -2.0 * theta[..., 2],
        }

    def joint_law(self) -> JointNormalMixture:
        """The law of (x, w), an exponential family.

        A scale of low rank is written out in full: its natural parameters are those
        of the inverse matrix, which has no zeros to save.
        """
        p, a, b = (jnp.asarray(x, self._vectors()[0].dtype) for x in self.mixing())
        return JointNormalMixture(p, a, b, *self._vectors(), validate_args=False)

    @property
    def natural_params(self) -> Float[Array, "*batch k"]:
        """Theta of `joint_law()`, in the order of `JointNormalMixture`."""
        return self.joint_law().natural_params

    @property
    def expectation_params(self) -> Float[Array, "*batch k"]:
        """E[T(x, w)] of `joint_law()`, in the order of `JointNormalMixture`."""
        return self.joint_law().expectation_params

    @classmethod
    def from_natural(
        cls, theta: Float[ArrayLike, "*batch k"]
    ) -> "AbstractJointParameters":
        """The law with these natural parameters of (x, w).

        Raises:
            ValueError: If the mixing law of concrete parameters is none of the class's
                own; `GeneralizedHyperbolic` has them all.
        """
        joint = JointNormalMixture.from_natural(theta)
        own = cls._own_from_mixing(joint.p, joint.a, joint.b)
        return cls._from_vectors(own, joint.loc, joint.skew, joint.scale_tril)

    @classmethod
    def from_expectation(
        cls, eta: Float[ArrayLike, "*batch k"]
    ) -> "AbstractJointParameters":
        """The law of most likelihood for this mean of T(x, w): the M step of EM.

        Of the laws of the class it has the least Kullback-Leibler divergence from any
        law of (x, w) with these expectations. loc, skew and scale match their part of
        them; the mixing law matches as many of E[log w], E[w] and E[1/w] as it has
        parameters.
        """
        eta = as_float(cls.__name__, "eta", eta)
        # E[w] of a skew t law may be infinite, E[1/w] of a variance gamma law.
        is_finite = jnp.isfinite(eta)
        if not_jax_tracer(is_finite) and not bool(jnp.all(is_finite)):
            first = int(jnp.argmin(is_finite.reshape(-1, eta.shape[-1]).all(axis=0)))
            raise ValueError(
                f"`{cls.__name__}.from_expectation` got an `eta` that is not finite at "
                f"coordinate {first}: "
                "such a law has natural parameters, but cannot be told from its "
                "expectations. Use `from_natural`."
            )
        d = dimension(eta.shape[-1])
        own = cls._own_from_expectation(eta[..., :3])
        return cls._from_vectors(own, *normal_part(eta, d))


def require(owner: str, holds: Array, what: str, mixing: tuple) -> None:
    """Raises ValueError if a concrete mixing law is not one of the class's own."""
    if not_jax_tracer(holds) and not bool(jnp.all(holds)):
        p, a, b = (jnp.ravel(x)[0] for x in mixing)
        raise ValueError(
            f"`{owner}.from_natural`: the mixing law is GIG(p={p}, a={a}, b={b}), and "
            f"`{owner}` has {what}. `GeneralizedHyperbolic` has every p, a and b."
        )


def is_near(x: Array, y: ArrayLike) -> Array:
    """Equal to half of the digits."""
    tolerance = jnp.sqrt(jnp.finfo(x.dtype).eps)
    return jnp.abs(x - y) <= tolerance * (1.0 + jnp.abs(x))
