"""The generalized hyperbolic family against normix, SciPy and JAX's own sampler.

    python benchmarks/distributions.py [--repeats 15]

CPU time of one process on one core, medians of interleaved runs. The log likelihoods
are those of 8312 daily-return-like data, with the gradient in all parameters. normix
takes part where it is installed, with the same law: the difference of the two values
is printed.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

NUM_DATA, NUM_DRAWS, NUM_QUANTILES = 8312, 100_000, 1000
# Milliseconds, and the ratio to normix.
LIKELIHOOD_BARS = {"GH": (8.0, 0.15), "NIG": (3.0, 0.06)}
DRAW_BAR, QUANTILE_BAR = 0.3, 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    # Before JAX starts its threads.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"load {os.getloadavg()[0]:.1f}")
    import jax

    jax.config.update("jax_enable_x64", True)
    likelihoods(repeats)
    draws(repeats)
    quantiles(repeats)


def medians(contenders: dict[str, Callable], repeats: int) -> dict[str, float]:
    """CPU seconds of each, run in turns.

    Every timed run follows one that is not: normix fills and frees hundreds of MB,
    and who runs next would pay.
    """
    seconds = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            contender()
            start = time.process_time()
            contender()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}


def verdict(value: float, bar: float) -> str:
    return f"bar {bar:g}: {'met' if value <= bar else 'MISSED'}"


def compiled(function: Callable, *args) -> tuple[Callable, float]:
    import jax

    start = time.process_time()
    program = jax.jit(function).lower(*args).compile()
    built = time.process_time() - start
    return lambda: jax.block_until_ready(program(*args)), built


def likelihoods(repeats: int) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from numpyro_ext import distributions as distx

    y = jnp.asarray(0.01 * np.random.default_rng(0).standard_t(4, NUM_DATA))
    p, a, b, loc, scale, skew = -0.7, 0.5, 0.6, 0.0, 0.01, 0.001
    ours = {
        "GH": (distx.GeneralizedHyperbolic, (p, a, b, loc, scale, skew)),
        "NIG": (distx.NormalInverseGaussian, (a, b, loc, scale, skew)),
    }
    theirs = normix_laws(p, a, b, loc, scale, skew)
    for name, (law, args) in ours.items():

        def total(*args, law=law):
            return law(*args).log_prob(y).sum()

        step = jax.value_and_grad(total, tuple(range(len(args))))
        program, built = compiled(step, *args)
        contenders = {name: program}
        if theirs:
            contenders["normix"], _ = compiled(*theirs[name], y)
            gap = abs(float(program()[0]) - float(contenders["normix"]()[0]))
            print(f"{name}: log likelihoods differ by {gap:.1e}")
        times = medians(contenders, repeats)
        ms, (most, most_ratio) = 1e3 * times[name], LIKELIHOOD_BARS[name]
        print(f"{name} log likelihood and gradient: {ms:.2f} ms, {verdict(ms, most)}")
        print(f"  compiled in {built:.1f} CPU s")
        if theirs:
            ratio = times[name] / times["normix"]
            print(f"  to normix {ratio:.3f}, {verdict(ratio, most_ratio)}")


def normix_laws(p, a, b, loc, scale, skew) -> dict[str, tuple]:
    """Value and gradient of normix's log likelihoods, and the parameters."""
    try:
        import normix
    except ImportError:
        print("normix is not installed")
        return {}
    import jax
    import jax.numpy as jnp

    laws = {
        "GH": (normix.UnivariateGeneralizedHyperbolic, dict(p=p, a=a, b=b)),
        "NIG": (
            normix.UnivariateNormalInverseGaussian,
            dict(mu_ig=(b / a) ** 0.5, lam=b),
        ),
    }
    shared = dict(mu=loc, gamma=skew, sigma=scale * scale)
    out = {}
    for name, (law, own) in laws.items():

        def total(params, y, law=law):
            return jax.vmap(law.from_classical(**params).log_prob)(y).sum()

        params = {k: jnp.asarray(v) for k, v in (shared | own).items()}
        out[name] = (jax.value_and_grad(total), params)
    return out


def draws(repeats: int) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from numpyro_ext import distributions as distx

    rng = np.random.default_rng(1)
    p = jnp.asarray(rng.uniform(-10, 10, NUM_DRAWS))
    a, b = (jnp.asarray(10 ** rng.uniform(-3, 3, NUM_DRAWS)) for _ in range(2))
    key = jax.random.key(0)

    def ours(key, p, a, b):
        return distx.GeneralizedInverseGaussian(p, a, b).sample(key)

    programs = {
        "GIG": compiled(ours, key, p, a, b)[0],
        "gamma": compiled(jax.random.gamma, key, jnp.abs(p))[0],
    }
    times = {k: 1e9 * s / NUM_DRAWS for k, s in medians(programs, repeats).items()}
    ratio = times["GIG"] / times["gamma"]
    print(f"GIG draw {times['GIG']:.0f} ns, jax.random.gamma {times['gamma']:.0f} ns")
    print(f"  ratio {ratio:.2f}, {verdict(ratio, DRAW_BAR)}")


def quantiles(repeats: int) -> None:
    import jax.numpy as jnp
    import numpy as np
    import scipy.stats as st

    from numpyro_ext import distributions as distx

    law = distx.NormalInverseGaussian(1.0, 1.0, 0.0, 1.0, 0.5)
    few = np.linspace(0.01, 0.99, 10)
    programs = {
        "ours": compiled(law.icdf, jnp.linspace(0.001, 0.999, NUM_QUANTILES))[0],
        "scipy": lambda: st.norminvgauss.ppf(few, np.sqrt(1.25), 0.5),
    }
    times = medians(programs, min(repeats, 5))
    each, peer = times["ours"] / NUM_QUANTILES, times["scipy"] / few.size
    print(f"NIG quantile {1e6 * each:.0f} us, SciPy {1e6 * peer:.0f} us")
    print(f"  ratio {each / peer:.4f}, {verdict(each / peer, QUANTILE_BAR)}")


if __name__ == "__main__":
    main()
