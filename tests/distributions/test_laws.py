"""Every law of the family: one table of cases, independent references."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal

from numpyro_ext import distributions as distx
from numpyro_ext.distributions._law import as_float

from ..slow import slow_beside


def gig(p, a, b):
    return st.geninvgauss(p, np.sqrt(a * b), scale=np.sqrt(b / a))


def gh(p, a, b, loc, scale, skew):
    delta, beta = scale * np.sqrt(b), skew / scale**2
    alpha = np.sqrt(a + (skew / scale) ** 2) / scale
    return st.genhyperbolic(p, alpha * delta, beta * delta, loc, delta)


GIG, IG = distx.GeneralizedInverseGaussian, distx.InverseGaussian
GH, NIG = distx.GeneralizedHyperbolic, distx.NormalInverseGaussian
VG, SKEW_T = distx.VarianceGamma, distx.GeneralizedHyperbolicSkewT

POSITIVE = {
    "gig": (GIG(1.5, 1.0, 2.0), gig(1.5, 1.0, 2.0)),
    "gig-negative": (GIG(-3.0, 0.5, 4.0), gig(-3.0, 0.5, 4.0)),
    "gig-gamma": (GIG(2.5, 3.0, 0.0), st.gamma(2.5, scale=2 / 3)),
    "gig-inverse-gamma": (GIG(-6.0, 0.0, 3.0), st.invgamma(6.0, scale=1.5)),
    "inverse-gaussian": (IG(2.0, 3.0), st.invgauss(2 / 3, scale=3.0)),
}
REAL = {
    "gh": (GH(0.7, 0.9, 3.0, 0.2, 1.5, -0.4), gh(0.7, 0.9, 3.0, 0.2, 1.5, -0.4)),
    "nig": (NIG(1.0, 2.0, 0.3, 2.0, 0.5), gh(-0.5, 1.0, 2.0, 0.3, 2.0, 0.5)),
    "hyperbolic": (
        distx.Hyperbolic(1.0, 2.0, 0.3, 2.0, 0.5),
        gh(1.0, 1.0, 2.0, 0.3, 2.0, 0.5),
    ),
    "vg-laplace": (VG(1.0, 1.0, 0.5, 2.0), st.laplace(0.5, np.sqrt(2.0))),
    "skew-t-symmetric": (SKEW_T(9.0, 0.5, 2.0), st.t(9.0, 0.5, 2.0)),
}
LAWS = POSITIVE | REAL
SKEWED = {
    "vg": VG(2.0, 1.5, 0.5, 2.0, 0.7),
    "skew-t": SKEW_T(11.0, 0.5, 2.0, 0.7),
}


def points(law, reference):
    low = 0.01 if law.support is dist.constraints.positive else -8.0
    return jnp.asarray(np.linspace(low, 9.0, 23)), reference


FAST = ("gig", "inverse-gaussian", "nig", "vg", "skew-t")


@pytest.mark.parametrize("name", slow_beside(FAST, LAWS))
def test_densities_and_both_tails_are_the_reference(name):
    law, reference = LAWS[name]
    x, reference = points(law, reference)
    np.testing.assert_allclose(law.log_prob(x), reference.logpdf(x), rtol=1e-10)
    np.testing.assert_allclose(law.cdf(x), reference.cdf(x), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(
        jnp.exp(law.log_sf(x)), reference.sf(x), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize(("law", "reference"), LAWS.values(), ids=LAWS)
def test_moments_are_the_reference(law, reference):
    mean, variance, skewness, kurtosis = reference.stats("mvsk")
    np.testing.assert_allclose(law.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(law.variance, variance, rtol=1e-8)
    np.testing.assert_allclose(law.skewness, skewness, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(law.kurtosis, kurtosis, rtol=1e-5)


@pytest.mark.parametrize(("law", "reference"), POSITIVE.values(), ids=POSITIVE)
def test_entropy_is_the_reference(law, reference):
    np.testing.assert_allclose(law.entropy(), reference.entropy(), rtol=1e-8)


@pytest.mark.parametrize("name", slow_beside(FAST, LAWS | SKEWED))
def test_draws_follow_the_law(name, key):
    law = (LAWS | {k: (v, None) for k, v in SKEWED.items()})[name][0]
    draws = law.sample(key, (4000,))
    assert draws.shape == (4000,)
    assert st.kstest(np.asarray(jax.jit(law.cdf)(draws)), "uniform").pvalue > 1e-4
    error = jnp.sqrt(law.variance / 4000)
    assert abs(draws.mean() - law.mean) < 5 * error


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWS | SKEWED)
def test_quantiles_invert_the_cdf(name):
    law = (LAWS | {k: (v, None) for k, v in SKEWED.items()})[name][0]
    q = jnp.asarray([1e-8, 0.01, 0.3, 0.5, 0.9, 0.999])
    x = jax.jit(law.icdf)(q)
    np.testing.assert_allclose(jax.jit(law.cdf)(x), q, rtol=1e-7)
    slope = jax.jit(jax.vmap(jax.grad(law.icdf)))(q)
    np.testing.assert_allclose(slope * jnp.exp(law.log_prob(x)), 1.0, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("p", [1.5, -3.0])
def test_draws_move_with_the_parameters_as_the_mean_does(p, key):
    def of_draws(p, a, b):
        return GIG(p, a, b).sample(key, (40_000,)).mean()

    def exact(p, a, b):
        return GIG(p, a, b).mean

    args = (p, 1.0, 2.0)
    moved = jax.jit(jax.grad(of_draws, (0, 1, 2)))(*args)
    truth = jax.jit(jax.grad(exact, (0, 1, 2)))(*args)
    np.testing.assert_allclose(moved, truth, rtol=0.05)


ONES = jnp.ones(3)
BATCHES = [GIG(ONES, ONES, 2.0 * ONES), NIG(ONES, ONES, ONES, ONES, ONES)]


@pytest.mark.parametrize("law", BATCHES)
def test_shapes(law, key):
    assert law.batch_shape == (3,)
    assert law.sample(key, (2,)).shape == (2, 3)
    assert law.expand((4, 3)).sample(key).shape == (4, 3)
    assert law.to_event(1).log_prob(jnp.ones(3)).shape == ()
    assert law.mask(False).log_prob(jnp.ones(3)).shape == (3,)
    again = jax.tree.unflatten(jax.tree.structure(law), jax.tree.leaves(law))
    x = law.sample(key)
    np.testing.assert_array_equal(again.log_prob(x), law.log_prob(x))
    mapped = jax.vmap(lambda d, y: d.log_prob(y))(law, x)
    np.testing.assert_allclose(mapped, law.log_prob(x), rtol=1e-12)


def test_float32_stays_float32(float32, key):
    law = NIG(1.0, 2.0)
    draws = law.sample(key, (5,))
    assert draws.dtype == law.log_prob(draws).dtype == jnp.float32


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: NIG(1.0, 1.0, 0.0, -1.0), ValueError, ["scale", "-1.0", "NormalInv"]),
        (lambda: NIG(1.0, 1.0, 0.0, jnp.nan), ValueError, ["scale", "nan"]),
        (lambda: NIG(1.0, 1.0, 0.0, jnp.inf), ValueError, ["scale", "inf"]),
        (lambda: GIG(1.0, 0.0, 0.0), ValueError, ["`a`", "`b`", "both zero"]),
        (lambda: GIG(1.0, 0.0, 1.0), ValueError, ["needs p < 0 when a = 0"]),
        (
            lambda: NIG(1.0, 1.0, 0.0, jnp.array([1.0, 1.0, 1.0, -2.0, 1.0])),
            ValueError,
            ["scale", "index 3", "-2.0"],
        ),
        (lambda: as_float("NIG", "a", None), TypeError, ["NIG", "a=None"]),
        (lambda: NIG(1.0 + 0j, 1.0), TypeError, ["`a`", "complex"]),
        (
            lambda: GH.from_alpha_beta(1.0, 1.0, 2.0, 1.0),
            ValueError,
            ["alpha", "beta", "|beta| < alpha"],
        ),
        (
            lambda: distx.MultivariateHyperbolic(
                1.0, 1.0, jnp.zeros(3), jnp.zeros(3), jnp.eye(2)
            ),
            ValueError,
            ["loc", "(3,)", "(2, 2)"],
        ),
    ],
)
def test_refusals_name_the_parameter_and_its_value(build, error, words):
    with numpyro.validation_enabled(), pytest.raises(error) as caught:
        build()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_traced_negative_scale_gives_nan():
    log_prob = jax.jit(lambda s: NIG(1.0, 1.0, 0.0, s).log_prob(0.3))
    assert jnp.isnan(log_prob(-1.0))


def test_nearly_normal_is_normal():
    law = NIG(1e8, 1e8)
    x = jnp.asarray([-3.0, 0.0, 0.5, 4.0])
    normal = dist.Normal(0.0, 1.0).log_prob(x)
    np.testing.assert_allclose(law.log_prob(x), normal, atol=1e-6)


def test_parametrizations_agree(key):
    law = GH.from_alpha_beta(0.7, 2.0, 0.5, 1.5, 0.1)
    x = jnp.linspace(-4.0, 4.0, 9)
    reference = st.genhyperbolic(0.7, 3.0, 0.75, 0.1, 1.5)
    np.testing.assert_allclose(law.log_prob(x), reference.logpdf(x), rtol=1e-10)
    bar = GH.from_alpha_bar(0.7, 2.0, 0.0, 1.0, 0.3)
    np.testing.assert_allclose(bar.mean, 0.3, rtol=1e-12)
    np.testing.assert_allclose(bar.a * bar.b, 4.0, rtol=1e-12)
    fixed = SKEW_T.standardized(1.0, 2.0, tilt=0.4, df=7.0)
    np.testing.assert_allclose(fixed.mean, 1.0, rtol=1e-12)
    np.testing.assert_allclose(fixed.variance, 4.0, rtol=1e-12)


def test_the_mixing_law_given_x_is_bayes_rule():
    law = GH(0.7, 0.9, 3.0, 0.2, 1.5, -0.4)
    w, x = jnp.linspace(0.1, 5.0, 7), jnp.asarray(1.3)
    given = dist.Normal(law.loc + law.skew * w, law.scale * jnp.sqrt(w)).log_prob(x)
    joint = given + law.mixing_law().log_prob(w)
    posterior = law.conditional_mixing(x).log_prob(w)
    np.testing.assert_allclose(posterior, joint - law.log_prob(x), rtol=1e-11)


@pytest.mark.slow
def test_the_multivariate_density_is_the_mixture(key):
    loc, skew = jnp.asarray([0.1, 0.2]), jnp.asarray([0.3, -0.4])
    factor, diag = jnp.asarray([[0.8], [0.5]]), jnp.asarray([0.2, 0.4])
    low = distx.MultivariateNormalInverseGaussian(
        1.0, 2.0, loc, skew, cov_factor=factor, cov_diag=diag
    )
    tril = jnp.linalg.cholesky(low.covariance_scale)
    full = distx.MultivariateNormalInverseGaussian(1.0, 2.0, loc, skew, tril)
    x = full.sample(key, (20_000,))
    np.testing.assert_allclose(low.log_prob(x[:9]), full.log_prob(x[:9]), rtol=1e-12)
    np.testing.assert_allclose(x.mean(0), full.mean, atol=0.05)
    np.testing.assert_allclose(jnp.cov(x.T), full.covariance_matrix, atol=0.15)
    w = full.mixing_law().sample(key, (200_000,))
    given = dist.MultivariateNormal(
        loc + skew * w[:, None], scale_tril=tril * jnp.sqrt(w)[:, None, None]
    )
    mixed = jnp.log(jnp.exp(given.log_prob(x[0])).mean())
    np.testing.assert_allclose(mixed, full.log_prob(x[0]), rtol=0.01)


def test_the_divergence_is_the_expected_log_ratio(key):
    p, q = GIG(1.5, 1.0, 2.0), GIG(0.5, 2.0, 1.0)
    x = p.sample(key, (100_000,))
    ratio = p.log_prob(x) - q.log_prob(x)
    error = ratio.std() / jnp.sqrt(100_000)
    assert abs(dist.kl_divergence(p, q) - ratio.mean()) < 5 * error
    np.testing.assert_allclose(dist.kl_divergence(p, p), 0.0, atol=1e-12)


def model(y):
    loc = numpyro.sample("loc", dist.Normal(0.0, 5.0))
    scale = numpyro.sample("scale", dist.HalfNormal(3.0))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", NIG(1.0, 1.0, loc, scale), obs=y)


@pytest.mark.slow
@pytest.mark.parametrize("is_explicit", [False, True])
def test_nuts_finds_the_location(is_explicit, key):
    y = NIG(1.0, 1.0, 2.0, 0.5).sample(key, (200,))
    config = {"y": distx.GHReparam()} if is_explicit else {}
    kernel = NUTS(numpyro.handlers.reparam(model, config=config))
    mcmc = MCMC(kernel, num_warmup=200, num_samples=200, progress_bar=False)
    mcmc.run(key, y)
    assert abs(mcmc.get_samples()["loc"].mean() - 2.0) < 0.2


@pytest.mark.slow
def test_svi_finds_the_location(key):
    y = NIG(1.0, 1.0, 2.0, 0.5).sample(key, (200,))
    guide = AutoNormal(model)
    svi = SVI(model, guide, numpyro.optim.Adam(0.03), Trace_ELBO())
    result = svi.run(key, 600, y, progress_bar=False)
    assert abs(guide.median(result.params)["loc"] - 2.0) < 0.2
