"""The fixtures that the other tests rely on do what they say."""

from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from numpyro_ext.datasets import Engel

SEEN = set()


def test_float64_is_the_default():
    assert jnp.ones(2).dtype == jnp.float64


def test_float32_switches_threads_too(float32, key):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(jr.normal, key).result().dtype == jnp.float32


@pytest.mark.parametrize("case", [0, 1])
def test_each_test_has_a_key_of_its_own(key, case):
    bits = tuple(jr.key_data(key).tolist())
    assert bits not in SEEN
    SEEN.add(bits)


def test_strict_promotion_refuses_a_change_of_dtype(strict_promotion):
    with pytest.raises(ValueError, match="dtype promotion"):
        jnp.ones(2, jnp.int32) + jnp.ones(2, jnp.float32)


def test_strict_promotion_refuses_a_change_of_rank(strict_promotion):
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((3, 2)) + jnp.ones(2)


def test_promotion_is_free_elsewhere():
    assert (jnp.ones((3, 2)) + jnp.ones(2, jnp.int32)).shape == (3, 2)


def test_annotated_shapes_are_checked():
    with pytest.raises(TypeCheckError, match="food_expenditure"):
        Engel(income=np.zeros(3), food_expenditure=np.zeros(4))
