"""Laplace, Pathfinder and ensemble VI against JAX, BlackJAX and NumPyro, as ratios.

    python benchmarks/approximations.py [curvature] [pathfinder] [vi]

`curvature`: the Gauss-Newton spectrum of 16 members of the sinc network, against
`jax.hessian` of the same density. `pathfinder`: 16 paths with 200 draws each, against
BlackJAX's multipathfinder under one `jit`, which vmaps its paths. `vi`: 16 members x
1000 steps, against NumPyro's `SVI.run` under `vmap`, which is what pyrox's
`EnsembleVI.run` does at each call; nothing there is kept from one call to the next.

Times are medians of runs in turns, after a first one. Memory is what the compiled
programs ask for beside their arguments and results.
"""

import argparse
import os
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from common.posteriors import POSTERIORS
from ensemble import MEMBERS, medians, network, report, report_ratio, sinc_data

from numpyro_ext import EnsembleMAP, EnsembleVI, ModelSpec, Pathfinder
from numpyro_ext.inference import _pathfinder
from numpyro_ext.inference._curvature import (
    Space,
    _ggn_on_diagonal,
    _log_likelihoods,
    ggn_spectrum,
    prior_diagonal,
)
from numpyro_ext.inference._path import PathSettings

MEGABYTE = 1e6
PATHS, DRAWS = 16, 200


def megabytes(compiled):
    return compiled.memory_analysis().temp_size_in_bytes / MEGABYTE


def filter_megabytes(function, *args):
    """Of a program under Equinox's `filter_jit`."""
    return megabytes(function.lower(*args).compile().compiled)


def curvature():
    x, y, _ = sinc_data(80)
    spec = ModelSpec(network, x, y=y)
    engine = EnsembleMAP(num_members=MEMBERS, num_steps=300, tolerance=None)
    fit = engine.run(spec, jax.random.key(0))
    flat = jax.vmap(lambda z: jax.flatten_util.ravel_pytree(z)[0])
    points = flat(jax.tree.map(lambda leaf: leaf[:, 0], fit.positions))
    space = Space(spec, points[0], None)

    def ours():
        return [ggn_spectrum(space, point) for point in points]

    hessian = jax.jit(jax.hessian(space.loss))

    def theirs():
        return [hessian(point) for point in points]

    what = f"curvature of {MEMBERS} networks of {points.shape[1]} coordinates"
    times = medians({"GGN spectrum": ours, "jax.hessian": theirs})
    report_ratio(f"{what}, time", times, 0.15)
    diagonal, _ = prior_diagonal(space, points[0])
    mine = max(
        filter_megabytes(_ggn_on_diagonal, space, points[0], diagonal),
        filter_megabytes(prior_diagonal, space, points[0]),
        filter_megabytes(_log_likelihoods, space, points[0]),
    )
    other = megabytes(hessian.lower(points[0]).compile())
    report(f"{what}, memory", mine / other, 0.1, detail=f"{mine:.3g}, {other:.3g} MB")


def pathfinder():
    x, y, _ = sinc_data(80)
    specs = {
        name: ModelSpec(POSTERIORS[name].model, *POSTERIORS[name].args)
        for name in ("schools", "logistic")
    }
    specs["network"] = ModelSpec(network, x, y=y)
    for name, spec in specs.items():
        compare_paths(name, spec)


def compare_paths(name, spec):
    from blackjax.vi import multipathfinder

    starts = spec.init(jax.random.key(0), PATHS, strategy="uniform")

    @jax.jit
    def theirs(key, starts):
        state, _ = multipathfinder.multi_approximate(
            key, spec.log_density, starts, DRAWS
        )
        return state, multipathfinder.psis_weights(state)

    sizes = {"num_paths": PATHS, "num_path_draws": DRAWS, "num_samples": DRAWS}
    key = jax.random.key(1)
    for elbo_draws in (Pathfinder().num_elbo_draws, DRAWS):
        engine = Pathfinder(**sizes, num_elbo_draws=elbo_draws)
        times = medians(
            {
                "ours": lambda engine=engine: engine.run(spec, key).draws,
                "BlackJAX": lambda: theirs(key, starts),
            },
            repeats=3,
        )
        what = f"{PATHS} paths on {name}, {elbo_draws} draws for each ELBO"
        report_ratio(f"{what}, time", times, 0.6)
        mine = our_path_megabytes(engine, spec, starts)
        other = megabytes(theirs.lower(key, starts).compile())
        detail = f"{mine:.3g}, {other:.4g} MB"
        report(f"{what}, memory", mine / other, 0.1, detail=detail)


def our_path_megabytes(engine, spec, starts):
    settings = PathSettings(
        max_iterations=engine.max_iterations,
        history_size=engine.history_size,
        num_elbo_draws=engine.num_elbo_draws,
        num_draws=engine.num_path_draws,
        tolerance=engine.tolerance,
    )
    key, numbers = jax.random.key(1), jnp.arange(PATHS, dtype=jnp.uint32)
    follow = _pathfinder._follow_paths
    paths = follow(settings, spec, key, numbers, starts)
    return max(
        filter_megabytes(follow, settings, spec, key, numbers, starts),
        filter_megabytes(_pathfinder._pool, spec, key, paths, engine.num_samples),
    )


def linear(X, y=None):
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(level + X @ slope, noise), obs=y)


def vi():
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoNormal

    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    y = 0.3 + X @ np.array([1.0, -0.5, 0.2]) + 0.2 * rng.normal(size=80)
    spec = ModelSpec(linear, X, y=y)
    engine = EnsembleVI(num_members=MEMBERS, num_steps=1000, num_samples=100)

    def theirs():
        # Anew at each call: a guide that was built under `vmap` holds dead tracers.
        svi = SVI(linear, AutoNormal(linear), numpyro.optim.Adam(5e-3), Trace_ELBO())

        def run(key):
            result = svi.run(key, 1000, X, y, progress_bar=False)
            return result.params, result.losses

        return jax.vmap(run)(jax.random.split(jax.random.key(0), MEMBERS))

    times = medians(
        {
            "ours": lambda: engine.run(spec, jax.random.key(0)).draws,
            "vmap of SVI.run": theirs,
        }
    )
    report_ratio(f"VI, {MEMBERS} x 1000 steps x 5 parameters", times, 0.05)


PARTS = {"curvature": curvature, "pathfinder": pathfinder, "vi": vi}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parts = parser.parse_args().parts
    jax.config.update("jax_enable_x64", True)
    # How far a posterior is from normal is not what is timed.
    warnings.simplefilter("ignore")
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    for part in parts:
        PARTS[part]()
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
