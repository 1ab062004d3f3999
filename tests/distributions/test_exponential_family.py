"""The exponential-family layer: identities of the theory, independent quadrature."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st

from numpyro_ext import distributions as distx
from numpyro_ext.distributions._gig_expectation import log_minus_digamma

from ..slow import slow_beside

GIG, IG = distx.GeneralizedInverseGaussian, distx.InverseGaussian
TRIL = jnp.asarray([[1.0, 0.0], [0.4, 0.8]])
LOC, SKEW = jnp.asarray([0.3, 0.2]), jnp.asarray([-0.3, 0.4])

POSITIVE = {
    "gig": GIG(1.5, 1.0, 2.0),
    "gig-negative": GIG(-3.0, 0.5, 4.0),
    "inverse-gaussian": IG(2.0, 3.0),
    "gamma": distx.Gamma(2.0, 3.0),
    "inverse-gamma": distx.InverseGamma(3.0, 2.0),
}
LAWS = POSITIVE | {
    "normal": distx.MultivariateNormal(LOC, scale_tril=TRIL),
    "joint": distx.JointNormalMixture(0.7, 1.0, 2.0, LOC, SKEW, TRIL),
    "joint-negative": distx.JointNormalMixture(-0.5, 1.0, 2.0, LOC, SKEW, TRIL),
    "gig-batch": GIG(jnp.asarray([1.0, -2.0]), 1.0, jnp.asarray([2.0, 0.1])),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_the_density_is_that_of_the_family(law, key):
    x = law.sample(key, (9,))
    theta = law.natural_params
    inner = jnp.sum(law.sufficient_statistics(x) * theta, axis=-1)
    density = inner - law.log_partition(theta) + law.log_base_measure(x)
    np.testing.assert_allclose(density, law.log_prob(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("law", POSITIVE.values(), ids=POSITIVE)
@pytest.mark.slow
def test_expectations_and_fisher_information_are_quadrature(law):
    theta = [mp.mpf(float(t)) for t in law.natural_params]

    def statistics(x):
        full = {"log": mp.log(x), "x": x, "inverse": 1 / x}
        names = {3: ("log", "x", "inverse")}.get(len(theta))
        if names is None:
            by_class = {
                "InverseGaussian": ("x", "inverse"),
                "Gamma": ("log", "x"),
                "InverseGamma": ("log", "inverse"),
            }
            names = by_class[type(law).__name__]
        return [full[name] for name in names]

    base = mp.mpf(-1.5) if isinstance(law, IG) else mp.mpf(0)

    def density(v):
        x = mp.exp(v)
        inner = sum(t * s for t, s in zip(theta, statistics(x), strict=True))
        return mp.exp(inner + (base + 1) * v)

    def mean(f):
        return mp.quad(lambda v: f(mp.exp(v)) * density(v), range(-24, 25, 2))

    total = mean(lambda x: 1)
    k = len(theta)
    eta = [mean(lambda x, i=i: statistics(x)[i]) / total for i in range(k)]
    second = [
        [
            mean(lambda x, i=i, j=j: statistics(x)[i] * statistics(x)[j]) / total
            - eta[i] * eta[j]
            for j in range(k)
        ]
        for i in range(k)
    ]
    np.testing.assert_allclose(
        law.log_partition(law.natural_params), float(mp.log(total)), rtol=1e-11
    )
    np.testing.assert_allclose(
        law.expectation_params, np.asarray(eta, float), rtol=1e-11
    )
    np.testing.assert_allclose(
        law.fisher_information, np.asarray(second, float), rtol=1e-9
    )


@pytest.mark.parametrize("name", ["normal", "joint"])
@pytest.mark.slow
def test_expectations_are_the_means_of_draws(name, key):
    law = LAWS[name]
    statistics = law.sufficient_statistics(law.sample(key, (200_000,)))
    error = statistics.std(axis=0) / np.sqrt(200_000)
    gap = statistics.mean(axis=0) - law.expectation_params
    assert jnp.all(jnp.abs(gap) < 5 * error)
    scale = jnp.sqrt(jnp.diagonal(law.fisher_information))
    correlation = law.fisher_information / scale[:, None] / scale
    sampled = jnp.cov(statistics.T) / scale[:, None] / scale
    np.testing.assert_allclose(sampled, correlation, atol=0.1)


@pytest.mark.parametrize("name", slow_beside(LAWS.keys() - {"gig-batch"}, LAWS))
def test_both_maps_come_back(name):
    law = LAWS[name]
    theta = law.natural_params
    again = type(law).from_natural(theta)
    np.testing.assert_allclose(again.natural_params, theta, rtol=1e-13)
    back = type(law).from_expectation(law.expectation_params)
    np.testing.assert_allclose(back.natural_params, theta, rtol=1e-10, atol=1e-11)


def members(p_most, log_omega, count=1000):
    """Random (p - 1, -a/2, -b/2), with scales over six decades."""
    rng = np.random.default_rng(1)
    p = rng.uniform(-p_most, p_most, count)
    omega = 10.0 ** rng.uniform(*log_omega, count)
    s = 10.0 ** rng.uniform(-3.0, 3.0, count)
    return jnp.asarray(np.stack([p - 1.0, -0.5 * omega / s, -0.5 * omega * s], -1))


@jax.jit
def there_and_back(theta):
    eta = GIG.from_natural(theta).expectation_params
    back = GIG.from_expectation(eta).natural_params
    return back, eta, GIG.from_natural(back).expectation_params


@pytest.mark.parametrize(
    ("p_most", "log_omega"), [(5.0, (-1.0, 1.0)), (50.0, (-3.0, 3.0)), (100.0, (-6, 4))]
)
@pytest.mark.slow
def test_a_thousand_gig_members_are_found_again(p_most, log_omega):
    theta = members(p_most, log_omega)
    back, eta, again = there_and_back(theta)
    # E[log x] = 0 at scale 1: its size counts from 1.
    size = jnp.maximum(jnp.abs(eta), jnp.asarray([1.0, 0.0, 0.0]))
    is_inside = jnp.all(back[:, 1:] < 0, axis=-1)
    residual = jnp.max(jnp.abs(again - eta) / size, axis=-1)
    assert jnp.all(jnp.where(is_inside, residual, 0.0) < 1e-10)
    # An edge is taken only where eta does not tell the member from it: the expectation
    # that the edge leaves free is right as well.
    assert jnp.all(residual < 1e-10)


@pytest.mark.slow
def test_orders_of_moderate_size_come_back_to_ten_digits():
    theta = members(3.0, (-1.0, 0.5))
    back, _, _ = there_and_back(theta)
    size = jnp.maximum(jnp.abs(theta), jnp.asarray([1.0, 0.0, 0.0]))
    assert jnp.max(jnp.abs(back - theta) / size) < 1e-10


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_beyond_the_edges_is_the_gamma_law(sign):
    # The E[log x] and E[x] of a gamma law, and more E[1/x] than it has.
    gamma = distx.Gamma(2.5, 3.0)
    log_x, x = gamma.expectation_params
    eta = jnp.stack([sign * log_x, x, 1.1 * 3.0 / 1.5])
    law = GIG.from_expectation(eta if sign > 0 else eta[jnp.asarray([0, 2, 1])])
    rates = [law.a, law.b] if sign > 0 else [law.b, law.a]
    np.testing.assert_allclose(law.p, sign * 2.5, rtol=1e-12)
    np.testing.assert_allclose(rates[0], 6.0, rtol=1e-12)
    assert rates[1] == 0.0


@pytest.mark.parametrize("bad", [(0.0, 1.0, 0.9), (3.0, 1.0, 2.0), (jnp.nan, 1.0, 2.0)])
@pytest.mark.slow
def test_expectations_of_no_law_are_refused_or_give_nan(bad):
    with pytest.raises(ValueError, match="of no law: they need"):
        GIG.from_expectation(jnp.asarray(bad))
    traced = jax.jit(lambda eta: GIG.from_expectation(eta).natural_params)
    assert jnp.all(jnp.isnan(traced(jnp.asarray(bad))))


@pytest.mark.slow
def test_the_inverse_map_has_the_inverse_derivative():
    law = GIG(1.5, 1.0, 2.0)
    inverse = jax.jacrev(lambda eta: GIG.from_expectation(eta).natural_params)(
        law.expectation_params
    )
    product = inverse @ law.fisher_information
    np.testing.assert_allclose(product, jnp.eye(3), atol=1e-9)


def test_log_minus_digamma_is_the_reference():
    k = np.logspace(-3, 12, 61)
    with mp.workdps(40):
        expected = [float(mp.log(x) - mp.digamma(x)) for x in k]
    np.testing.assert_allclose(log_minus_digamma(jnp.asarray(k)), expected, rtol=1e-13)


def test_gamma_shapes_come_back_over_fifteen_decades():
    k = jnp.logspace(-3, 4, 40)
    law = distx.Gamma(k, 2.0)
    again = distx.Gamma.from_expectation(law.expectation_params)
    np.testing.assert_allclose(again.concentration[k < 10], k[k < 10], rtol=1e-12)
    # E[log x] - log E[x] has lost the digits of the larger ones.
    np.testing.assert_allclose(again.concentration, k, rtol=1e-10)


def test_gamma_fit_is_scipys(key):
    x = distx.Gamma(2.0, 3.0).sample(key, (400,))
    law = distx.Gamma.fit_mle(x)
    shape, _, scale = st.gamma.fit(np.asarray(x), floc=0)
    np.testing.assert_allclose(law.concentration, shape, rtol=1e-6)
    np.testing.assert_allclose(law.rate, 1.0 / scale, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gig", "joint"])
def test_the_fit_is_a_stationary_point_of_the_likelihood(name, key):
    law = LAWS[name]
    x = law.sample(key, (300,))
    weights = jnp.linspace(0.0, 2.0, 300)
    theta = type(law).fit_mle(x, weights).natural_params

    def loss(theta):
        density = type(law).from_natural(theta).log_prob(x)
        return -jnp.sum(weights * density) / jnp.sum(weights)

    np.testing.assert_allclose(jax.jit(jax.grad(loss))(theta), 0.0, atol=1e-9)


def test_weights_are_counts(key):
    x = IG(2.0, 3.0).sample(key, (5,))
    counted = IG.fit_mle(x, jnp.asarray([2, 1, 0, 3, 1]))
    repeated = IG.fit_mle(jnp.repeat(x, jnp.asarray([2, 1, 0, 3, 1])))
    np.testing.assert_allclose(counted.loc, repeated.loc, rtol=1e-12)
    np.testing.assert_allclose(
        counted.concentration, repeated.concentration, rtol=1e-12
    )


GIGS = {
    "gig": GIG(1.5, 1.0, 2.0),
    "inverse-gaussian": IG(2.0, 3.0),
    "gamma": distx.Gamma(4.0, 3.0),
    "inverse-gamma": distx.InverseGamma(3.0, 2.0),
    "numpyro-gamma": dist.Gamma(3.5, 1.0),
}
PAIRS = [(p, q) for p in GIGS for q in GIGS if p != q]


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_divergences_are_quadrature(p, q):
    p, q = GIGS[p], GIGS[q]
    v = jnp.linspace(-30.0, 12.0, 8401)
    x, step = jnp.exp(v), v[1] - v[0]
    log_p, log_q = p.log_prob(x), q.log_prob(x)
    density = jnp.exp(log_p + v)
    gap = jnp.where(density > 0, log_p - log_q, 0.0)
    expected = jnp.sum(density * gap) * step
    np.testing.assert_allclose(dist.kl_divergence(p, q), expected, rtol=1e-9)
    overlap = jnp.sum(jnp.exp(0.5 * (log_p + log_q) + v)) * step
    np.testing.assert_allclose(distx.squared_hellinger(p, q), 1.0 - overlap, rtol=1e-9)


def test_normal_divergences_are_numpyros():
    p = distx.MultivariateNormal(LOC, scale_tril=TRIL)
    q = distx.MultivariateNormal(SKEW, scale_tril=jnp.eye(2))
    expected = dist.kl_divergence(
        dist.MultivariateNormal(LOC, scale_tril=TRIL),
        dist.MultivariateNormal(SKEW, scale_tril=jnp.eye(2)),
    )
    np.testing.assert_allclose(dist.kl_divergence(p, q), expected, rtol=1e-12)
    # Pardo (2006), Statistical Inference Based on Divergence Measures, page 45.
    s1, s2, d = TRIL @ TRIL.T, jnp.eye(2), LOC - SKEW
    mid = 0.5 * (s1 + s2)
    det = jnp.linalg.det
    overlap = (det(s1) * det(s2)) ** 0.25 / jnp.sqrt(det(mid))
    overlap = overlap * jnp.exp(-d @ jnp.linalg.solve(mid, d) / 8.0)
    np.testing.assert_allclose(distx.squared_hellinger(p, q), 1.0 - overlap, rtol=1e-12)


def test_divergences_of_the_joint_law_are_means_over_draws(key):
    p = LAWS["joint"]
    q = distx.JointNormalMixture(0.2, 1.5, 1.0, 1.2 * LOC, 0.5 * SKEW, 1.1 * TRIL)
    x = p.sample(key, (100_000,))
    ratio = p.log_prob(x) - q.log_prob(x)
    error = ratio.std() / jnp.sqrt(100_000)
    assert abs(dist.kl_divergence(p, q) - ratio.mean()) < 5 * error
    roots = jnp.exp(-0.5 * ratio)
    error = roots.std() / jnp.sqrt(100_000)
    assert abs(1.0 - distx.squared_hellinger(p, q) - roots.mean()) < 5 * error


@pytest.mark.slow
@pytest.mark.parametrize("f", [dist.kl_divergence, distx.squared_hellinger])
def test_divergences_have_the_right_gradient(f):
    def of(args):
        p, a, b = args
        return f(GIG(p, a, b, validate_args=False), GIG(0.5, 2.0, 1.0))

    args = jnp.asarray([1.5, 1.0, 2.0])
    slope = [(of(args + h) - of(args - h)) / 2e-5 for h in 1e-5 * jnp.eye(3)]
    np.testing.assert_allclose(jax.grad(of)(args), slope, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_float32_stays_float32(float32):
    law = GIG(1.5, 1.0, 2.0)
    back = GIG.from_expectation(law.expectation_params)
    assert back.p.dtype == jnp.float32
    np.testing.assert_allclose(back.natural_params, law.natural_params, rtol=2e-2)


def test_refusals_say_what_to_give():
    with pytest.raises(ValueError, match="at least one"):
        GIG.fit_mle(jnp.ones(0))
    with pytest.raises(ValueError, match="one weight for each datum"):
        GIG.fit_mle(jnp.ones(3), jnp.ones(2))
    with pytest.raises(ValueError, match="must not be negative"):
        GIG.fit_mle(jnp.ones(2), jnp.asarray([1.0, -1.0]))
    with pytest.raises(ValueError, match="must have 3 entries"):
        GIG.from_natural(jnp.ones(2))
    with pytest.raises(ValueError, match="d dimensions have"):
        distx.MultivariateNormal.from_natural(jnp.ones(4))
    with pytest.raises(TypeError, match="closed form"):
        distx.squared_hellinger(GIG(1.0, 1.0, 1.0), dist.Normal())
