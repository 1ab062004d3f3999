"""What the laws with a gate for zeros have in common."""

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from ...special._exponentials import log1mexp, log_expit
from .._law import as_float
from ._base import AbstractLikelihood


def log_prob_zero(base: dist.Distribution) -> Array:
    """The base's own, or its `log_prob` at 0; -inf for a law with a density."""
    if isinstance(base, AbstractLikelihood):
        return base.log_prob_zero()
    if base.is_discrete:
        return jnp.asarray(base.log_prob(jnp.zeros(base.batch_shape, int)))
    return jnp.full(base.batch_shape, -jnp.inf)


def log_prob_positive(base: dist.Distribution) -> Array:
    """The base's own, or by its probability of 0."""
    if isinstance(base, AbstractLikelihood):
        return base.log_prob_positive()
    if base.is_discrete:
        return log1mexp(-log_prob_zero(base))
    return jnp.zeros(base.batch_shape)


def log_sf_of(base: dist.Distribution, y: Array) -> Array:
    """The base's own; of other laws by their `cdf`, which ends where that is 1."""
    if isinstance(base, AbstractLikelihood):
        return base.log_sf(y)
    return jnp.log1p(-jnp.asarray(base.cdf(y)))


def log_add_exp(a: Array, b: Array) -> Array:
    """log(e^a + e^b) where either may be -inf, without NaN in the derivative."""
    high = jnp.where(a > b, a, b)
    low = jnp.where(a > b, b, a)
    is_single = low == -jnp.inf
    safe = jnp.where(is_single, 0.0, high)
    gap = jnp.where(is_single, 0.0, low) - safe
    return jnp.where(is_single, high, safe + jnp.log1p(jnp.exp(gap)))


class AbstractZeroAltered(AbstractLikelihood):
    """A base law, and a gate that decides on structural zeros."""

    arg_constraints = {"gate_logits": constraints.real}
    pytree_data_fields = ("base", "gate_logits")
    base: dist.Distribution
    gate_logits: Array

    def __init__(
        self,
        base: dist.Distribution,
        gate_logits: ArrayLike,
        *,
        validate_args: bool | None = None,
    ):
        owner = type(self).__name__
        if not isinstance(base, dist.Distribution):
            raise TypeError(
                f"`{owner}(base={base!r})`: `base` must be a NumPyro distribution, "
                "such as `PoissonLog(eta)`."
            )
        if base.event_shape:
            raise ValueError(
                f"`{owner}` got a `base` of event shape {base.event_shape}: it takes "
                "laws of single numbers."
            )
        gate = as_float(owner, "gate_logits", gate_logits)
        batch_shape = jnp.broadcast_shapes(gate.shape, base.batch_shape)
        self.base, self.gate_logits = base, gate
        super().__init__(batch_shape, validate_args=validate_args)

    @constraints.dependent_property(event_dim=0)  # pyright: ignore[reportArgumentType]
    def support(self) -> constraints.Constraint:  # pyright: ignore[reportIncompatibleMethodOverride]
        """That of the base, with 0."""
        support: Any = self.base.support
        if support is constraints.positive:
            return constraints.nonnegative
        return support

    def _gates(self) -> tuple[Array, Array]:
        """Log probabilities of a structural zero, and of the base."""
        return log_expit(self.gate_logits), log_expit(-self.gate_logits)

    def _dtype(self) -> Any:
        leaf = jnp.result_type(*(x for x in self.base.get_args().values()))
        if not jnp.issubdtype(leaf, jnp.floating):
            leaf = jnp.result_type(float)
        return jnp.promote_types(self.gate_logits.dtype, leaf)

    def _split(self, value: ArrayLike) -> tuple[Array, Array, Array]:
        """The value; whether it is 0; and the value, or one inside of the support."""
        y = self._floats(value)
        is_zero = y == 0
        return y, is_zero, jnp.where(is_zero, 1.0 if self.base.is_discrete else 0.5, y)
