"""`fit` of every law: optima against scipy, units, limits, verdicts and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from scipy.optimize import minimize
from scipy.special import gammaln, kve

from numpyro_ext import distributions as distx
from numpyro_ext.distributions import FitStatus

NIG, GH = distx.NormalInverseGaussian, distx.GeneralizedHyperbolic
VG, SKEW_T = distx.VarianceGamma, distx.GeneralizedHyperbolicSkewT
HYPERBOLIC = distx.Hyperbolic
N = 800
rng = np.random.default_rng(20)
DATA = {
    "normal": rng.normal(size=N),
    "t3": rng.standard_t(3, size=N),
    "skewed": st.norminvgauss(1.2, 0.5).rvs(N, random_state=3),
}


def mean(fit):
    return fit.log_likelihood / fit.num_observations


def test_the_optimum_is_that_of_scipy():
    x = DATA["skewed"]
    fit = NIG.fit(x)
    reference = st.norminvgauss(*st.norminvgauss.fit(x)).logpdf(x).mean()
    assert abs(mean(fit) - reference) < 1e-6
    assert mean(fit) > reference - 1e-8
    assert fit.status == FitStatus.CONVERGED
    np.testing.assert_allclose(fit.law.log_prob(x).sum(), fit.log_likelihood)
    assert float(fit.law.mixing_law().mean) == pytest.approx(1.0, rel=1e-10)
    assert fit.num_iterations <= 20
    assert (np.diff(fit.history) > -1e-10).all()


@pytest.mark.slow
def test_the_symmetric_skew_t_is_student():
    x = DATA["t3"]
    fit = SKEW_T.fit(x, symmetric=True)
    df, loc, scale = st.t.fit(x)
    assert fit.log_likelihood == pytest.approx(st.t(df, loc, scale).logpdf(x).sum())
    assert float(fit.law.df) == pytest.approx(df, rel=1e-3)
    assert float(fit.law.skew) == 0.0
    assert fit.num_parameters == 3


@pytest.mark.slow
def test_newton_finds_the_same_optimum():
    x = DATA["skewed"]
    both = NIG.fit(x), NIG.fit(x, method="newton")
    assert mean(both[0]) == pytest.approx(mean(both[1]), abs=1e-8)
    reference = minimize(
        lambda v: (
            -np.mean(
                st.norminvgauss(
                    np.exp(v[0]), np.exp(v[0]) * np.tanh(v[1]), v[2], np.exp(v[3])
                ).logpdf(x)
            )
        ),
        [0.2, 0.3, 0.0, 0.0],
        method="BFGS",
        options={"gtol": 1e-9},
    )
    assert mean(both[1]) == pytest.approx(-reference.fun, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
def test_the_richer_law_is_never_below_its_members(data):
    x = DATA[data]
    best = mean(GH.fit(x))
    for law in (NIG, VG, SKEW_T, HYPERBOLIC):
        assert best >= mean(law.fit(x)) - 1e-6
    assert best >= st.norm(x.mean(), x.std()).logpdf(x).mean() - 1e-6
    assert best >= st.t(*st.t.fit(x)).logpdf(x).mean() - 1e-6


@pytest.mark.parametrize("law", [NIG, pytest.param(GH, marks=pytest.mark.slow)])
@pytest.mark.parametrize("factor", [1e-6, 1e3, 1e6])
def test_units_do_not_matter(law, factor):
    x = DATA["t3"]
    moved = mean(law.fit(factor * x)) + np.log(factor)
    assert moved == pytest.approx(mean(law.fit(x)), abs=1e-9)


@pytest.mark.slow
def test_the_verdict_names_the_nested_law():
    assert GH.fit(DATA["t3"]).status == FitStatus.INVERSE_GAMMA_LIMIT


def test_the_verdict_names_the_normal_limit():
    quantiles = st.norm.ppf((np.arange(N) + 0.5) / N)
    fit = NIG.fit(quantiles)
    assert fit.status == FitStatus.NORMAL_LIMIT
    assert "normal" in fit.message
    assert np.isnan(fit.standard_errors["alpha_bar"])


@pytest.mark.slow
def test_ties_are_named_and_bounded():
    x = DATA["t3"].copy()
    x[:80] = 0.25
    fit = NIG.fit(x)
    assert "80 of 800 rows (10.0 %) are exactly 0.25" in fit.message
    with pytest.warns(distx.DegenerateFitWarning, match=r"80 of 800 .* 0\.25"):
        fit = VG.fit(x)
    assert fit.status == FitStatus.DEGENERATE
    assert not fit.converged
    assert np.isfinite(fit.penalized_log_likelihood)
    assert float(fit.law.loc) == pytest.approx(0.25, abs=1e-3)


def variance_gamma_log_density(x, concentration, rate, loc, scale, skew):
    """Madan, Carr and Chang (1998), eq. 23, by SciPy's Bessel function."""
    z = (x - loc) / scale
    tilt = skew / scale
    order, upper = concentration - 0.5, 2.0 * rate + tilt**2
    y = np.sqrt(upper) * np.abs(z)
    constant = concentration * np.log(rate) - gammaln(concentration)
    constant += 0.5 * np.log(2.0 / np.pi) - np.log(scale)
    log_bessel = np.log(kve(order, y)) - y
    return constant + tilt * z + log_bessel + order * np.log(np.abs(z) / np.sqrt(upper))


@pytest.mark.slow
def test_no_other_row_holds_a_better_cusp():
    # The density has a cusp at loc, and the likelihood a maximum at many a row.
    rng = np.random.default_rng(86)
    w = rng.gamma(0.7, 1.0 / 0.7, 400)
    x = -1.0 + w + np.sqrt(w) * 2.0 * rng.normal(size=400)
    fit = VG.fit(x)
    law = fit.law
    others = np.sort(x[np.abs(x - float(law.loc)) > 1e-4])
    # Just beside each, where the density is known to SciPy too, with the mean kept.
    locs = np.append(float(law.loc), others) + 1e-7
    own = float(law.concentration), float(law.rate)
    mean_of_law = float(law.loc + law.skew)
    values = [
        variance_gamma_log_density(
            x, *own, loc, float(law.scale), mean_of_law - loc
        ).sum()
        for loc in locs
    ]
    assert values[0] == pytest.approx(fit.log_likelihood, abs=0.05)
    assert max(values[1:]) <= values[0]


@pytest.mark.slow
def test_one_outlier_does_not_spoil_the_units():
    x = DATA["normal"].copy()
    x[3] = 1e6
    fit = SKEW_T.fit(x)
    assert "Row 3 is an outlier" in fit.message
    assert abs(float(fit.law.loc)) < 1.0
    assert 0.5 < float(fit.law.scale) < 1.5


@pytest.mark.parametrize(
    ("law", "x", "words"),
    [
        (NIG, [0.0, 1.0, np.nan, 2.0], ["1 of 4 rows", "index 2", "np.isfinite"]),
        (NIG, np.ones(50), ["column 0 is constant", "1.0"]),
        (GH, [0.1, 0.5, 0.7], ["n=3", "5 parameters"]),
        (NIG, np.ones((9, 2)), ["univariate", "Multivariate"]),
        (distx.MultivariateNormalInverseGaussian, np.eye(4, 7), ["d = 7", "n = 4"]),
        (
            distx.MultivariateNormalInverseGaussian,
            np.stack([DATA["t3"], 2.0 * DATA["t3"]], axis=1),
            ["hyperplane", "rank 1"],
        ),
        (distx.InverseGaussian, DATA["t3"], ["not positive", "index"]),
    ],
)
def test_data_that_no_fit_can_use(law, x, words):
    with pytest.raises(ValueError, match=law.__name__) as error:
        law.fit(np.asarray(x))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tol": 0.0}, "tol"),
        ({"tol": float("nan")}, "tol"),
        ({"algorithm": "emm"}, "em"),
        ({"fix": {"q": 1.0}}, "cannot be fixed"),
        ({"fix": {"a": -1.0}}, "positive"),
        ({"weights": -np.ones(N)}, "weights"),
        ({"weights": np.ones(3)}, "weights"),
        ({"symmetric": True, "fix": {"skew": 1.0}}, "symmetric"),
        ({"method": "bfgs"}, "method"),
        ({"shrinkage": 1.5}, "intensity"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        NIG.fit(DATA["t3"], **options)


def test_weights_count_rows():
    x = DATA["t3"]
    twice = np.concatenate([x[:400], x[:400], x[400:700], x[400:500]])
    weights = np.zeros(N)
    weights[:400], weights[400:500], weights[500:700] = 2.0, 2.0, 1.0
    one, other = NIG.fit(twice[:N]), None
    weights = np.zeros(N)
    weights[:400] = 2.0
    other = NIG.fit(x, weights=weights)
    np.testing.assert_allclose(other.log_likelihood, one.log_likelihood, rtol=1e-8)
    np.testing.assert_allclose(other.law.scale, one.law.scale, rtol=1e-4)


def test_what_is_fixed_stays():
    x = DATA["skewed"]
    fit = NIG.fit(x, fix={"a": 2.0, "loc": 0.1})
    np.testing.assert_allclose(fit.law.a, 2.0)
    np.testing.assert_allclose(fit.law.loc, 0.1)
    assert fit.num_parameters == 3
    fit = SKEW_T.fit(x, fix={"df": 5.0})
    np.testing.assert_allclose(fit.law.df, 5.0)


@pytest.mark.slow
def test_the_order_can_be_fixed():
    x = DATA["skewed"]
    fit = GH.fit(x, fix={"p": -0.5})
    assert float(fit.law.p) == -0.5
    assert mean(fit) == pytest.approx(mean(NIG.fit(x)), abs=1e-8)


@pytest.mark.slow
def test_standard_errors_are_those_of_the_curvature():
    x = DATA["skewed"]
    fit = NIG.fit(x)
    law = fit.law
    at = jnp.stack([jnp.sqrt(law.a * law.b), law.loc, law.scale, law.skew])

    def value(v):
        return NIG.from_alpha_bar(v[0], v[1], v[2], v[3]).log_prob(x).sum()

    covariance = jnp.linalg.inv(-jax.jacfwd(jax.grad(value))(at))
    names = ("alpha_bar", "loc", "scale", "skew")
    errors = [np.squeeze(fit.standard_errors[name]) for name in names]
    np.testing.assert_allclose(errors, jnp.sqrt(jnp.diagonal(covariance)), rtol=1e-3)
    assert list(fit.summary().index) == list(fit.standard_errors)


def test_compare_tests_what_is_nested():
    x = DATA["skewed"]
    table = distx.compare([NIG.fit(x), NIG.fit(x, symmetric=True), SKEW_T.fit(x)])
    assert np.isnan(table.loc["GeneralizedHyperbolicSkewT", "p_value"])
    row = table.loc["NormalInverseGaussian, symmetric"]
    assert row.df == 1
    assert row.p_value == pytest.approx(st.chi2(1).sf(row.statistic))
    assert row.p_value < 1e-4
    with pytest.raises(ValueError, match="other data"):
        distx.compare([NIG.fit(x), NIG.fit(DATA["t3"])])


@pytest.mark.slow
def test_plain_em_gets_there_too_and_never_falls():
    x = DATA["skewed"]
    best = mean(NIG.fit(x))
    fits = {}
    for algorithm, acceleration in (
        ("em", "none"),
        ("em", "squarem"),
        ("mcecm", "none"),
    ):
        fit = NIG.fit(x, algorithm=algorithm, acceleration=acceleration)
        assert (np.diff(fit.history) > -1e-10).all()
        assert mean(fit) == pytest.approx(best, abs=1e-6)
        fits[algorithm, acceleration] = fit
    plain = fits["em", "none"]
    assert mean(fits["em", "squarem"]) >= mean(plain) - 1e-8
    assert NIG.fit(x).num_iterations <= 0.3 * plain.num_iterations


@pytest.mark.slow
def test_many_data_sets_at_once_have_a_verdict_each():
    x = np.stack([DATA["skewed"], DATA["t3"], st.norm.ppf((np.arange(N) + 0.5) / N)])
    fits = distx.BatchEM().fit_many(NIG, x)
    for fit, rows in zip(fits, x, strict=True):
        # On the way to the normal limit the likelihood is all but flat.
        assert mean(fit) == pytest.approx(mean(NIG.fit(rows)), abs=1e-6)
    assert fits[2].status == FitStatus.NORMAL_LIMIT


@pytest.mark.slow
def test_positive_laws_have_their_maximum(key):
    law = distx.GeneralizedInverseGaussian(1.5, 1.0, 2.0)
    x = np.asarray(law.sample(key, (N,)))
    fit = distx.GeneralizedInverseGaussian.fit(x)
    assert fit.log_likelihood >= float(law.log_prob(x).sum())
    assert abs(float(fit.law.p) - 1.5) < 4 * fit.standard_errors["p"]
    again = distx.GeneralizedInverseGaussian.fit(1e6 * x)
    moved = again.log_likelihood + N * np.log(1e6)
    assert moved == pytest.approx(fit.log_likelihood, abs=1e-6)
    simple = distx.InverseGaussian.fit(x)
    assert float(simple.law.loc) == pytest.approx(x.mean())
    assert fit.log_likelihood > simple.log_likelihood


@pytest.mark.slow
def test_a_stream_gets_close_to_the_batch(key):
    law = NIG(1.0, 1.0, 0.3, 2.0, 0.5)
    x = np.asarray(law.sample(key, (60_000,)))
    online = distx.OnlineEM()
    state = online.fit_stream(NIG, x.reshape(60, 1000))
    size = sum(y.size for y in jax.tree.leaves(state))
    assert size < 60
    gap = NIG.fit(x).log_likelihood / len(x) - online.law(state).log_prob(x).mean()
    assert -1e-9 <= gap < 1e-3


@pytest.mark.slow
def test_float32_stays_float32(float32):
    x = jnp.asarray(DATA["skewed"], jnp.float32)
    fit = NIG.fit(x)
    assert fit.law.loc.dtype == jnp.float32
    reference = st.norminvgauss(*st.norminvgauss.fit(DATA["skewed"]))
    assert mean(fit) == pytest.approx(reference.logpdf(DATA["skewed"]).mean(), abs=1e-4)


def test_a_second_fit_compiles_nothing():
    x = DATA["skewed"]
    NIG.fit(x)
    assert NIG.fit(x + 1.0).seconds < 0.3


MULTI = distx.MultivariateNormalInverseGaussian


@pytest.mark.slow
def test_many_columns(key):
    tril = np.linalg.cholesky([[2.0, 0.5], [0.5, 1.0]])
    law = MULTI(1.0, 1.0, jnp.array([0.2, 0.0]), jnp.array([0.3, -0.2]), tril)
    x = np.asarray(law.sample(key, (1000,)))
    fit = MULTI.fit(x)
    assert fit.status == FitStatus.CONVERGED
    assert fit.log_likelihood > float(law.log_prob(x).sum())
    np.testing.assert_allclose(fit.law.log_prob(x).sum(), fit.log_likelihood)
    errors = fit.standard_errors
    assert (np.abs(fit.law.skew - law.skew) < 4.0 * errors["skew"]).all()
    assert (np.abs(fit.law.loc - law.loc) < 4.0 * errors["loc"]).all()
    # An affine image of the data has the image of the law.
    turn = np.array([[1.0, 2.0], [-1.0, 0.5]]) * 1e3
    moved = MULTI.fit(x @ turn.T)
    change = 1000 * np.log(np.abs(np.linalg.det(turn)))
    assert mean(fit) == pytest.approx(mean(moved) + change / 1000, abs=1e-7)
    shrunk = MULTI.fit(x, shrinkage=0.3)
    assert shrunk.status == FitStatus.CONVERGED
    assert shrunk.log_likelihood < fit.log_likelihood
    assert (np.diff(shrunk.history) > -1e-9).all()
