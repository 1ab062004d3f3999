"""The log-Bessel functions against scipy: CPU time per element, and compilation.

    python benchmarks/special.py [--repeats 9]

One process on one core, 1e5 mixed orders and arguments; medians of interleaved runs.
The unit is scipy's value, `log(kve(v, z)) - z`, in the same run. A ratio at or below
its bar passes. TensorFlow Probability and normix take part where they are installed;
the derivative in the order of the former is 0.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

SIZE = 100_000
# Of the ratios to scipy, and of the CPU seconds of compilation.
BARS = {"value": 0.40, "value and gradient": 1.0, "all second order": 2.2}
COMPILE_BARS = {"value": 2.0, "value and gradient": 4.0, "Hessian": 8.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    # Before JAX starts its threads.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"load {os.getloadavg()[0]:.1f}")
    import jax

    jax.config.update("jax_enable_x64", True)
    for batch in ("typical", "wide"):
        v, z = batches()[batch]
        contenders = {"scipy value": lambda v=v, z=z: scipy_value(v, z)}
        for name, function in functions().items():
            contenders[name] = compiled(function, v, z)
        if batch == "typical":
            for name in ("value", "value and gradient"):
                single = compiled(functions()[name], v.astype("f4"), z.astype("f4"))
                contenders[f"{name}, float32"] = single
        unit = report(batch, contenders, repeats)
        if batch == "typical":
            # Apart: normix fills and frees hundreds of MB, and who runs next pays.
            report(batch, tfp(v, z), repeats, unit)
            report(batch, normix(v, z), repeats, unit)
    report_compilation()


def batches() -> dict:
    import numpy as np

    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], SIZE)
    return {
        "typical": (rng.uniform(-10, 10, SIZE), 10 ** rng.uniform(-3, 3, SIZE)),
        "wide": (
            signs * 10 ** rng.uniform(-3, 3, SIZE),
            10 ** rng.uniform(-10, 6, SIZE),
        ),
    }


def scipy_value(v, z):
    import numpy as np
    from scipy.special import kve

    with np.errstate(all="ignore"):
        return np.log(kve(v, z)) - z


def functions() -> dict[str, Callable]:
    import jax

    from numpyro_ext.special import log_kv, log_kv_moments, log_kv_ratio

    return {
        "value": log_kv,
        "value and gradient": with_gradient(log_kv),
        "all second order": log_kv_moments,
        "Hessian": jax.vmap(jax.hessian(log_kv, (0, 1))),
        "ratio": log_kv_ratio,
        "half-integer value": lambda v, z: log_kv(1.5, z),
    }


def with_gradient(function: Callable) -> Callable:
    import jax
    import jax.numpy as jnp

    def both(v, z):
        value, pull_back = jax.vjp(function, v, z)
        return value, *pull_back(jnp.ones_like(value))

    return both


def compiled(function: Callable, *arrays) -> Callable[[], object]:
    import jax

    arrays = [jax.device_put(x) for x in arrays]
    run = jax.jit(function).lower(*arrays).compile()
    return lambda: jax.block_until_ready(run(*arrays))


def tfp(v, z) -> dict[str, Callable[[], object]]:
    try:
        from tensorflow_probability.substrates.jax import math
    except ImportError:
        print("TensorFlow Probability is not installed")
        return {}

    def log_kv(v, z):
        return math.log_bessel_kve(v, z) - z

    return {
        "TFP value": compiled(log_kv, v, z),
        "TFP value and gradient": compiled(with_gradient(log_kv), v, z),
    }


def normix(v, z) -> dict[str, Callable[[], object]]:
    try:
        from normix import log_kv, log_kv_moments
    except ImportError:
        print("normix is not installed")
        return {}

    def second_order(v, z):
        m = log_kv_moments(v, z)
        first = m.log_k, m.d_order, m.d_arg
        return first, m.d2_order, m.d2_order_arg, m.d2_arg

    return {
        "normix value": compiled(log_kv, v, z),
        "normix value and gradient": compiled(with_gradient(log_kv), v, z),
        "normix all second order": compiled(second_order, v, z),
    }


def report(
    batch: str, contenders: dict[str, Callable], repeats: int, unit: float | None = None
) -> float:
    """Prints the medians; `unit` is scipy's, and measured where it is None."""
    seconds = {name: [] for name in contenders}
    for run in range(repeats + 1):
        for name, contender in contenders.items():
            start = time.process_time()
            contender()
            if run:  # the first warms up
                seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    unit = unit or medians["scipy value"]
    for name, median in medians.items():
        ratio = median / unit
        bar = f" (bar {BARS[name]})" if name in BARS else ""
        print(f"{batch:8s} {name:28s} {median / SIZE * 1e9:7.1f} ns {ratio:7.3f}{bar}")
    return unit


def report_compilation() -> None:
    import jax

    v, z = batches()["typical"]
    for name, bar in COMPILE_BARS.items():
        jax.clear_caches()
        start = time.process_time()
        jax.jit(functions()[name]).lower(v, z).compile()
        seconds = time.process_time() - start
        print(f"compile  {name:28s} {seconds:7.2f} s  (bar {bar})")


if __name__ == "__main__":
    main()
