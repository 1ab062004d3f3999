"""Other parametrizations: each against its formula, a reference, or a round trip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special as sp
import scipy.stats as st
from scipy.optimize import minimize_scalar

from numpyro_ext import distributions as distx

from ..slow import slow_beside

GH, NIG = distx.GeneralizedHyperbolic, distx.NormalInverseGaussian
HYPERBOLIC, VG = distx.Hyperbolic, distx.VarianceGamma
SKEW_T = distx.GeneralizedHyperbolicSkewT
MGH, MNIG = (
    distx.MultivariateGeneralizedHyperbolic,
    distx.MultivariateNormalInverseGaussian,
)
MVG = distx.MultivariateVarianceGamma
MSKEW_T = distx.MultivariateGeneralizedHyperbolicSkewT
MHYPERBOLIC = distx.MultivariateHyperbolic
TRIL = jnp.asarray([[1.0, 0.0], [0.4, 0.8]])
LOC, SKEW = jnp.asarray([0.3, 0.2]), jnp.asarray([-0.3, 0.4])
VECTORS = (LOC, SKEW, TRIL)
FACTOR = dict(cov_factor=jnp.asarray([[0.8], [0.5]]), cov_diag=jnp.asarray([0.2, 0.4]))

LAWS = {
    "gh": GH(0.7, 0.9, 3.0, 0.2, 1.5, -0.4),
    "gh-negative": GH(-2.0, 0.9, 3.0, 0.0, 1.5, 0.4),
    "gh-gamma-edge": GH(2.5, 0.9, 0.0, 0.2, 1.5, -0.4),
    "nig": NIG(1.0, 2.0, 0.3, 2.0, 0.5),
    "nig-batch": NIG(jnp.asarray([[1.0], [5.0]]), 2.0, jnp.zeros(3), 2.0, 0.5),
    "hyperbolic": HYPERBOLIC(1.0, 2.0, 0.3, 2.0, 0.5),
    "hyperbolic-small": HYPERBOLIC(1e-4, 1e-4, 0.3, 2.0, 0.0),
    "hyperbolic-large": HYPERBOLIC(300.0, 200.0, 0.3, 2.0, 0.0),
    "vg": VG(2.0, 1.5, 0.5, 2.0, 0.7),
    "skew-t": SKEW_T(5.0, 0.5, 2.0, 0.7),
    "multivariate-gh": MGH(0.7, 0.9, 3.0, *VECTORS),
    "multivariate-nig": MNIG(1.0, 2.0, *VECTORS),
    "multivariate-hyperbolic": MHYPERBOLIC(1.0, 2.0, *VECTORS),
    "multivariate-vg": MVG(2.0, 1.5, *VECTORS),
    "multivariate-skew-t": MSKEW_T(5.0, *VECTORS),
}


def same(law, other, rtol):
    for name, value in law.get_args().items():
        there = other.get_args()[name]
        value = jnp.broadcast_to(value, jnp.shape(there))
        np.testing.assert_allclose(there, value, rtol=rtol, atol=1e-10)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_natural_parameters_give_the_law_back(law):
    same(law, type(law).from_natural(law.natural_params), 1e-12)


@pytest.mark.parametrize("name", slow_beside(LAWS.keys() - {"gh"}, LAWS))
def test_expectations_give_the_law_back(name):
    law = LAWS[name]
    same(law, type(law).from_expectation(law.expectation_params), 1e-9)


@pytest.mark.parametrize(
    "name",
    slow_beside(
        ("multivariate-skew-t",), ["nig", "multivariate-vg", "multivariate-skew-t"]
    ),
)
def test_the_parameters_are_those_of_the_joint_law(name, key):
    law = LAWS[name]
    joint = law.joint_law()
    value = joint.sample(key, (200_000,))
    statistics = joint.sufficient_statistics(value)
    inner = jnp.sum(statistics[:9] * law.natural_params, axis=-1)
    density = inner - joint.log_partition(law.natural_params)
    x, w = value[:9, :-1], value[:9, -1]
    x = x if law.event_shape else x[:, 0]
    by_bayes = law.log_prob(x) + law.conditional_mixing(x).log_prob(w)
    np.testing.assert_allclose(density, by_bayes, rtol=1e-9)
    error = statistics.std(0) / np.sqrt(200_000)
    gap = jnp.abs(statistics.mean(0) - law.expectation_params)
    assert jnp.all(gap < 5 * error)


def test_a_scale_of_low_rank_has_the_parameters_of_the_full_one():
    low = MNIG(1.0, 2.0, LOC, SKEW, **FACTOR)
    full = MNIG(1.0, 2.0, LOC, SKEW, jnp.linalg.cholesky(low.covariance_scale))
    np.testing.assert_allclose(low.natural_params, full.natural_params, rtol=1e-12)
    same(full, MNIG.from_natural(low.natural_params), 1e-12)


@pytest.mark.slow
def test_a_hyperbolic_law_of_other_expectations_is_the_likeliest():
    # Those of a GIG law of order 0.3: no law of order 1 has all three.
    eta = GH(0.3, 0.7, 1.2, 0.0, 1.0, 0.0).expectation_params
    law = HYPERBOLIC.from_expectation(eta)
    mean, inverse = float(eta[1]), float(eta[2])

    def loss(log_omega):
        # Profiled over the scale s = sqrt(b / a): it is minimal where both terms agree.
        omega = np.exp(log_omega)
        ratio = sp.kve(2, omega) / sp.kve(1, omega)
        s = mean / ratio
        log_z = np.log(2 * sp.kve(1, omega)) - omega + np.log(s)
        return log_z + 0.5 * omega * (mean / s + inverse * s)

    best = minimize_scalar(
        loss, bounds=(-6, 4), method="bounded", options={"xatol": 1e-10}
    )
    np.testing.assert_allclose(law.a * law.b, np.exp(2 * best.x), rtol=1e-4)
    np.testing.assert_allclose(law.mixing_law().mean, mean, rtol=1e-12)
    grad = jax.grad(lambda e: HYPERBOLIC.from_expectation(e).a)(eta)
    step = 1e-6
    up, down = (HYPERBOLIC.from_expectation(eta.at[2].add(s)).a for s in (step, -step))
    np.testing.assert_allclose(grad[2], (up - down) / (2 * step), rtol=1e-6)


def test_laws_refuse_a_mixing_law_that_is_not_theirs():
    theta = GH(0.7, 0.9, 3.0, 0.2, 1.5, -0.4).natural_params
    for law, words in (
        (NIG, "p = -1/2"),
        (HYPERBOLIC, "p = 1"),
        (VG, "b = 0"),
        (SKEW_T, "a = 0"),
    ):
        with pytest.raises(ValueError, match=words):
            law.from_natural(theta)
    with pytest.raises(ValueError, match="Multivariate"):
        NIG.from_natural(LAWS["multivariate-nig"].natural_params)
    # E[1/w] of Gamma(0.5, 1) is infinite.
    with pytest.raises(ValueError, match="coordinate 2"):
        VG.from_expectation(VG(0.5, 1.0).expectation_params)


@pytest.mark.slow
def test_the_multivariate_alpha_beta_form_is_its_density():
    alpha, delta, lmbda = 2.0, 1.3, 0.7
    beta = np.asarray([0.4, -0.6])
    structure = np.asarray([[2.0, 0.5], [0.5, 0.625]])
    assert np.isclose(np.linalg.det(structure), 1.0)
    law = MGH.from_alpha_beta(lmbda, alpha, beta, delta, LOC, structure)
    x = np.asarray([[0.1, 0.7], [-2.0, 3.0]])
    z = x - np.asarray(LOC)
    # Blæsild and Jensen (1981), d = 2.
    kappa = np.sqrt(alpha**2 - beta @ structure @ beta)
    q = np.sqrt(delta**2 + np.einsum("ni,ij,nj->n", z, np.linalg.inv(structure), z))
    density = (kappa / delta) ** lmbda * alpha ** (1 - lmbda)
    density = density / (2 * np.pi * sp.kv(lmbda, delta * kappa))
    density = (
        density * q ** (lmbda - 1) * sp.kv(lmbda - 1, alpha * q) * np.exp(z @ beta)
    )
    np.testing.assert_allclose(law.log_prob(x), np.log(density), rtol=1e-11)
    for make, order in ((MNIG, -0.5), (MHYPERBOLIC, 1.0)):
        own = make.from_alpha_beta(alpha, beta, delta, LOC, structure)
        general = MGH.from_alpha_beta(order, alpha, beta, delta, LOC, structure)
        np.testing.assert_allclose(own.log_prob(x), general.log_prob(x), rtol=1e-12)
    # One coordinate is the law of one number, and so SciPy's.
    one = MNIG.from_alpha_beta(2.0, jnp.asarray([0.5]), 1.5, jnp.asarray([0.1]))
    truth = st.norminvgauss(3.0, 0.75, 0.1, 1.5).logpdf([0.7])
    np.testing.assert_allclose(one.log_prob(jnp.asarray([0.7])), truth[0], rtol=1e-11)


def test_the_multivariate_alpha_beta_form_refuses_what_has_no_density():
    indefinite = jnp.asarray([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="`structure`.*smallest eigenvalue is -1"):
        MGH.from_alpha_beta(1.0, 2.0, SKEW, 1.0, LOC, indefinite)
    with pytest.raises(ValueError, match="alpha=1.0.*only"):
        MNIG.from_alpha_beta(1.0, jnp.asarray([0.9, 0.9]), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "law",
    [
        MGH.from_alpha_bar(0.7, 2.0, *VECTORS),
        MNIG.from_alpha_bar(2.0, LOC, SKEW, **FACTOR),
        MHYPERBOLIC.from_alpha_bar(2.0, *VECTORS),
    ],
)
def test_alpha_bar_fixes_the_mean_of_w(law):
    np.testing.assert_allclose(law.mixing_law().mean, 1.0, rtol=1e-12)
    np.testing.assert_allclose(law.a * law.b, 4.0, rtol=1e-12)
    np.testing.assert_allclose(law.mean, LOC + SKEW, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "mixing"),
    [
        (MGH, {"p": 0.7, "a": 1.0, "b": 2.0}),
        (MNIG, {"a": 1.0, "b": 2.0}),
        (MVG, {"concentration": 2.0, "rate": 0.5}),
        (MSKEW_T, {"df": 7.0}),
        (MSKEW_T, {"df": jnp.asarray([5.0, 9.0])}),
    ],
)
def test_standardized_has_the_mean_and_the_covariance(make, mixing):
    law = make.standardized(LOC, TRIL, tilt=jnp.asarray([0.5, -1.0]), **mixing)
    shape = law.batch_shape
    np.testing.assert_allclose(law.mean, jnp.broadcast_to(LOC, (*shape, 2)), rtol=1e-12)
    covariance = jnp.broadcast_to(TRIL @ TRIL.T, (*shape, 2, 2))
    np.testing.assert_allclose(law.covariance_matrix, covariance, rtol=1e-12)
    symmetric = make.standardized(LOC, TRIL, **mixing)
    np.testing.assert_array_equal(symmetric.skew, 0.0 * symmetric.skew)


@pytest.mark.parametrize(
    "law",
    [
        MGH(0.7, 0.9, 3.0, LOC, SKEW, **FACTOR),
        MVG(2.0, 1.5, *VECTORS),
        MSKEW_T(9.5, *VECTORS),
    ],
)
def test_the_moments_of_a_coordinate_are_those_of_its_law(law):
    for i in range(2):
        one = law.marginal(i)
        np.testing.assert_allclose(law.skewness[i], one.skewness, rtol=1e-10)
        np.testing.assert_allclose(law.kurtosis[i], one.kurtosis, rtol=1e-10)
        np.testing.assert_allclose(law.variance[i], one.variance, rtol=1e-12)
