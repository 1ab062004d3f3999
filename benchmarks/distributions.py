"""Speed of the generalized hyperbolic family beside JAX's and SciPy's own.

CPU time of one process, medians; run it pinned to one core.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats as st

jax.config.update("jax_enable_x64", True)

from numpyro_ext import distributions as distx  # noqa: E402

NUM_DATA, NUM_DRAWS, NUM_QUANTILES = 8312, 100_000, 1000


def cpu_seconds(run, repeats=9):
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return float(np.median(times))


def likelihoods():
    y = jnp.asarray(0.01 * np.random.default_rng(0).standard_t(4, NUM_DATA))
    cases = {
        "GH": (distx.GeneralizedHyperbolic, (-0.7, 0.5, 0.6, 0.0, 0.01, 0.001), 8.0),
        "NIG": (distx.NormalInverseGaussian, (0.5, 0.6, 0.0, 0.01, 0.001), 3.0),
    }
    for name, (law, args, bar) in cases.items():

        def total(*args, law=law):
            return law(*args).log_prob(y).sum()

        start = time.process_time()
        argnums = tuple(range(len(args)))
        step = jax.jit(jax.value_and_grad(total, argnums)).lower(*args).compile()
        built = time.process_time() - start
        ms = 1e3 * cpu_seconds(lambda s=step, a=args: jax.block_until_ready(s(*a)))
        print(f"{name} log likelihood and gradient, n = {NUM_DATA}: {ms:.2f} ms")
        print(f"  bar {bar:g} ms; compiled in {built:.1f} s")


def draws():
    rng = np.random.default_rng(1)
    p = jnp.asarray(rng.uniform(-10, 10, NUM_DRAWS))
    a, b = (jnp.asarray(10 ** rng.uniform(-3, 3, NUM_DRAWS)) for _ in range(2))
    key = jax.random.key(0)
    ours = jax.jit(lambda k: distx.GeneralizedInverseGaussian(p, a, b).sample(k))
    gamma = jax.jit(lambda k: jax.random.gamma(k, jnp.abs(p)))
    times = [
        1e9 / NUM_DRAWS * cpu_seconds(lambda f=f: f(key).block_until_ready())
        for f in (ours, gamma)
    ]
    print(f"GIG draw {times[0]:.0f} ns, gamma draw {times[1]:.0f} ns")
    print(f"  ratio {times[0] / times[1]:.2f}, bar 0.3")


def quantiles():
    q = jnp.linspace(0.001, 0.999, NUM_QUANTILES)
    law = distx.NormalInverseGaussian(1.0, 1.0, 0.0, 1.0, 0.5)
    icdf = jax.jit(law.icdf)
    ours = cpu_seconds(lambda: icdf(q).block_until_ready(), 3) / NUM_QUANTILES
    few = np.linspace(0.01, 0.99, 10)
    alpha = np.sqrt(1.25)
    scipys = cpu_seconds(lambda: st.norminvgauss.ppf(few, alpha, 0.5), 3) / 10
    print(f"NIG quantile {1e6 * ours:.0f} us, scipy {1e6 * scipys:.0f} us")
    print(f"  ratio {ours / scipys:.4f}, bar 0.01")


if __name__ == "__main__":
    likelihoods()
    draws()
    quantiles()
