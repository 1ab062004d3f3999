"""`glm.model`: its density, its priors, and the bridges to and from `glm.fit`."""

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pandas as pd
import pytest
from jax.flatten_util import ravel_pytree
from numpyro import handlers
from scipy import integrate, stats

from numpyro_ext import NUTS, EnsembleMAP, Laplace, ModelSpec, glm, site_covariance
from numpyro_ext._checks import ConvergenceWarning
from numpyro_ext.glm._each_prior import EachPrior, SortedDraws
from numpyro_ext.inference._init_values import given_positions

from ..slow import slow_beside

N = 80
RNG = np.random.default_rng(5)
X = np.column_stack([np.ones(N), RNG.normal(size=N), RNG.uniform(1.0, 3.0, N)])
ETA = X @ [0.4, 0.5, -0.3]
COUNTS = RNG.negative_binomial(2.0, 2.0 / (2.0 + 3.0 * np.exp(ETA))).astype(float)
AMOUNTS = RNG.gamma(3.0, np.exp(ETA) / 3.0)
YES = (RNG.random(N) < 1 / (1 + np.exp(-ETA))).astype(float)
SHARES = np.clip(RNG.beta(3.0, 4.0, N), 0.01, 0.99)
LEVELS = np.digitize(ETA + RNG.logistic(size=N), [-0.5, 0.8]).astype(float)
TRIALS = RNG.integers(2, 9, N).astype(float)
WEIGHTS = RNG.integers(1, 4, N).astype(float)
NAMES = ("one", "x", "z")

FITS = {
    "gaussian": (glm.Gaussian(), X, AMOUNTS, {}),
    "gaussian-weights": (glm.Gaussian(), X, AMOUNTS, {"var_weights": WEIGHTS}),
    "poisson": (glm.Poisson(), X, COUNTS, {"exposure": WEIGHTS}),
    "poisson-frequencies": (glm.Poisson(), X, COUNTS, {"freq_weights": WEIGHTS}),
    "bernoulli-cloglog": (glm.Bernoulli("cloglog"), X, YES, {}),
    "binomial": (glm.Binomial(), X, np.minimum(COUNTS, TRIALS), {"trials": TRIALS}),
    "nb2": (glm.NegativeBinomial(), X, COUNTS, {"offset": 0.1 * WEIGHTS}),
    "nb1": (glm.NegativeBinomial1(), X, COUNTS, {}),
    "gamma": (glm.Gamma("log"), X, AMOUNTS, {}),
    "inverse-gaussian": (glm.InverseGaussian("log"), X, AMOUNTS, {}),
    "beta": (glm.Beta(), X, SHARES, {}),
    "student": (glm.StudentT(df=4.0), X, AMOUNTS, {}),
    "ordered": (glm.Ordered(3), X[:, 1:], LEVELS, {}),
    "categorical": (glm.Categorical(3), X, LEVELS, {}),
    "zero-inflated": (glm.ZeroInflated(glm.Poisson()), X, COUNTS, {}),
    "hurdle": (glm.Hurdle(glm.NegativeBinomial()), X, COUNTS, {}),
}


def fit_and_spec(name):
    family, design, y, options = FITS[name]
    method = "ml" if family.has_dispersion else "auto"
    fitted = glm.fit(family, design, y, dispersion=method, **options)
    return fitted, ModelSpec(glm.model(family, design, y, priors="flat", **options))


# The Hessian compiles for long.
FAST = ("poisson", "poisson-frequencies", "ordered", "zero-inflated")


@pytest.mark.parametrize("name", slow_beside(FAST, FITS))
def test_the_fit_is_the_mode_under_flat_priors(name):
    fitted, spec = fit_and_spec(name)
    assert set(fitted.site_values()) == set(spec.sites.coordinates)
    flat, unravel = ravel_pytree(spec.unconstrain(fitted.site_values()))

    def value(z):
        return spec.log_density(unravel(z), jacobian=False)

    gradient, hessian = jax.jit(lambda z: (jax.grad(value)(z), jax.hessian(value)(z)))(
        flat
    )
    decrement = -gradient @ np.linalg.solve(hessian, gradient)
    assert 0.0 <= float(decrement) < 1e-12
    assert np.linalg.eigvalsh(hessian).max() < 0.0


@pytest.mark.parametrize(
    "name", slow_beside(FAST, ["poisson", "nb2", "beta", "zero-inflated"])
)
def test_the_density_is_the_log_likelihood_of_the_fit(name):
    # `infer` and `check` are compared with statsmodels elsewhere; here is one number.
    fitted, spec = fit_and_spec(name)
    found = spec.log_density(spec.unconstrain(fitted.site_values()), jacobian=False)
    np.testing.assert_allclose(found, fitted.log_likelihood, rtol=1e-12)


def test_the_density_by_scipy():
    model = glm.model(glm.Poisson(), X, COUNTS, offset=np.log(WEIGHTS))
    spec = ModelSpec(model)
    beta = jnp.array([0.2, -0.4, 0.1])
    mu = WEIGHTS * np.exp(X @ beta)
    spread = X[:, 1:].std(axis=0)
    scale = 2.5 / spread
    level = np.log(COUNTS.mean()) - np.log(WEIGHTS).mean()
    wide = np.sqrt(2.5**2 + np.sum((X[:, 1:].mean(axis=0) * scale) ** 2))
    expected = stats.poisson.logpmf(COUNTS, mu).sum()
    expected += stats.norm.logpdf(beta[0], level, wide)
    expected += stats.norm.logpdf(beta[1:], 0.0, scale).sum()
    np.testing.assert_allclose(spec.log_density({"beta": beta}), expected, rtol=1e-12)


def test_default_priors_follow_the_units():
    design = X * [1.0, 100.0, 0.01]
    one = glm.model(glm.Gaussian(), X, AMOUNTS).priors
    other = glm.model(glm.Gaussian(), design, 1000.0 * AMOUNTS).priors
    ratio = np.asarray(other["beta"].scale / one["beta"].scale)
    np.testing.assert_allclose(ratio, [1e3, 10.0, 1e5], rtol=1e-10)
    np.testing.assert_allclose(one["beta"].loc, [AMOUNTS.mean(), 0, 0], rtol=1e-10)
    np.testing.assert_allclose(one["dispersion"].scale, AMOUNTS.var(), rtol=1e-10)
    gamma = glm.model(glm.Gamma("log"), X, AMOUNTS).priors
    known = AMOUNTS.var() / AMOUNTS.mean() ** 2
    np.testing.assert_allclose(gamma["dispersion"].scale, known, rtol=1e-10)


@pytest.mark.parametrize("name", list(FITS))
def test_default_priors_are_proper(name, key):
    family, design, y, options = FITS[name]
    model = glm.model(family, design, y, **options)
    drawn = handlers.trace(handlers.seed(model, key)).get_trace(design[:7])
    assert drawn["y"]["value"].shape == (7,)
    for name in ("beta", *model.priors):
        site = drawn[name]
        assert np.all(site["fn"].support(site["value"]))
        assert np.all(np.isfinite(site["fn"].log_prob(site["value"])))


def test_a_row_seen_twice_counts_twice():
    weighted = ModelSpec(
        glm.model(glm.Poisson(), X, COUNTS, freq_weights=WEIGHTS, priors="flat")
    )
    times = WEIGHTS.astype(int)
    repeated = ModelSpec(
        glm.model(
            glm.Poisson(), np.repeat(X, times, 0), np.repeat(COUNTS, times),
            priors="flat",
        )
    )  # fmt: skip
    position = {"beta": jnp.array([0.1, 0.2, -0.1])}
    np.testing.assert_allclose(
        weighted.log_density(position), repeated.log_density(position), rtol=1e-12
    )


# -- bridges ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", slow_beside(FAST, ["poisson", "bernoulli-cloglog", "categorical"])
)
def test_laplace_has_the_observed_covariance(name, key):
    fitted, spec = fit_and_spec(name)
    laplace = Laplace(num_samples=10, num_starts=1).run(spec, key, init=fitted)
    found = site_covariance(laplace, "beta")
    expected = np.asarray(glm.infer(fitted, cov="observed").cov_beta)
    if fitted.beta.ndim == 2:
        # `infer` goes predictor by predictor, a site row by row.
        p, m = fitted.beta.shape
        order = np.arange(p * m).reshape(m, p).T.ravel()
        expected = expected[np.ix_(order, order)]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_the_map_engine_finds_the_fit(key):
    fitted, spec = fit_and_spec("nb2")
    engine = EnsembleMAP(num_members=2, num_steps=300, optimizer=optax.lbfgs())
    found = engine.run(spec, key)
    best = int(np.argmax(found.stats["lp"]))
    np.testing.assert_allclose(found.draws["beta"][best, 0], fitted.beta, rtol=1e-5)
    np.testing.assert_allclose(
        found.draws["alpha"][best, 0], fitted.params.aux, rtol=1e-5
    )


@pytest.mark.parametrize(
    "name", slow_beside(FAST, ["poisson", "gamma", "ordered", "categorical"])
)
def test_a_fit_is_a_start(name):
    fitted, spec = fit_and_spec(name)
    starts = given_positions("NUTS", spec, fitted, 3)
    for site, values in jax.vmap(spec.constrain)(starts).items():
        expected = np.broadcast_to(fitted.site_values()[site], values.shape)
        np.testing.assert_allclose(values, expected, rtol=1e-10)


def test_nuts_starts_at_a_fit(key):
    fitted, _ = fit_and_spec("poisson")
    spec = ModelSpec(glm.model(glm.Poisson(), X, COUNTS, exposure=WEIGHTS))
    engine = NUTS(
        num_warmup=0,
        num_samples=1,
        num_chains=2,
        step_size=1e-7,
        max_tree_depth=2,
        inverse_mass_matrix=np.ones(3),
    )
    # One short step from where it starts.
    with pytest.warns(UserWarning, match="max_tree_depth"):
        found = engine.run(spec, key, init=fitted)
    np.testing.assert_allclose(found.draws["beta"][0, 0], fitted.beta, atol=1e-4)
    with pytest.raises(ValueError, match="lacks the sites"):
        engine.run(ModelSpec(glm.model(glm.Gaussian(), X, COUNTS)), key, init=fitted)


@pytest.fixture(scope="module")
def table():
    group = np.where(X[:, 1] > 0.7, "b", np.where(X[:, 1] < -0.5, "c", "a"))
    return pd.DataFrame({"z": X[:, 2], "g": group, "visits": COUNTS})


@pytest.fixture(scope="module")
def formula_model(table):
    return glm.model("visits ~ z + C(g)", table, glm.Poisson())


def test_a_formula_names_sites_and_coordinates(formula_model, table, key):
    spec = ModelSpec(formula_model)
    assert spec.sites.names("observed") == ("visits",)
    fit = NUTS(num_warmup=100, num_samples=100, num_chains=2).run(spec, key)
    names = ["Intercept", "z", "C(g)[T.b]", "C(g)[T.c]"]
    tree = fit.to_datatree()
    assert list(tree["posterior"]["coefficient"].values) == names
    assert tree["posterior"]["beta"].dims == ("chain", "draw", "coefficient")
    assert tree["observed_data"]["visits"].dims == ("row",)
    assert "beta[C(g)[T.b]]" in list(az.summary(tree).index)
    assert "beta[C(g)[T.b]]" in str(fit.summary())
    predicted = fit.predict(formula_model.rows(table.iloc[:3]))["visits"]
    assert predicted.shape == (2, 100, 3)
    with pytest.raises(ValueError, match="none of the levels"):
        formula_model.rows(pd.DataFrame({"z": [1.0], "g": ["d"]}))


@pytest.mark.slow
def test_numpyros_own_sampler_runs_it(formula_model, table, key):
    fitted = glm.fit("visits ~ z + C(g)", table, glm.Poisson())
    kernel = numpyro.infer.NUTS(formula_model)
    sampler = numpyro.infer.MCMC(
        kernel, num_warmup=300, num_samples=500, progress_bar=False
    )
    sampler.run(key)
    draws = sampler.get_samples()["beta"]
    se = np.asarray(glm.infer(fitted).se)
    assert np.all(np.abs(draws.mean(axis=0) - fitted.beta) < 0.5 * se)
    new = formula_model.rows(table.iloc[:2])
    drawn = numpyro.infer.Predictive(formula_model, {"beta": draws})(key, new)
    assert drawn["visits"].shape == (500, 2)


def test_new_rows_have_their_offset_and_trials(key):
    model = glm.model(glm.Binomial(), X, np.minimum(COUNTS, TRIALS), trials=TRIALS)
    spec = ModelSpec(model)
    draws = {"beta": jnp.zeros((1, 400, 3))}
    new = spec.predictive(
        key, draws, X[:2], offset=np.array([-30.0, 30.0]), trials=np.array([7.0, 9.0])
    )
    np.testing.assert_array_equal(new["y"][0], np.tile([0, 9], (400, 1)))


@pytest.mark.slow
def test_the_tree_of_a_fit(table):
    fitted = glm.fit("visits ~ z + C(g)", table, glm.NegativeBinomial())
    found = glm.infer(fitted, cov="HC0")
    tree = fitted.to_datatree(cov="HC0", num_samples=2000)
    posterior = tree["posterior"]
    assert posterior.attrs["engine"] == "AsymptoticNormal"
    assert posterior.attrs["kind"] == "independent"
    draws = posterior["beta"].values[0]
    error = np.asarray(found.se) / np.sqrt(2000)
    assert np.all(np.abs(draws.mean(axis=0) - fitted.beta) < 5 * error)
    log_alpha = np.log(posterior["alpha"].values[0])
    both = np.cov(np.column_stack([draws, log_alpha]).T)
    scale = np.sqrt(np.diag(found.covariance))
    np.testing.assert_allclose(
        both / np.outer(scale, scale), found.covariance / np.outer(scale, scale),
        atol=0.12,
    )  # fmt: skip
    log_likelihood = stats.nbinom.logpmf(
        COUNTS,
        1 / posterior["alpha"].values[0, 0],
        1 / (1 + posterior["alpha"].values[0, 0] * np.exp(fitted.X @ draws[0])),
    )
    np.testing.assert_allclose(
        tree["log_likelihood"]["visits"].values[0, 0], log_likelihood, rtol=1e-8
    )
    assert tree["posterior_predictive"]["visits"].shape == (1, 2000, N)
    assert np.isfinite(float(az.loo(tree).elpd))


SMALL = {"num_samples": 50, "posterior_predictive": False, "log_likelihood": False}


@pytest.mark.slow
def test_a_tree_holds_what_has_no_error():
    gaussian = glm.fit(glm.Gaussian(), X, AMOUNTS).to_datatree(**SMALL)
    assert set(gaussian["posterior"].data_vars) == {"beta"}
    disp = glm.fit(glm.Gaussian(), X, AMOUNTS).params.disp
    np.testing.assert_allclose(gaussian.attrs["dispersion"], disp)
    even = np.tile([1.0, 2.0], N // 2)
    with pytest.warns(ConvergenceWarning, match="BOUNDARY"):
        edge = glm.fit(glm.NegativeBinomial(), X, even)
    assert set(edge.to_datatree(**SMALL)["posterior"].data_vars) == {"beta"}
    with pytest.warns(ConvergenceWarning, match="RANK_DEFICIENT"):
        deficient = glm.fit(glm.Poisson(), X[:, [0, 0]], COUNTS)
    with pytest.raises(ValueError, match="no normal law.*linearly dependent"):
        deficient.to_datatree()


# -- priors ----------------------------------------------------------------------------


def test_priors_by_name():
    given = {
        "x": dist.HalfNormal(2.0),
        "z": dist.StudentT(3.0, 1.0, 0.5),
        "alpha": dist.Exponential(2.0),
    }
    names = list(NAMES)
    spec = ModelSpec(
        glm.model(glm.NegativeBinomial(), X, COUNTS, priors=given, names=names)
    )
    flat = ModelSpec(
        glm.model(glm.NegativeBinomial(), X, COUNTS, priors="flat", names=names)
    )
    default = glm.model(glm.NegativeBinomial(), X, COUNTS).priors["beta"]
    values = {"beta": jnp.array([0.3, 0.7, -0.2]), "alpha": jnp.array(0.8)}
    expected = stats.norm.logpdf(0.3, default.loc[0], default.scale[0])
    expected += stats.halfnorm.logpdf(0.7, scale=2.0)
    expected += stats.t.logpdf(-0.2, 3.0, 1.0, 0.5)
    expected += stats.expon.logpdf(0.8, scale=0.5)
    found = spec.log_density(spec.unconstrain(values), jacobian=False)
    plain = flat.log_density(flat.unconstrain(values), jacobian=False)
    np.testing.assert_allclose(found - plain, expected, rtol=1e-8)
    # Positive coordinates are logarithms, and say so in the Jacobian.
    full = spec.log_density(spec.unconstrain(values))
    np.testing.assert_allclose(full - found, np.log(0.7) + np.log(0.8), rtol=1e-8)


def test_one_law_for_all_and_flat_for_one():
    law = dist.Laplace(0.0, 0.7)
    beta = jnp.array([0.3, 0.7, -0.2])
    whole = glm.model(glm.Poisson(), X, COUNTS, priors=law).priors["beta"]
    expected = stats.laplace.logpdf(beta, scale=0.7)
    np.testing.assert_allclose(whole.log_prob(beta), expected, rtol=1e-12)
    mixed = glm.model(
        glm.Poisson(), X, COUNTS, priors={"beta": law, "x0": "flat"}
    ).priors["beta"]
    np.testing.assert_allclose(
        mixed.log_prob(beta), [0.0, *expected[1:]], rtol=1e-12, atol=1e-15
    )


def test_a_number_holds_a_nuisance():
    spec = ModelSpec(
        glm.model(glm.Gaussian(), X, AMOUNTS, priors={"beta": "flat", "dispersion": 2})
    )
    assert spec.sites.coordinates == ("beta",)
    beta = jnp.array([0.3, 0.7, -0.2])
    expected = stats.norm.logpdf(AMOUNTS, X @ beta, np.sqrt(2.0)).sum()
    np.testing.assert_allclose(spec.log_density({"beta": beta}), expected, rtol=1e-12)


BAD_PRIORS = {
    "unknown": ({"w": dist.Normal()}, ValueError, "did you mean|known are"),
    "word": ({"x": "wide"}, ValueError, "Write 'flat'"),
    "all": ("wide", ValueError, "Write 'flat'"),
    "number": ({"x": 1.0}, TypeError, "offset="),
    "kind": ({"x": [0, 1]}, TypeError, "type list"),
    "kind-all": ([0, 1], TypeError, "type list"),
    "shape": ({"x": dist.Normal(np.zeros(3))}, ValueError, r"shape \(3,\)"),
    "discrete": ({"x": dist.Poisson(1.0)}, ValueError, "continuous number"),
    "support": ({"alpha": dist.Normal()}, ValueError, "must be Positive"),
    "held": ({"alpha": -1.0}, ValueError, "not Positive"),
    "nuisance-shape": (
        {"alpha": dist.HalfNormal(np.ones(2))}, ValueError, r"needs \(\)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BAD_PRIORS))
def test_priors_that_do_not_fit(name):
    priors, error, words = BAD_PRIORS[name]
    with pytest.raises(error, match=words):
        glm.model(glm.NegativeBinomial(), X, COUNTS, priors=priors, names=list(NAMES))


def test_an_improper_posterior_is_refused():
    wide = RNG.normal(size=(5, 8))
    with pytest.raises(ValueError, match="rank 5, with n = 5 and p = 8"):
        glm.model(glm.Poisson(), wide, COUNTS[:5], priors="flat")
    with pytest.raises(ValueError, match="improper"):
        glm.model(glm.Ordered(3), X, LEVELS, priors={"x0": "flat"})
    glm.model(glm.Poisson(), wide, COUNTS[:5])


def test_bad_data_are_refused():
    with pytest.raises(ValueError, match=r"`y\[3\]` is -1, and Poisson takes"):
        glm.model(glm.Poisson(), X, np.where(np.arange(N) == 3, -1.0, COUNTS))
    holed = X.copy()
    holed[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"`X\[2, 1\]` is nan"):
        glm.model(glm.Poisson(), holed, COUNTS)
    with pytest.raises(ValueError, match="positive weights"):
        glm.model(glm.Poisson(), X, COUNTS, freq_weights=np.arange(N) * 1.0)
    with pytest.raises(ValueError, match="made of arrays"):
        glm.model(glm.Poisson(), X, COUNTS).rows({"x": [1.0]})


# -- laws of priors --------------------------------------------------------------------


def each_prior(axis):
    laws = (dist.HalfNormal(2.0), dist.Normal(1.0, 3.0), dist.Uniform(-1.0, 2.0))
    size = (lambda n: (n,)) if axis == -1 else (lambda n: (n, 2))
    laws = tuple(law.expand(size(n)) for law, n in zip(laws, (1, 2, 1), strict=True))
    return EachPrior(laws, ((2,), (0, 3), (1,)), size(4), axis)


@pytest.mark.parametrize("axis", [-1, -2])
def test_each_prior_is_the_law_of_each(axis, key):
    law = each_prior(axis)
    columns = [
        stats.norm(1.0, 3.0),
        stats.uniform(-1.0, 3.0),
        stats.halfnorm(scale=2.0),
        stats.norm(1.0, 3.0),
    ]
    drawn = np.asarray(law.sample(key, (2000,)))
    assert drawn.shape == (2000, *law.batch_shape)
    found = np.moveaxis(np.asarray(law.log_prob(drawn)), axis, 0)
    for j, column in enumerate(columns):
        values = np.moveaxis(drawn, axis, 0)[j]
        np.testing.assert_allclose(found[j], column.logpdf(values), rtol=1e-6)
        assert stats.kstest(values.ravel(), column.cdf).pvalue > 1e-4
    transform = dist.biject_to(law.support)
    z = jax.random.normal(key, law.batch_shape)
    value = transform(z)
    assert np.all(law.support(value))
    np.testing.assert_allclose(transform.inv(value), z, rtol=1e-10, atol=1e-12)
    jacobian = jax.jacfwd(lambda u: transform(u.reshape(z.shape)).ravel())(z.ravel())
    np.testing.assert_allclose(
        transform.log_abs_det_jacobian(z, value).ravel(),
        np.log(np.diag(jacobian)),
        rtol=1e-10,
    )
    again = jax.jit(lambda prior, v: prior.log_prob(v))(law, value)
    np.testing.assert_allclose(again, law.log_prob(value), rtol=1e-12)


def test_sorted_draws(key):
    law = SortedDraws(dist.Logistic(0.0, 2.0), 2)
    total, _ = integrate.dblquad(
        lambda high, low: float(
            np.exp(stats.logistic.logpdf([low, high], scale=2.0).sum())
        ),
        -40.0, 40.0, lambda low: low, lambda low: 40.0, epsabs=1e-6,
    )  # fmt: skip
    value = jnp.array([-0.3, 1.1])
    plain = stats.logistic.logpdf(value, scale=2.0).sum()
    np.testing.assert_allclose(law.log_prob(value), plain - np.log(total), atol=1e-5)
    drawn = np.asarray(SortedDraws(dist.Normal(0.0, 1.0), 3).sample(key, (3000,)))
    assert np.all(np.diff(drawn, axis=1) > 0)
    # The middle one of three normal draws has the law whose cdf is 3 p^2 - 2 p^3.
    middle = stats.norm.cdf(drawn[:, 1])
    assert stats.kstest(3 * middle**2 - 2 * middle**3, "uniform").pvalue > 1e-4


def test_arrays_in_the_wrong_order(as_users_run_it):
    with pytest.raises(TypeError, match="a family or a formula first"):
        glm.model(X, COUNTS, glm.Poisson())
