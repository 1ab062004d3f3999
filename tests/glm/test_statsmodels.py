"""Estimates, errors and diagnostics against statsmodels on its own data sets."""

import functools

import jax
import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import chi2

import numpyro_ext.glm as glm

from ..slow import slow_beside
from .reference import CASES, Case


@functools.cache
def case_of(name: str) -> tuple[Case, glm.FittedGLM]:
    case = CASES[name]()
    return case, glm.fit(case.family, case.X, case.y, **case.options)


# What is read from a fit is the same whatever the data.
FIRST = (
    "scotland-gaussian", "star98-binomial", "cpunish-nb2", "cancer-offset",
    "engel-tweedie",
)  # fmt: skip
# One of each data set and of each family.
UNLIKE = (
    *FIRST, "scotland-gamma", "fair-logit", "spector-cauchit", "engel-ig-log",
    "stackloss-gaussian", "committee-poisson", "randhie-poisson",
)  # fmt: skip
cases = pytest.mark.parametrize("name", slow_beside(UNLIKE, CASES))
some_cases = pytest.mark.parametrize("name", slow_beside(FIRST, CASES))


@cases
def test_the_estimates_are_those_of_statsmodels(name):
    case, fitted = case_of(name)
    assert fitted.converged, fitted.message
    # In standard errors where a coefficient is nearly zero.
    size = np.maximum(np.abs(case.result.params), 1e-2 * np.asarray(case.result.bse))
    error = np.abs(fitted.params.beta - np.asarray(case.result.params)) / size
    assert np.max(error) < 1e-6
    np.testing.assert_allclose(fitted.params.disp, case.result.scale, rtol=1e-8)


@cases
def test_standard_errors_and_tests(name):
    case, fitted = case_of(name)
    found = glm.infer(fitted)
    np.testing.assert_allclose(found.se, case.result.bse, rtol=1e-5)
    np.testing.assert_allclose(found.stat, case.result.tvalues, rtol=1e-5, atol=1e-5)
    if not fitted.family.uses_t:
        np.testing.assert_allclose(found.p, case.result.pvalues, rtol=1e-4, atol=1e-12)
        ends = np.column_stack([found.low, found.high])
        np.testing.assert_allclose(ends, case.result.conf_int(), rtol=1e-5, atol=1e-9)


@some_cases
def test_log_likelihood_and_criteria(name):
    case, fitted = case_of(name)
    gof = glm.check(fitted).gof
    np.testing.assert_allclose(fitted.log_likelihood, case.result.llf, rtol=1e-8)
    np.testing.assert_allclose(gof.aic, case.result.aic, rtol=1e-8)
    np.testing.assert_allclose(gof.bic, case.result.bic_llf, rtol=1e-8)
    np.testing.assert_allclose(gof.deviance, case.result.deviance, rtol=1e-8)
    np.testing.assert_allclose(gof.pearson_chi2, case.result.pearson_chi2, rtol=1e-8)
    np.testing.assert_allclose(gof.null_deviance, case.result.null_deviance, rtol=1e-8)
    assert gof.df_resid == case.result.df_resid


@some_cases
def test_residuals(name):
    case, fitted = case_of(name)
    found = glm.check(fitted).residuals
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7)
    close(found.pearson, case.result.resid_pearson)
    close(found.deviance, case.result.resid_deviance)
    # For counts out of trials theirs carry the square of the trials.
    working = np.asarray(case.result.resid_working)
    close(found.working, working / np.square(case.options.get("trials", 1.0)))


@some_cases
def test_leverage_and_influence(name):
    case, fitted = case_of(name)
    if name in ("spector-cauchit", "engel-ig-log"):
        pytest.skip("statsmodels takes roots of weights, which are negative here")
    if len(case.y) > 10_000:
        pytest.skip("statsmodels takes minutes here")
    theirs = case.result.get_influence()
    found = glm.check(fitted).influence
    np.testing.assert_allclose(
        found.leverage, theirs.hat_matrix_diag, rtol=1e-6, atol=1e-10
    )
    np.testing.assert_allclose(
        found.cooks_distance, theirs.cooks_distance[0], rtol=1e-5, atol=1e-10
    )


def test_dffits():
    case, fitted = case_of("scotland-gaussian")
    theirs = sm.OLS(case.y, case.X).fit().get_influence().dffits_internal[0]
    np.testing.assert_allclose(glm.check(fitted).influence.dffits, theirs, rtol=1e-7)


def test_dffits_of_a_row_of_negative_leverage():
    _, fitted = case_of("engel-ig-log")
    found = glm.check(fitted).influence
    assert np.any(found.leverage < 0)
    weight = found.dffits * (1 - found.leverage) / np.sqrt(abs(found.leverage))
    pearson = glm.check(fitted).residuals.pearson / np.sqrt(fitted.params.disp)
    np.testing.assert_allclose(weight, np.sign(found.leverage) * pearson, rtol=1e-9)


@some_cases
def test_robust_errors(name):
    case, fitted = case_of(name)
    X, h = case.X, np.asarray(glm.check(fitted).influence.leverage)
    n, p = X.shape
    # statsmodels gives HC0 for all four, so that the others are written out here.
    scores = case.result.model.score_obs(case.result.params)
    bread = np.linalg.inv(-case.result.model.hessian(case.result.params))
    for kind, factor in {
        "HC0": np.ones(n),
        "HC1": np.full(n, np.sqrt(n / (n - p))),
        "HC2": 1 / np.sqrt(1 - h),
        "HC3": 1 / (1 - h),
    }.items():
        rows = scores * factor[:, None]
        expected = np.sqrt(np.diag(bread @ rows.T @ rows @ bread))
        np.testing.assert_allclose(
            glm.infer(fitted, cov=kind).se, expected, rtol=1e-5, err_msg=kind
        )


def test_clustered_errors():
    case, fitted = case_of("fair-logit")
    groups = np.asarray(case.X[:, 1])
    theirs = sm.GLM(case.y, case.X, family=sm.families.Binomial()).fit(
        tol=1e-14, cov_type="cluster", cov_kwds={"groups": groups}
    )
    found = glm.infer(fitted, cov="cluster", clusters=groups)
    np.testing.assert_allclose(found.se, theirs.bse, rtol=1e-5)


def test_prediction_intervals():
    case, fitted = case_of("spector-logit")
    rows = case.X[:5]
    theirs = case.result.get_prediction(rows).summary_frame()
    found = glm.predict(fitted, rows, kind="interval")
    np.testing.assert_allclose(found.mean, theirs["mean"], rtol=1e-8)
    np.testing.assert_allclose(found.low, theirs["mean_ci_lower"], rtol=1e-6)
    np.testing.assert_allclose(found.high, theirs["mean_ci_upper"], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nb1", "nb2"])
def test_negative_binomial_with_alpha_estimated(kind):
    case, _ = case_of("randhie-poisson")
    X, y = case.X[::4], case.y[::4]
    theirs = sm.NegativeBinomial(y, X, loglike_method=kind).fit(
        disp=0, method="newton", maxiter=200, tol=1e-12
    )
    fitted = glm.fit(glm.NegativeBinomial(kind=kind), X, y)
    assert fitted.converged
    np.testing.assert_allclose(fitted.params.beta, theirs.params[:-1], rtol=1e-6)
    np.testing.assert_allclose(fitted.params.aux, theirs.params[-1], rtol=1e-6)
    np.testing.assert_allclose(fitted.log_likelihood, theirs.llf, rtol=1e-8)
    found = glm.infer(fitted)
    np.testing.assert_allclose(found.se, theirs.bse[:-1], rtol=1e-5)
    np.testing.assert_allclose(found.aux_se["alpha"], theirs.bse[-1], rtol=1e-5)
    np.testing.assert_allclose(glm.check(fitted).aic, theirs.aic, rtol=1e-8)


@pytest.mark.slow
def test_ordered_logit():
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    case, _ = case_of("fair-logit")
    X, y = case.X[::5, 2:6], case.X[::5, 1].astype(int) - 1
    for link in ("logit", "probit"):
        theirs = OrderedModel(y, X, distr=link).fit(
            disp=0, method="newton", maxiter=200
        )
        fitted = glm.fit(glm.Ordered(5, link), X, y)
        np.testing.assert_allclose(
            fitted.params.beta, theirs.params[:4], rtol=1e-5, atol=1e-7
        )
        np.testing.assert_allclose(fitted.log_likelihood, theirs.llf, rtol=1e-8)
        np.testing.assert_allclose(glm.infer(fitted).se, theirs.bse[:4], rtol=1e-4)
        cuts = theirs.model.transform_threshold_params(theirs.params)[1:-1]
        np.testing.assert_allclose(fitted.params.aux, cuts, rtol=1e-5)


def test_multinomial_logit():
    case, _ = case_of("fair-logit")
    X, y = case.X[::5, [0, 2, 4]], case.X[::5, 1].astype(int) - 1
    theirs = sm.MNLogit(y, X).fit(disp=0, method="newton", maxiter=100)
    fitted = glm.fit(glm.Categorical(5), X, y)
    np.testing.assert_allclose(fitted.params.beta, theirs.params, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fitted.log_likelihood, theirs.llf, rtol=1e-8)
    np.testing.assert_allclose(glm.infer(fitted).se, theirs.bse, rtol=1e-5)
    gof, chances = glm.check(fitted).gof, theirs.predict()
    pearson = np.sum((np.eye(5)[y] - chances) ** 2 / chances)
    np.testing.assert_allclose(gof.pearson_chi2, pearson, rtol=1e-8)
    free = 4 * len(y) - theirs.params.size
    quasi = glm.fit(glm.Categorical(5), X, y, dispersion="pearson")
    np.testing.assert_allclose(quasi.params.disp, pearson / free, rtol=1e-6)
    np.testing.assert_allclose(gof.pearson_p, chi2.sf(pearson, free), rtol=1e-6)
    np.testing.assert_allclose(
        gof.deviance_p, chi2.sf(-2 * theirs.llf, free), rtol=1e-6
    )


def test_beta_regression():
    from statsmodels.othermod.betareg import BetaModel

    rng = np.random.default_rng(4)
    X = np.column_stack([np.ones(200), rng.normal(size=200)])
    mean = 1 / (1 + np.exp(-X @ [0.3, -0.6]))
    y = rng.beta(mean * 8, (1 - mean) * 8)
    theirs = BetaModel(y, X).fit(disp=0, method="newton", maxiter=100)
    fitted = glm.fit(glm.Beta(), X, y)
    np.testing.assert_allclose(fitted.params.beta, theirs.params[:2], rtol=1e-6)
    np.testing.assert_allclose(np.log(fitted.params.aux), theirs.params[2], rtol=1e-6)
    np.testing.assert_allclose(fitted.log_likelihood, theirs.llf, rtol=1e-8)


def test_zero_inflated_poisson():
    rng = np.random.default_rng(5)
    X = np.column_stack([np.ones(400), rng.normal(size=400)])
    y = rng.poisson(np.exp(X @ [0.8, 0.4])) * (rng.random(400) > 0.3)
    theirs = sm.ZeroInflatedPoisson(y, X, exog_infl=np.ones((400, 1))).fit(
        disp=0, method="bfgs", gtol=1e-10, maxiter=500
    )
    fitted = glm.fit(glm.ZeroInflated(glm.Poisson()), X, y)
    np.testing.assert_allclose(fitted.params.beta, theirs.params[1:], rtol=1e-5)
    np.testing.assert_allclose(fitted.params.aux, theirs.params[0], rtol=1e-5)
    np.testing.assert_allclose(fitted.log_likelihood, theirs.llf, rtol=1e-8)


@pytest.mark.slow
def test_weights():
    rng = np.random.default_rng(6)
    X = np.column_stack([np.ones(80), rng.normal(size=80)])
    y = rng.gamma(2.0, np.exp(X @ [0.2, 0.3]) / 2)
    freq, var = rng.integers(1, 4, 80).astype(float), rng.uniform(0.5, 2.0, 80)
    theirs = sm.GLM(
        y, X, sm.families.Gamma(sm.families.links.Log()), freq_weights=freq,
        var_weights=var,
    ).fit(tol=1e-14)  # fmt: skip
    fitted = glm.fit(glm.Gamma("log"), X, y, freq_weights=freq, var_weights=var)
    found, checked = glm.infer(fitted), glm.check(fitted)
    np.testing.assert_allclose(fitted.params.beta, theirs.params, rtol=1e-8)
    np.testing.assert_allclose(fitted.params.disp, theirs.scale, rtol=1e-8)
    np.testing.assert_allclose(found.se, theirs.bse, rtol=1e-8)
    np.testing.assert_allclose(fitted.log_likelihood, theirs.llf, rtol=1e-8)
    np.testing.assert_allclose(checked.deviance, theirs.deviance, rtol=1e-8)
    repeated = glm.fit(
        glm.Gamma("log"), np.repeat(X, freq.astype(int), axis=0),
        np.repeat(y, freq.astype(int)), var_weights=np.repeat(var, freq.astype(int)),
    )  # fmt: skip
    np.testing.assert_allclose(repeated.params.beta, fitted.params.beta, rtol=1e-10)
    for cov in ("HC0", "opg", "observed"):
        np.testing.assert_allclose(
            glm.infer(fitted, cov=cov).se, glm.infer(repeated, cov=cov).se, rtol=1e-9
        )


def test_the_summary_has_the_numbers_of_statsmodels(key):
    del key
    case, fitted = case_of("scotland-gamma")
    text, table = str(fitted.summary()), fitted.summary().to_pandas()
    assert "Generalized Linear Model Regression Results" in text
    theirs = case.result.summary2().tables[1]
    np.testing.assert_allclose(table["coef"], theirs["Coef."], rtol=1e-6)
    np.testing.assert_allclose(table["std err"], theirs["Std.Err."], rtol=1e-5)
    np.testing.assert_allclose(table["z"], theirs["z"], rtol=1e-5)
    assert max(len(line) for line in text.splitlines()) < 80
    assert jax.tree.leaves(fitted)
