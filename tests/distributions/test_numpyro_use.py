"""The laws as sites of NumPyro models: latent, in plates, reparametrized, predicted."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal

from numpyro_ext import distributions as distx

TRIL = jnp.asarray([[1.0, 0.0], [0.4, 0.8]])
LOC, SKEW = jnp.asarray([0.3, 0.2]), jnp.asarray([-0.3, 0.4])
FACTOR = jnp.asarray([[0.8], [0.5]])
DIAG = jnp.asarray([0.2, 0.4])
UNIVARIATE = {
    "gh": distx.GeneralizedHyperbolic(0.7, 0.9, 3.0, 0.2, 1.5, -0.4),
    "nig": distx.NormalInverseGaussian(1.0, 2.0, 0.3, 2.0, 0.5),
    "hyperbolic": distx.Hyperbolic(1.0, 2.0, 0.3, 2.0, 0.5),
    "vg": distx.VarianceGamma(2.0, 1.5, 0.5, 2.0, 0.7),
    "skew-t": distx.GeneralizedHyperbolicSkewT(7.0, 0.5, 1.0, 0.7),
}
MULTIVARIATE = {
    "gh": distx.MultivariateGeneralizedHyperbolic(0.7, 0.9, 3.0, LOC, SKEW, TRIL),
    "vg": distx.MultivariateVarianceGamma(2.0, 1.5, LOC, SKEW, TRIL),
    "skew-t": distx.MultivariateGeneralizedHyperbolicSkewT(
        7.0, LOC, SKEW, cov_factor=FACTOR, cov_diag=DIAG
    ),
}


@pytest.mark.parametrize("law", UNIVARIATE.values(), ids=UNIVARIATE)
@pytest.mark.slow
def test_reparametrized_sites_have_the_joint_density(law, key):
    # The density of (x, w) is that of the law, and of w given x.
    x = law.sample(key, (4,))

    def model():
        with numpyro.plate("rows", 4):
            numpyro.sample("x", law)

    explicit = handlers.reparam(model, config={"x": distx.GHReparam()})
    w = law.mixing_law().sample(key, (4,))
    seeded = handlers.seed(handlers.substitute(explicit, {"x": x, "x_mixing": w}), key)
    trace = handlers.trace(seeded).get_trace()
    total = sum(
        site["fn"].log_prob(site["value"]).sum()
        for site in trace.values()
        if site["type"] == "sample"
    )
    truth = law.log_prob(x).sum() + law.conditional_mixing(x).log_prob(w).sum()
    np.testing.assert_allclose(total, truth, rtol=1e-10)


@pytest.mark.parametrize("law", MULTIVARIATE.values(), ids=MULTIVARIATE)
@pytest.mark.slow
def test_reparametrized_vectors_have_the_joint_density(law, key):
    x = law.sample(key, (3, 4))

    def model():
        with numpyro.plate("columns", 4, dim=-1), numpyro.plate("rows", 3, dim=-2):
            numpyro.sample("x", law, obs=x)

    explicit = handlers.reparam(model, config={"x": distx.GHReparam()})
    w = law.mixing_law().sample(key, (3, 4))
    seeded = handlers.seed(handlers.substitute(explicit, {"x_mixing": w}), key)
    trace = handlers.trace(seeded).get_trace()
    names = ("x", "x_mixing")
    total = sum(trace[n]["fn"].log_prob(trace[n]["value"]).sum() for n in names)
    truth = law.log_prob(x).sum() + law.conditional_mixing(x).log_prob(w).sum()
    np.testing.assert_allclose(total, truth, rtol=1e-10)


@pytest.mark.parametrize("law", [UNIVARIATE["vg"], MULTIVARIATE["skew-t"]])
def test_predictive_draws_have_the_shape_and_the_mean(law, key):
    def model():
        with numpyro.plate("rows", 50):
            numpyro.sample("x", law)

    draws = Predictive(model, num_samples=400)(key)["x"]
    assert draws.shape == (400, 50, *law.event_shape)
    error = np.sqrt(np.asarray(law.variance) / 20_000)
    assert np.all(np.abs(draws.mean((0, 1)) - law.mean) < 5 * error)


def posterior_mean(law, y, noise):
    """E[x | y] for y = x + noise n, by a fine sum."""
    x = jnp.linspace(-30.0, 30.0, 60_001)
    log_p = law.log_prob(x) + dist.Normal(x, noise).log_prob(y)
    p = jnp.exp(log_p - log_p.max())
    return float(jnp.sum(p * x) / jnp.sum(p))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vg", "skew-t"])
def test_nuts_and_svi_find_a_latent_site(name, key):
    law = UNIVARIATE[name]

    def model():
        x = numpyro.sample("x", law)
        numpyro.sample("y", dist.Normal(x, 0.5), obs=1.5)

    truth = posterior_mean(law, 1.5, 0.5)
    mcmc = MCMC(NUTS(model), num_warmup=300, num_samples=1500, progress_bar=False)
    mcmc.run(key)
    assert abs(mcmc.get_samples()["x"].mean() - truth) < 0.1
    guide = AutoNormal(model)
    svi = SVI(model, guide, numpyro.optim.Adam(0.02), Trace_ELBO(num_particles=4))
    result = svi.run(key, 1500, progress_bar=False)
    assert abs(guide.median(result.params)["x"] - truth) < 0.15


@pytest.mark.slow
def test_nuts_finds_a_latent_vector(key):
    law = MULTIVARIATE["vg"]

    def model():
        x = numpyro.sample("x", law)
        numpyro.sample("y", dist.Normal(x[0], 0.5), obs=1.5)

    # The first coordinate has its own marginal law.
    truth = posterior_mean(law.marginal(0), 1.5, 0.5)
    mcmc = MCMC(NUTS(model), num_warmup=300, num_samples=1500, progress_bar=False)
    mcmc.run(key)
    assert mcmc.get_samples()["x"].shape == (1500, 2)
    assert abs(mcmc.get_samples()["x"][:, 0].mean() - truth) < 0.1


@pytest.mark.slow
def test_svi_learns_a_skewed_law_in_a_guide(key):
    # The guide is of the family of the posterior, and holds it: the ELBO is exact.
    law = UNIVARIATE["nig"]

    def model():
        numpyro.sample("x", law)

    def guide():
        loc = numpyro.param("loc", 1.0)
        skew = numpyro.param("skew", 0.0)
        numpyro.sample("x", distx.NormalInverseGaussian(1.0, 2.0, loc, 2.0, skew))

    svi = SVI(model, guide, numpyro.optim.Adam(0.02), Trace_ELBO(num_particles=32))
    result = svi.run(key, 1000, progress_bar=False)
    assert abs(result.params["skew"] - 0.5) < 0.1
    assert abs(result.params["loc"] - 0.3) < 0.1


@pytest.mark.slow
def test_laws_are_mapped_over_their_parameters():
    def of(k):
        law = distx.VarianceGamma(k, 1.5, 0.5, 2.0, 0.7)
        return law.entropy(), law.variance

    ks = jnp.asarray([0.8, 2.0])
    batch = distx.VarianceGamma(ks, 1.5, 0.5, 2.0, 0.7)
    entropy, variance = jax.vmap(of)(ks)
    np.testing.assert_allclose(entropy, batch.entropy(), rtol=1e-12)
    np.testing.assert_allclose(variance, batch.variance, rtol=1e-12)


@pytest.mark.parametrize(
    "read",
    [
        lambda: distx.NormalInverseGaussian(1.0, 2.0).icdf(0.3),
        lambda: distx.GeneralizedInverseGaussian(0.7, 1.0, 2.0).icdf(0.3),
        lambda: distx.expected_shortfall(distx.NormalInverseGaussian(1.0, 2.0), 0.99),
        lambda: distx.Hyperbolic(1.0, 2.0).entropy(),
    ],
    ids=["mixture-quantile", "gig-quantile", "shortfall", "entropy"],
)
def test_a_second_call_outside_of_jit_compiles_nothing(read):
    first, compiled = read(), []

    def listen(event, duration, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        again = read()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled
    assert again == first
