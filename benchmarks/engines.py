"""All engines on three models, as the tables of docs/engines.md.

    python benchmarks/engines.py [glm] [hierarchical] [multimodal]

Each engine runs twice, with its own default settings: the first run compiles, and the
second, with another key, is the one that is compared. The reference is long chains of
NUTS, for the multimodal model long SMC. `shift` is the largest difference of a mean in
sds of the reference, `sd ratio` the smallest and the largest ratio of an sd. A new
engine is one line of `ENGINES`.
"""

import argparse
import os
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from common.posteriors import POSTERIORS

from numpyro_ext import (
    EM,
    HMC,
    NUTS,
    SMC,
    AdjustedMCLMC,
    ChEES,
    EnsembleMAP,
    EnsembleVI,
    Laplace,
    ModelSpec,
    NestedSampler,
    Pathfinder,
    compare,
)

ENGINES = {
    "EnsembleMAP": EnsembleMAP(),
    "Laplace": Laplace(),
    "Pathfinder": Pathfinder(),
    "EnsembleVI, mean field": EnsembleVI(),
    "EnsembleVI, full rank": EnsembleVI("full_rank"),
    "NUTS": NUTS(),
    "HMC": HMC(),
    "AdjustedMCLMC": AdjustedMCLMC(),
    "ChEES": ChEES(),
    "SMC": SMC(),
    "NestedSampler": NestedSampler(),
}
# What is integrated out is a matter of the model.
LATENT = {"hierarchical": "theta_decentered", "multimodal": ()}
LONG_NUTS = NUTS(num_samples=5000)
LONG_SMC = SMC(num_particles=4000)


def two_groups(y):
    """Without an order of the components, so that each may have either label."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    share = numpyro.sample("share", dist.Beta(2.0, 2.0))
    weights = dist.Categorical(jnp.stack([share, 1.0 - share]))
    law = dist.MixtureSameFamily(weights, dist.Normal(mean, noise))
    numpyro.sample("y", law, obs=y)


def specs():
    rng = np.random.default_rng(4)
    y = np.where(rng.random(200) < 0.4, -1.5, 1.5) + 0.7 * rng.normal(size=200)
    return {
        "glm": ModelSpec(POSTERIORS["logistic"].model, *POSTERIORS["logistic"].args),
        "hierarchical": ModelSpec(
            POSTERIORS["schools"].model, *POSTERIORS["schools"].args
        ),
        "multimodal": ModelSpec(two_groups, y),
    }


def run_all(name, spec):
    engines = dict(ENGINES)
    if name in LATENT:
        engines = {"EM": EM(latent=LATENT[name])} | engines
    long = LONG_SMC if name == "multimodal" else LONG_NUTS
    fits, first = {}, {}
    for label, engine in engines.items():
        first[label] = engine.run(spec, jax.random.key(1)).timing["total"]
        fits[label] = engine.run(spec, jax.random.key(2))
        print(f"{label}: {first[label]:.1f} s", file=sys.stderr, flush=True)
    # Last, so that no engine finds its program compiled.
    fits["reference"] = long.run(spec, jax.random.key(0))
    return compare(fits, reference="reference").engines.drop("reference"), first


def markdown(table, first):
    def number(value, digits=2):
        return "" if np.isnan(value) else f"{value:.{digits}f}"

    columns = ("engine", "shift", "sd ratio", "Pareto k", "log evidence", "first, s")
    columns += ("again, s",)
    yield "| " + " | ".join(columns) + " |"
    yield "|---" * len(columns) + "|"
    for label, row in table.iterrows():
        ratio = f"{number(row.min_sd_ratio)} to {number(row.max_sd_ratio)}"
        evidence = number(row.log_evidence)
        if not np.isnan(row.log_evidence_error):
            evidence += f" ± {row.log_evidence_error:.2f}"
        cells = (
            f"`{label}`" if "," not in label else label,
            number(abs(row.max_shift)),
            "" if row.kind == "points" else ratio,
            number(row.pareto_k),
            evidence,
            f"{first[label]:.1f}",
            f"{row.total_s:.2g}",
        )
        yield "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    chosen = parser.parse_args().models
    jax.config.update("jax_enable_x64", True)
    # What goes wrong is in the table.
    warnings.simplefilter("ignore")
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    for name, spec in specs().items():
        if chosen and name not in chosen:
            continue
        print(f"\n{name}\n", flush=True)
        print("\n".join(markdown(*run_all(name, spec))), flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
