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
# # One model, every engine
#
# How much of a firm's investment follows from its value on the stock market, and how
# much from the plant that it has already? Eleven American firms over twenty years
# (Grunfeld 1958) are a classic of the panel regression: every firm has a level of its
# own. Here one model of it goes through every engine, and the question is which of
# their answers one would put into a report.

# %%
import os
import warnings
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import statsmodels.api as sm

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
    modes,
    site_covariance,
)
from numpyro_ext.diagnostics import diagnose, gof
from numpyro_ext.inference import Status

PICTURES = Path("build/one_model_every_engine")
PICTURES.mkdir(parents=True, exist_ok=True)
IS_SHORT = bool(os.environ.get("CI"))
jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## The data
#
# They come with statsmodels and are in the public domain. All three figures are in
# millions of dollars of 1947; logarithms make firms of very different size comparable,
# and the slopes elasticities.

# %%
data = sm.datasets.grunfeld.load_pandas().data
firms, firm = np.unique(data.firm.to_numpy(dtype=str), return_inverse=True)
logs = np.log(data[["value", "capital"]].to_numpy())
X = logs - logs.mean(axis=0)
y = np.log(data.invest.to_numpy())
print(f"{len(firms)} firms, {len(y)} firm-years; log investment {y.mean():.2f}", end="")
print(f" on average, standard deviation {y.std():.2f}")

# %% [markdown]
# ## The model
#
# The levels of the firms are draws of one law, whose centre and spread are estimated
# with the rest. Each firm has twenty years of data, so that its level is well
# determined, and the centred form is the right one.


# %%
def investment(X, firm, y=None):
    centre = numpyro.sample("centre", dist.Normal(4.0, 2.0))
    spread = numpyro.sample("spread", dist.HalfNormal(2.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("firms", len(firms)):
        level = numpyro.sample("level", dist.Normal(centre, spread))
    with numpyro.plate("years", X.shape[0]):
        mean = level[firm] + X @ slope
        numpyro.sample("y", dist.Normal(mean, noise), obs=y)


spec = ModelSpec(investment, X, firm, y=y)
print(spec.check(jax.random.key(0)))

# %% [markdown]
# ## All engines
#
# The same spec goes to each. What an engine has to say against its own answer it says
# as a warning; they are collected here.

# %%
SMALLER = 4 if IS_SHORT else 1
ENGINES = {
    "NUTS": NUTS(num_warmup=1000 // SMALLER, num_samples=1000 // SMALLER),
    "HMC": HMC(num_warmup=1000 // SMALLER, num_samples=1000 // SMALLER),
    "AdjustedMCLMC": AdjustedMCLMC(1000 // SMALLER, 1000 // SMALLER),
    "ChEES": ChEES(num_samples=250 // SMALLER),
    "EnsembleMAP": EnsembleMAP(),
    "EM": EM(latent="level"),
    "Laplace": Laplace(),
    "Pathfinder": Pathfinder(),
    "VI, mean field": EnsembleVI(num_members=4),
    "VI, full rank": EnsembleVI("full_rank", num_members=4),
    "SMC": SMC(num_particles=1000 // SMALLER),
    "NestedSampler": NestedSampler(num_live=400 // SMALLER),
}
fits = {}
for name, engine in ENGINES.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fits[name] = engine.run(spec, jax.random.key(1))
    for warning in caught:
        print(f"{name}: {warning.message}\n")

# %%
SITES = ["centre", "spread", "slope", "noise"]
table = compare(fits, reference="NUTS", sites=SITES)
columns = ["kind", "draws", "max_shift", "min_sd_ratio", "max_sd_ratio"]
columns += ["pareto_k", "log_evidence", "log_evidence_error", "total_s"]
table.engines[columns].round(2)

# %% [markdown]
# `max_shift` is the largest difference of a mean from NUTS, in its standard deviations;
# the ratios compare standard deviations. The shift of the MAP ensemble is that of one
# member, the one of the warning: it runs to where the spread is zero and all levels are
# one, and the density has no bound there. The others found a mode, and agree on it.

# %%
modes(fits["EnsembleMAP"])


# %%
def interval(fit, site, index=()):
    draws = np.asarray(fit.draws[site], float)[(slice(None), slice(None), *index)]
    if fit.kind == "points":
        draws = draws[[s.code is Status.CONVERGED for s in fit.status]]
    return np.mean(draws), *np.quantile(draws, [0.055, 0.945])


QUANTITIES = {
    "elasticity to value": ("slope", (0,)),
    "elasticity to capital": ("slope", (1,)),
    "spread between firms": ("spread", ()),
    "noise": ("noise", ()),
}
figure, axes = plt.subplots(1, 4, figsize=(11, 3.4), sharey=True, layout="constrained")
for axis, (label, (site, index)) in zip(axes, QUANTITIES.items(), strict=True):
    for row, fit in enumerate(fits.values()):
        mean, low, high = interval(fit, site, index)
        is_point = fit.kind == "points"
        if not is_point:
            axis.plot([low, high], [row, row], color="C0", lw=2)
        axis.plot(mean, row, "D" if is_point else "o", color="C1" if is_point else "C0")
    axis.axvline(interval(fits["NUTS"], site, index)[0], color="0.8", zorder=0)
    axis.set_title(label, fontsize=10)
axes[0].set_yticks(range(len(fits)), list(fits))
axes[0].invert_yaxis()
figure.suptitle("Means and 89 % intervals; diamonds are modes, and have none")
figure.savefig(PICTURES / "engines.png", dpi=120)

# %% [markdown]
# ## What each of them is worth here
#
# All engines put the two elasticities at the same place. They part over their
# uncertainty, and over the spread between firms, whose posterior is skewed, with only
# eleven firms to learn it from:
#
# - **EnsembleMAP** puts the spread at its mode, well below its mean, and has a member
#   that fell off the edge. The mode of levels and spread together is not a typical
#   point of the posterior: the smaller the spread, the denser the levels.
# - **EM** integrates the levels out. Its spread is the one of mixed-model software, and
#   its standard errors are those of the marginal likelihood.
# - **VI, mean field** has no correlations. The elasticity to value is correlated with
#   all eleven levels, and its interval is a fifth as wide as it should be. Pareto k,
#   above 0.7, says so.
# - **Laplace** sits at the mode of a skewed law, so that spread and noise come out low;
#   its Pareto k says little of it. **Pathfinder** and **VI, full rank** are close, and
#   too short on the long side of the spread.
# - **NUTS**, **HMC**, **AdjustedMCLMC**, **ChEES**, **SMC** and **NestedSampler** draw
#   from the posterior itself. They move in different ways, and agree to within what
#   their draws allow.

# %%
em_sd = np.sqrt(np.diag(site_covariance(fits["EM"], "slope")))
nuts_sd = np.asarray(fits["NUTS"].draws["slope"]).std(axis=(0, 1))
pd.DataFrame({"EM": em_sd, "NUTS": nuts_sd}, index=["value", "capital"]).rename_axis(
    "standard error of"
).round(4)

# %% [markdown]
# The log evidence comes from four engines. SMC and nested sampling state its error;
# Laplace and Pathfinder are as good as the posterior is normal.

# %%
evidence = table.engines[["log_evidence", "log_evidence_error"]].dropna(how="all")
evidence.dropna(subset="log_evidence").round(2)

# %% [markdown]
# ## Can the chains be trusted, and is the model any good?

# %%
tree = fits["NUTS"].to_datatree()
print(diagnose(tree).verdict)

# %%
rows = ["coverage_50", "coverage_95", "rmse", "crps"]
gof(tree).loc["y"].loc[rows].round(3)

# %%
predicted = np.asarray(fits["NUTS"].predict()["y"])
predicted = predicted.reshape(-1, predicted.shape[-1])
residual = y - predicted.mean(axis=0)
figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
for index in range(len(firms)):
    axis.plot(data.year[firm == index], residual[firm == index], lw=1, color="0.7")
worst = int(np.argmax([np.std(residual[firm == i]) for i in range(len(firms))]))
chosen = firm == worst
axis.plot(data.year[chosen], residual[chosen], lw=2, color="C1", label=firms[worst])
axis.axhline(0.0, color="black", lw=0.6)
axis.set_ylabel("log investment, minus its prediction")
axis.set_xticks(range(1935, 1955, 5))
axis.legend(frameon=False)
figure.savefig(PICTURES / "residuals.png", dpi=120)

# %% [markdown]
# ## What to report
#
# Intervals hold 89 % of the posterior.

# %%
for label, (site, index) in QUANTITIES.items():
    mean, low, high = interval(fits["NUTS"], site, index)
    print(f"{label:22s} {mean:.2f}  ({low:.2f} to {high:.2f})")

# %% [markdown]
# A careful analyst reports the draws of **NUTS**, since its diagnostics are clean, and
# says that two samplers of another kind gave the same. The elasticities could have come
# from Laplace. The spread between firms could not: it needs an engine that draws from
# the posterior. The log evidence is that of **SMC** or of the nested
# sampler, with its error; it depends on the priors, and means nothing beside another
# model with careless ones.
#
# None of this says that the model is right. The residuals of a firm stay on one side
# for years: the noise is not independent from year to year, so that the intervals of
# the elasticities are too narrow, whichever engine they come from. That is the first
# thing to mend, and no engine can do it.
