"""`fit` with many columns, against plain EM in NumPy and SciPy."""

import numpy as np
import pytest
from scipy.special import kve

from numpyro_ext import distributions as distx
from numpyro_ext.distributions import FitStatus

NIG, GH = (
    distx.MultivariateNormalInverseGaussian,
    distx.MultivariateGeneralizedHyperbolic,
)
VG, SKEW_T = (
    distx.MultivariateVarianceGamma,
    distx.MultivariateGeneralizedHyperbolicSkewT,
)
N, D = 400, 64


def rows(w, seed):
    """Rows with skew and a common factor, for these values of w."""
    rng = np.random.default_rng(seed)
    tril = np.eye(D) + 0.5 * rng.normal(size=(D, 1)) * np.eye(1, D)
    noise = rng.normal(size=(N, D)) @ tril.T
    return 3.0 + 0.3 * w[:, None] + np.sqrt(w)[:, None] * noise


rng = np.random.default_rng(7)
DATA = {
    "inverse Gaussian": rows(rng.wald(1.0, 0.8, N), 1),
    "gamma": rows(rng.gamma(1.5, 1.0 / 1.5, N), 2),
    "inverse gamma": rows(1.5 / rng.gamma(1.5, 1.0, N), 3),
    "constant": rows(np.ones(N), 4),
}
X = DATA["inverse Gaussian"]


def mean(fit):
    return fit.log_likelihood / fit.num_observations


def reference(x, law):
    """Log likelihood and E[w], E[1/w] of each row, for p = -1/2, by SciPy."""
    a, b, loc, skew, tril = (
        np.asarray(y) for y in (law.a, law.b, law.loc, law.skew, law.scale_tril)
    )
    d = x.shape[1]
    white, tilt = np.linalg.solve(tril, (x - loc).T), np.linalg.solve(tril, skew)
    upper, lower = a + tilt @ tilt, b + np.sum(white**2, axis=0)
    z, order = np.sqrt(upper * lower), -0.5 - 0.5 * d
    log_k = np.log(kve(order, z)) - z
    # K_1/2 is elementary.
    own = 0.5 * np.log(np.pi / 2) - 0.25 * np.log(a * b) - np.sqrt(a * b)
    value = tilt @ white - np.sum(np.log(np.diag(tril))) - 0.5 * d * np.log(2 * np.pi)
    value += log_k + 0.5 * order * np.log(lower / upper)
    value -= own - 0.25 * np.log(b / a)
    scale = np.sqrt(lower / upper)
    up = kve(order + 1, z) / kve(order, z)
    return value.sum(), scale * up, (up - 2 * order / z) / scale


def em_step(x, law):
    """One step of plain EM for loc, skew and scale; a and b as they are."""
    _, w, inverse = reference(x, law)
    top = inverse.mean() * w.mean() - 1
    ratio = (inverse[:, None] * x).mean(0)
    skew = (inverse.mean() * x.mean(0) - ratio) / top
    loc = (ratio - skew) / inverse.mean()
    centred = x - loc
    cross = np.outer(centred.mean(0), skew)
    scale = (inverse[:, None] * centred).T @ centred / len(x)
    scale += w.mean() * np.outer(skew, skew) - cross - cross.T
    return NIG(law.a, law.b, loc, skew, np.linalg.cholesky(scale))


@pytest.mark.slow
def test_nothing_is_left_for_plain_em():
    fit = NIG.fit(X)
    assert fit.status == FitStatus.CONVERGED
    value = reference(X, fit.law)[0]
    assert value == pytest.approx(fit.log_likelihood, rel=1e-10)
    law = fit.law
    for _ in range(5):
        law = em_step(X, law)
    assert reference(X, law)[0] - value < 1e-3
    for factor in (0.98, 1.02):
        for a, b in ((factor, 1.0), (1.0, factor)):
            moved = NIG(a * law.a, b * law.b, law.loc, law.skew, law.scale_tril)
            assert reference(X, moved)[0] < value + 1e-3
    assert (np.diff(fit.history) > -1e-10).all()
    assert fit.num_iterations <= 8


@pytest.mark.slow
def test_the_general_iteration_ends_at_the_same_law():
    one, other = NIG.fit(X), NIG.fit(X, algorithm="mcecm")
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-2)
    np.testing.assert_allclose(one.law.scale_tril, other.law.scale_tril, atol=1e-3)


@pytest.mark.slow
def test_units_and_weights():
    fit = NIG.fit(X)
    scale = np.geomspace(1e-6, 1e6, D)
    moved = mean(NIG.fit(X * scale)) + np.log(scale).sum()
    assert moved == pytest.approx(mean(fit), abs=1e-9)
    twice = NIG.fit(np.concatenate([X, X[:100]]))
    weights = np.ones(N + 100)
    weights[:100], weights[N:] = 2.0, 0.0
    weighted = NIG.fit(np.concatenate([X, X[:100]]), weights=weights)
    assert weighted.log_likelihood == pytest.approx(twice.log_likelihood, abs=2e-4)


@pytest.mark.slow
def test_what_is_fixed_stays():
    fit = NIG.fit(X, symmetric=True)
    assert not np.any(np.asarray(fit.law.skew))
    assert fit.log_likelihood < NIG.fit(X).log_likelihood
    fit = NIG.fit(X, fix={"loc": 3.0, "alpha_bar": 1.0})
    np.testing.assert_allclose(fit.law.loc, 3.0)
    np.testing.assert_allclose(np.sqrt(fit.law.a * fit.law.b), 1.0, rtol=1e-8)


def test_what_is_wrong_is_named():
    x = X.copy()
    x[:, 5] = x[:, 1] - 2.0 * x[:, 9]
    with pytest.raises(ValueError, match=r"hyperplane.* rank 63"):
        NIG.fit(x)
    x = X.copy()
    x[3, 0] = 1e6
    fit = NIG.fit(x)
    assert "Row 3 is an outlier" in fit.message
    assert np.isfinite(fit.log_likelihood)
    fit = NIG.fit(DATA["constant"])
    assert np.isfinite(fit.log_likelihood)


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
def test_the_richer_law_is_never_below_its_members(data):
    x = DATA[data]
    best = GH.fit(x)
    for law in (NIG, VG, SKEW_T):
        assert mean(best) >= mean(law.fit(x)) - 1e-6
    centred = x - x.mean(0)
    _, log_det = np.linalg.slogdet(centred.T @ centred / N)
    assert mean(best) >= -0.5 * (log_det + D * (1 + np.log(2 * np.pi))) - 1e-6
    limits = {
        "gamma": FitStatus.GAMMA_LIMIT,
        "inverse gamma": FitStatus.INVERSE_GAMMA_LIMIT,
    }
    if data in limits:
        assert best.status in (limits[data], FitStatus.CONVERGED)


@pytest.mark.slow
def test_data_sets_at_once_and_plain_acceleration():
    x = np.stack([X, DATA["gamma"]])
    for fit, one in zip(distx.BatchEM().fit_many(NIG, x), x, strict=True):
        assert mean(fit) == pytest.approx(mean(NIG.fit(one)), abs=1e-7)
    plain = NIG.fit(X, acceleration="none")
    assert plain.log_likelihood == pytest.approx(NIG.fit(X).log_likelihood, abs=1e-2)
    assert plain.num_iterations >= NIG.fit(X).num_iterations
