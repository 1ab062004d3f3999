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
# # Heavy tails in finance
#
# On a day in October 2008 the S&P 500 fell by nine percent. Under a normal law with
# the standard deviation of its returns such a day comes once in $10^{12}$ years. Here
# the returns of two stock indices and of oil get laws with heavier tails: by EM, by
# MAP and by NUTS, alone and together. The laws then say how much may be lost, and
# held-out years say how far that is true.

# %%
import os
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from arch.data import nasdaq, sp500, wti
from jax.scipy.special import gammaincc

from numpyro_ext import NUTS, EnsembleMAP, ModelSpec
from numpyro_ext import distributions as distx
from numpyro_ext.special import log_kv

PICTURES = Path("build/heavy_tails_in_finance")
PICTURES.mkdir(parents=True, exist_ok=True)
NUM_DRAWS = 100 if os.environ.get("CI") else 500
jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## The data
#
# Daily closing prices from 1999 to 2018, which come with the package `arch`. Returns
# are differences of log prices, in percent, over the days on which all three have one.

# %%
prices = pd.DataFrame(
    {
        "S&P 500": sp500.load()["Adj Close"],
        "NASDAQ": nasdaq.load()["Adj Close"],
        "WTI oil": wti.load()["DCOILWTICO"],
    }
).dropna()
returns = 100.0 * np.log(prices).diff().dropna()
stocks = returns["S&P 500"].to_numpy()
print(
    f"{len(returns)} days, {returns.index[0]:%Y-%m-%d} to {returns.index[-1]:%Y-%m-%d}"
)
table = returns.agg(["mean", "std", "min", "max", "kurt"]).T
table["zeros"] = (returns == 0.0).sum()
table.round(3)

# %% [markdown]
# ## One law, three ways
#
# `fit` takes data to the law of maximum likelihood, here the normal-inverse Gaussian.
# It says whether the answer is one, and how certain its parameters are. The scale of
# $w$ is free, so it is set by $E[w] = 1$.

# %%
em = distx.NormalInverseGaussian.fit(stocks)
print(em.status.name, em.message, f"log likelihood {em.log_likelihood:.2f}")
em.summary().round(4)

# %% [markdown]
# The same law in a NumPyro model: mean, standard deviation, shape and tilt, with weak
# priors. Its mode and its posterior should be where the likelihood is highest, since
# there are five thousand days.


# %%
def model(y=None):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    sd = numpyro.sample("sd", dist.LogNormal(0.0, 1.0))
    shape = numpyro.sample("shape", dist.LogNormal(0.0, 1.0))
    tilt = numpyro.sample("tilt", dist.Normal(0.0, 1.0))
    law = distx.NormalInverseGaussian.standardized(
        mean, sd, tilt=tilt, a=shape, b=shape
    )
    with numpyro.plate("day", len(stocks)):
        numpyro.sample("return", law, obs=y)


spec = ModelSpec(model, y=stocks)
at_mode = EnsembleMAP(num_members=4).run(spec, jax.random.key(0))
nuts = NUTS(num_warmup=NUM_DRAWS, num_samples=NUM_DRAWS, num_chains=2)
posterior = nuts.run(spec, jax.random.key(1), init=at_mode)
print(posterior.summary())

# %%
fitted = em.law
by_em = {
    "mean": fitted.mean,
    "sd": jnp.sqrt(fitted.variance),
    "shape": fitted.a,
    "tilt": fitted.skew / fitted.scale,
}
best = int(np.argmax(at_mode.stats["lp"]))
rows = {}
for name, value in by_em.items():
    draws = np.asarray(posterior.draws[name])
    mode = float(np.asarray(at_mode.draws[name])[best, 0])
    rows[name] = {"EM": float(value), "MAP": mode, "NUTS": draws.mean()}
    rows[name]["posterior sd"] = draws.std()
pd.DataFrame(rows).T.round(4)

# %% [markdown]
# The three agree within a fraction of a posterior standard deviation. What is left
# between EM and MAP is the prior; between MAP and NUTS, that a mean is not a mode.
#
# ## Does the richer law pay?
#
# Student's t has one parameter for the tails. The normal-inverse Gaussian law (NIG)
# adds a skew, the generalized hyperbolic law (GH) an order besides, with all the others
# as members or limits.

# %%
skew_t = distx.GeneralizedHyperbolicSkewT
fits = {
    name: {
        "Student t": skew_t.fit(x, symmetric=True),
        "skew t": skew_t.fit(x),
        "variance gamma": distx.VarianceGamma.fit(x),
        "NIG": distx.NormalInverseGaussian.fit(x),
        "GH": distx.GeneralizedHyperbolic.fit(x),
    }
    for name, x in ((name, returns[name].to_numpy()) for name in returns)
}
gains = {}
for name, members in fits.items():
    table = distx.compare(members)
    gains[name] = table["aic"] - table.loc["Student t", "aic"]
pd.DataFrame(gains).round(1).sort_values("S&P 500")

# %% [markdown]
# These are differences of AIC to Student's t: negative is better, and what is above -2
# is no reason to change. For the two stock indices NIG is far better than Student's t,
# and GH better still. For oil all but the variance gamma law are within a few units:
# whoever needs a law for oil can stay with Student's t. The tests against GH say the
# same; where `boundary` is True the p-value is too large.

# %%
columns = ["log_likelihood", "num_parameters", "aic", "p_value", "boundary", "status"]
distx.compare(fits["WTI oil"])[columns].round(3)

# %% [markdown]
# A law is not believed by its AIC alone. The picture shows how often a loss of more
# than x occurred, and how often each law says that it does.

# %%
log_cdf = jax.jit(lambda law, x: law.log_cdf(x))
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
for axis, name in zip(axes, ("NASDAQ", "WTI oil"), strict=True):
    x = returns[name].to_numpy()
    losses = np.sort(-x[x < 0.0])[::-1]
    share = np.arange(1, len(losses) + 1) / len(x)
    axis.loglog(losses, share, ".", color="0.6", markersize=4, label="observed")
    grid = jnp.geomspace(1.0, 30.0, 60)
    normal = jax.scipy.stats.norm.cdf((-grid - x.mean()) / x.std())
    axis.loglog(grid, normal, "--", color="0.4", label="normal")
    for law in ("Student t", "NIG", "GH"):
        tail = jnp.exp(log_cdf(fits[name][law].law, -grid))
        axis.loglog(grid, tail, label=law)
    axis.set(xlabel="loss in a day (percent)", title=name)
    axis.set(xlim=(1.0, 30.0), ylim=(2e-5, 0.5))
    axis.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axis.minorticks_off()
axes[0].set_ylabel("share of days with a larger loss")
axes[0].legend(loc="lower left", fontsize="small")
figure.savefig(PICTURES / "tails.png", dpi=130)

# %% [markdown]
# The normal law has nothing left beyond ten percent. For the NASDAQ Student's t puts
# too much there, NIG less, and GH is the closest. For oil all three go through the
# points.

# %% [markdown]
# ## A likelihood without a bound
#
# Prices are rounded, so returns tie: 40 days of oil are exactly 0. Put the centre of a
# law on such a value and let $w$ come nearer and nearer to 0. The density at the tied
# value grows without end; the tied days gain and the others lose a bounded amount. The
# picture follows such a path, with the returns rounded to a tenth of a percent and to
# half a percent.
#
# `fit` counts every datum as known to a resolution only, by default $10^{-5}$ of its
# column's spread. What it maximises is then bounded, and within a fraction of a nat of
# the log likelihood unless the law has a spike.

# %%
oil = returns["WTI oil"].to_numpy()
order, a, scale = 0.3, 0.6, oil.std()
spread = np.sqrt(np.abs(oil - np.median(oil))).mean() ** 2


def log_normalizer(b):
    """Log of half the integral of the mixing law's kernel."""
    return log_kv(order, jnp.sqrt(a * b)) + 0.5 * order * jnp.log(b / a)


@jax.jit
def on_the_path(x, width, resolution):
    """Log likelihood with the centre at 0 and sqrt(b) scale = width."""
    b = (width / scale) ** 2
    blurred = b + (resolution * spread / scale) ** 2
    law = distx.GeneralizedHyperbolic(order, a, blurred, 0.0, scale)
    lost = log_normalizer(blurred) - log_normalizer(b)
    return law.log_prob(x).sum() + len(x) * lost


widths = np.geomspace(1e-14, 1.0, 57)
criteria = {"log likelihood": 0.0, "with the resolution": 1e-5}
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for axis, step in zip(axes, (0.1, 0.5), strict=True):
    rounded = step * np.round(oil / step)
    top = distx.NormalInverseGaussian.fit(rounded).log_likelihood
    for name, resolution in criteria.items():
        path = np.array([on_the_path(rounded, width, resolution) for width in widths])
        axis.semilogx(widths, path - top, label=name)
    axis.axhline(0.0, color="0.6", linestyle="--", label="the NIG fit")
    axis.invert_xaxis()
    axis.set(xlabel="width of the law at 0 (percent)", ylim=(-1500, 3000))
    axis.set(title=f"{np.sum(rounded == 0)} of {len(oil)} returns are exactly 0")
axes[0].set_ylabel("nats above the NIG fit")
axes[0].legend(loc="upper left")
figure.savefig(PICTURES / "unbounded.png", dpi=130)

# %% [markdown]
# On the left the resolution decides: without it the spike would win. On the right the
# ties are so many that the spike wins even so. Then no law of this kind is an answer,
# and the fit says so. NIG has no such path: its order is -1/2.

# %%
with warnings.catch_warnings():
    # Its text is that of the message.
    warnings.simplefilter("ignore", distx.DegenerateFitWarning)
    spike = distx.VarianceGamma.fit(rounded)
print(spike.status.name)
print(spike.message)

# %% [markdown]
# ## A panel
#
# In the multivariate law one $w$ is shared by all columns: a wild day is wild for all.
# `fit` is the same. Any portfolio of the columns has a law of the same name.

# %%
panel = returns.to_numpy()
vector_t = distx.MultivariateGeneralizedHyperbolicSkewT
joint = {
    "Student t": vector_t.fit(panel, symmetric=True),
    "skew t": vector_t.fit(panel),
    "NIG": distx.MultivariateNormalInverseGaussian.fit(panel),
}
distx.compare(joint)[["log_likelihood", "num_parameters", "aic", "status"]].round(2)

# %%
chosen = joint["NIG"].law
deviations = np.sqrt(np.diag(chosen.covariance_matrix))
correlation = chosen.covariance_matrix / np.outer(deviations, deviations)
print("correlations of the law")
print(pd.DataFrame(correlation, returns.columns, returns.columns).round(3))
print("correlations of the data")
print(returns.corr().round(3))

# %% [markdown]
# ## Simulation
#
# As many draws as there are days, next to the days themselves, and next to a normal law
# with the same mean and covariance.

# %%
drawn = np.asarray(chosen.sample(jax.random.key(2), (len(panel),)))
rng = np.random.default_rng(0)
normal = rng.multivariate_normal(panel.mean(axis=0), np.cov(panel.T), len(panel))
figure, axes = plt.subplots(
    1, 3, figsize=(10, 3.6), sharex=True, sharey=True, layout="constrained"
)
clouds = {"observed": panel, "drawn from NIG": drawn, "drawn from the normal": normal}
for axis, (title, cloud) in zip(axes, clouds.items(), strict=True):
    axis.plot(cloud[:, 0], cloud[:, 2], ".", markersize=2, alpha=0.4)
    axis.set(xlabel="S&P 500 (percent)", title=title, xlim=(-13, 13), ylim=(-20, 20))
axes[0].set_ylabel("WTI oil (percent)")
figure.savefig(PICTURES / "clouds.png", dpi=130)

# %% [markdown]
# The law has the right corners, but its draws are independent from day to day. Real
# wild days come in clusters, which no law of a single day can have; more of that below.
#
# ## How much may be lost
#
# The value at risk at 99 % is the loss that one day in a hundred exceeds; the expected
# shortfall is the mean loss on such days. Each draw of the posterior gives a figure for
# both, so that they come with their uncertainty.


# %%
def risk(mean, sd, shape, tilt, level):
    law = distx.NormalInverseGaussian.standardized(
        mean, sd, tilt=tilt, a=shape, b=shape
    )
    return distx.value_at_risk(law, level), distx.expected_shortfall(law, level)


levels = jnp.array([0.95, 0.99, 0.999])
draws = {name: posterior.draws[name].reshape(-1)[::8] for name in by_em}
each = jax.jit(jax.vmap(lambda one: risk(level=levels, **one)))
value, shortfall = (np.asarray(figures) for figures in each(draws))


def with_interval(figures):
    quantiles = np.quantile(figures, [0.05, 0.5, 0.95], axis=0)
    return [f"{m:.2f} ({low:.2f} to {high:.2f})" for low, m, high in quantiles.T]


figures = {
    "value at risk": with_interval(value),
    "expected shortfall": with_interval(shortfall),
    "value at risk, observed": np.quantile(-stocks, levels).round(2),
}
pd.DataFrame(figures, index=[f"{100 * level:g} %" for level in levels])

# %% [markdown]
# Losses in percent of the S&P 500, with 90 % intervals. They are narrow even at 99.9 %,
# which five days of twenty years exceed, because all other days have a say through the
# law. That is right only as far as the law is: at 99 % the observed figure lies below
# the interval, so NIG asks for somewhat too much there.
#
# For a portfolio, the weights go in. Half S&P 500 and half oil:

# %%
half = jnp.array([0.5, 0.0, 0.5])
portfolio = jax.jit(lambda w: distx.expected_shortfall(chosen, 0.99, weights=w))
for name, weights in {"S&P 500": jnp.eye(3)[0], "half S&P 500, half oil": half}.items():
    loss = portfolio(weights)
    print(f"{name}: expected shortfall at 99 % {float(loss):.2f} percent")

# %% [markdown]
# ## A backtest
#
# Ten years, 2009 to 2018, are held out. For each, the law is fitted to the 1500 days
# before it, all ten in one program, and gives the value at risk at 99 % for every day
# of the year. It is tried on the returns as they are, and on returns over a running
# standard deviation: today's variance is 94 % of yesterday's plus 6 % of the last
# squared return.

# %%
dates, window, level = returns.index, 1500, 0.99
variance = np.empty(len(stocks))
variance[0] = stocks[:250].var()
for day in range(1, len(stocks)):
    variance[day] = 0.94 * variance[day - 1] + 0.06 * stocks[day - 1] ** 2
running = np.sqrt(variance)

years = range(2009, 2019)
starts = np.array([np.argmax(dates.year == year) for year in years])
held_out = dates.year >= 2009
year_of = dates.year[held_out] - 2009


def forecasts(x):
    """The value at risk of x for each held-out day: normal law, and NIG."""
    windows = np.stack([x[first - window : first] for first in starts])
    normal = -windows.mean(axis=1) + 2.3263 * windows.std(axis=1)
    yearly = distx.BatchEM().fit_many(distx.NormalInverseGaussian, windows)
    assert all(fit.converged for fit in yearly)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(f.law for f in yearly))
    heavy = jax.jit(jax.vmap(lambda law: distx.value_at_risk(law, level)))(stacked)
    return {"normal": normal[year_of], "NIG": np.asarray(heavy)[year_of]}


constant, filtered = forecasts(stocks), forecasts(stocks / running)
limits = {f"{name}, constant": v for name, v in constant.items()}
limits |= {
    f"{name}, running deviation": v * running[held_out] for name, v in filtered.items()
}

# %% [markdown]
# Two tests of the days on which the loss was larger. Kupiec's asks whether there are as
# many as the level says. Christoffersen's asks whether they come independently, or
# whether one makes another more likely on the next day.


# %%
def log_binomial(hits, n, probability):
    """Log likelihood, with 0 log 0 = 0."""
    misses = n - hits
    out = hits * np.log(probability) if hits else 0.0
    return out + (misses * np.log1p(-probability) if misses else 0.0)


def kupiec(hits, level):
    n, k = len(hits), hits.sum()
    return 2.0 * (log_binomial(k, n, k / n) - log_binomial(k, n, 1.0 - level))


def christoffersen(hits):
    after_hit, after_miss = hits[1:][hits[:-1]], hits[1:][~hits[:-1]]
    split = sum(
        log_binomial(part.sum(), len(part), part.mean())
        for part in (after_hit, after_miss)
    )
    rest = hits[1:]
    return 2.0 * (split - log_binomial(rest.sum(), len(rest), rest.mean()))


def p_value(statistic):
    """Of chi-squared with one degree of freedom."""
    return float(gammaincc(0.5, 0.5 * max(statistic, 0.0)))


losses = -stocks[held_out]
rows = {}
for name, limit in limits.items():
    hits = losses > limit
    rows[name] = {
        "days above": hits.sum(),
        "expected": (1.0 - level) * len(hits),
        "p, Kupiec": p_value(kupiec(hits, level)),
        "p, Christoffersen": p_value(christoffersen(hits)),
    }
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# The normal law is exceeded nearly twice as often as it says, with a running deviation
# or without. NIG has about the right number of days both times. Its constant limit gets
# there by asking too much in calm years and too little in wild ones, as the picture
# shows. The running limit follows the market, but a few of its hits come on
# consecutive days, more than chance allows: the running deviation reacts late. A law
# of the residuals is one half of a forecast; the volatility is the other.

# %%
figure, axis = plt.subplots(figsize=(10, 4), layout="constrained")
days = dates[held_out]
axis.plot(days, losses, color="0.75", linewidth=0.6, label="loss")
for name in ("NIG, constant", "NIG, running deviation"):
    axis.plot(days, limits[name], linewidth=1.0, label=f"limit: {name}")
hits = losses > limits["NIG, running deviation"]
axis.plot(
    days[hits], losses[hits], ".", color="C3", label="loss above the running limit"
)
axis.set(ylabel="loss in a day (percent)", ylim=(0.0, 11.0))
axis.set(title="S&P 500, value at risk at 99 %", xlim=(days[0], days[-1]))
axis.legend(loc="upper right", fontsize="small")
figure.savefig(PICTURES / "backtest.png", dpi=130)
print(f"pictures are in {PICTURES}")
