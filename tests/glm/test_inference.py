"""Tests and intervals by the likelihood, and quantile residuals, by other means."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from numpyro_ext import glm

from ..slow import slow_beside

RNG = np.random.default_rng(12)
N = 150
X = np.column_stack([np.ones(N), RNG.normal(size=(N, 2)), RNG.uniform(size=N)])
ETA = X @ [0.3, 0.4, 0.0, -0.5]
OFFSET = RNG.uniform(0.0, 0.5, N)
COUNTS = RNG.negative_binomial(2.0, 2.0 / (2.0 + np.exp(ETA + OFFSET))).astype(float)
AMOUNTS = RNG.gamma(2.0, np.exp(ETA) / 2.0)
YES = (RNG.random(N) < 1 / (1 + np.exp(-ETA))).astype(float)
WEIGHTS = RNG.integers(1, 4, N).astype(float)
LINKS, F = sm.families.links, sm.families
CASES = {
    "poisson": (glm.Poisson(), F.Poisson(), COUNTS, {"offset": OFFSET}),
    "logit": (glm.Bernoulli(), F.Binomial(), YES, {"freq_weights": WEIGHTS}),
    "probit": (glm.Bernoulli("probit"), F.Binomial(LINKS.Probit()), YES, {}),
    "gamma-log": (glm.Gamma("log"), F.Gamma(LINKS.Log()), AMOUNTS, {}),
    "gaussian": (glm.Gaussian(), F.Gaussian(), AMOUNTS, {}),
    "nb2-known": (
        glm.NegativeBinomial(alpha=0.5), F.NegativeBinomial(alpha=0.5), COUNTS, {}
    ),
}  # fmt: skip
# Compiled once for each family: the others are of the same kind.
cases = pytest.mark.parametrize("name", slow_beside(("logit", "poisson"), CASES))


def _theirs(name, columns, **extra):
    _, family, y, options = CASES[name]
    options = dict(options)
    offset = options.pop("offset", 0.0) + extra.get("offset", 0.0)
    model = sm.GLM(
        y, X[:, columns], family=family, offset=np.broadcast_to(offset, N), **options
    )
    return model, model.fit(tol=1e-14, maxiter=200)


def _ours(name):
    family, _, y, options = CASES[name]
    return glm.fit(family, X, y, **options)


@cases
def test_likelihood_ratios_are_differences_of_deviances(name):
    fitted = _ours(name)
    found = glm.infer(fitted, test="lr")
    _, full = _theirs(name, [0, 1, 2, 3])
    scale = float(fitted.params.disp)
    for j in range(4):
        _, without = _theirs(name, [k for k in range(4) if k != j])
        expected = (without.deviance - full.deviance) / scale
        np.testing.assert_allclose(found.stat[j], expected, rtol=1e-7)
        np.testing.assert_allclose(found.p[j], stats.chi2.sf(expected, 1), rtol=1e-6)


@pytest.mark.slow
def test_likelihood_ratios_with_a_nuisance_refit_it():
    found = glm.infer(glm.fit(glm.NegativeBinomial(), X, COUNTS), test="lr")
    options = {"disp": 0, "maxiter": 500, "gtol": 1e-9}
    full = sm.NegativeBinomial(COUNTS, X).fit(**options)
    for j in (1, 3):
        kept = [k for k in range(4) if k != j]
        without = sm.NegativeBinomial(COUNTS, X[:, kept]).fit(**options)
        expected = 2.0 * (full.llf - without.llf)
        np.testing.assert_allclose(found.stat[j], expected, rtol=1e-5, atol=1e-6)


@cases
def test_score_statistics(name):
    fitted = _ours(name)
    found = glm.infer(fitted, test="score")
    for j in range(4):
        kept = [k for k in range(4) if k != j]
        model, without = _theirs(name, kept)
        # Rao's statistic: score and expected information at the restricted estimate.
        mu, family = without.fittedvalues, model.family
        slope = 1.0 / family.link.deriv(mu)
        freq = CASES[name][3].get("freq_weights", 1.0)
        weight = freq * slope**2 / family.variance(mu)
        residual = freq * (CASES[name][2] - mu) * slope / family.variance(mu)
        score = X[:, j] @ residual
        inverse = np.linalg.inv(X.T @ (weight[:, None] * X))
        expected = score**2 * inverse[j, j] / float(fitted.params.disp)
        np.testing.assert_allclose(found.stat[j], expected, rtol=1e-6)
        np.testing.assert_allclose(found.p[j], stats.chi2.sf(expected, 1), rtol=1e-6)


@cases
def test_profile_intervals_end_where_the_likelihood_has_fallen(name):
    fitted = _ours(name)
    found = glm.infer(fitted, ci="profile", level=0.9)
    _, full = _theirs(name, [0, 1, 2, 3])
    scale = float(fitted.params.disp)
    law = stats.norm if np.isinf(found.df) else stats.t(float(found.df))
    for j in (0, 2, 3):
        kept = [k for k in range(4) if k != j]
        for end in (float(found.low[j]), float(found.high[j])):
            _, held = _theirs(name, kept, offset=X[:, j] * end)
            root = np.sqrt((held.deviance - full.deviance) / scale)
            np.testing.assert_allclose(root, law.ppf(0.95), rtol=1e-6)
        assert found.low[j] < fitted.beta[j] < found.high[j]


def test_profile_and_wald_agree_where_the_likelihood_is_quadratic():
    fitted = _ours("gaussian")
    wald, profile = glm.infer(fitted), glm.infer(fitted, ci="profile")
    np.testing.assert_allclose(profile.low, wald.low, rtol=1e-7)
    np.testing.assert_allclose(profile.high, wald.high, rtol=1e-7)


def test_an_interval_without_an_end_is_infinite():
    # Of ten yes and no no, the log odds have no upper end.
    group = (np.arange(N) < 10).astype(float)
    y = np.where(group == 1, 1.0, YES)
    with pytest.warns(UserWarning, match="SEPARATED"):
        fitted = glm.fit(glm.Bernoulli(), np.column_stack([np.ones(N), group]), y)
    assert not np.isfinite(float(glm.infer(fitted, ci="profile").high[1]))


# -- what a fit already knows ----------------------------------------------------------


def test_a_changed_fit_gets_errors_of_its_own():
    rng = np.random.default_rng(5)
    X = np.column_stack([np.ones(50), rng.normal(size=50)])
    fitted = glm.fit(glm.Poisson(), X, rng.poisson(2.0, 50) * 1.0)
    changed = eqx.tree_at(lambda f: f.params.disp, fitted, jnp.asarray(4.0))
    np.testing.assert_allclose(
        glm.infer(changed).se, 2.0 * glm.infer(fitted).se, rtol=1e-12
    )
    same = jax.tree.map(lambda x: x, fitted)
    np.testing.assert_allclose(
        glm.infer(same).covariance, glm.infer(fitted).covariance, rtol=1e-12
    )


# -- randomised quantile residuals -----------------------------------------------------

BIG = 1500


def _simulated():
    rng = np.random.default_rng(21)
    x = np.column_stack([np.ones(BIG), rng.normal(size=BIG)])
    mu = np.exp(x @ [0.8, 0.4])
    p = 1.0 / (1.0 + np.exp(-x @ [0.2, 0.7]))
    counts = rng.poisson(mu).astype(float)
    spread = rng.poisson(mu * rng.gamma(1.0, 1.0, BIG)).astype(float)
    inflated = np.where(rng.random(BIG) < 0.3, 0.0, counts)
    successes = rng.binomial(12, p).astype(float)
    clumped = rng.binomial(12, rng.beta(3.0 * p, 3.0 * (1.0 - p))).astype(float)
    levels = np.digitize(x @ [0.0, 1.0] + rng.logistic(size=BIG), [-1.0, 0.5])
    compound = np.array([rng.gamma(k * 1.0, 1.0) if k else 0.0 for k in counts])
    amounts = rng.gamma(2.0, mu / 2.0)
    return x, {
        # name: family, response, options, whether the family is the true one
        "poisson": (glm.Poisson(), counts, {}, True),
        "nb2": (glm.NegativeBinomial(), spread, {}, True),
        "zip": (glm.ZeroInflated(glm.Poisson()), inflated, {}, True),
        "binomial": (glm.Binomial(), successes, {"trials": np.full(BIG, 12.0)}, True),
        "ordered": (glm.Ordered(3), levels.astype(float), {}, True),
        # A Poisson number of exponential amounts: power (1 + 2) / (1 + 1).
        "tweedie": (glm.Tweedie(power=1.5), compound, {"dispersion": "ml"}, None),
        "gamma": (glm.Gamma("log"), amounts, {}, True),
        "nb2-as-poisson": (glm.Poisson(), spread, {}, False),
        "zip-as-poisson": (glm.Poisson(), inflated, {}, False),
        "clumped-as-binomial": (
            glm.Binomial(), clumped, {"trials": np.full(BIG, 12.0)}, False
        ),
        "gamma-as-gaussian": (glm.Gaussian("log"), amounts, {}, False),
    }  # fmt: skip


DESIGN, SIMULATED = _simulated()


@pytest.mark.parametrize(
    "name",
    slow_beside(
        ("poisson", "nb2-as-poisson", "zip-as-poisson", "gamma-as-gaussian"),
        [name for name, case in SIMULATED.items() if case[3] is not None],
    ),
)
def test_quantile_residuals_tell_a_wrong_model(name):
    family, y, options, is_true = SIMULATED[name]
    design = DESIGN[:, 1:] if family.has_cutpoints else DESIGN
    fitted = glm.fit(family, design, y, **options)
    residuals = glm.check(fitted, key=jax.random.key(4)).residuals
    p = stats.kstest(np.asarray(residuals.quantile), "norm").pvalue
    assert (p > 0.01) if is_true else (p < 1e-6)


@pytest.mark.slow
def test_quantile_residuals_of_amounts_with_zeros():
    family, y, options, _ = SIMULATED["tweedie"]
    fitted = glm.fit(family, DESIGN, y, **options)
    assert np.mean(y == 0) > 0.05
    residuals = glm.check(fitted, key=jax.random.key(4)).residuals
    # The true dispersion varies with the mean, though little: a loose bound.
    assert stats.kstest(np.asarray(residuals.quantile), "norm").statistic < 0.05


@pytest.mark.parametrize(
    ("family", "reference"),
    [
        (glm.Poisson(), lambda f: stats.poisson(f.mu[0])),
        (glm.Gaussian(), lambda f: stats.norm(f.mu[0], np.sqrt(f.params.disp))),
        (glm.StudentT(df=30.0), lambda f: stats.t(30.0, f.mu[0], f.aux["scale"])),
    ],
    ids=["Poisson", "Gaussian", "StudentT"],
)
def test_quantile_residuals_of_outliers_keep_growing(family, reference):
    y = np.r_[np.tile([0.0, 1.0, 2.0], 100), 80.0]
    fitted = glm.fit(family, np.ones((y.size, 1)), y)
    residual = float(glm.check(fitted).residuals.quantile[-1])
    law = reference(fitted)
    above = law.sf(80.0)
    if family.is_discrete:
        above = 0.5 * (above + law.sf(79.0))
    assert residual > 9.0
    assert residual == pytest.approx(stats.norm.isf(above), rel=1e-8)
