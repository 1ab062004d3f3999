"""EM against direct maximisation, closed forms and statsmodels; what it refuses."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp

from numpyro_ext import distributions as distx
from numpyro_ext.inference import (
    EM,
    Fit,
    Laplace,
    ModelSpec,
    Status,
    site_covariance,
)

from ..slow import slow_beside

RNG = np.random.default_rng(20)
N, GROUPS = 120, 8
X = np.column_stack([np.ones(N), RNG.normal(size=N)])
GROUP = np.arange(N) % GROUPS
Y = X @ [0.5, -1.0] + 0.7 * RNG.standard_t(3, size=N)
GROUPED = X @ [0.5, -1.0] + RNG.normal(size=GROUPS)[GROUP] + 0.6 * RNG.normal(size=N)
TWO = np.where(RNG.random(N) < 0.3, RNG.normal(-2.0, 0.5, N), RNG.normal(1.5, 1.0, N))


def regression():
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand([2]).to_event(1))
    return beta, numpyro.sample("scale", dist.HalfNormal(5.0))


def student(x, y):
    beta, scale = regression()
    df = numpyro.sample("df", dist.Gamma(2.0, 0.1))
    numpyro.sample("y", dist.StudentT(df, x @ beta, scale), obs=y)


def student_by_precisions(x, y):
    beta, scale = regression()
    df = numpyro.sample("df", dist.Gamma(2.0, 0.1))
    with numpyro.plate("rows", N):
        tau = numpyro.sample("tau", dist.Gamma(0.5 * df, 0.5 * df))
        numpyro.sample("y", dist.Normal(x @ beta, scale / jnp.sqrt(tau)), obs=y)


def hyperbolic(x, y):
    beta, scale = regression()
    a = numpyro.sample("a", dist.Gamma(2.0, 1.0))
    skew = numpyro.sample("skew", dist.Normal(0.0, 1.0))
    law = distx.NormalInverseGaussian(a, a, x @ beta, scale, skew)
    numpyro.sample("y", law, obs=y)


def mixture(y):
    weight = numpyro.sample("weight", dist.Dirichlet(jnp.full(2, 2.0)))
    loc = numpyro.sample("loc", dist.Normal(0.0, 5.0).expand([2]).to_event(1))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0).expand([2]).to_event(1))
    parts = dist.Normal(loc, scale)
    law = dist.MixtureSameFamily(dist.Categorical(weight), parts)
    numpyro.sample("y", law, obs=y)


def grouped(x, group, y):
    beta, scale = regression()
    tau = numpyro.sample("tau", dist.HalfNormal(5.0))
    effect = numpyro.sample(
        "effect", dist.Normal(0.0, tau).expand([GROUPS]).to_event(1)
    )
    numpyro.sample("y", dist.Normal(x @ beta + effect[group], scale), obs=y)


def counts(group, y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 2.0))
    effect = numpyro.sample(
        "effect", dist.Normal(0.0, 0.5).expand([GROUPS]).to_event(1)
    )
    numpyro.sample("y", dist.Poisson(jnp.exp(mean + effect[group])), obs=y)


SPECS = {
    "student": (student, (X, Y), ()),
    "precisions": (student_by_precisions, (X, Y), ("tau",)),
    "hyperbolic": (hyperbolic, (X, Y), ()),
    "mixture": (mixture, (TWO,), ()),
    "grouped": (grouped, (X, GROUP, GROUPED), ("effect",)),
}
MARGINAL = ["student", "hyperbolic", "mixture"]


@functools.cache
def spec_of(name):
    model, data, _ = SPECS[name]
    return ModelSpec(model, *data)


@functools.cache
def fit_of(name, acceleration="squarem"):
    engine = EM(SPECS[name][2], num_starts=2, acceleration=acceleration)
    return engine.run(spec_of(name), jax.random.key(1))


def best(fit):
    return int(np.argmax(np.asarray(fit.stats["lp"])[:, 0]))


def position_of(fit):
    return jax.tree.map(lambda z: z[best(fit), 0], fit.positions)


def highest(spec, position):
    """The maximum near a position, by quasi-Newton steps of SciPy."""
    flat, unravel = ravel_pytree(position)

    def loss(z):
        return -spec.log_density(unravel(z), jacobian=False)

    both = jax.jit(jax.value_and_grad(loss))
    far = flat + 0.3 * np.cos(np.arange(flat.size))
    options = {"gtol": 1e-9, "maxiter": 5000}
    return -minimize(both, far, jac=True, method="BFGS", options=options).fun


@pytest.mark.parametrize(
    "name", slow_beside(("mixture",), ["hyperbolic", "student", "mixture"])
)
def test_it_ends_where_direct_maximisation_does(name):
    fit, spec = fit_of(name), spec_of(name)
    position = position_of(fit)
    value = float(spec.log_density(position, jacobian=False))
    # The objective is the log density of the spec, without its latents.
    assert float(fit.stats["lp"][best(fit), 0]) == pytest.approx(value, abs=1e-8)
    assert abs(value - highest(spec, position)) < 1e-6
    assert all(s.code is Status.CONVERGED for s in fit.status)


@pytest.mark.parametrize(
    ("name", "acceleration"),
    [
        pytest.param("student", "none", marks=pytest.mark.slow),
        ("student", "squarem"),
        ("mixture", "none"),
        ("mixture", "squarem"),
    ],
)
def test_the_objective_never_falls(name, acceleration):
    for trace in np.asarray(fit_of(name, acceleration).history["lp"]):
        known = trace[np.isfinite(trace)]
        assert (np.diff(known) > -1e-10 * np.abs(known).max()).all()
    assert np.ptp(fit_of(name, acceleration).stats["lp"]) < 1e-6


@pytest.mark.slow
def test_named_scales_and_added_ones_are_the_same():
    named, added = fit_of("precisions"), fit_of("student")
    assert named.stats["lp"].max() == pytest.approx(float(added.stats["lp"].max()))
    for site in ("beta", "scale", "df"):
        np.testing.assert_allclose(
            named.draws[site][best(named)], added.draws[site][best(added)], rtol=1e-4
        )
    # E[log tau | y] is that of a gamma law.
    at = {k: np.asarray(v)[best(named), 0] for k, v in named.draws.items()}
    residual = (Y - X @ at["beta"]) / at["scale"]
    rate = 0.5 * (at["df"] + residual**2)
    expected = np.exp(jax.scipy.special.digamma(0.5 * (at["df"] + 1.0))) / rate
    np.testing.assert_allclose(at["tau"], expected, rtol=1e-6)


def test_a_linear_mixed_model_is_that_of_statsmodels():
    mixedlm = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    theirs = mixedlm.MixedLM(GROUPED, X, GROUP).fit(reml=False)
    fit = EM(("effect",), num_starts=2, prior_weight=0).run(
        spec_of("grouped"), jax.random.key(0)
    )
    # The latents' own prior is part of the likelihood.
    assert fit.stats["lp"].max() == pytest.approx(theirs.llf, abs=1e-6)
    np.testing.assert_allclose(
        fit.draws["beta"][best(fit), 0], theirs.fe_params, atol=1e-4
    )
    tau = float(fit.draws["tau"][best(fit), 0])
    assert tau**2 == pytest.approx(theirs.cov_re[0, 0], rel=1e-3)
    errors = np.sqrt(np.diag(site_covariance(fit, "beta")))
    np.testing.assert_allclose(errors, theirs.bse_fe, rtol=1e-4)


def test_the_covariance_is_that_of_the_curvature():
    fit, spec = fit_of("student"), spec_of("student")
    flat, unravel = ravel_pytree(position_of(fit))

    def loss(z):
        return -spec.log_density(unravel(z), jacobian=False)

    whole = np.linalg.inv(jax.hessian(loss)(flat))
    names = [n for n in position_of(fit) for _ in np.ravel(position_of(fit)[n])]
    index = [i for i, name in enumerate(names) if name == "beta"]
    np.testing.assert_allclose(
        site_covariance(fit, "beta"), whole[np.ix_(index, index)], rtol=1e-5
    )


@pytest.mark.slow
def test_the_jacobian_counts_as_for_other_engines():
    spec = spec_of("mixture")
    fit = EM(num_starts=1, jacobian=True).run(spec, jax.random.key(2))
    law = Laplace(num_samples=100).run(spec, jax.random.key(2), init=fit)
    mode = float(law.history["mode_log_density"].max())
    assert float(fit.stats["lp"][0, 0]) == pytest.approx(mode, abs=1e-6)


def test_latents_that_are_not_normal_are_approximated_in_words():
    y = np.random.default_rng(1).poisson(3.0, size=N)
    spec = ModelSpec(counts, GROUP, y)
    fit = EM("effect", num_starts=1).run(spec, jax.random.key(0))
    assert "Laplace's approximation" in fit.status[0].message
    # The effects are independent, so that their integrals are of one dimension.
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)

    def loss(mean):
        log_rate = mean + 0.5 * nodes[:, None]
        laws = st.poisson(np.exp(log_rate))
        by_node = [laws.logpmf(y[GROUP == g]).sum(axis=1) for g in range(GROUPS)]
        integrals = [logsumexp(v, b=weights / math.sqrt(2 * math.pi)) for v in by_node]
        return -st.norm(0.0, 2.0).logpdf(mean) - sum(integrals)

    exact = minimize_scalar(loss, bounds=(0.0, 2.0), method="bounded")
    assert float(fit.draws["mean"][0, 0]) == pytest.approx(exact.x, abs=0.01)
    assert float(fit.stats["lp"][0, 0]) == pytest.approx(-exact.fun, abs=0.1)


# It runs away for ever.
@pytest.mark.filterwarnings("ignore:1 of 1 starts of EM", "ignore:The observed inf")
def test_a_component_that_collapses_is_named():
    def tied(y):
        loc = numpyro.sample("loc", dist.Normal(0.0, 5.0).expand([2]).to_event(1))
        scale = numpyro.sample("scale", dist.HalfNormal(5.0).expand([2]).to_event(1))
        law = dist.MixtureSameFamily(
            dist.Categorical(jnp.full(2, 0.5)), dist.Normal(loc, scale)
        )
        numpyro.sample("y", law, obs=y)

    y = np.where(np.arange(40) < 12, 0.25, np.linspace(-3.0, 3.0, 40))
    init = {"loc": np.array([0.25, 0.0]), "scale": np.array([1e-3, 1.5])}
    engine = EM(num_starts=1, prior_weight=0, max_iterations=40)
    with pytest.warns(distx.DegenerateFitWarning, match=r"Component 0 .*scale"):
        engine.run(ModelSpec(tied, y), jax.random.key(0), init=init)


def test_weights_that_its_scales_cannot_have_are_refused():
    def weighted(x, y):
        with numpyro.handlers.scale(scale=0.5):
            student(x, y)

    with pytest.raises(ValueError, match=r"`y`.* weight 0\.5"):
        EM(num_starts=1).run(ModelSpec(weighted, X, Y), jax.random.key(0))


def test_a_matrix_is_no_set_of_scales():
    def model(y):
        precision = numpyro.sample("precision", dist.Wishart(4.0, jnp.eye(2)))
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        law = dist.MultivariateNormal(mean, precision_matrix=precision)
        numpyro.sample("y", law, obs=y)

    with pytest.raises(ValueError, match="positive definite"):
        EM("precision", num_starts=1).run(
            ModelSpec(model, RNG.normal(size=(9, 2))), jax.random.key(0)
        )


def test_a_fit_is_like_those_of_other_engines(tmp_path):
    fit = fit_of("mixture")
    assert "2 members" in repr(fit.summary())
    tree = fit.to_datatree()
    assert tree["posterior"]["loc"].shape == (2, 1, 2)
    assert tree.attrs["kind"] == "points"
    fit.save(tmp_path / "fit.npz")
    again = Fit.load(tmp_path / "fit.npz", fit.spec, fit.engine)
    np.testing.assert_array_equal(
        site_covariance(again, "loc"), site_covariance(fit, "loc")
    )


@pytest.fixture
def mixture_value():
    """In double precision, so before `float32` in the list of a test."""
    return float(np.max(np.asarray(fit_of("mixture").stats["lp"])))


@pytest.mark.slow
def test_single_precision_stays_single_and_ends_there_too(mixture_value, float32):
    model, data, _ = SPECS["mixture"]
    spec = ModelSpec(model, *(np.asarray(x, np.float32) for x in data))
    fit = EM(num_starts=1).run(spec, jax.random.key(1))
    assert fit.stats["lp"].dtype == jnp.float32
    assert fit.status[0].code is Status.CONVERGED
    assert float(fit.stats["lp"][0, 0]) == pytest.approx(mixture_value, abs=1e-3)


@pytest.mark.parametrize(
    ("model", "latent", "words"),
    [
        (student_by_precisions, ("nothing",), ["nothing", "no latent site"]),
        (student_by_precisions, (), ["nothing to integrate out", "Normal", "latent="]),
        (student_by_precisions, ("scale",), ["independent", "log w", "EnsembleMAP"]),
        (student_by_precisions, ("tau", "beta"), ["positive", "real", "one kind"]),
    ],
)
def test_a_model_without_the_structure_is_told_what_lacks(model, latent, words):
    with pytest.raises(ValueError, match="EM") as error:
        EM(latent, num_starts=1).run(ModelSpec(model, X, Y), jax.random.key(0))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tol": 0.0}, "tol"),
        ({"tol": float("nan")}, "tol"),
        ({"acceleration": "fast"}, "acceleration"),
        ({"prior_weight": -1.0}, "prior_weight"),
        ({"num_starts": 0}, "num_starts"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(ValueError, match=words):
        EM(**settings)


def test_a_model_that_is_all_latent_is_refused(key):
    def model(y):
        size = numpyro.sample("size", dist.LogNormal(0.0, 1.0))
        numpyro.sample("y", dist.LogNormal(jnp.log(size), 1.0), obs=y)

    with pytest.raises(ValueError, match="names every site, and none is left"):
        EM(latent="size").run(ModelSpec(model, np.array([1.0, 2.0])), key)
