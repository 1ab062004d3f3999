"""Fits of generalized linear models against glmax, statsmodels and glum.

    python benchmarks/glm.py [--repeats 9] [--small]

CPU time of a fit with its standard errors, in one process on one core, in turns: the
median over the turns of the ratio to the peer's time, with its quartiles. `--small`
leaves the 100000 rows out. Then the peak memory of a warm run at 100000 rows beyond
what was there before it, a process for each library (Linux only). A peer that is not
installed is left out; `pip install --group peers` installs them all.
"""

import argparse
import gc
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SIZES = [(500, 10), (2000, 20), (10_000, 50), (100_000, 50)]
# The most that ours may take of the peer's time, by the number of rows.
GLMAX_BARS = {500: 0.67, 2000: 0.67, 10_000: 0.87, 100_000: 0.87}
STATSMODELS_BAR, GLUM_BAR = 0.28, 1.0
# Of the size of X, beyond X.
MEMORY_BAR = 1.5
PEERS = ("glmax", "statsmodels", "glum")
FAMILIES = ("Poisson", "Bernoulli", "Gamma")
# Each measurement takes about so many seconds.
SECONDS = 0.02
# Runs before the first measurement.
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.repeats < 2:
        parser.error("--repeats must be at least 2: one turn has no quartiles")
    # Before JAX and BLAS start their threads.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import jax

    jax.config.update("jax_enable_x64", True)
    if arguments.memory_of:
        print(peak_beyond_design(arguments.memory_of))
        return
    print(f"load {os.getloadavg()[0]:.1f}")
    sizes = SIZES[:-1] if arguments.small else SIZES
    for name in FAMILIES:
        for n, p in sizes:
            compare(name, n, p, arguments.repeats)
    if not arguments.small:
        compare_memory()
    print(f"load {os.getloadavg()[0]:.1f}")


def compare(name: str, n: int, p: int, repeats: int) -> None:
    runs = {"ours": ours(name, *simulated(name, n, p))}
    for peer in PEERS:
        if importlib.util.find_spec(peer) is not None:
            runs[peer] = globals()[peer](name, *simulated(name, n, p))
    times = measure(runs, repeats)
    ours_ms = 1e3 * statistics.median(times["ours"])
    words = [f"{name} {n} x {p}: ours {ours_ms:.2f} ms"]
    bars = {"glmax": GLMAX_BARS[n], "statsmodels": STATSMODELS_BAR}
    if n >= 100_000:
        bars["glum"] = GLUM_BAR
    for peer in list(runs)[1:]:
        # Of one turn: a machine that changes its pace does so for longer than that.
        ratios = [a / b for a, b in zip(times["ours"], times[peer], strict=True)]
        low, ratio, high = statistics.quantiles(ratios, n=4)
        verdict = ""
        if peer in bars:
            is_met = ratio <= bars[peer]
            verdict = f" (bar {bars[peer]:g}: {'met' if is_met else 'MISSED'})"
        words.append(f"{ratio:.2f} ({low:.2f}-{high:.2f}) of {peer}{verdict}")
    print(", ".join(words), flush=True)


def compare_memory() -> None:
    """Prints the peaks of all libraries."""
    words = []
    for library in ("ours", *PEERS):
        if library != "ours" and importlib.util.find_spec(library) is None:
            continue
        done = subprocess.run(
            [sys.executable, __file__, "--memory-of", library],
            check=True,
            capture_output=True,
            text=True,
        )
        words.append(f"{library} {float(done.stdout):.2f} X")
    is_met = float(words[0].split()[1]) <= MEMORY_BAR
    verdict = f"(bar {MEMORY_BAR} X: {'met' if is_met else 'MISSED'})"
    print(f"peak memory beyond X, Poisson {SIZES[-1]}: {', '.join(words)} {verdict}")


def peak_beyond_design(library: str) -> float:
    """Returns what a warm run adds at its peak, in units of X."""
    n, p = SIZES[-1]
    run = globals()[library]("Poisson", *simulated("Poisson", n, p))
    for _ in range(2):
        run()
    gc.collect()
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as resets:
        resets.write("5")
    run()
    return (resident("VmHWM") - before) / (8 * n * p)


def resident(which: str) -> float:
    """Returns a line of the process's memory, in bytes."""
    with open("/proc/self/status") as lines:
        line = next(line for line in lines if line.startswith(which))
    return 1024.0 * float(line.split()[1])


def simulated(name: str, n: int, p: int) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))])
    eta = x @ (0.3 * rng.normal(size=p) / np.sqrt(p))
    draws = {
        "Poisson": rng.poisson(np.exp(eta)),
        "Bernoulli": rng.random(n) < 1 / (1 + np.exp(-eta)),
        "Gamma": rng.gamma(2.0, np.exp(eta) / 2),
    }
    return x, draws[name].astype(float)


def ours(name: str, x: Any, y: Any) -> Callable[[], Any]:
    import jax
    import jax.numpy as jnp

    from numpyro_ext import glm

    family = glm.Gamma(glm.Log()) if name == "Gamma" else getattr(glm, name)()
    x, y = jnp.asarray(x), jnp.asarray(y)
    return lambda: jax.block_until_ready(glm.infer(glm.fit(family, x, y)).se)


def glmax(name: str, x: Any, y: Any) -> Callable[[], Any]:
    import glmax as peer  # pyright: ignore[reportMissingImports]
    import jax
    import jax.numpy as jnp

    family = {
        "Poisson": peer.Poisson,
        "Bernoulli": peer.Binomial,
        "Gamma": lambda: peer.Gamma(peer.LogLink()),
    }[name]()
    x, y = jnp.asarray(x), jnp.asarray(y)
    return lambda: jax.block_until_ready(peer.infer(peer.fit(family, x, y)).se)


def statsmodels(name: str, x: Any, y: Any) -> Callable[[], Any]:
    import statsmodels.api as sm

    families = sm.families
    family = {
        "Poisson": families.Poisson,
        "Bernoulli": families.Binomial,
        "Gamma": lambda: families.Gamma(families.links.Log()),
    }[name]()
    return lambda: sm.GLM(y, x, family=family).fit().bse


def glum(name: str, x: Any, y: Any) -> Callable[[], Any]:
    import glum as peer  # pyright: ignore[reportMissingImports]

    family = {"Poisson": "poisson", "Bernoulli": "binomial", "Gamma": "gamma"}[name]
    link = "log" if name == "Gamma" else "auto"

    def run() -> Any:
        model = peer.GeneralizedLinearRegressor(
            family=family, link=link, alpha=0.0, fit_intercept=False
        )
        return model.fit(x, y).std_errors(x, y)

    return run


def measure(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each in every turn, after runs that compile and warm up."""
    counts = {}
    for name, run in runs.items():
        run()
        counts[name] = max(1, int(SECONDS / spent(run, WARM_UP)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(spent(run, counts[name]))
    return times


def spent(run: Callable[[], Any], count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        run()
    return (time.process_time() - start) / count


if __name__ == "__main__":
    main()
