"""The seconds of a run are told apart."""

import time

import jax
import jax.numpy as jnp
import pytest

from numpyro_ext.inference._stopwatch import _covered, stopwatch


def test_the_union_of_intervals_counts_no_moment_twice():
    assert _covered([]) == 0.0
    assert _covered([(0.0, 4.0), (1.0, 2.0), (3.0, 5.0), (7.0, 8.0)]) == 6.0


def test_compiling_is_told_from_running():
    def fresh(x):
        # A constant of its own, so that no cache knows the program.
        return jnp.sin(x * time.perf_counter())

    with stopwatch() as first:
        program = jax.jit(fresh)
        program(jnp.ones(3)).block_until_ready()
    with stopwatch() as second:
        program(jnp.ones(3)).block_until_ready()
        time.sleep(0.05)
    assert first["compile"] > 0
    assert first["trace"] > 0
    assert second["compile"] == 0
    assert second["run"] >= 0.05
    for timing in (first, second):
        parts = timing["trace"] + timing["compile"] + timing["run"]
        assert parts == pytest.approx(timing["total"])


def test_a_failure_leaves_no_listener():
    def fail():
        with stopwatch():
            raise RuntimeError("planted")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="planted"):
            fail()
    with stopwatch() as timing:
        pass
    assert timing["compile"] == 0
