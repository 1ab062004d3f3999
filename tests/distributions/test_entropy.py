"""Entropy of the mixtures: closed forms, brute quadrature, draws, derivatives."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.stats as st
from scipy.special import digamma, gammaln

from numpyro_ext import distributions as distx
from numpyro_ext.distributions._sphere import log_directions

from ..slow import slow_beside

GH, NIG = distx.GeneralizedHyperbolic, distx.NormalInverseGaussian
VG, SKEW_T = distx.VarianceGamma, distx.GeneralizedHyperbolicSkewT
MSKEW_T = distx.MultivariateGeneralizedHyperbolicSkewT
TRIL = jnp.asarray([[1.0, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.3, 0.2, 1.5]])
LOC, SKEW = jnp.asarray([0.3, 0.2, -1.0]), jnp.asarray([-0.3, 0.4, 0.9])

CLOSED = {
    "t": (SKEW_T(0.7, 0.5, 2.0), st.t(0.7, 0.5, 2.0).entropy()),
    "t-30": (SKEW_T(30.0, 0.5, 2.0), st.t(30.0, 0.5, 2.0).entropy()),
    "laplace": (VG(1.0, 1.0, 0.5, 2.0), 1.0 + np.log(2.0 * np.sqrt(2.0))),
    "normal": (NIG(1e12, 1e12, 0.0, 3.0), np.log(3.0 * np.sqrt(2 * np.pi * np.e))),
}
SKEWED = {
    "gh": GH(0.7, 0.9, 3.0, 0.2, 1.5, -0.4),
    "nig-concentrated": NIG(400.0, 900.0, 0.0, 1.0, 20.0),
    "hyperbolic": distx.Hyperbolic(1.0, 2.0, 0.3, 2.0, 5.0),
    "vg-pole": VG(0.2, 1.5, 0.5, 2.0, 0.7),
    "skew-t": SKEW_T(2.5, 0.5, 2.0, -0.7),
}


@pytest.mark.parametrize(("law", "truth"), CLOSED.values(), ids=CLOSED)
def test_entropy_is_the_closed_form(law, truth):
    np.testing.assert_allclose(jax.jit(law.entropy)(), truth, rtol=1e-11)


@pytest.mark.parametrize("name", slow_beside(("vg-pole", "skew-t"), SKEWED))
def test_entropy_is_the_quadrature_of_the_density(name):
    law = SKEWED[name]
    # Both half lines about the place of a pole, on thousands of panels of log distance.
    nodes, weights = np.polynomial.legendre.leggauss(8)
    ends = np.linspace(-120.0, 80.0, 20_001)
    half = 0.5 * np.diff(ends)[0]
    u = ((ends[:-1] + half)[:, None] + half * nodes).ravel()
    weight = np.tile(weights * half, 20_000) * np.exp(u)
    mass = total = 0.0
    for sign in (-1.0, 1.0):
        # Without `loc`, so that the distance keeps its digits.
        centred = type(law)(**{**law.get_args(), "loc": 0.0})
        log_p = np.asarray(jax.jit(centred.log_prob)(jnp.asarray(sign * np.exp(u))))
        p = np.exp(log_p)
        mass += np.sum(weight * p)
        total -= np.sum(weight * p * np.where(p > 0, log_p, 0.0))
    np.testing.assert_allclose(mass, 1.0, rtol=1e-11)
    np.testing.assert_allclose(jax.jit(law.entropy)(), total, rtol=1e-10)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_entropy_in_many_dimensions_is_that_of_student(d):
    df, tril = 3.0, TRIL[:d, :d]
    law = MSKEW_T(df, LOC[:d], jnp.zeros(d), tril)
    half = 0.5 * (df + d)
    truth = gammaln(0.5 * df) - gammaln(half) + 0.5 * d * np.log(df * np.pi)
    truth += half * (digamma(half) - digamma(0.5 * df))
    truth += np.sum(np.log(np.diagonal(tril)))
    np.testing.assert_allclose(law.entropy(), truth, rtol=1e-12)


@pytest.mark.slow
def test_entropy_of_a_skewed_vector_is_that_of_draws(key):
    law = distx.MultivariateNormalInverseGaussian(1.0, 2.0, LOC, SKEW, TRIL)
    log_p = jax.jit(law.log_prob)(law.sample(key, (400_000,)))
    error = float(log_p.std()) / np.sqrt(400_000)
    assert error < 0.003
    assert abs(law.entropy() + log_p.mean()) < 4 * error


def test_entropy_does_not_depend_on_how_the_law_is_written():
    # With one coordinate it is the law of one number; low rank is full rank.
    one = distx.MultivariateGeneralizedHyperbolic(
        0.7, 0.9, 3.0, LOC[:1], SKEW[:1], TRIL[:1, :1]
    )
    alone = GH(0.7, 0.9, 3.0, LOC[0], TRIL[0, 0], SKEW[0])
    np.testing.assert_allclose(one.entropy(), alone.entropy(), rtol=1e-13)
    factor, diag = jnp.asarray([[0.8], [0.5], [-0.1]]), jnp.asarray([0.2, 0.4, 1.0])
    make = distx.MultivariateVarianceGamma
    low = make(2.0, 1.5, LOC, SKEW, cov_factor=factor, cov_diag=diag)
    full = make(2.0, 1.5, LOC, SKEW, jnp.linalg.cholesky(low.covariance_scale))
    np.testing.assert_allclose(low.entropy(), full.entropy(), rtol=1e-12)


@pytest.mark.slow
def test_entropy_has_the_derivatives_of_the_exact_one():
    def of(p, a, b, scale, skew):
        return GH(p, a, b, 0.3, scale, skew).entropy()

    at = (0.7, 0.9, 3.0, 1.5, -0.4)
    grads = jax.jit(jax.grad(of, range(5)))(*at)
    values = jax.jit(jax.vmap(of))
    h = 1e-4
    for i, grad in enumerate(grads):
        # A four-point difference: error h^4.
        steps = np.asarray([-2.0, -1.0, 1.0, 2.0]) * h
        args = [jnp.full(4, x) + (steps if i == j else 0.0) for j, x in enumerate(at)]
        v = np.asarray(values(*args))
        slope = (v[0] - 8 * v[1] + 8 * v[2] - v[3]) / (12 * h)
        np.testing.assert_allclose(grad, slope, rtol=1e-8)
    # The rate of change with the skew is 0 where the law is symmetric.
    assert jax.grad(of, 4)(0.7, 0.9, 3.0, 1.5, 0.0) == 0.0


@pytest.mark.slow
def test_entropy_is_batched_and_keeps_float32(float32):
    law = NIG(jnp.asarray([[1.0], [4.0]]), 2.0, jnp.zeros(3), 1.0, 0.5)
    out = law.entropy()
    assert out.shape == (2, 3)
    assert out.dtype == jnp.float32
    # Moving does not change it.
    np.testing.assert_allclose(out[:, 0], out[:, 2], rtol=1e-6)
    one = NIG(4.0, 2.0, 0.0, 1.0, 0.5).entropy()
    np.testing.assert_allclose(out[1, 1], one, rtol=1e-5)


@pytest.mark.parametrize("dim", [1, 2, 3, 6, 30])
def test_the_integral_over_directions_is_a_bessel_function(dim):
    square = np.asarray([1e-6, 0.3, 4.0, 100.0, 1e4, 1e8, 1e16, 1e40])
    value, gap = log_directions(jnp.asarray(square), dim)
    with mp.workdps(60):
        nu = mp.mpf(dim) / 2 - 1
        for i, s in enumerate(square):
            k = mp.sqrt(mp.mpf(s))
            i_nu, above = mp.besseli(nu, k), mp.besseli(nu + 1, k)
            log_integral = mp.log((2 * mp.pi) ** (nu + 1) * k**-nu * i_nu) - k
            np.testing.assert_allclose(
                value[i], float(log_integral), rtol=1e-12, atol=5e-12
            )
            truth = float(k * (1 - above / i_nu))
            np.testing.assert_allclose(gap[i], truth, rtol=1e-10, atol=1e-30)
