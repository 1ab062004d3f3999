"""Where the members of an ensemble, or the chains of a sampler, ended."""

import json
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..._checks import nearest
from ._style import GUIDE, VERMILION, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ROWS = 30
SAME = 1e-6
MIN_NATS = 0.1


def plot_members(
    tree: xr.DataTree,
    *,
    var_names: list[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws how the members of an ensemble spread, a row for each scalar.

    A member is a dot at its value (the mean of its draws, if it has many), as the
    distance from the mean of all members in units of their sd; mean and sd stand on the
    right, in units of the scalar. Dark dots have the highest log density; members that
    did not converge are crosses. Dots in clumps of one colour are modes.

    Args:
        tree: a tree of `to_datatree`.
        var_names: which variables; by default all of the posterior that fit 30 rows.
        ax: axes to draw into; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        ValueError: for an unknown variable, or fewer than two members.
    """
    posterior = tree["posterior"].to_dataset()
    names = [str(name) for name in (var_names or posterior.data_vars)]
    for name in names:
        if name not in posterior:
            known = [str(known) for known in posterior.data_vars]
            raise ValueError(
                f"`plot_members`: no variable `{name}`; {nearest(name, known)}"
            )
    if posterior.sizes["chain"] < 2:
        raise ValueError(
            "`plot_members` shows how members spread, and the tree has one. Run an "
            "ensemble, such as `EnsembleMAP(num_members=16)`."
        )
    rows = {}
    for name in names:
        value = posterior[name].mean("draw").values
        for place in np.ndindex(value.shape[1:]):
            entry = f"[{', '.join(map(str, place))}]" if place else ""
            rows[name + entry] = value[(slice(None), *place)]
    left_out = len(rows) - MAX_ROWS
    rows = dict(list(rows.items())[:MAX_ROWS]) if var_names is None else rows
    return _draw(axes(ax), tree, rows, left_out if var_names is None else 0)


def _draw(
    ax: "Axes", tree: xr.DataTree, rows: dict[str, np.ndarray], left_out: int
) -> "Axes":
    labels = list(rows)
    x = np.stack(list(rows.values()))
    mean, sd = x.mean(axis=1), x.std(axis=1, ddof=1)
    # Differences of rounding are none.
    unit = np.maximum(sd, SAME * (1.0 + np.abs(mean)))
    scaled = (x - mean[:, None]) / unit[:, None]
    lp = np.asarray(tree["sample_stats"]["lp"].mean("draw").values)
    below = np.nanmax(lp) - lp
    codes = json.loads(tree.attrs.get("status", "[]"))
    is_bad = np.array([code not in ("CONVERGED", "OK") for code in codes] or [False])
    is_bad = np.broadcast_to(is_bad, lp.shape)
    height = np.repeat(np.arange(len(labels))[:, None], len(lp), axis=1)
    # Members one above the other within their row, so that equal ones are seen.
    height = height + np.linspace(-0.25, 0.25, len(lp))
    ax.axvline(0, color=GUIDE, lw=1)
    shades = np.broadcast_to(below, x.shape)
    dots = ax.scatter(
        scaled[:, ~is_bad],
        height[:, ~is_bad],
        c=shades[:, ~is_bad],
        cmap="cividis",
        s=22,
        vmin=0.0,
        vmax=max(float(np.nanmax(below)), MIN_NATS),
        label="member",
    )
    if is_bad.any():
        ax.scatter(
            scaled[:, is_bad],
            height[:, is_bad],
            c=VERMILION,
            marker="x",
            label=f"did not converge ({int(is_bad.sum())})",
        )
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, ncols=2)
    reach = 1.1 * max(1.0, float(np.nanmax(np.abs(scaled))))
    ax.set_xlim(-reach, reach)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    right = ax.secondary_yaxis("right")
    words = [f"{m:.3g} ± {s:.2g}" for m, s in zip(mean, sd, strict=True)]
    right.set_yticks(range(len(labels)), words)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    ax.figure.colorbar(
        dots, ax=ax, label="log density below the best (nats)", location="bottom"
    )
    title = f"{len(lp)} members" + (f", {left_out} scalars left out" * (left_out > 0))
    return finish(ax, title, "distance from the mean of all members (sd)", "")
