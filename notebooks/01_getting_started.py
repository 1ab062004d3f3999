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
# # Getting started: one model, two engines, one answer
#
# In 1857 Ernst Engel asked how much of its income a household spends on food. His
# data, 235 Belgian working-class households, are still the ones on which people learn
# quantile regression, because a few households lie far from the rest.
#
# Here they are read with one NumPyro model. The model is written once. An ensemble of
# MAP fits finds its mode in a second, NUTS draws from its posterior, and both answers
# are the same kind of object.

# %%
import os
from pathlib import Path

import arviz as az
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax

from numpyro_ext import NUTS, EnsembleMAP, ModelSpec, modes
from numpyro_ext import distributions as distx
from numpyro_ext.datasets import engel

PICTURES = Path("build/quickstart")
PICTURES.mkdir(parents=True, exist_ok=True)
NUM_DRAWS = 200 if os.environ.get("CI") else 1000

# Posteriors are smooth and small here; double precision costs nothing.
jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## The data
#
# Income and food expenditure are in Belgian francs a year. Engel's law is about
# proportions, so the model is stated for their logarithms: the slope is then an
# elasticity, the percentage by which food spending rises with one percent of income.

# %%
households = engel()
log_income = np.log(households.income)
log_food = np.log(households.food_expenditure)
centre = log_income.mean()
print(f"{len(log_income)} households")
print(f"income {households.income.min():.0f} to {households.income.max():.0f} francs")

# %% [markdown]
# ## The model
#
# A straight line in the logarithms, with Student t errors: households far from the
# line may stay there, and the line does not chase them. `nu` says how heavy the tails
# are; above 30 they are as good as normal, and the posterior may well say so.


# %%
def engel_model(x, y=None):
    level = numpyro.sample("level", dist.Normal(6.0, 2.0))
    elasticity = numpyro.sample("elasticity", dist.Normal(1.0, 0.5))
    sigma = numpyro.sample("sigma", dist.HalfNormal(0.5))
    nu = numpyro.sample("nu", dist.Gamma(2.0, 0.1))
    with numpyro.plate("household", x.shape[0]):
        mean = numpyro.deterministic("mean", level + elasticity * x)
        numpyro.sample("log_food", dist.StudentT(nu, mean, sigma), obs=y)


# %% [markdown]
# A `ModelSpec` is the model with its data. `check` runs it once and shows what it
# found at each site; with a NaN in the data, or a column where a vector belongs, it
# would say so here and not after the sampling.

# %%
spec = ModelSpec(engel_model, log_income - centre, y=log_food)
print(spec.check(jax.random.key(0)))

# %% [markdown]
# ## Engine one: an ensemble of MAP fits
#
# Sixteen members start at draws from the prior and climb the same log density. If they
# end at one place, the mode is no accident of the start. The model is smooth and small,
# so L-BFGS is the optimizer to take; any other of Optax would do.

# %%
ensemble = EnsembleMAP(num_members=16, num_steps=300, optimizer=optax.lbfgs())
map_fit = ensemble.run(spec, jax.random.key(1))
print(map_fit.summary())

# %%
print(modes(map_fit))

# %% [markdown]
# ## Engine two: NUTS
#
# The same spec, the same verb, the same kind of result. The chains start at members of
# the ensemble.

# %%
nuts = NUTS(num_warmup=NUM_DRAWS, num_samples=NUM_DRAWS, num_chains=4)
nuts_fit = nuts.run(spec, jax.random.key(2), init=map_fit)
print(nuts_fit.summary())

# %% [markdown]
# ## Do they agree?
#
# A mode is not a mean, but for a posterior this close to normal the two lie within a
# fraction of a posterior standard deviation. `nu` has a skewed posterior; its mode is
# below its mean, and the distance is no mistake.

# %%
print("site         mode    mean     sd   (mean - mode) / sd")
for site in spec.sites.coordinates:
    mode = float(map_fit.draws[site][np.argmax(map_fit.stats["lp"]), 0])
    mean, sd = float(nuts_fit.draws[site].mean()), float(nuts_fit.draws[site].std())
    print(f"{site:10s} {mode:7.3f} {mean:7.3f} {sd:6.3f}   {(mean - mode) / sd:6.2f}")

# %% [markdown]
# ## The picture
#
# New incomes go where the data went; `predict` draws food expenditure from the model's
# law. The band holds 90 % of the draws.

# %%
grid = jnp.linspace(log_income.min(), log_income.max(), 80)
predicted = np.asarray(nuts_fit.predict(grid - centre)["log_food"])
low, middle, high = np.exp(np.quantile(predicted, [0.05, 0.5, 0.95], axis=(0, 1)))

figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
axes.fill_between(np.exp(grid), low, high, alpha=0.25, label="90 % of predictions")
axes.plot(np.exp(grid), middle, label="median prediction")
axes.scatter(households.income, households.food_expenditure, s=10, color="0.25")
axes.set(
    xlabel="income (Belgian francs a year)",
    ylabel="food expenditure (Belgian francs a year)",
    title="Food expenditure of 235 households",
)
axes.legend(loc="upper left")
figure.savefig(PICTURES / "predictive_band.png", dpi=130)

# %% [markdown]
# ## The ArviZ tree
#
# `to_datatree` gives every group that ArviZ reads, so its tables and pictures work as
# they are.

# %%
tree = nuts_fit.to_datatree()
print(az.loo(tree))

# %%
scalars = list(spec.sites.coordinates)
trace = az.plot_trace_dist(tree, var_names=scalars)
trace.savefig(PICTURES / "trace.png", bbox_inches="tight")

# %%
ranks = az.plot_rank(tree, var_names=scalars)
ranks.savefig(PICTURES / "ranks.png", bbox_inches="tight")

# %% [markdown]
# Replicated data look like the data, tails included:

# %%
check = az.plot_ppc_dist(tree, num_samples=50)
axis = check.viz["figure"].item().axes[0]
axis.set(xlabel="log food expenditure", title="data (black) and 50 replicates")
check.savefig(PICTURES / "predictive_check.png", bbox_inches="tight")

# %% [markdown]
# ## Another likelihood
#
# Student t is symmetric. Are the households that lie far off mostly on one side? The
# normal-inverse Gaussian law has heavy tails and a skew. `standardized` takes the mean
# and the standard deviation, so `elasticity` and `sigma` keep their meaning; `shape`
# says how close to normal it is, and `tilt` which tail is the longer one.


# %%
def skewed_model(x, y=None):
    level = numpyro.sample("level", dist.Normal(6.0, 2.0))
    elasticity = numpyro.sample("elasticity", dist.Normal(1.0, 0.5))
    sigma = numpyro.sample("sigma", dist.HalfNormal(0.5))
    shape = numpyro.sample("shape", dist.LogNormal(1.0, 1.0))
    tilt = numpyro.sample("tilt", dist.Normal(0.0, 0.5))
    with numpyro.plate("household", x.shape[0]):
        law = distx.NormalInverseGaussian.standardized(
            level + elasticity * x, sigma, tilt=tilt, a=shape, b=shape
        )
        numpyro.sample("log_food", law, obs=y)


skewed_spec = ModelSpec(skewed_model, log_income - centre, y=log_food)
skewed_fit = nuts.run(skewed_spec, jax.random.key(3))
print(skewed_fit.summary())

# %% [markdown]
# The interval of `tilt` lies below 0: the longer tail is that of households who spend
# less than the line says. Cross-validation agrees, though not by more than its error:

# %%
trees = {"Student t": tree, "normal-inverse Gaussian": skewed_fit.to_datatree()}
print(az.compare(trees, round_to=2)[["elpd", "p", "elpd_diff", "dse", "weight"]])
print(f"pictures are in {PICTURES}")
