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
# # How accurate is log K?
#
# `log_kv(v, z)` is the logarithm of the modified Bessel function of the second kind.
# This page compares it, and its derivatives, with 11 000 reference values that were
# computed to 60 digits. They cover orders up to 1000 in size and arguments from
# $10^{-10}$ to $10^6$, with more points where something changes: the borders between
# the methods, integers and half-integers, orders near 0, and points where $\log K$
# passes through 0. At the end, the derivative in the order fits a law. What the
# functions promise is on the page [Log-Bessel functions](../special.md).

# %%
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.colors import BoundaryNorm
from scipy.stats import geninvgauss

import numpyro_ext
from numpyro_ext.special import log_kv_moments

jax.config.update("jax_enable_x64", True)
Path("build").mkdir(exist_ok=True)
moments = jax.jit(log_kv_moments)

# %% [markdown]
# ## The reference
#
# The table is part of the tests, so this page runs from a checkout. Its points are
# exact in float64, and every other one in float32 too.

# %%
checkout = Path(numpyro_ext.__file__).parents[1]
with np.load(checkout / "tests" / "special" / "data" / "log_kv.npz") as file:
    table = dict(file)


def rows(dtype):
    """The points that the dtype represents."""
    is_exact = (table["v"].astype(dtype) == table["v"]) & (
        table["z"].astype(dtype) == table["z"]
    )
    return {name: column[is_exact] for name, column in table.items()}


# %% [markdown]
# ## Errors
#
# Each error is divided by a scale. For $\log K$ it is the larger of 1 and $|\log K|$:
# where the logarithm passes through 0 no method is right relative to it, and an
# absolute error of the logarithm is a relative error of $K$. For the derivative in the
# order, which is 0 at $v = 0$, it is at least the square root of the second: the one is
# the mean, the other the variance of the same law. For the others it is the derivative
# itself.

# %%
LABELS = {
    "value": "log K",
    "by_v": "∂ log K / ∂v",
    "by_z": "∂ log K / ∂z",
    "by_vv": "∂² log K / ∂v²",
    "by_vz": "∂² log K / ∂v ∂z",
    "by_zz": "∂² log K / ∂z²",
}


def errors(dtype):
    """The points, and the error of every quantity at each, in units of its scale."""
    reference = rows(dtype)
    ours = moments(reference["v"].astype(dtype), reference["z"].astype(dtype))
    out = {}
    for name in LABELS:
        scale = np.abs(reference[name])
        if name == "value":
            scale = np.maximum(scale, 1.0)
        if name == "by_v":
            scale = np.maximum(scale, np.sqrt(reference["by_vv"]))
        distance = np.abs(np.asarray(getattr(ours, name), np.float64) - reference[name])
        # by_vz is exactly 0 at v = 0, and so is ours.
        out[name] = distance / np.where(scale > 0.0, scale, 1.0)
    return np.abs(reference["v"]), reference["z"], out


found = {dtype: errors(dtype) for dtype in (np.float64, np.float32)}
for dtype, (v, _, error) in found.items():
    print(f"{np.dtype(dtype)}, {v.size} points     median   99.9 %  largest")
    for name, label in LABELS.items():
        middle, high, largest = np.quantile(error[name], [0.5, 0.999, 1.0])
        print(f"  {label:20s} {middle:12.1e} {high:8.1e} {largest:8.1e}")

# %% [markdown]
# ## Where the errors are
#
# The colour of a cell is the worst error of the points within it, in steps of two from
# the unit roundoff; grey cells hold no point. The lines part the three methods. Orders
# below $10^{-3}$ are drawn at the left edge.


# %%
METHODS = {"Olver's expansion": (-0.8, 3.7), "trapezoidal rule": (-0.9, 0.65)}
METHODS["Temme's series"] = (-0.9, -5.0)


def worst(x, y, error):
    """The edges of the cells, and the largest error in each, NaN if it is empty."""
    edges = np.linspace(-3, 3, 25), np.linspace(-10, 6, 33)
    column, row = (
        np.clip(np.searchsorted(e, c, "right") - 1, 0, e.size - 2)
        for e, c in zip(edges, (x, y), strict=True)
    )
    out = np.full((edges[1].size - 1, edges[0].size - 1), -1.0)
    np.maximum.at(out, (row, column), error)
    return *edges, np.where(out < 0.0, np.nan, out)


def border(slope, radius):
    """Where kappa + slope |v| = radius, with kappa = sqrt(v^2 + z^2)."""
    last = radius / (1.0 + slope)
    v = last * (1.0 - np.geomspace(1.0 - 1e-9, 1e-9, 500))
    z = np.sqrt((radius - slope * v) ** 2 - v**2)
    return np.log10([*v, last]), np.log10([*z, 1e-30])


def draw_maps(dtype, slope, radius):
    v, z, error = found[dtype]
    x, y = np.log10(np.maximum(v, 1e-3)), np.log10(z)
    roundoff = np.finfo(dtype).eps / 2
    levels = roundoff * 2.0 ** np.arange(6)
    colours = plt.get_cmap("viridis", levels.size + 1).with_extremes(bad="0.85")
    scale = BoundaryNorm(levels, colours.N, extend="both")
    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    figure, row = plt.subplots(
        1, 3, figsize=(11, 5), sharex=True, sharey=True, layout="constrained"
    )
    for axes, name in zip(row, ["value", "by_v", "by_z"], strict=True):
        cells = axes.pcolormesh(*worst(x, y, error[name]), cmap=colours, norm=scale)
        bow = border(slope, radius)
        corner = bow[0][bow[1] > 0.0].max()  # where z = 1 meets it
        for line in (bow, ([-3, corner], [0, 0])):
            axes.plot(*line, color="black", linewidth=1.3, path_effects=halo)
        for method, (left, bottom) in METHODS.items():
            axes.text(left, bottom, method, ha="center", va="center", fontsize=9)
            axes.texts[-1].set_path_effects(halo)
        largest = f"largest {error[name].max():.1e}"
        axes.set(title=f"{LABELS[name]}\n{largest}", xlim=(-3, 3), ylim=(-10, 6))
        axes.set_xticks(range(-3, 4), [f"$10^{{{k}}}$" for k in range(-3, 4)])
        axes.set_yticks(range(-10, 7, 2), [f"$10^{{{k}}}$" for k in range(-10, 7, 2)])
        axes.set_xlabel("size of the order, |v|")
    row[0].set_ylabel("argument, z")
    bar = figure.colorbar(cells, ax=row, shrink=0.95, aspect=30)
    bar.set_ticks(levels, labels=[f"{level:.1e}" for level in levels])
    bar.set_label("worst error in the cell, relative to its scale")
    figure.suptitle(f"{np.dtype(dtype)}, unit roundoff {roundoff:.1e}")
    return figure


figure = draw_maps(np.float64, slope=0.3, radius=26.0)
figure.savefig("build/log_kv_float64.png", dpi=120)

# %% [markdown]
# The same in float32, whose methods meet elsewhere:

# %%
figure = draw_maps(np.float32, slope=0.7, radius=10.0)
figure.savefig("build/log_kv_float32.png", dpi=120)

# %% [markdown]
# ## The derivative in the order at work
#
# The generalized inverse Gaussian law with density
# $x^{p-1} e^{-b(x + 1/x)/2} / (2 K_p(b))$ has the order among its parameters. Its log
# likelihood is concave in $p$ and $b$, and needs the data only through the means of
# $\log x$ and $x + 1/x$. The score in $p$ is the mean of $\log x$ less
# $\partial_p \log K_p(b)$, and the Hessian of $\log K$ is the Fisher information. So
# Newton's method takes one call of `log_kv_moments` per step.

# %%
true_p, true_b, size = -1.7, 2.0, 5000
x = geninvgauss.rvs(true_p, true_b, size=size, random_state=0)
mean_log, mean_sum = np.mean(np.log(x)), np.mean(x + 1.0 / x)

p, b, moves = 0.0, 1.0, [1.0]
while moves[-1] > 1e-10:
    m = moments(p, b)
    score = np.array([mean_log - m.by_v, -0.5 * mean_sum - m.by_z])
    information = np.array([[m.by_vv, m.by_vz], [m.by_vz, m.by_zz]])
    move = np.linalg.solve(information, score)
    # A full step, unless it would leave b > 0.
    p, b = p + move[0], max(b + move[1], 0.5 * b)
    moves.append(np.abs(move).max())
spread = np.sqrt(np.diag(np.linalg.inv(information)) / size)
print(f"{len(moves) - 1} steps")
print(f"p = {p:.3f} ± {spread[0]:.3f}   true {true_p}")
print(f"b = {b:.3f} ± {spread[1]:.3f}   true {true_b}")
