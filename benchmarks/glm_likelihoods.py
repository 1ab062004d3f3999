"""The negative binomial likelihood against NumPyro's: CPU time of value and gradient.

    python benchmarks/glm_likelihoods.py [--repeats 40]

10000 rows and one alpha, on one core; medians of interleaved runs in one process. The
bar is that NumPyro's `NegativeBinomial2` takes at least 3 times as long.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

ROWS, BAR = 10_000, 3.0


def negative_binomial_ratio(dtype: str = "float64", repeats: int = 40) -> float:
    """CPU time of NumPyro's law over ours."""
    import jax
    import jax.numpy as jnp
    import numpyro.distributions as dist

    from numpyro_ext import distributions as distx

    key = jax.random.key(0)
    eta = 1.0 + jax.random.normal(key, (ROWS,), dtype)
    alpha = jnp.asarray(0.7, dtype)
    y = distx.NegativeBinomialLog(eta, alpha).sample(key)

    def ours(eta, alpha, y):
        return distx.NegativeBinomialLog(eta, alpha).log_prob(y).sum()

    def theirs(eta, alpha, y):
        law = dist.NegativeBinomial2(jnp.exp(eta), 1.0 / alpha)
        return law.log_prob(y).sum()

    programs = [jax.jit(jax.value_and_grad(f, (0, 1))) for f in (theirs, ours)]
    times = [[], []]
    for program in programs:
        cpu_time(program, eta, alpha, y)
    for _ in range(repeats):
        for spent, program in zip(times, programs, strict=True):
            spent.append(cpu_time(program, eta, alpha, y))
    return statistics.median(times[0]) / statistics.median(times[1])


def cpu_time(program: Callable, *arguments) -> float:
    import jax

    start = time.process_time()
    jax.block_until_ready(program(*arguments))
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    repeats = parser.parse_args().repeats
    # Before JAX starts its threads.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"load {os.getloadavg()[0]:.1f}")
    import jax

    jax.config.update("jax_enable_x64", True)
    for dtype in ("float64", "float32"):
        ratio = negative_binomial_ratio(dtype, repeats)
        verdict = "pass" if ratio >= BAR else "MISS"
        print(f"{dtype}: NumPyro / ours = {ratio:.2f} (bar {BAR}) {verdict}")


if __name__ == "__main__":
    main()
