"""NUTS against NumPyro's drivers: wall time of a second run, and ESS per gradient.

    python benchmarks/nuts.py [--repeats 3] [posterior ...]

Each posterior gets 4 chains of 1000 + 1000 transitions in double precision. NumPyro
runs its chains in sequence, vectorized, and in parallel on four virtual devices, with
the progress bar on (its faster setting, because without it every run compiles again).
A ratio below its bar passes. `cold` is a new process, from import to draws.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

COLD = ("schools", "logistic")
DENSE_CPU_SECONDS = 15.0
PROCESS = "import sys; sys.path.insert(0, {folder!r}); import nuts; nuts.{call}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("posteriors", nargs="*")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    from common.posteriors import POSTERIORS

    for name in options.posteriors or POSTERIORS:
        ours = time_ours(name, options.repeats)
        theirs = {
            method: json.loads(
                run_process(f"report({name!r}, {method!r}, {options.repeats})", method)
            )
            for method in ("sequential", "vectorized", "parallel")
        }
        best = min(theirs, key=lambda method: theirs[method]["seconds"])
        ratio = ours["seconds"] / theirs[best]["seconds"]
        efficiency = ours["efficiency"] / theirs[best]["efficiency"]
        bar = POSTERIORS[name].bar
        print(
            f"{name:11s} {ours['seconds']:7.3f} s against {best} "
            f"{theirs[best]['seconds']:7.3f} s: {ratio:.3f} (bar {bar}); "
            f"ESS per 1000 gradients {ours['efficiency']:.2f} against "
            f"{theirs[best]['efficiency']:.2f}: {efficiency:.2f} (bar 0.9)",
            flush=True,
        )
    for name in COLD if not options.posteriors else ():
        report_cold(name, options.repeats)
    if not options.posteriors or "gaussian" in options.posteriors:
        report_dense()


def setup() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    # A new posterior is often hard in its first draws; what is timed is the same.
    warnings.simplefilter("ignore")


def time_ours(name: str, repeats: int, **settings: object) -> dict[str, float]:
    setup()
    import jax
    from common.posteriors import POSTERIORS

    from numpyro_ext import NUTS, ModelSpec

    posterior = POSTERIORS[name]
    observed = () if name == "gaussian" else None
    spec = ModelSpec(posterior.model, *posterior.args, observed=observed)
    engine = NUTS(**settings)
    engine.run(spec, jax.random.key(0))
    wall, cpu, ess = [], [], []
    for i in range(1, repeats + 1):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        fit = engine.run(spec, jax.random.key(i))
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
        num_gradients = float(fit.stats["n_steps"].sum())
        positions = {k: jax.numpy.asarray(v) for k, v in fit.positions.items()}
        ess.append((min_ess(positions), num_gradients))
    return summary(wall, cpu, ess)


def time_numpyro(name: str, method: str, repeats: int) -> dict[str, float]:
    setup()
    import jax
    import numpyro.infer
    from common.posteriors import POSTERIORS

    posterior = POSTERIORS[name]
    args = jax.tree.map(jax.numpy.asarray, posterior.args)
    sampler = numpyro.infer.MCMC(
        numpyro.infer.NUTS(posterior.model),
        num_warmup=1000,
        num_samples=1000,
        num_chains=4,
        chain_method=method,
        progress_bar=True,
    )

    def run(seed: int) -> None:
        sampler.run(jax.random.key(seed), *args, extra_fields=("num_steps",))
        jax.block_until_ready(sampler.get_samples())

    run(0)
    wall, cpu, ess = [], [], []
    for i in range(1, repeats + 1):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        run(i)
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
        num_gradients = float(sampler.get_extra_fields()["num_steps"].sum())
        draws = {
            site: draws
            for site, draws in sampler.get_samples(group_by_chain=True).items()
            if site != "theta"  # deterministic here
        }
        ess.append((min_ess(draws), num_gradients))
    return summary(wall, cpu, ess)


def min_ess(draws: dict) -> float:
    import arviz_base
    import arviz_stats
    import numpy as np

    tree = arviz_base.from_dict(
        {"posterior": {name: np.asarray(value) for name, value in draws.items()}}
    )
    bulk = arviz_stats.ess(tree)
    return min(float(value.min()) for value in bulk.data_vars.values())


def summary(wall: list, cpu: list, ess: list) -> dict[str, float]:
    return {
        "seconds": statistics.median(wall),
        "cpu_seconds": statistics.median(cpu),
        "ess": statistics.median(bulk for bulk, _ in ess),
        "efficiency": statistics.median(1000 * bulk / num for bulk, num in ess),
    }


def report(name: str, method: str, repeats: int) -> None:
    print(json.dumps(time_numpyro(name, method, repeats)))


def run_process(call: str, method: str = "sequential") -> str:
    """Runs a call in a process of its own; the parallel driver needs four devices."""
    environment = dict(os.environ)
    if method == "parallel":
        environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    folder = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run(
        [sys.executable, "-c", PROCESS.format(folder=folder, call=call)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def cold(name: str, library: str) -> None:
    """Prints the seconds from import to draws; the data are made before."""
    setup()
    from common.posteriors import POSTERIORS

    posterior = POSTERIORS[name]
    import jax

    start = time.perf_counter()
    if library == "numpyro":
        from numpyro.infer import MCMC
        from numpyro.infer import NUTS as Kernel

        sampler = MCMC(
            Kernel(posterior.model),
            num_warmup=1000,
            num_samples=1000,
            num_chains=4,
            chain_method="parallel",
            progress_bar=False,
        )
        args = jax.tree.map(jax.numpy.asarray, posterior.args)
        sampler.run(jax.random.key(0), *args)
        jax.block_until_ready(sampler.get_samples())
    else:
        from numpyro_ext import NUTS, ModelSpec

        spec = ModelSpec(posterior.model, *posterior.args)
        NUTS().run(spec, jax.random.key(0))
    print(time.perf_counter() - start)


def report_cold(name: str, repeats: int) -> None:
    seconds = {"numpyro_ext": [], "numpyro": []}
    for _ in range(repeats):
        for library, runs in seconds.items():
            method = "parallel" if library == "numpyro" else "sequential"
            runs.append(float(run_process(f"cold({name!r}, {library!r})", method)))
    ours, theirs = (statistics.median(runs) for runs in seconds.values())
    print(
        f"{name:11s} cold {ours:.2f} s against parallel {theirs:.2f} s: "
        f"{ours / theirs:.2f} (bar 1.05)",
        flush=True,
    )


def report_dense() -> None:
    timed = time_ours("gaussian", 1, dense_mass=True)
    print(
        f"gaussian    dense metric: {timed['cpu_seconds']:.1f} CPU s "
        f"(bar {DENSE_CPU_SECONDS}), minimum ESS {timed['ess']:.0f}"
    )


if __name__ == "__main__":
    main()
