"""Trees of a linear regression whose posterior is known exactly."""

import arviz_base
import numpy as np
import xarray as xr
from scipy import stats


def regression_tree(
    rng,
    *,
    num_data=100,
    num_slopes=30,
    num_draws=1000,
    factor=1.0,
    num_new=0,
    with_laws=True,
):
    """A tree of exact draws of slopes with prior Normal(0, 1) and noise of sd 1.

    `factor` is what the model takes the noise for: below 1 it is overconfident. With
    `num_new`, the tree has so many data held out.
    """
    x = rng.normal(size=(num_data + num_new, num_slopes))
    slopes = rng.normal(size=num_slopes)
    y = x @ slopes + rng.normal(size=len(x))
    own, own_y = x[:num_data], y[:num_data]
    precision = own.T @ own / factor**2 + np.eye(num_slopes)
    center = np.linalg.solve(precision, own.T @ own_y / factor**2)
    root = np.linalg.cholesky(np.linalg.inv(precision))
    draws = center + rng.normal(size=(4, num_draws // 4, num_slopes)) @ root.T
    groups = {"posterior": {"slopes": draws}}
    groups |= parts(rng, draws @ own.T, own_y, factor, "")
    if num_new:
        groups |= parts(rng, draws @ x[num_data:].T, y[num_data:], factor, "new")
    laws = {name: groups.pop(name) for name in list(groups) if "conditional" in name}
    tree = arviz_base.from_dict(groups, pred_dims={"y": ["new"]}, dims={"y": ["obs"]})
    if with_laws:
        for name, group in laws.items():
            dim = "new" if name.startswith("predictions") else "obs"
            variables = {k: (["chain", "draw", dim], v) for k, v in group.items()}
            tree[name] = xr.DataTree(xr.Dataset(variables))
    return tree


def parts(rng, mean, y, factor, kind):
    prefix = "predictions_" if kind else ""
    return {
        "predictions" if kind else "posterior_predictive": {
            "y": mean + factor * rng.normal(size=mean.shape)
        },
        f"{prefix}log_likelihood": {"y": stats.norm.logpdf(y, mean, factor)},
        f"{prefix}observed_data": {"y": y},
        f"{prefix}conditional_cdf": {"y": stats.norm.cdf(y, mean, factor)},
        f"{prefix}conditional_mean": {"y": mean},
        f"{prefix}conditional_variance": {"y": np.full(mean.shape, factor**2)},
    }
