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
# # Heavy tails with a skew
#
# The laws of the generalized hyperbolic family are normal laws whose variance is
# random, $x = \mu + \gamma w + \sigma\sqrt{w}\,n$. What the law of $w$ is decides the
# tails; $\gamma$ decides the skew. Here they are side by side, all with mean 0 and
# standard deviation 1.

# %%
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.scipy.stats import norm

from numpyro_ext import distributions as distx

PICTURES = Path("build/heavy_tails")
PICTURES.mkdir(parents=True, exist_ok=True)
jax.config.update("jax_enable_x64", True)

# %% [markdown]
# `standardized` takes the mean and the standard deviation. What is left are the shape,
# which is that of the law of $w$, and `tilt`, which is $\gamma/\sigma$.

# %%
nig, gamma = distx.NormalInverseGaussian, distx.VarianceGamma
laws = {
    "normal-inverse Gaussian": nig.standardized(0.0, 1.0, a=1.0, b=1.0),
    "variance gamma": gamma.standardized(0.0, 1.0, concentration=1.0, rate=1.0),
    "skew t, 5 degrees of freedom": distx.GeneralizedHyperbolicSkewT.standardized(
        0.0, 1.0, df=5.0
    ),
}
tilted = {
    f"tilt {tilt:g}": nig.standardized(0.0, 1.0, tilt=tilt, a=1.0, b=1.0)
    for tilt in (-1.0, 0.0, 1.0, 3.0)
}
x = jnp.linspace(-6.0, 6.0, 601)

figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for axis, chosen, title in zip(
    axes,
    (laws, tilted),
    ("Three tails, no skew", "Normal-inverse Gaussian, four skews"),
    strict=True,
):
    for name, law in chosen.items():
        axis.semilogy(x, jnp.exp(law.log_prob(x)), label=name)
    axis.semilogy(x, norm.pdf(x), color="0.6", linestyle="--", label="normal")
    axis.set(xlabel="x", ylim=(1e-6, 2.0), title=title)
    axis.legend(fontsize="small", loc="lower center")
axes[0].set_ylabel("density")
figure.savefig(PICTURES / "densities.png", dpi=130)

# %% [markdown]
# Straight lines on this scale are exponential tails: those of the normal-inverse
# Gaussian and of the variance gamma law. The skew t has a power for one tail at least.
#
# How far out is the one day in a thousand? `icdf` says, and `log_sf` keeps its digits
# where the probability itself has underflowed.

# %%
level = jnp.array([0.99, 0.999, 0.9999])
print("quantiles                      " + "".join(f"{q:>10}" for q in level))
print(f"{'normal':31s}" + "".join(f"{q:10.3f}" for q in norm.ppf(level)))
for name, law in laws.items():
    print(f"{name:31s}" + "".join(f"{q:10.3f}" for q in jax.jit(law.icdf)(level)))
far = laws["normal-inverse Gaussian"]
print(f"log P(x > 1000) = {float(jax.jit(far.log_sf)(1000.0)):.6f}")

# %% [markdown]
# The conditional law of $w$ given $x$ says how the law reads an outlier: as a draw of
# a large variance. It is what Gibbs steps and the EM algorithm need.

# %%
for value in (0.0, 2.0, 6.0):
    mean = float(far.conditional_mixing(value).mean)
    print(f"x = {value:g}: E[w | x] = {mean:.2f}")
prior_mean = float(np.asarray(far.mixing_law().mean))
print(f"before: E[w] = {prior_mean:.2f}")
