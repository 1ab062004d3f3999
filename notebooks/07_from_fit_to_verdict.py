# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # From a fit to a verdict
#
# Two questions come after every fit: can its draws be trusted, and do the data fall
# where it says, as often as it says? Here both are asked of two models of the same
# data, twenty years of weekly returns of the S&P 500: a normal law, and one with
# heavier tails and a skew. Both are sampled without a complaint. One of them is wrong.

# %%
import os
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from arch.data import sp500
from scipy.special import ndtri

from numpyro_ext import NUTS, ModelSpec
from numpyro_ext import distributions as distx
from numpyro_ext.diagnostics import (
    calibration,
    diagnose,
    gof,
    plot_coverage,
    plot_pit_ecdf,
    plot_residual_qq,
    plot_sbc,
    report,
    sbc,
)

PICTURES = Path("build/from_fit_to_verdict")
PICTURES.mkdir(parents=True, exist_ok=True)
IS_SHORT = bool(os.environ.get("CI"))
NUM_DRAWS = 200 if IS_SHORT else 500
jax.config.update("jax_enable_x64", True)

# %%
prices = sp500.load()["Adj Close"].resample("W").last()
returns = (100.0 * np.log(prices).diff().dropna()).to_numpy()
print(
    f"{len(returns)} weeks, from {returns.min():.1f} % to {returns.max():.1f} %, "
    f"standard deviation {returns.std():.2f} %"
)

# %% [markdown]
# ## Two models


# %%
def normal(y=None):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    sd = numpyro.sample("sd", dist.HalfNormal(5.0))
    with numpyro.plate("week", len(returns)):
        numpyro.sample("return", dist.Normal(mean, sd), obs=y)


def heavy(y=None):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    sd = numpyro.sample("sd", dist.HalfNormal(5.0))
    shape = numpyro.sample("shape", dist.LogNormal(0.0, 1.0))
    tilt = numpyro.sample("tilt", dist.Normal(0.0, 1.0))
    law = distx.NormalInverseGaussian.standardized(
        mean, sd, tilt=tilt, a=shape, b=shape
    )
    with numpyro.plate("week", len(returns)):
        numpyro.sample("return", law, obs=y)


engine = NUTS(num_warmup=NUM_DRAWS, num_samples=NUM_DRAWS, num_chains=2)
fits = {
    name: engine.run(ModelSpec(model, y=returns), jax.random.key(0))
    for name, model in (("normal", normal), ("heavy tails", heavy))
}
trees = {name: fit.to_datatree() for name, fit in fits.items()}

# %% [markdown]
# ## Can the draws be trusted?
#
# They can, of both. This says that the sampler did its work; it says nothing of the
# model.

# %%
for name, tree in trees.items():
    result = diagnose(tree)
    print(f"{name}: {result.status}. {result.verdict}")

# %% [markdown]
# ## Do the predictions describe the data?
#
# `gof` predicts each week as if it had been left out of the fit. The normal law has
# intervals of 50 % that hold more than 60 % of the weeks, and its interval scores and
# its log score are worse. Which direction is better, the table says itself.

# %%
tables = {name: gof(tree) for name, tree in trees.items()}
rows = ["elpd", "nll", "crps", "coverage_50", "coverage_95", "interval_score_95"]
side_by_side = tables["normal"].loc["return"].loc[rows, ["value"]]
side_by_side.columns = ["normal"]
side_by_side["heavy tails"] = tables["heavy tails"].loc["return"].loc[rows, "value"]
side_by_side["better"] = tables["normal"].loc["return"].loc[rows, "better"]
side_by_side.round(3)

# %% [markdown]
# Note that the 95 % intervals of the normal law look right: what is too wide in the
# middle and too narrow far out is about right somewhere between. One level proves
# nothing; the curve over all levels does.
#
# ## The verdict

# %%
verdicts = {name: calibration(tree) for name, tree in trees.items()}
for name, verdict in verdicts.items():
    print(f"{name}: {verdict.status}. {verdict.verdict}")

# %%
figure, axes = plt.subplots(2, 2, figsize=(11, 9), layout="constrained")
for column, (name, verdict) in zip(axes.T, verdicts.items(), strict=True):
    plot_coverage(verdict, title=name, ax=column[0])
    plot_pit_ecdf(verdict, title=name, ax=column[1])
figure.savefig(PICTURES / "calibration.png", dpi=130)

# %% [markdown]
# The curve of the normal law leaves the band, and its PIT has the shape of intervals
# that are too wide in the middle. Where the tails are too light, the residuals show:
# they are standard normal if the law is right.

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for axis, (name, verdict) in zip(axes, verdicts.items(), strict=True):
    residuals = ndtri(verdict.sites["return"].pit.ravel())
    plot_residual_qq(residuals, title=name, ax=axis)
figure.savefig(PICTURES / "residuals.png", dpi=130)

# %% [markdown]
# Tables, verdicts and pictures of a fit go onto one page, which needs no other file.

# %%
for name, tree in trees.items():
    path = PICTURES / f"{name.replace(' ', '_')}.html"
    print(report(tree, path, title=f"Weekly returns: {name}"))

# %% [markdown]
# ## Is the sampler right for this model?
#
# That is another question, and it has an answer before any data: parameters from the
# prior, data from the model, a fit to each, and the rank of the truth among the draws.
# It is uniform if sampler and model agree. Of the normal model with ten weeks:


# %%
def few_weeks(y=None):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    sd = numpyro.sample("sd", dist.HalfNormal(5.0))
    with numpyro.plate("week", 10):
        numpyro.sample("return", dist.Normal(mean, sd), obs=y)


ranks = sbc(
    ModelSpec(few_weeks, y=returns[:10]),
    NUTS(num_warmup=300, num_samples=300, num_chains=2),
    jax.random.key(2),
    num_simulations=50 if IS_SHORT else 200,
)
print(ranks)
axis = plot_sbc(ranks)
axis.figure.savefig(PICTURES / "ranks.png", dpi=130)
