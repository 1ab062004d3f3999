"""Laws of priors: entries that each have their own, and draws in ascending order."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Key
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.transforms import Transform
from numpyro.distributions.util import validate_sample


class EachPrior(Distribution):
    """Independent priors of the entries of an array, each with a law of its own.

    Args:
        laws: laws without a shape, or with that of their entries.
        places: the entries along the axis that each law is of.
        shape: of the array.
        axis: the axis, counted from the end.
    """

    arg_constraints = {}
    pytree_data_fields = ("laws",)
    pytree_aux_fields = ("places", "axis")
    laws: tuple[Distribution, ...]
    places: tuple[tuple[int, ...], ...]
    axis: int

    def __init__(
        self,
        laws: tuple[Distribution, ...],
        places: tuple[tuple[int, ...], ...],
        shape: tuple[int, ...],
        axis: int,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.laws, self.places, self.axis = laws, places, axis
        super().__init__(batch_shape=shape, validate_args=validate_args)

    @property
    def support(self) -> Any:  # pyright: ignore
        parts = tuple(law.support for law in self.laws)
        if all(part is constraints.real for part in parts):
            return constraints.real
        return _EachConstraint(parts, self.places, self.axis)

    def sample(
        self, key: Key[Array, ""] | None, sample_shape: tuple[int, ...] = ()
    ) -> Array:
        assert key is not None
        keys = jax.random.split(key, len(self.laws))
        drawn = [
            law.expand(self._part(places)).sample(k, sample_shape)
            for law, places, k in zip(self.laws, self.places, keys, strict=True)
        ]
        return _join(drawn, self.places, self.axis)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: Any = None) -> Array:
        value = jnp.asarray(value)
        terms = [
            jnp.broadcast_to(law.log_prob(part), jnp.shape(part))
            for law, part in zip(
                self.laws, _split(value, self.places, self.axis), strict=True
            )
        ]
        return _join(terms, self.places, self.axis)

    def _part(self, places: tuple[int, ...]) -> tuple[int, ...]:
        shape = list(self.batch_shape)
        shape[self.axis] = len(places)
        return tuple(shape)


class _EachConstraint(constraints.Constraint):
    """The supports of `EachPrior`, entry by entry."""

    event_dim = 0
    is_discrete = False

    def __init__(
        self, parts: tuple[Any, ...], places: tuple[tuple[int, ...], ...], axis: int
    ) -> None:
        self.parts, self.places, self.axis = parts, places, axis

    def __call__(self, x: Any) -> Any:
        pieces = _split(x, self.places, self.axis)
        marks = [part(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        return _join(marks, self.places, self.axis)

    def feasible_like(self, prototype: Any) -> Any:
        pieces = _split(prototype, self.places, self.axis)
        found = [
            part.feasible_like(piece)
            for part, piece in zip(self.parts, pieces, strict=True)
        ]
        return _join(found, self.places, self.axis)

    def tree_flatten(self) -> Any:
        return (self.parts,), (("parts",), {"places": self.places, "axis": self.axis})


class _EachTransform(Transform):
    """From the real numbers onto the supports of `EachPrior`."""

    domain = constraints.real  # pyright: ignore

    def __init__(self, constraint: _EachConstraint) -> None:
        self.constraint = constraint
        self.transforms = [dist.biject_to(part) for part in constraint.parts]

    @property
    def codomain(self) -> _EachConstraint:  # pyright: ignore
        return self.constraint

    def __call__(self, x: Any) -> Any:
        return self._each(lambda transform, part: transform(part), x)

    def _inverse(self, y: Any) -> Any:
        return self._each(lambda transform, part: transform._inverse(part), y)

    def log_abs_det_jacobian(self, x: Any, y: Any, intermediates: Any = None) -> Any:
        where = self.constraint.places, self.constraint.axis
        terms = [
            jnp.broadcast_to(t.log_abs_det_jacobian(a, b), jnp.shape(a))
            for t, a, b in zip(
                self.transforms, _split(x, *where), _split(y, *where), strict=True
            )
        ]
        return _join(terms, *where)

    def _each(self, apply: Any, value: Any) -> Any:
        where = self.constraint.places, self.constraint.axis
        pieces = _split(value, *where)
        done = [apply(t, p) for t, p in zip(self.transforms, pieces, strict=True)]
        return _join(done, *where)

    def tree_flatten(self) -> Any:
        return (self.constraint,), (("constraint",), {})


@dist.biject_to.register(_EachConstraint)
def _onto_each(constraint: _EachConstraint) -> _EachTransform:
    return _EachTransform(constraint)


class SortedDraws(Distribution):
    """The ascending order of independent draws of one law.

    Args:
        law: of one draw.
        size: how many.
    """

    arg_constraints = {}
    support = constraints.ordered_vector  # pyright: ignore
    pytree_data_fields = ("law",)
    law: Distribution

    def __init__(
        self, law: Distribution, size: int, *, validate_args: bool | None = None
    ) -> None:
        self.law = law
        super().__init__(event_shape=(size,), validate_args=validate_args)

    def sample(
        self, key: Key[Array, ""] | None, sample_shape: tuple[int, ...] = ()
    ) -> Array:
        drawn = self.law.sample(key, (*sample_shape, *self.event_shape))
        return jnp.sort(drawn, axis=-1)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: Any = None) -> Array:
        terms = jnp.asarray(self.law.log_prob(value))
        return jnp.sum(terms, axis=-1) + gammaln(self.event_shape[0] + 1.0)


def _split(value: Any, places: tuple[tuple[int, ...], ...], axis: int) -> list[Array]:
    return [jnp.take(value, np.asarray(place), axis=axis) for place in places]


def _join(parts: list[Any], places: tuple[tuple[int, ...], ...], axis: int) -> Array:
    order = np.argsort(np.concatenate([np.asarray(place) for place in places]))
    return jnp.take(jnp.concatenate(parts, axis=axis), order, axis=axis)
