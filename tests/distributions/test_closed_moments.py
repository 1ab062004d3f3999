"""Moments of the mixing laws and the slope of their entropy."""

import jax
import numpy as np
import pytest
from scipy import stats

from numpyro_ext import distributions as distx


@pytest.mark.parametrize(
    ("law", "mixing"),
    [
        (distx.NormalInverseGaussian(2.0, 3.0), stats.invgauss(1.5**0.5 / 3, scale=3)),
        (distx.VarianceGamma(2.5, 3.0), stats.gamma(2.5, scale=1 / 3)),
        (distx.GeneralizedHyperbolicSkewT(11.0), stats.invgamma(5.5, scale=5.5)),
    ],
    ids=["NormalInverseGaussian", "VarianceGamma", "SkewT"],
)
def test_moments_of_the_mixing_variable(law, mixing):
    mean, variance, skewness, kurtosis = mixing.stats("mvsk")
    expected = (mean, variance, skewness * variance**1.5, (kurtosis + 3) * variance**2)
    np.testing.assert_allclose(law._mixing_moments(), expected, rtol=1e-12)


def test_moments_that_do_not_exist_are_infinite():
    law = distx.GeneralizedHyperbolicSkewT(5.0)
    assert np.isfinite(law._mixing_moments()[:2]).all()
    assert np.isinf(law._mixing_moments()[2:]).all()


@pytest.mark.slow
def test_the_entropy_has_the_derivatives_of_its_value():
    def entropy(parameters):
        return distx.GeneralizedInverseGaussian(*parameters).entropy()

    at, step = np.array([1.3, 2.0, 3.0]), 1e-4
    value, gradient = jax.jit(jax.vmap(entropy)), jax.jit(jax.grad(entropy))
    shifts = step * np.eye(3)
    slopes = (value(at + shifts) - value(at - shifts)) / (2.0 * step)
    np.testing.assert_allclose(gradient(at), slopes, rtol=1e-6)
