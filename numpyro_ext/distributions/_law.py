"""What every law of the package has in common: parameters in, messages out."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes
from numpyro.util import not_jax_tracer


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


class AbstractLaw(dist.Distribution):
    """A NumPyro distribution whose refusals name the parameter and its value."""

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
