"""How XLA is to compile what is bound by arithmetic."""

import jax


def wide_vectors() -> dict[str, int] | None:
    """Options of `jax.jit` for the default backend, for vectors as wide as the core's.

    On a CPU, XLA emits vectors of 256 bits unless told. Where a core has twice as many,
    a Bessel function takes half the time, and tanh two thirds.
    """
    is_cpu = jax.default_backend() == "cpu"
    return {"xla_cpu_prefer_vector_width": 512} if is_cpu else None
