"""Value at risk and expected shortfall against closed forms and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from scipy.integrate import quad

from numpyro_ext import distributions as distx

LEVELS = jnp.asarray([0.3, 0.95, 0.999])


def gh(p, a, b, loc, scale, skew):
    delta, beta = scale * np.sqrt(b), skew / scale**2
    alpha = np.sqrt(a + (skew / scale) ** 2) / scale
    return st.genhyperbolic(p, alpha * delta, beta * delta, loc, delta)


def vg(k, rate, loc, scale, skew):
    """Density by its definition, an integral over w."""

    def pdf(x):
        def integrand(w):
            given = st.norm.pdf(x, loc + skew * w, scale * np.sqrt(w))
            return given * st.gamma.pdf(w, k, scale=1 / rate)

        return quad(integrand, 0.0, np.inf, epsabs=0.0, epsrel=1e-11, limit=200)[0]

    return pdf


QUADRATURE = {
    "gh": (
        distx.GeneralizedHyperbolic(0.7, 0.9, 3.0, 0.2, 1.5, -0.4),
        gh(0.7, 0.9, 3.0, 0.2, 1.5, -0.4).pdf,
    ),
    "nig": (
        distx.NormalInverseGaussian(1.0, 2.0, 0.3, 2.0, 0.5),
        gh(-0.5, 1.0, 2.0, 0.3, 2.0, 0.5).pdf,
    ),
    "hyperbolic": (
        distx.Hyperbolic(1.0, 2.0, 0.3, 2.0, 0.5),
        gh(1.0, 1.0, 2.0, 0.3, 2.0, 0.5).pdf,
    ),
    "vg": (
        distx.VarianceGamma(2.0, 1.5, 0.5, 2.0, 0.7),
        vg(2.0, 1.5, 0.5, 2.0, 0.7),
    ),
    "inverse-gaussian": (
        distx.InverseGaussian(2.0, 3.0),
        st.invgauss(2 / 3, scale=3.0).pdf,
    ),
    "gamma-edge": (
        distx.GeneralizedInverseGaussian(2.5, 3.0, 0.0),
        st.gamma(2.5, scale=2 / 3).pdf,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("law", "pdf"), QUADRATURE.values(), ids=QUADRATURE)
def test_the_shortfall_is_the_mean_of_the_tail(law, pdf):
    level = 0.95
    q = -float(distx.value_at_risk(law, level))
    low = 0.0 if law.support is distx.InverseGaussian.support else q - 120.0
    points = [q - 1.0] if low < 0 else None

    def integral(f):
        out = quad(f, low, q, epsabs=0.0, epsrel=1e-11, limit=300, points=points)
        return out[0]

    mass = integral(pdf)
    np.testing.assert_allclose(mass, 1.0 - level, rtol=1e-8)
    expected = -integral(lambda x: x * pdf(x)) / mass
    np.testing.assert_allclose(
        distx.expected_shortfall(law, level), expected, rtol=1e-8
    )


@pytest.mark.slow
def test_laplace_in_closed_form():
    scale = 2.0 / np.sqrt(2.0)
    law = distx.VarianceGamma(1.0, 1.0, 0.5, 2.0)
    reference = st.laplace(0.5, 2.0 / np.sqrt(2.0))
    risk = distx.value_at_risk(law, LEVELS)
    np.testing.assert_allclose(risk, -reference.ppf(1.0 - LEVELS), rtol=1e-9)
    shortfall = distx.expected_shortfall(law, LEVELS[1:])
    np.testing.assert_allclose(shortfall, risk[1:] + scale, rtol=1e-9)


@pytest.mark.parametrize("df", [pytest.param(1.5, marks=pytest.mark.slow), 4.0, 30.0])
def test_student_t_in_closed_form(df):
    law = distx.GeneralizedHyperbolicSkewT(df, 0.5, 2.0)
    t = st.t.ppf(1.0 - LEVELS, df)
    np.testing.assert_allclose(
        distx.value_at_risk(law, LEVELS), -(0.5 + 2.0 * t), rtol=1e-9
    )
    tail = st.t.pdf(t, df) / (1.0 - LEVELS) * (df + t * t) / (df - 1.0)
    np.testing.assert_allclose(
        distx.expected_shortfall(law, LEVELS), 2.0 * tail - 0.5, rtol=1e-9
    )


@pytest.mark.slow
def test_the_mean_of_a_heavy_tail_is_infinite():
    law = distx.GeneralizedHyperbolicSkewT(1.5, 0.0, 1.0, -0.5)
    assert distx.expected_shortfall(law, 0.9) == jnp.inf


@pytest.mark.parametrize("p", [-0.4, -1.0])
@pytest.mark.slow
def test_the_lower_mean_is_finite_where_the_mean_is_not(p):
    law = distx.GeneralizedInverseGaussian(p, 0.0, 3.0)
    reference = st.invgamma(-p, scale=1.5)
    level = 0.7
    q = reference.ppf(1.0 - level)

    def integrand(x):
        return x * reference.pdf(x)

    below = quad(integrand, 0.0, q, epsabs=0.0, epsrel=1e-11)[0] / (1.0 - level)
    np.testing.assert_allclose(distx.expected_shortfall(law, level), -below, rtol=1e-9)

    def shortfall(b, level):
        law = distx.GeneralizedInverseGaussian(p, 0.0, b, validate_args=False)
        return distx.expected_shortfall(law, level)

    slopes = jax.jit(jax.grad(shortfall, (0, 1)))(3.0, level)
    # It is proportional to b, and d(tail * mean) / d tail = q.
    np.testing.assert_allclose(slopes[0], -below / 3.0, rtol=1e-9)
    np.testing.assert_allclose(slopes[1], (below - q) / (1.0 - level) * -1.0, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("risk", [distx.value_at_risk, distx.expected_shortfall])
def test_gradients_are_finite_differences(risk):
    def f(args):
        a, b, loc, scale, skew, level = args
        law = distx.NormalInverseGaussian(a, b, loc, scale, skew, validate_args=False)
        return risk(law, level)

    f = jax.jit(f)
    args = jnp.asarray([1.0, 2.0, 0.3, 2.0, 0.5, 0.95])
    step = 1e-4 * jnp.eye(6)
    slope = [(f(args + h) - f(args - h)) / 2e-4 for h in step]
    np.testing.assert_allclose(jax.grad(f)(args), slope, rtol=1e-5, atol=1e-7)


TRIL = jnp.asarray([[1.0, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.3, 0.2, 0.6]])
LOC, SKEW = jnp.asarray([0.1, -0.2, 0.3]), jnp.asarray([0.2, 0.3, -0.4])
FACTOR, DIAG = jnp.asarray([[0.5], [0.2], [-0.4]]), jnp.asarray([0.3, 0.5, 0.7])
VECTORS = {
    "gh": lambda **k: distx.MultivariateGeneralizedHyperbolic(0.7, 1.0, 2.0, **k),
    "nig": lambda **k: distx.MultivariateNormalInverseGaussian(1.0, 2.0, **k),
    "hyperbolic": lambda **k: distx.MultivariateHyperbolic(1.0, 2.0, **k),
    "vg": lambda **k: distx.MultivariateVarianceGamma(2.0, 1.5, **k),
    "skew-t": lambda **k: distx.MultivariateGeneralizedHyperbolicSkewT(9.0, **k),
}
SCALES = {
    "tril": {"scale_tril": TRIL},
    "factor": {"cov_factor": FACTOR, "cov_diag": DIAG},
}
WEIGHTS = jnp.asarray([0.5, 0.3, -0.2])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", VECTORS)
def test_a_weighted_sum_has_the_moments_of_the_projection(name, scale):
    law = VECTORS[name](loc=LOC, skew=SKEW, **SCALES[scale])
    line = law.project(WEIGHTS)
    assert type(line).__name__ == type(law).__name__.removeprefix("Multivariate")
    np.testing.assert_allclose(line.mean, WEIGHTS @ law.mean, rtol=1e-12)
    np.testing.assert_allclose(
        line.variance, WEIGHTS @ law.covariance_matrix @ WEIGHTS, rtol=1e-12
    )


@pytest.mark.parametrize("scale", SCALES)
def test_a_weighted_sum_follows_the_projection(scale, key):
    law = VECTORS["nig"](loc=LOC, skew=SKEW, **SCALES[scale])
    draws = law.sample(key, (4000,)) @ WEIGHTS
    uniform = jax.jit(law.project(WEIGHTS).cdf)(draws)
    assert st.kstest(np.asarray(uniform), "uniform").pvalue > 1e-4


@pytest.mark.slow
def test_a_marginal_integrates_the_rest_out():
    tril, loc, skew = TRIL[:2, :2], LOC[:2], SKEW[:2]
    law = distx.MultivariateNormalInverseGaussian(1.0, 2.0, loc, skew, tril)
    y = jnp.linspace(-60.0, 60.0, 24_001)
    x = 0.7
    joint = jnp.exp(law.log_prob(jnp.stack([jnp.full_like(y, x), y], axis=-1)))
    total = jnp.sum(joint) * (y[1] - y[0])
    np.testing.assert_allclose(jnp.log(total), law.marginal(0).log_prob(x), rtol=1e-9)
    again = law.marginal([1, 0]).marginal([1, 0])
    points = jnp.asarray([[0.3, -1.0], [2.0, 0.1]])
    np.testing.assert_allclose(again.log_prob(points), law.log_prob(points), rtol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_a_marginal_has_the_moments_of_its_coordinates(scale):
    law = VECTORS["vg"](loc=LOC, skew=SKEW, **SCALES[scale])
    part = law.marginal([2, -3])
    rows = np.asarray([2, 0])
    np.testing.assert_allclose(part.mean, law.mean[rows], rtol=1e-12)
    np.testing.assert_allclose(
        part.covariance_matrix, law.covariance_matrix[np.ix_(rows, rows)], rtol=1e-12
    )


@pytest.mark.slow
def test_risk_of_weights_over_draws_of_a_posterior():
    def shortfall(a, weights):
        law = distx.MultivariateNormalInverseGaussian(
            a, 2.0, LOC, SKEW, TRIL, validate_args=False
        )
        return distx.expected_shortfall(law, 0.95, weights=weights)

    a = jnp.asarray([0.5, 1.0, 2.0])
    out = jax.jit(jax.vmap(shortfall, (0, None)))(a, WEIGHTS)
    single = [shortfall(x, WEIGHTS) for x in a]
    np.testing.assert_allclose(out, jnp.stack(single), rtol=1e-9)
    # Euler: the risk is homogeneous of degree one in the weights.
    parts = jax.grad(shortfall, 1)(a[0], WEIGHTS)
    np.testing.assert_allclose(parts @ WEIGHTS, single[0], rtol=1e-8)


@pytest.mark.slow
def test_float32_stays_float32(float32):
    law = distx.NormalInverseGaussian(1.0, 2.0)
    assert distx.expected_shortfall(law, 0.95).dtype == jnp.float32


def test_refusals_say_what_to_give():
    law = distx.NormalInverseGaussian(1.0, 2.0)
    vector = VECTORS["nig"](loc=LOC, skew=SKEW, scale_tril=TRIL)
    with pytest.raises(ValueError, match=r"`level` = 1.5"):
        distx.value_at_risk(law, 1.5)
    with pytest.raises(ValueError, match="needs `weights`"):
        distx.value_at_risk(vector, 0.9)
    with pytest.raises(ValueError, match="one coordinate"):
        distx.value_at_risk(law, 0.9, weights=WEIGHTS)
    with pytest.raises(ValueError, match="must have 3 entries"):
        vector.project(jnp.ones(2))
    with pytest.raises(IndexError, match="3 coordinates"):
        vector.marginal(3)
    with pytest.raises(TypeError, match="not a law of this family"):
        distx.value_at_risk(distx.Gamma(1.0, 1.0), 0.9)
