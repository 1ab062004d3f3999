"""Final log likelihoods on real returns against an optimizer that knows no EM."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from arch.data import nasdaq, sp500, wti
from scipy.optimize import minimize

from numpyro_ext import distributions as distx

NAMES = ("NormalInverseGaussian", "VarianceGamma", "GeneralizedHyperbolic")


def returns(num_columns):
    """Daily log returns of two indices and of oil, then those of the days before.

    There are three series, so that more columns are the same ones lagged.
    """
    series = {
        "sp500": sp500.load()["Adj Close"],
        "nasdaq": nasdaq.load()["Adj Close"],
        "wti": wti.load()["DCOILWTICO"].dropna(),
    }
    base = pd.DataFrame({k: np.log(v).diff() for k, v in series.items()})
    lags = [base.shift(k) for k in range(-(-num_columns // 3))]
    return pd.concat(lags, axis=1).dropna().to_numpy()[:, :num_columns]


def build(name, v, d):
    """The law of a vector without bounds, with a = b, or rate = shape."""
    law = getattr(distx, name if d == 1 else f"Multivariate{name}")
    p, shape, loc, skew = v[0], jnp.exp(v[1]), v[2 : 2 + d], v[2 + d : 2 + 2 * d]
    rest = v[2 + 2 * d :]
    rows, cols = np.tril_indices(d)
    tril = jnp.zeros((d, d)).at[rows, cols].set(rest)
    tril = tril - jnp.diag(jnp.diagonal(tril)) + jnp.diag(jnp.exp(jnp.diagonal(tril)))
    own = {
        "NormalInverseGaussian": {"a": shape, "b": shape},
        "VarianceGamma": {"concentration": shape, "rate": shape},
        "GeneralizedHyperbolic": {"p": p, "a": shape, "b": shape},
    }[name]
    if d == 1:
        return law(**own, loc=loc[0], scale=tril[0, 0], skew=skew[0])
    return law(**own, loc=loc, skew=skew, scale_tril=tril)


def best_by_gradients(name, x, starts):
    """The largest log likelihood that quasi-Newton steps find, all parameters free."""
    n, d = x.shape
    # The laws are closed under affine maps; white columns make the steps good.
    mean, root = x.mean(0), np.linalg.cholesky(np.cov(x.T, ddof=0).reshape(d, d))
    white = np.linalg.solve(root, (x - mean).T).T
    shift = n * np.log(np.diag(root)).sum()
    rows = white[:, 0] if d == 1 else white

    @jax.jit
    def loss(v):
        return -build(name, v, d).log_prob(rows).sum() / n

    both = jax.jit(jax.value_and_grad(loss))
    values = []
    for p, shape in starts:
        v = np.zeros(2 + 2 * d + d * (d + 1) // 2)
        v[:2] = p, np.log(shape)
        # Off the mean, where a variance gamma density has its cusp.
        v[2 : 2 + d] = 0.02
        options = {"maxiter": 4000, "maxfun": 8000, "ftol": 1e-15, "gtol": 1e-9}
        found = minimize(both, v, jac=True, method="L-BFGS-B", options=options)
        if d == 1:
            options = {"xatol": 1e-9, "fatol": 1e-13, "maxfev": 6000, "maxiter": 6000}
            found = minimize(loss, found.x, method="Nelder-Mead", options=options)
        values.append(-n * found.fun - shift)
    return max(values)


STARTS = {
    "NormalInverseGaussian": [(0.0, 0.5), (0.0, 3.0)],
    "VarianceGamma": [(0.0, 1.0), (0.0, 3.0)],
    "GeneralizedHyperbolic": [(-0.5, 0.7), (0.7, 0.7), (-1.5, 0.3)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_columns", [1, 10, 20])
def test_the_default_tolerance_leaves_less_than_a_tenth_of_a_nat(name, num_columns):
    x = returns(num_columns)
    law = getattr(distx, name if num_columns == 1 else f"Multivariate{name}")
    fit = law.fit(x[:, 0] if num_columns == 1 else x)
    assert fit.converged
    assert abs(fit.log_likelihood - best_by_gradients(name, x, STARTS[name])) < 0.1
