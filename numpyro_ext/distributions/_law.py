"""What every law of the package has in common: parameters in, messages out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes
from numpyro.util import not_jax_tracer

from ._keywords import check_keywords

LOWER_CHOLESKY = constraints.lower_cholesky


def as_float(owner: str, name: str, value: ArrayLike | None) -> Array:
    """Returns a floating array; raises TypeError for None and for complex numbers."""
    if value is None:
        raise TypeError(f"`{owner}({name}=None)`: `{name}` must be a number or array.")
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(
            f"`{owner}({name}={value!r})`: `{name}` is complex; give its real part."
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.result_type(float))
    return array


def promote(owner: str, **parameters: ArrayLike) -> tuple[list[Array], tuple[int, ...]]:
    """Gives the parameters one dtype and one rank; returns them and the batch shape."""
    arrays = [as_float(owner, name, value) for name, value in parameters.items()]
    dtype = jnp.result_type(*arrays)
    arrays = [jnp.asarray(x, dtype) for x in promote_shapes(*arrays)]
    return arrays, jnp.broadcast_shapes(*(x.shape for x in arrays))


def describe_bad(value: Array, is_valid: Array) -> str:
    """The offending value, or how many there are and where the first one is."""
    values, good = np.asarray(value), np.asarray(is_valid)
    if values.ndim == 0 or good.ndim == 0:
        return f"{values}"
    spots = np.argwhere(~good)
    first = tuple(int(i) for i in spots[0])
    where = first[0] if len(first) == 1 else first
    return f"{values[first]} at index {where} ({len(spots)} bad of {good.size})"


def refuse_cholesky(owner: str, name: str, value: Array) -> None:
    """Raises ValueError that says why the matrix is no Cholesky factor."""
    matrices = np.asarray(value).reshape((-1, *value.shape[-2:]))
    for i, matrix in enumerate(matrices):
        batch = np.unravel_index(i, value.shape[:-2])
        where = f" at index {tuple(int(j) for j in batch)}" if batch else ""
        is_lower = np.array_equal(matrix, np.tril(matrix))
        if not np.all(np.isfinite(matrix)):
            raise ValueError(
                f"`{owner}`: `{name}`{where} has entries that are not finite. Most "
                "often it is the Cholesky factor of a matrix that is not positive "
                "definite: look at `jnp.linalg.eigvalsh(matrix)`, whose smallest value "
                "must be positive."
            )
        if not is_lower and np.allclose(matrix, matrix.T):
            least = np.linalg.eigvalsh(matrix)[0]
            advice = (
                f"Give `{name}=jnp.linalg.cholesky(matrix)`."
                if least > 0
                else "It is not positive definite, so it has no Cholesky factor."
            )
            raise ValueError(
                f"`{owner}`: `{name}`{where} is not lower triangular but a symmetric "
                f"matrix, with smallest eigenvalue {least:.6g}. {advice}"
            )
        if not is_lower:
            row, col = np.argwhere(np.triu(matrix, 1) != 0)[0]
            raise ValueError(
                f"`{owner}`: `{name}`{where} is not lower triangular: entry ({row}, "
                f"{col}) is {matrix[row, col]:.6g}. Give the lower Cholesky factor, "
                "`jnp.linalg.cholesky(matrix)`."
            )
        least = np.diagonal(matrix).min()
        if least <= 0:
            raise ValueError(
                f"`{owner}`: `{name}`{where} is not the Cholesky factor of a positive "
                f"definite matrix: its smallest eigenvalue, the least entry of its "
                f"diagonal, is {least:.6g}. All must be positive."
            )


def check_definite(owner: str, name: str, matrix: Array) -> None:
    """Raises ValueError for a concrete matrix that is not positive definite."""
    if not not_jax_tracer(matrix):
        return
    values = np.asarray(matrix)
    if values.ndim < 2 or values.shape[-1] != values.shape[-2]:
        raise ValueError(f"`{owner}` got `{name}` of shape {values.shape}: not square.")
    if not np.allclose(values, np.swapaxes(values, -1, -2)):
        raise ValueError(f"`{owner}` got a `{name}` that is not symmetric.")
    least = np.min(np.linalg.eigvalsh(values)) if np.isfinite(values).all() else np.nan
    if not least > 0:
        raise ValueError(
            f"`{owner}`: `{name}` is not positive definite: its smallest eigenvalue is "
            f"{least:.6g}."
        )


class AbstractLaw(dist.Distribution):
    """A NumPyro distribution whose refusals name the parameter and its value."""

    # JAX and pickle call it without arguments, and `__init__` not at all.
    def __new__(cls, *args: Any, **kwargs: Any) -> "AbstractLaw":
        """Refuses keywords that the law does not have."""
        check_keywords(cls, len(args), kwargs)
        return super().__new__(cls)

    def validate_args(self, strict: bool = True) -> None:
        """Raises ValueError for a concrete parameter outside its domain."""
        owner = type(self).__name__
        with jax.ensure_compile_time_eval():
            for name, value in self.get_args().items():
                constraint = self.arg_constraints[name]
                if value is None or constraints.is_dependent(constraint):
                    continue
                is_valid = constraint(value)
                if constraint.event_dim == 0:
                    is_valid = is_valid & jnp.isfinite(value)
                if not_jax_tracer(is_valid):
                    if not np.all(is_valid) and constraint is LOWER_CHOLESKY:
                        refuse_cholesky(owner, name, value)
                    if not np.all(is_valid):
                        raise ValueError(
                            f"{owner} distribution got invalid {name} parameter: "
                            f"`{name}` = {describe_bad(value, is_valid)} must satisfy "
                            f"{constraint}."
                        )
                elif strict:
                    raise RuntimeError("Cannot validate arguments inside jitted code.")
            self._validate_jointly()

    def _validate_jointly(self) -> None:
        """Hook for conditions on several parameters."""
