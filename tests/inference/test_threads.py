"""Threads: the caller's settings hold in them, and what fails is not lost."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from numpyro_ext.inference import NUTS, EnsembleMAP, ModelSpec
from numpyro_ext.inference._threads import work_off


def location(y=None):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean, 1.0).expand([3]).to_event(1), obs=y)


def test_jobs_take_turns():
    order = []

    def job(name, pieces):
        left = list(range(pieces))

        def advance():
            order.append((name, left.pop(0)))
            return bool(left)

        return advance

    assert not work_off([[job("a", 3), job("b", 2)]], 1)
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2)]


def test_an_error_reaches_the_caller():
    def fail():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work_off([[fail, fail]], 2)


def test_settings_of_the_caller_hold_in_the_threads():
    found = []

    def advance():
        found.append(jnp.ones(()).dtype)
        found.append(jax.config.jax_default_matmul_precision)
        return False

    with jax.enable_x64(False), jax.default_matmul_precision("highest"):
        work_off([[advance]], 1)
    assert found == [jnp.float32, "highest"]


@pytest.mark.parametrize(
    "engine",
    [NUTS(num_warmup=100, num_samples=20), EnsembleMAP(num_members=4)],
    ids=["NUTS", "EnsembleMAP"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_engines_keep_the_precision_of_a_context(engine, key):
    for x64, dtype in ((False, np.float32), (True, np.float64)):
        with jax.enable_x64(x64):
            spec = ModelSpec(location, y=np.ones(3, dtype))
            fit = engine.run(spec, key)
        assert fit.draws["mean"].dtype == dtype
        assert fit.stats["lp"].dtype == dtype
