"""Draws of counts."""

import jax.numpy as jnp
from jax import Array, random


def count_dtype() -> jnp.dtype:
    """The default integer, int32 or int64."""
    return jnp.result_type(int)


def draw_poisson(key: Array, log_rate: Array, shape: tuple[int, ...]) -> Array:
    """Poisson draws, of rates up to the largest integer."""
    dtype = count_dtype()
    largest = 0.999 * float(jnp.iinfo(dtype).max)
    rate = jnp.minimum(jnp.exp(log_rate), largest)
    return random.poisson(key, jnp.broadcast_to(rate, shape), shape, dtype)


def draw_positive_poisson(key: Array, log_rate: Array, shape: tuple[int, ...]) -> Array:
    """Poisson draws given that they are not 0.

    The first event comes at a time that is exponential, cut at the rate; the events
    after it are Poisson with the rest of the rate.
    """
    first_key, rest_key = random.split(key)
    rate = jnp.broadcast_to(jnp.exp(log_rate), shape)
    u = random.uniform(first_key, shape, rate.dtype)
    first = -jnp.log1p(u * jnp.expm1(-rate))
    rest = jnp.maximum(rate - first, 0.0)
    return 1 + draw_poisson(rest_key, jnp.log(rest), shape)
