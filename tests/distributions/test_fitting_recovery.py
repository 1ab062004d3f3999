"""Whether 95 % intervals hold the truth as often as they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_ext import distributions as distx

NUM_PANELS, N, D = 200, 2000, 3
TRIL = np.linalg.cholesky([[1.0, 0.3, 0.2], [0.3, 2.0, -0.4], [0.2, -0.4, 0.5]])
NORMAL = {
    "loc": jnp.array([0.1, -0.2, 0.0]),
    "skew": jnp.array([0.3, 0.0, -0.4]),
    "scale_tril": jnp.asarray(TRIL),
}
GH = distx.MultivariateGeneralizedHyperbolic
# A law, the true shape of its mixing law, and what is fixed. The density of the
# variance gamma law has two derivatives at its centre from shape 2.5 on.
CASES = {
    "nig": (distx.MultivariateNormalInverseGaussian, {"alpha_bar": 1.0}, {}),
    "vg": (distx.MultivariateVarianceGamma, {"concentration": 4.0}, {}),
    "skew-t": (distx.MultivariateGeneralizedHyperbolicSkewT, {"df": 6.0}, {}),
    "hyperbolic": (distx.MultivariateHyperbolic, {"alpha_bar": 1.5}, {}),
    "gh-order-fixed": (GH, {"alpha_bar": 1.0}, {"p": 0.5}),
    "gh-free": (GH, {"p": -0.5, "alpha_bar": 2.0}, {}),
}


def make(law, shape, fix):
    """The true law, with E[w] = 1 where its class leaves that open."""
    own = shape | fix
    if "concentration" in own:
        return law(own["concentration"], own["concentration"], **NORMAL)
    if "df" in own:
        return law(own["df"], **NORMAL)
    order = (own["p"],) if "p" in own else ()
    return law.from_alpha_bar(*order, own["alpha_bar"], **NORMAL)


def coverage(name, num_panels=NUM_PANELS):
    """Share of the panels whose interval holds the truth, by parameter."""
    law, shape, fix = CASES[name]
    true = make(law, shape, fix)
    draw = jax.jit(lambda key: true.sample(key, (N,)))
    panels = np.stack(
        [draw(k) for k in jax.random.split(jax.random.key(8), num_panels)]
    )
    fits = distx.BatchEM().fit_many(law, panels, fix=fix)
    rows, cols = np.tril_indices(D)
    truth = shape | {k: np.asarray(NORMAL[k]) for k in ("loc", "skew")}
    truth["scale_tril"] = TRIL[rows, cols]
    hits = []
    for fit in fits:
        table = fit.summary()
        flat = np.concatenate([np.ravel(truth[k]) for k in fit.standard_errors])
        hits.append((table.low_95 <= flat) & (flat <= table.high_95))
        hits[-1][table.standard_error.isna()] = np.nan
    return np.nanmean(np.asarray(hits, float), axis=0), list(table.index), fits


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_intervals_hold_the_truth(name):
    share, _, fits = coverage(name)
    assert all(fit.converged for fit in fits)
    assert 0.92 <= share.mean() <= 0.98
