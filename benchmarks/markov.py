"""Markov engines beside NUTS: effective sample size per gradient, as ratios.

    python benchmarks/markov.py [posteriors] [metrics]

`posteriors`: the smallest bulk ESS of the real posteriors that the tests use, per 1000
sampling gradients, by engine with its own defaults. `metrics`: NUTS with a diagonal, a
low rank and a dense metric on a Gaussian of 100 dimensions with three wide directions;
gradients, ESS and seconds of a second run.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

ENGINES = ("NUTS", "HMC", "AdjustedMCLMC", "ChEES")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["posteriors", "metrics"])
    parts = {"posteriors": compare_engines, "metrics": compare_metrics}
    for part in parser.parse_args().parts:
        parts[part]()


def setup() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    # Some of these chains diverge now and then.
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(Path(__file__).parents[1]))


def run(engine, spec) -> tuple[float, float, float]:
    """Returns the smallest ESS, the sampling gradients, and the seconds of a rerun."""
    import jax

    engine.run(spec, jax.random.key(0))
    start = time.perf_counter()
    fit = engine.run(spec, jax.random.key(1))
    seconds = time.perf_counter() - start
    ess = fit.summary().table["ess_bulk"].min()
    return float(ess), float(fit.stats["n_steps"].sum()), seconds


def compare_engines() -> None:
    setup()
    import numpyro_ext
    from tests.inference.posteriors import POSTERIORS

    for name, make in POSTERIORS.items():
        # Labels that switch have no R-hat, and no ESS either.
        if name == "low_dim_gauss_mix":
            continue
        spec, words, first = make(), [], None
        for engine in ENGINES:
            ess, num, seconds = run(getattr(numpyro_ext, engine)(), spec)
            rate = 1000.0 * ess / num
            first = first or rate
            words.append(f"{engine} {rate:.1f} ({rate / first:.2f}x, {seconds:.2f} s)")
        print(f"{name:26s} ESS per 1000 gradients: " + ", ".join(words), flush=True)


def compare_metrics() -> None:
    setup()
    import jax.numpy as jnp
    import numpy as np
    import numpyro
    import numpyro.distributions as dist

    from numpyro_ext import NUTS, ModelSpec

    rng, dim = np.random.default_rng(0), 100
    directions = np.linalg.qr(rng.normal(size=(dim, 3)))[0]
    covariance = np.eye(dim) + directions @ np.diag([99.0, 399.0, 24.0]) @ directions.T
    scale = np.exp(rng.normal(size=dim))
    precision = np.linalg.inv(covariance * scale[:, None] * scale)

    def gaussian(precision):
        law = dist.ImproperUniform(dist.constraints.real, (), precision.shape[:1])
        x = numpyro.sample("x", law)
        numpyro.factor("law", -0.5 * x @ precision @ x)

    spec = ModelSpec(gaussian, jnp.asarray(precision))
    metrics = {"diagonal": {}, "mass_rank=10": {"mass_rank": 10}}
    for name, settings in {**metrics, "dense": {"dense_mass": True}}.items():
        ess, num, seconds = run(NUTS(**settings), spec)
        print(f"{name:14s} {num:.0f} gradients, ESS {ess:.0f}, {seconds:.2f} s")


if __name__ == "__main__":
    main()
