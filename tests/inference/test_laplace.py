"""Laplace: exact where the posterior is Gaussian, and loud where it is no posterior."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import expit

from numpyro_ext.inference import (
    NUTS,
    EnsembleMAP,
    Laplace,
    ModelSpec,
    Status,
    site_covariance,
)

from ..slow import slow_beside
from .targets import TARGETS

RNG = np.random.default_rng(8)
X = np.column_stack([np.ones(200), RNG.normal(size=(200, 2))])
BETA = np.array([0.3, -0.8, 0.5])
STRUCTURES = ("full", "diag", "low_rank", "ggn")


def glm(family):
    def model(x, y):
        prior = dist.Normal(0.0, 2.0).expand([3]).to_event(1)
        eta = x @ numpyro.sample("beta", prior)
        numpyro.sample("y", family(eta), obs=y)

    return model


# Law of a datum given eta, data, and Fisher's information about eta.
GLMS = {
    "logistic": (
        lambda eta: dist.Bernoulli(logits=eta),
        (RNG.random(200) < expit(X @ BETA)).astype(float),
        lambda eta: expit(eta) * expit(-eta),
    ),
    "poisson": (
        lambda eta: dist.Poisson(jnp.exp(eta)),
        RNG.poisson(np.exp(X @ BETA)),
        np.exp,
    ),
    "gamma": (
        lambda eta: dist.Gamma(3.0, 3.0 / jnp.exp(eta)),
        RNG.gamma(3.0, np.exp(X @ BETA) / 3.0),
        lambda eta: np.full_like(eta, 3.0),
    ),
    "t": (
        lambda eta: dist.StudentT(4.0, eta, 0.5),
        X @ BETA + 0.5 * RNG.standard_t(4, size=200),
        None,
    ),
}


@functools.cache
def glm_spec(name):
    family, y, _ = GLMS[name]
    return ModelSpec(glm(family), X, y)


@functools.cache
def glm_fit(name, structure):
    return Laplace(structure, num_starts=1).run(glm_spec(name), jax.random.key(1))


@pytest.mark.parametrize("name", TARGETS)
def test_it_is_exact_on_a_gaussian_posterior(name):
    target = TARGETS[name]()
    fit = Laplace().run(target.spec, jax.random.key(0))
    np.testing.assert_allclose(fit.history["mode_positions"][0], target.mean, 1e-10)
    assert float(fit.log_evidence) == pytest.approx(target.log_evidence, rel=1e-10)
    site = next(iter(target.spec.sites.coordinates))
    size = site_covariance(fit, site).shape[0]
    np.testing.assert_allclose(
        site_covariance(fit, site), target.covariance[:size, :size], rtol=1e-10
    )
    assert float(fit.diagnostics["pareto_k"]) == 0.0
    assert fit.status[0].code is Status.CONVERGED


@pytest.mark.parametrize("structure", ["full", "ggn"])
@pytest.mark.parametrize(
    "name", slow_beside(("logistic",), ["logistic", "poisson", "gamma"])
)
def test_the_covariance_of_a_glm_is_the_inverse_information(name, structure):
    fit = glm_fit(name, structure)
    _, y, information = GLMS[name]
    eta = X @ np.asarray(fit.history["mode_positions"][0])
    weight = information(eta)
    if name == "gamma" and structure == "full":
        weight = 3.0 * y / np.exp(eta)
    precision = X.T @ (weight[:, None] * X) + np.eye(3) / 4.0
    covariance = site_covariance(fit, "beta")
    np.testing.assert_allclose(covariance, np.linalg.inv(precision), rtol=1e-7)


def test_an_information_that_is_not_known_is_the_observed_one_without_negatives():
    fit = glm_fit("t", "ggn")
    y = GLMS["t"][1]
    z = (y - X @ np.asarray(fit.history["mode_positions"][0])) / 0.5
    observed = 5.0 * (4.0 - z**2) / (4.0 + z**2) ** 2 / 0.25
    # The law has three parameters; with df and scale known only the first moves, but
    # the negative part is taken from all three together.
    assert (observed < 0).any()
    covariance = np.asarray(site_covariance(fit, "beta"))
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    exact = np.asarray(site_covariance(glm_fit("t", "full"), "beta"))
    np.testing.assert_allclose(np.diag(covariance), np.diag(exact), rtol=0.5)


@pytest.mark.filterwarnings("ignore:The Laplace approximation is far")
def test_all_directions_of_low_rank_are_the_full_hessian():
    full, low = glm_fit("poisson", "full"), glm_fit("poisson", "low_rank")
    np.testing.assert_allclose(
        site_covariance(low, "beta"), site_covariance(full, "beta"), rtol=1e-8
    )
    diagonal = np.linalg.inv(np.asarray(site_covariance(full, "beta"))).diagonal()
    np.testing.assert_allclose(
        site_covariance(glm_fit("poisson", "diag"), "beta"),
        np.diag(1.0 / diagonal),
        rtol=1e-8,
    )


@pytest.mark.filterwarnings("ignore:The Laplace approximation is far")
@pytest.mark.parametrize("structure", STRUCTURES)
def test_draws_have_the_stated_covariance(structure):
    fit = glm_fit("poisson", structure)
    draws = np.asarray(fit.positions["beta"])[0]
    root = np.linalg.cholesky(np.linalg.inv(np.asarray(site_covariance(fit, "beta"))))
    white = np.cov((draws - draws.mean(axis=0)) @ root, rowvar=False)
    np.testing.assert_allclose(white, np.eye(3), atol=0.2)


def two_modes(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
    numpyro.sample("y", dist.Normal(jnp.abs(mean), 1.0), obs=y)


def test_a_law_that_is_far_from_the_posterior_says_so():
    spec = TARGETS["regression"]().spec
    with pytest.warns(UserWarning, match=r"Pareto k is .* Draw with NUTS"):
        fit = Laplace("diag").run(spec, jax.random.key(0))
    assert float(fit.diagnostics["pareto_k"]) > 0.7


def test_two_modes_make_a_mixture_weighed_by_evidence():
    spec = ModelSpec(two_modes, np.array([5.0, 6.0, 5.5]))
    maps = EnsembleMAP(num_members=8).run(spec, jax.random.key(2))
    fit = Laplace().run(spec, jax.random.key(0), init=maps)
    assert int(fit.diagnostics["num_modes"]) == 2
    np.testing.assert_allclose(fit.history["mode_weight"], 0.5, atol=1e-6)
    share = np.mean(np.asarray(fit.draws["mean"]) > 0)
    assert abs(share - 0.5) < 0.08
    # Each mode is Gaussian but for exp(-50): the evidence is twice that of one.
    precision = 3.0 + 0.01
    y = np.array([5.0, 6.0, 5.5])
    one = (
        -1.5 * np.log(2 * np.pi)
        - np.log(10.0)
        - 0.5 * np.log(precision)
        - 0.5 * (y @ y - y.sum() ** 2 / precision)
    )
    assert float(fit.log_evidence) == pytest.approx(one + np.log(2.0), rel=1e-8)


def test_a_map_in_other_coordinates_is_not_the_mode():
    def model(y):
        rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
        numpyro.sample("y", dist.Poisson(rate), obs=y)

    spec = ModelSpec(model, np.array([3, 1, 4]))
    maps = EnsembleMAP(num_members=2).run(spec, jax.random.key(0))
    fit = Laplace().run(spec, jax.random.key(0), init=maps)
    # Gamma(2 + 8, 1 + 3) in the logarithm: mode 10 / 4, not 9 / 4; curvature 10.
    assert float(np.exp(fit.history["mode_positions"][0, 0])) == pytest.approx(2.5)
    assert float(site_covariance(fit, "rate")[0, 0]) == pytest.approx(0.1)


def saddle(y):
    # A product is determined, the factors are not: along the ridge nothing curves.
    a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.real, (), ()))
    b = numpyro.sample("b", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(a + b, 1.0), obs=y)


def test_a_flat_direction_is_named_and_has_no_evidence():
    spec = ModelSpec(saddle, np.array([0.3, 1.2]))
    with pytest.warns(UserWarning, match=r"without curvature, mostly along `[ab]`"):
        fit = Laplace().run(spec, jax.random.key(0))
    assert fit.status[0].code is Status.FLAT
    assert fit.log_evidence is None
    assert np.std(np.asarray(fit.draws["a"])) > 10.0


def test_a_saddle_is_named():
    def model():
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        numpyro.factor("bowl", z[1] ** 2 - 0.05 * z[1] ** 4)

    spec = ModelSpec(model, observed=())
    init = {"z": np.array([0.2, 0.0])}
    with pytest.warns(UserWarning, match=r"negative curvature, mostly along `z`\[1\]"):
        fit = Laplace(num_starts=1).run(spec, jax.random.key(0), init=init)
    assert fit.status[0].code is Status.SADDLE
    assert np.asarray(fit.draws["z"]).std(axis=(0, 1)).min() > 0.1


def test_chosen_sites_get_a_law_and_the_rest_stays():
    target = TARGETS["regression"]()
    fit = Laplace(sites=("slopes",)).run(target.spec, jax.random.key(0))
    # What is held has no spread to compare.
    assert np.isfinite(fit.diagnostics["sd_ratio"])
    assert np.ptp(np.asarray(fit.draws["beta"])) == 0.0
    precision = np.linalg.inv(target.covariance)[1:, 1:]
    np.testing.assert_allclose(
        site_covariance(fit, "slopes"), np.linalg.inv(precision), rtol=1e-9
    )
    assert fit.log_evidence is None
    with pytest.raises(ValueError, match=r"names `slope`.*did you mean `slopes`"):
        Laplace(sites=("slope",)).run(target.spec, jax.random.key(0))
    with pytest.raises(ValueError, match=r"no covariance of `beta`"):
        site_covariance(fit, "beta")


def test_masks_and_scales_count_in_the_gauss_newton_matrix():
    mask = np.arange(200) % 3 > 0

    def model(x, y):
        prior = dist.Normal(0.0, 2.0).expand([3]).to_event(1)
        eta = x @ numpyro.sample("beta", prior)
        with numpyro.handlers.scale(scale=2.5), numpyro.handlers.mask(mask=mask):
            numpyro.sample("y", dist.Normal(eta, 0.7).expand([200]), obs=y)

    spec = ModelSpec(model, X, X @ BETA)
    fit = Laplace("ggn").run(spec, jax.random.key(0))
    precision = 2.5 / 0.49 * X[mask].T @ X[mask] + np.eye(3) / 4.0
    np.testing.assert_allclose(
        site_covariance(fit, "beta"), np.linalg.inv(precision), rtol=1e-9
    )


@pytest.mark.slow
def test_a_categorical_site_has_the_softmax_information():
    y = RNG.integers(0, 3, size=200)

    def model(x, y):
        shape = dist.Normal(0.0, 1.0).expand([3, 3]).to_event(2)
        numpyro.sample(
            "y", dist.Categorical(logits=x @ numpyro.sample("w", shape)), obs=y
        )

    spec = ModelSpec(model, X, y)
    full = Laplace("full", num_starts=1).run(spec, jax.random.key(0))
    ggn = Laplace("ggn", num_starts=1).run(spec, jax.random.key(0))
    # Canonical: the information does not depend on the data, so both agree.
    np.testing.assert_allclose(
        site_covariance(ggn, "w"), site_covariance(full, "w"), rtol=1e-7, atol=1e-12
    )


def test_what_the_gauss_newton_matrix_cannot_read_is_refused():
    def process(y):
        size = numpyro.sample("size", dist.LogNormal(0.0, 1.0))
        covariance = size * np.exp(-0.1 * np.abs(np.subtract.outer(range(9), range(9))))
        law = dist.MultivariateNormal(jnp.zeros(9), covariance)
        numpyro.sample("y", law, obs=y)

    with pytest.raises(ValueError, match=r"site `y` \(MultivariateNormal\) one datum"):
        Laplace("ggn").run(ModelSpec(process, np.zeros(9)), jax.random.key(0))

    def hidden(y):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)
        numpyro.factor("extra", -(a**2))

    spec = ModelSpec(hidden, np.ones(3), observed=("y", "extra"))
    with pytest.raises(ValueError, match="a `factor` that counts as likelihood"):
        Laplace("ggn").run(spec, jax.random.key(0))


@pytest.mark.slow
def test_a_network_has_a_positive_law_without_a_square_matrix():
    x = np.linspace(-1.0, 1.0, 30)[:, None]

    def network(x, y):
        first = numpyro.sample("first", dist.Normal(0, 1).expand([1, 40]).to_event(2))
        second = numpyro.sample(
            "second", dist.Normal(0, 1).expand([40, 40]).to_event(2)
        )
        third = numpyro.sample("third", dist.Normal(0, 1).expand([40]).to_event(1))
        mean = jnp.tanh(jnp.tanh(x @ first) @ second / 6.3) @ third
        numpyro.sample("y", dist.Normal(mean, 0.1), obs=y)

    spec = ModelSpec(network, x, np.sinc(3 * x[:, 0]))
    fit = Laplace("ggn", num_starts=1, num_samples=50, num_steps=60).run(
        spec, jax.random.key(0)
    )
    assert fit.state["vectors"].shape == (1680, 60)
    assert int(fit.diagnostics["num_negative"]) == 0
    # The exact matrix at the same point, by its definition.
    flat = fit.state["mean"]
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0, 0], fit.positions))[1]

    def mean(flat):
        z = unravel(flat)
        return jnp.tanh(jnp.tanh(x @ z["first"]) @ z["second"] / 6.3) @ z["third"]

    slopes = np.asarray(jax.jacrev(mean)(flat))
    direction = RNG.normal(size=1680)
    expected = np.linalg.solve(slopes.T @ slopes / 0.01 + np.eye(1680), direction)
    vectors, values = (
        np.asarray(fit.state["vectors"]),
        np.asarray(fit.state["eigenvalues"]),
    )
    got = direction + vectors @ ((1 / values - 1) * (vectors.T @ direction))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic", "poisson", "gamma"])
def test_the_sds_of_a_glm_are_those_of_nuts(name):
    draws = NUTS(num_chains=2).run(glm_spec(name), jax.random.key(1)).draws["beta"]
    ratio = np.sqrt(np.diag(np.asarray(site_covariance(glm_fit(name, "full"), "beta"))))
    ratio = ratio / np.asarray(draws).std(axis=(0, 1))
    assert ((ratio > 0.9) & (ratio < 1.1)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"structure": "kron"}, "no such choice"),
        ({"num_samples": 0}, "num_samples=0"),
        ({"tolerance": -1.0}, "decrement in nats"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Laplace(**settings)


@pytest.mark.slow
def test_single_precision_stays_single():
    with jax.enable_x64(False):
        spec = ModelSpec(glm(GLMS["poisson"][0]), X.astype("f"), GLMS["poisson"][1])
        fit = Laplace(num_starts=1).run(spec, jax.random.key(0))
        assert fit.draws["beta"].dtype == jnp.float32
        assert fit.status[0].code is Status.CONVERGED
        covariance = np.asarray(site_covariance(fit, "beta"))
    exact = site_covariance(glm_fit("poisson", "full"), "beta")
    np.testing.assert_allclose(covariance, exact, rtol=1e-3, atol=1e-7)
