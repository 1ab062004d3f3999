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
# # Ensembles of networks, four ways
#
# Train the same small network sixteen times from sixteen starts, and let the members
# vote: where data are dense they agree, where there are none they part. The spread
# between members stands for what the network does not know, and the noise of the
# model for what no network could know.
#
# This page does it four times: by hand in a Python loop, in the same loop with a
# schedule and early stopping, on a NumPyro model, and with `EnsembleMAP`. The first
# three use the primitives `ensemble_init` and `ensemble_step`, which leave the loop to
# you. The fourth has no loop.

# %%
import functools
import os
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax

from numpyro_ext import (
    EnsembleMAP,
    ModelSpec,
    ensemble_init,
    ensemble_predict,
    ensemble_step,
)

jax.config.update("jax_enable_x64", True)
NOISE, HIDDEN, MEMBERS = 0.1, 32, 16
Path("build").mkdir(exist_ok=True)
STEPS = 200 if os.environ.get("CI") else 1500

# %% [markdown]
# ## The problem
#
# Eighty noisy values of the sinc function on [-10, 10], and a test grid that goes
# beyond them on both sides. The noise has standard deviation 0.1 and is known.


# %%
def sinc(x):
    return jnp.sinc(x / jnp.pi)


x_key, noise_key, test_key = jax.random.split(jax.random.PRNGKey(666), 3)
X = jax.random.uniform(x_key, (80,), minval=-10.0, maxval=10.0)
y = sinc(X) + NOISE * jax.random.normal(noise_key, (80,))
x_test = jnp.linspace(-12.0, 12.0, 200)
truth = sinc(x_test)
y_test = truth + NOISE * jax.random.normal(test_key, x_test.shape)

# %% [markdown]
# ## How an ensemble is judged
#
# The members' means $f_m(x)$ make a mixture of normal laws, $\frac1M \sum_m
# \mathcal N(f_m(x), \sigma^2)$. From it come
#
# - **RMSE** of the mixture's mean, against the noiseless truth;
# - **NLL**, minus the mean log density of fresh noisy data: lower is better, and being
#   confidently wrong is punished;
# - **coverage** of the central 95 % interval, which should be 0.95, and its mean width,
#   the **sharpness**, which should be small once coverage is right.


# %%
def judge(means):
    """Scores member means (members, points) on the test grid."""
    mixture = dist.Normal(means, NOISE)
    nll = -np.mean(jax.nn.logsumexp(mixture.log_prob(y_test), axis=0, b=1 / len(means)))
    draws = mixture.sample(jax.random.key(1), (500,)).reshape(-1, len(x_test))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return {
        "RMSE": float(np.sqrt(np.mean((means.mean(0) - truth) ** 2))),
        "NLL": float(nll),
        "coverage": float(np.mean((y_test >= low) & (y_test <= high))),
        "sharpness": float(np.mean(high - low)),
    }


scores, predictions = {}, {}

# %% [markdown]
# ## By hand: an Equinox module and a Python loop
#
# A log joint returns log likelihood and log prior apart, so that mini-batches can scale
# the one and a `prior_weight` the other. `ensemble_step` takes one optimizer step for
# all members.


# %%
class Network(eqx.Module):
    layers: list

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        sizes = [(1, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)]
        self.layers = [
            eqx.nn.Linear(*size, key=k) for size, k in zip(sizes, keys, strict=True)
        ]

    def __call__(self, x):
        h = x[:, None]
        for layer in self.layers[:-1]:
            h = jnp.tanh(jax.vmap(layer)(h))
        return jax.vmap(self.layers[-1])(h)[:, 0]


def log_joint(network, x, y):
    log_likelihood = dist.Normal(network(x), NOISE).log_prob(y).sum()
    weights = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    return log_likelihood, sum(dist.Normal().log_prob(w).sum() for w in weights)


def train(optimizer, should_stop=lambda losses: False):
    state = ensemble_init(Network, optimizer, ensemble_size=MEMBERS, seed=0)
    step = eqx.filter_jit(
        functools.partial(ensemble_step, log_joint=log_joint, optimizer=optimizer)
    )
    losses = []
    for _ in range(STEPS):
        state, loss = step(state, X, y)
        losses.append(float(loss.mean()))
        if should_stop(losses):
            break
    return state, losses


def predict(network, x):
    return network(x)


begin = time.perf_counter()
state, losses = train(optax.adam(5e-3))
predictions["by hand"] = ensemble_predict(state.params, predict, x_test)
scores["by hand"] = judge(predictions["by hand"])
print(f"{len(losses)} steps in {time.perf_counter() - begin:.1f} s")

# %% [markdown]
# ## The same loop with a schedule, clipping and early stopping
#
# Anything from Optax goes, and the loop is yours: here it stops when the training loss
# has not fallen by one nat in a hundred steps.

# %%
schedule = optax.warmup_cosine_decay_schedule(0.0, 2e-2, STEPS // 10, STEPS, 1e-4)
optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.adamw(schedule))


def plateau(losses, patience=100, least=1.0):
    if len(losses) <= 2 * patience:
        return False
    return min(losses[:-patience]) - min(losses[-patience:]) < least


begin = time.perf_counter()
state, losses = train(optimizer, plateau)
predictions["early stop"] = ensemble_predict(state.params, predict, x_test)
scores["early stop"] = judge(predictions["early stop"])
print(f"{len(losses)} steps in {time.perf_counter() - begin:.1f} s")

# %% [markdown]
# ## A NumPyro model through the same primitives
#
# `ModelSpec` splits a NumPyro model into log likelihood and log prior, so the log joint
# need not be written twice. Coordinates are unconstrained: a positive site could not
# leave its support.


# %%
def network_model(x, y=None):
    sizes = [(1, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)]
    h = x[:, None]
    for i, (width_in, width_out) in enumerate(sizes):
        weight = numpyro.sample(
            f"weight{i}",
            dist.Normal(0.0, 1.0).expand([width_in, width_out]).to_event(2),
        )
        bias = numpyro.sample(
            f"bias{i}", dist.Normal(0.0, 1.0).expand([width_out]).to_event(1)
        )
        h = h @ weight + bias
        h = jnp.tanh(h) if i < 2 else h
    mean = numpyro.deterministic("mean", h[:, 0])
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mean, NOISE), obs=y)


spec = ModelSpec(network_model, X, y=y)


def spec_joint(position, x, y):
    parts = spec.with_data(x, y=y).parts(position)
    return parts.log_likelihood, parts.log_prior


def draw_position(key):
    sites = [site for site in spec.sites if site.kind == "latent"]
    keys = jax.random.split(key, len(sites))
    return {
        site.name: 0.5 * jax.random.normal(k, site.unconstrained_shape)
        for site, k in zip(sites, keys, strict=True)
    }


optimizer = optax.adam(5e-3)
state = ensemble_init(draw_position, optimizer, ensemble_size=MEMBERS, seed=0)
step = eqx.filter_jit(
    functools.partial(ensemble_step, log_joint=spec_joint, optimizer=optimizer)
)
begin = time.perf_counter()
for _ in range(STEPS):
    state, loss = step(state, X, y)
print(f"{STEPS} steps in {time.perf_counter() - begin:.1f} s")


def predict_mean(position, x):
    # The mean does not depend on the responses; any will do.
    at_new = spec.with_data(x, y=jnp.zeros_like(x))
    return at_new.constrain(position, deterministic=True)["mean"]


predictions["NumPyro, by hand"] = ensemble_predict(state.params, predict_mean, x_test)
scores["NumPyro, by hand"] = judge(predictions["NumPyro, by hand"])

# %% [markdown]
# ## No loop: `EnsembleMAP`
#
# The loop is one compiled program, each member has a status of its own, and predictions
# need no second forward pass written by hand. Training of networks stops on purpose
# before the mode, so `tolerance=None` asks for no verdict on convergence.
#
# By default members start at draws from the prior. For a network that is a poor place:
# 32 unit weights into each `tanh` saturate it, and its gradient is gone. So the starts
# are given here, the same smaller draws as above.

# %%
starts = jax.vmap(draw_position)(jax.random.split(jax.random.key(0), MEMBERS))
engine = EnsembleMAP(num_members=MEMBERS, num_steps=STEPS, tolerance=None)
for label in ("first run, compiles", "second run"):
    begin = time.perf_counter()
    fit = engine.run(spec, jax.random.key(1), init=starts)
    print(f"{label}: {time.perf_counter() - begin:.1f} s")
predictions["EnsembleMAP"] = np.asarray(fit.predict(x_test)["mean"])[:, 0]
scores["EnsembleMAP"] = judge(predictions["EnsembleMAP"])
print({status.code.name for status in fit.status})

# %% [markdown]
# ## Goodness of fit
#
# One run is one draw of the starts: between seeds, RMSE moves by about 0.007 and NLL by
# 0.03, so smaller differences than these say nothing.

# %%
print(f"{'':18s}{'RMSE':>8s}{'NLL':>8s}{'coverage':>10s}{'sharpness':>11s}")
for name, score in scores.items():
    print(
        f"{name:18s}{score['RMSE']:8.3f}{score['NLL']:8.3f}"
        f"{score['coverage']:10.3f}{score['sharpness']:11.3f}"
    )

# %% [markdown]
# ## What the members say
#
# Outside the data, beyond -10 and 10, the members part: that is the ensemble's way of
# saying that it does not know.

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
means = predictions["EnsembleMAP"]
total = np.sqrt(means.var(axis=0) + NOISE**2)
centre = means.mean(axis=0)
axes[0].fill_between(
    x_test, centre - 1.96 * total, centre + 1.96 * total, alpha=0.2, label="95 % band"
)
axes[0].plot(x_test, means.T, color="C0", alpha=0.35, linewidth=0.8)
axes[0].plot(x_test, truth, color="k", linestyle="--", label="truth")
axes[0].scatter(X, y, s=8, color="C1", label="data", zorder=3)
axes[0].set(xlabel="x", ylabel="y", title="16 members and their band")
axes[0].legend(loc="upper right", fontsize=8)

levels = np.linspace(0.05, 0.99, 40)
for name, members in predictions.items():
    spread = np.asarray(members)[:, None] + NOISE * np.random.default_rng(0).normal(
        size=(1, 200, 1)
    )
    draws = spread.reshape(-1, len(x_test))
    low, high = np.quantile(draws, [(1 - levels) / 2, (1 + levels) / 2], axis=0)
    inside = (y_test >= low) & (y_test <= high)
    axes[1].plot(levels, inside.mean(axis=1), label=name)
axes[1].plot([0, 1], [0, 1], color="k", linewidth=0.8)
axes[1].set(
    xlabel="nominal probability of the interval",
    ylabel="share of new data inside",
    title="Calibration on the test grid",
)
axes[1].legend(fontsize=8)
figure.savefig("build/ensembles.png", dpi=120)

# %% [markdown]
# A curve above the diagonal means intervals that are too wide, below it too narrow.
# Part of the test grid lies outside the data, where no calibration is promised.
