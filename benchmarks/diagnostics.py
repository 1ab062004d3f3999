"""`gof` and `calibration` against ArviZ on the same tree: wall time, best of a few.

    python benchmarks/diagnostics.py [--repeats 3] [--draws 1000] [--data 1000]

Four chains of a linear regression. Ours gives all rows of `gof` and the whole of
`calibration`; ArviZ gives those parts of it that it has. A bar in brackets is met if
the time is below it. `laws` is what `with_laws` takes once, compiled before.
"""

import argparse
import time
import warnings
from collections.abc import Callable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--data", type=int, default=1000)
    options = parser.parse_args()

    import jax

    jax.config.update("jax_enable_x64", True)
    import arviz_stats

    from numpyro_ext.diagnostics import calibration, gof, with_laws

    spec, tree = regression(options.draws, options.data)
    with_laws(tree, spec)
    laws = best(lambda: with_laws(tree, spec), options.repeats)
    known = with_laws(tree, spec)
    table = best(lambda: gof(known), options.repeats)
    judged = best(lambda: calibration(known), options.repeats)
    total = table + judged
    print(f"with_laws {laws:.2f} s, gof {table:.2f} s, calibration {judged:.2f} s")
    print(f"gof + calibration: {total:.2f} s [3 s]; with the laws {total + laws:.2f} s")
    theirs = {
        "loo": lambda: arviz_stats.loo(tree, reff=1.0),
        "loo_metrics": lambda: arviz_stats.loo_metrics(tree),
        "loo_score": lambda: arviz_stats.loo_score(tree),
        "loo_pit": lambda: arviz_stats.loo_pit(tree),
    }
    seconds = {name: best(call, 1) for name, call in theirs.items()}
    for name, value in seconds.items():
        print(f"ArviZ {name}: {value:.2f} s")
    ratio = sum(seconds.values()) / total
    print(f"ArviZ's four against gof + calibration: {ratio:.1f} times the time")


def regression(num_draws, num_data):
    """A spec, and the tree of draws from its posterior but for the prior."""
    import arviz_base
    import jax
    import jax.numpy as jnp
    import numpy as np
    import numpyro
    import numpyro.distributions as dist

    from numpyro_ext import ModelSpec

    rng = np.random.default_rng(0)
    x = rng.normal(size=(num_data, 5))
    y = x @ np.arange(5) + rng.normal(size=num_data)

    def model(x, y=None):
        slope = numpyro.sample("slope", dist.Normal(0, 100).expand([5]).to_event(1))
        scale = numpyro.sample("scale", dist.HalfNormal(100))
        with numpyro.plate("row", len(x)):
            numpyro.sample("y", dist.Normal(x @ slope, scale), obs=y)

    best_fit, rss, *_ = np.linalg.lstsq(x, y)
    root = np.linalg.cholesky(np.linalg.inv(x.T @ x))
    scale = np.sqrt(rss[0] / rng.chisquare(num_data - 5, size=(4, num_draws)))
    slope = best_fit + scale[..., None] * (rng.normal(size=(4, num_draws, 5)) @ root.T)
    mean = slope @ x.T
    noise = rng.normal(size=mean.shape)
    log_likelihood = jax.scipy.stats.norm.logpdf(y, mean, jnp.asarray(scale)[..., None])
    groups = {
        "posterior": {"slope": slope, "scale": scale},
        "posterior_predictive": {"y": mean + scale[..., None] * noise},
        "log_likelihood": {"y": np.asarray(log_likelihood)},
        "observed_data": {"y": y},
    }
    return ModelSpec(model, x, y=y), arviz_base.from_dict(groups, dims={"y": ["row"]})


def best(call: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
