"""p-values and bands hold their level, for sets that depend as the values do."""

import numpy as np
import pytest
from arviz_stats.base.array import array_stats
from scipy import stats

from numpyro_ext.diagnostics import ecdf_band
from numpyro_ext.diagnostics._reference import correlated_errors
from numpyro_ext.diagnostics._uniformity import band, departure, p_value

RNG = np.random.default_rng(6)


def test_the_statistic_orders_sets_as_arviz_does():
    u = RNG.random((40, 60)) ** np.linspace(0.6, 1.4, 40)[:, None]
    theirs = [float(array_stats.uniformity_test(one)[0]) for one in u]
    found = departure(u)
    assert stats.spearmanr(found, theirs).statistic < -0.97


def test_uniform_sets_are_flagged_as_often_as_stated():
    reference = RNG.random((499, 50, 1))
    values = [p_value(one, reference) for one in RNG.random((600, 50, 1))]
    assert (
        abs(np.mean(np.array(values) <= 0.05) - 0.05) < 3 * np.sqrt(0.05 / 600) + 0.02
    )


@pytest.mark.parametrize("scale", [0.7, 1.4])
def test_a_wrong_scale_is_seen(scale):
    u = stats.norm.cdf(RNG.normal(size=(300, 1)) / scale)
    assert p_value(u, RNG.random((499, 300, 1))) < 0.01


def test_one_wrong_entry_of_a_vector_is_seen():
    u = RNG.random((200, 4))
    reference = RNG.random((499, 200, 4))
    assert p_value(u, reference) > 0.05
    u[:, 2] = u[:, 2] ** 2
    assert p_value(u, reference) < 0.01


def test_a_band_of_independent_sets_is_the_exact_one():
    points = np.linspace(0.1, 0.9, 9)
    exact = ecdf_band(100, points=points)
    lower, upper = band(points, RNG.random((20_000, 100)), 0.95)
    np.testing.assert_allclose(lower, exact.lower, atol=0.0101)
    np.testing.assert_allclose(upper, exact.upper, atol=0.0101)


def test_a_band_holds_sets_like_those_that_made_it():
    # All values of a set move together: far wider than for independent ones.
    def sets(num):
        common = RNG.normal(size=(num, 1))
        return stats.norm.cdf((common + RNG.normal(size=(num, 80))) / np.sqrt(2))

    points = np.linspace(0.05, 0.95, 19)
    lower, upper = band(points, sets(4000), 0.95)
    found = np.mean(sets(4000)[:, :, None] <= points, axis=1)
    inside = np.mean(np.all((found >= lower) & (found <= upper), axis=1))
    assert abs(inside - 0.95) < 0.02
    assert np.mean(upper - lower) > 2 * np.mean(np.diff(ecdf_band(80)[1:3], axis=0))


def test_leave_one_out_errors_have_the_correlation_of_a_regression():
    n, p = 12, 4
    x = RNG.normal(size=(n, p))
    covariance = np.linalg.inv(x.T @ x / 4.0 + np.eye(p))
    draws = RNG.multivariate_normal(np.zeros(p), covariance, size=40_000) @ x.T
    errors = correlated_errors(draws, np.full(n, 4.0), 200_000, RNG)
    # Errors of each datum given the others, of the marginal law of the data.
    precision = np.linalg.inv(4.0 * np.eye(n) + x @ x.T)
    sd = np.sqrt(np.diag(precision))
    np.testing.assert_allclose(
        np.cov(errors.T), precision / np.outer(sd, sd), atol=0.03
    )
