import gc
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import jaxtyping
import pytest

ROOT = Path(__file__).parents[1]

# What JAX remembers of its traces stays, and Python's garbage collector looks through
# all of it again and again.
gc.set_threshold(100_000, 50, 100)

# Before anything compiles. Most of the suite's time is compilation, and most programs
# are small: keep every one of them, and let child processes find them too.
CACHE = ROOT / ".jax_cache"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# References are known to float64; what float32 loses is a test of its own.
jax.config.update("jax_enable_x64", True)

# No test may wait for a window.
os.environ["MPLBACKEND"] = "Agg"


# Each compiled program takes several memory maps, and a process may have 65530 of them
# (Linux's default); beyond, LLVM ends the process.
MAX_MAPS = 15_000


@pytest.fixture(scope="module", autouse=True)
def few_programs() -> Iterator[None]:
    """Forgets compiled programs between modules once there are many of them."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MAX_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> jax.Array:
    """A key of the test's own, the same in every process.

    `hash` of a string differs from process to process, crc32 does not.
    """
    return jax.random.key(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def float32() -> Iterator[None]:
    """Run the test as users do who never touch `jax_enable_x64`.

    The switch is the global one: `jax.enable_x64(False)` holds for one thread only,
    and chains run in threads.
    """
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.fixture
def as_users_run_it() -> Iterator[None]:
    """Switches off the checks of annotated types, which only tests have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def strict_promotion() -> Iterator[None]:
    """Refuse every implicit change of dtype or rank while the test runs.

    For tests of functions that are ours from end to end. It cannot hold for the whole
    suite, since the libraries beneath promote on their own: with dtype promotion
    "strict", `dist.Bernoulli(logits).log_prob`, `dist.LKJCholesky`, NumPyro's NUTS,
    BlackJAX's `window_adaptation`, `optax.adam` and, under x64, `optax.lbfgs` raise
    TypePromotionError; with rank promotion "raise", `dist.MultivariateNormal.log_prob`
    of a batch raises ValueError. (NumPyro 0.22, BlackJAX 1.7.1, optax 0.2.8.)
    """
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
