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
# # Counts, fitted both ways
#
# Between 1974 and 1982 the RAND Corporation drew lots for the health insurance of
# thousands of people, to see how what a visit to the doctor costs them changes how
# often they go. Here the visits of a year are fitted twice with one family object: by
# maximum likelihood, in seconds, and by NUTS. The residuals say which family to take,
# and the two fits then say the same.

# %%
import os
import warnings
from pathlib import Path

import arviz as az
import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

from numpyro_ext import NUTS, ConvergenceWarning, ModelSpec, glm

PICTURES = Path("build/counts_both_ways")
PICTURES.mkdir(parents=True, exist_ok=True)
IN_CI = bool(os.environ.get("CI"))
NUM_DRAWS, NUM_ROWS = (100, 500) if IN_CI else (500, 2000)
jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## The data
#
# 20,190 person-years, which come with statsmodels and are in the public domain
# (Cameron and Trivedi 2005, *Microeconometrics*). `mdvis` counts visits to a doctor,
# `lncoins` is the logarithm of one plus the share that the patient pays, in percent,
# and `disea` counts chronic diseases. The other columns are features of the plan
# (`idp`, `lpi`, `fmde`), a physical limitation, and the state of health in the
# person's own view, which is put back into one column of words.

# %%
data = sm.datasets.randhie.load_pandas().data
words = ["good", "fair", "poor"]
marks = [data.hlthg == 1, data.hlthf == 1, data.hlthp == 1]
data["health"] = np.select(marks, words, default="excellent")
print(data[["mdvis", "lncoins", "disea", "health"]].describe(include="all").round(2))

# %% [markdown]
# ## By maximum likelihood
#
# A formula adds an intercept, codes `health` against its first level, and gives the
# coefficients their names.

# %%
FORMULA = "mdvis ~ lncoins + idp + lpi + fmde + physlm + disea + C(health)"
poisson = glm.fit(FORMULA, data, glm.Poisson())
print(poisson.summary())

# %% [markdown]
# Twenty thousand rows make nearly every coefficient significant, if the counts are
# Poisson. They are not: the test of Cameron and Trivedi finds more variance than mean,
# and standard errors that do not lean on the family are two and a half times as large.

# %%
check = glm.check(poisson)
print(f"overdispersion {float(check.gof.overdispersion):.2f}", end=", ")
print(f"p = {float(check.gof.overdispersion_p):.1e}")
robust = glm.infer(poisson, cov="HC0")
ratio = np.asarray(robust.se / glm.infer(poisson).se)
print(pd.Series(ratio, index=poisson.names, name="robust / Poisson").round(2))

# %% [markdown]
# The negative binomial has a parameter for that, $\operatorname{Var} y = \mu +
# \alpha\mu^2$, estimated together with the coefficients.

# %%
negative_binomial = glm.fit(FORMULA, data, glm.NegativeBinomial())
print(negative_binomial.summary())

# %% [markdown]
# A third of the people never went. Are there more zeros than a negative binomial has?
# The zero-inflated family contains the plain one, and its likelihood is largest at its
# edge: no zeros to add. There the logit of the probability runs to minus infinity, and
# the fit says so.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", ConvergenceWarning)
    inflated = glm.fit(FORMULA, data, glm.ZeroInflated(glm.NegativeBinomial()))
print(caught[-1].message)

# %% [markdown]
# ## What the residuals say
#
# Raw residuals of counts lie on curves, one for each count, and show little.
# Randomised quantile residuals are standard normal if the model is right, for counts
# too. Below are those of the two fits, and beside them how many people went 0, 1, 2,
# ... times, and how many each fit expects to.

# %%
key = jax.random.key(0)
fits = {"Poisson": poisson, "negative binomial": negative_binomial}
residuals = {
    name: np.asarray(glm.check(fitted, key=key).residuals.quantile)
    for name, fitted in fits.items()
}
counts = np.arange(16)
observed = np.bincount(data.mdvis.astype(int), minlength=16)[:16]

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
normal = stats.norm.ppf((np.arange(len(data)) + 0.5) / len(data))
for (name, values), color in zip(residuals.items(), ("C1", "C0"), strict=True):
    left.plot(normal, np.sort(values), ".", ms=3, color=color, label=name)
    law = fits[name].family(fits[name].eta, **fits[name].aux)
    expected = [float(np.exp(law.log_prob(k)).sum()) for k in counts.astype(float)]
    right.plot(counts, expected, "o-", ms=4, color=color, label=name)
left.plot([-4, 4], [-4, 4], color="0.3", lw=0.8)
left.set(xlabel="normal quantile", ylabel="quantile residual", ylim=(-9, 9))
left.legend()
right.bar(counts, observed, color="0.85", label="observed")
right.set(xlabel="visits in a year", ylabel="person-years")
right.legend()
figure.savefig(PICTURES / "residuals.png", dpi=130)
for name, values in residuals.items():
    print(f"{name}: sd of the residuals {values.std():.2f}")

# %% [markdown]
# The Poisson fit is out of the question: its residuals are nearly twice as wide as they
# should be, and it expects a quarter of the people who never went. (Its curve ends flat
# at 8.1, where the probability of more is below what double precision can tell from
# zero.) The negative binomial follows the counts closely, and its residuals lie on the
# line up to two standard deviations. Above them they leave it: the one person in forty
# who goes most often goes more often than this family, too, expects.
#
# Visits of the same person in several years are treated as if they were of different
# people, because the table does not say whose they are. All standard errors here are
# too small for that reason.
#
# ## The same model, with NUTS
#
# `glm.model` takes the same arguments and returns a NumPyro model. Its default priors
# say little, in the units of the data; they are printed with the sites. A sample of
# the rows is enough to compare.

# %%
sample = data.sample(NUM_ROWS, random_state=1)
model = glm.model(FORMULA, sample, glm.NegativeBinomial())
spec = ModelSpec(model)
print(spec.sites)
scales = np.asarray(model.priors["beta"].scale)
print(pd.Series(scales, index=model.names, name="prior sd").round(2))

# %% [markdown]
# The chains start at the fit by maximum likelihood.

# %%
fitted = glm.fit(FORMULA, sample, glm.NegativeBinomial())
engine = NUTS(num_warmup=NUM_DRAWS, num_samples=NUM_DRAWS, num_chains=4)
posterior = engine.run(spec, jax.random.key(1), init=fitted)
print(posterior.summary())

# %% [markdown]
# ## Do they agree?
#
# With 2,000 rows and priors this wide, mean and standard deviation of the posterior
# should be estimate and standard error, up to Monte Carlo error and skewness.

# %%
inference = glm.infer(fitted)
draws = np.asarray(posterior.draws["beta"]).reshape(-1, len(model.names))
table = pd.DataFrame(
    {
        "estimate": np.asarray(fitted.beta),
        "std err": np.asarray(inference.se),
        "posterior mean": draws.mean(axis=0),
        "posterior sd": draws.std(axis=0),
    },
    index=list(model.names),
)
table["distance / std err"] = (table["posterior mean"] - table["estimate"]) / table[
    "std err"
]
print(table.round(3).to_string())

# %%
figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
places = np.arange(len(model.names))[1:]
profile = glm.infer(fitted, ci="profile", level=0.9)
low, high = np.quantile(draws, [0.05, 0.95], axis=0)
for shift, color, centre, start, end, label in (
    (0.12, "C0", fitted.beta, profile.low, profile.high, "profile likelihood"),
    (-0.12, "C2", draws.mean(axis=0), low, high, "posterior"),
):
    start, end, centre = (np.asarray(x)[1:] for x in (start, end, centre))
    axes.hlines(places + shift, start, end, color=color, lw=3, alpha=0.6)
    axes.plot(centre, places + shift, "o", color=color, label=label)
axes.axvline(0.0, color="0.4", lw=0.8)
axes.set_yticks(places, model.names[1:])
axes.set(xlabel="coefficient, with its interval of 90 %")
axes.legend(loc="lower right")
figure.savefig(PICTURES / "both_ways.png", dpi=130)

# %% [markdown]
# They do. The difference is in what can be asked afterwards. The fit gives standard
# errors, tests and profiles at once; the posterior gives the law of anything, such as
# of the visits of two people who differ in `lncoins` alone. (In the experiment plans
# with another share differ in `fmde` too, so that this is an answer about the model.)

# %%
typical = sample.iloc[[0]].drop(columns="mdvis")
pair = pd.concat([typical.assign(lncoins=0.0), typical.assign(lncoins=np.log(96.0))])
mean = np.exp(draws @ model.rows(pair).T)
saved = 1.0 - mean[:, 1] / mean[:, 0]
print(f"A share of 95 % in place of none takes away {saved.mean():.0%} of the visits,")
print("with probability 90 % between", end=" ")
print(" and ".join(f"{x:.0%}" for x in np.quantile(saved, [0.05, 0.95])))
interval = glm.predict(fitted, pair, kind="interval", level=0.9)
print("expected visits by the fit, and their intervals:")
print(pd.DataFrame(interval._asdict()).round(2).to_string(index=False))

# %% [markdown]
# ## In ArviZ
#
# Both become the same kind of tree. That of a maximum likelihood fit holds draws from
# the normal law of its estimates, so that the families can be compared by
# cross-validation without any sampler.

# %%
small = glm.fit(FORMULA, sample, glm.Poisson())
trees = {
    "negative binomial, NUTS": posterior.to_datatree(),
    "negative binomial, fit": fitted.to_datatree(),
    "Poisson, fit": small.to_datatree(),
}
with warnings.catch_warnings():
    # Of the Poisson fit single people move the estimates: that is its misfit again.
    warnings.simplefilter("ignore")
    print(az.compare(trees, round_to=1)[["elpd", "p", "elpd_diff", "dse"]])
print(f"pictures are in {PICTURES}")
