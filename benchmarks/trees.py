"""Trees and calibration against their bars, in double precision.

    python benchmarks/trees.py [tree] [sbc]

`tree`: pointwise log likelihood, and the tree that holds it, against
`arviz_base.from_numpyro` and what it calls, from the same draws. `sbc`: 200 simulations
of NUTS on a small regression, in a new process, compilation included.
"""

import argparse
import subprocess
import sys
import time
import warnings

BAR_TREE, BAR_EQUAL, BAR_SBC = 10.0, 1e-12, 60.0
PROCESS = "import sys; sys.path.insert(0, {folder!r}); import trees as d; {call}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["tree", "sbc"])
    for part in parser.parse_args().parts:
        call = {"tree": "d.compare_trees()", "sbc": "d.calibrate_nuts()"}[part]
        code = PROCESS.format(folder=sys.path[0], call=call)
        subprocess.run([sys.executable, "-c", code], check=True)


def regression(X, y=None):
    import numpyro
    import numpyro.distributions as dist

    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Normal(X @ weights, noise), obs=y)


def setup(num_rows):
    import jax
    import numpy as np

    # Before ArviZ, whose lazy import of NumPyro leaves its submodules out.
    import numpyro.infer  # noqa: F401

    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(num_rows, 2))
    return X, X @ np.array([1.0, -0.5]) + 0.5 * rng.normal(size=num_rows)


def compare_trees():
    for num_rows, num_draws in ((100, 500), (1000, 1000)):
        compare_tree(num_rows, num_draws)


def compare_tree(num_rows, num_draws):
    X, y = setup(num_rows)
    import arviz_base
    import jax
    import numpy as np
    from numpyro.infer import MCMC, NUTS, log_likelihood

    from numpyro_ext import Laplace, ModelSpec
    from numpyro_ext.diagnostics._tree_groups import log_prob_groups

    sampler = MCMC(
        NUTS(regression),
        num_warmup=500,
        num_samples=num_draws,
        num_chains=4,
        chain_method="sequential",
        progress_bar=False,
    )
    sampler.run(jax.random.key(0), X, y)
    draws, flat = sampler.get_samples(group_by_chain=True), sampler.get_samples()
    spec = ModelSpec(regression, X, y=y)
    # The same draws in a fit of ours, of whatever engine.
    fit = Laplace(num_samples=4, num_starts=1).run(spec, jax.random.key(0))
    positions = jax.jit(jax.vmap(jax.vmap(spec.unconstrain)))(draws)
    fields = {"positions": positions, "draws": draws, "stats": {"lp": draws["noise"]}}
    fit = type(fit)(**(vars(fit) | fields))

    def our_tree():
        return fit.to_datatree(posterior_predictive=False, log_prior=False)

    def their_tree():
        return arviz_base.from_numpyro(sampler, log_likelihood=True)

    def ours():
        return log_prob_groups(spec, positions, likelihood=True, prior=False)

    def theirs():  # as `from_numpyro` calls it
        return jax.block_until_ready(log_likelihood(regression, flat, X, y))

    mine, other = (t["log_likelihood"]["y"].values for t in (our_tree(), their_tree()))
    difference = np.max(np.abs(mine / other - 1))
    print(
        f"4 x {num_draws} draws, {num_rows} data: log likelihood "
        f"{against(ours, theirs)} (bar {BAR_TREE:g}); whole tree "
        f"{against(our_tree, their_tree)}; largest relative difference "
        f"{difference:.1e} (bar {BAR_EQUAL:g})"
    )


def against(ours, theirs, repeats=9):
    """Medians of calls in turn, so that a busy machine slows both."""
    times = [[], []]
    for _ in range(repeats):
        for call, seconds in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    mine, other = (sorted(seconds)[repeats // 2] for seconds in times)
    return f"{mine * 1e3:.1f} ms against {other * 1e3:.1f} ms: {other / mine:.1f} times"


def calibrate_nuts(num_simulations=200):
    start = time.perf_counter()
    X, y = setup(20)
    import jax

    from numpyro_ext import NUTS, ModelSpec
    from numpyro_ext.diagnostics import sbc

    warnings.simplefilter("ignore")
    engine = NUTS(num_warmup=300, num_samples=200, num_chains=2)
    spec = ModelSpec(regression, X, y=y)
    result = sbc(spec, engine, jax.random.key(0), num_simulations=num_simulations)
    seconds = time.perf_counter() - start
    print(
        f"sbc of NUTS, {num_simulations} simulations with imports and compilation: "
        f"{seconds:.1f} s (bar {BAR_SBC:g}); {len(result.numbers)} gave a posterior"
    )


if __name__ == "__main__":
    main()
