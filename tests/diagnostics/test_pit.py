"""Ranks and residuals are uniform and normal where they should be, and only there."""

import jax
import numpy as np
import pytest
from scipy import stats

from numpyro_ext.diagnostics import ecdf_band, pit, quantile_residuals

RNG = np.random.default_rng(5)
KEY = jax.random.key(9)


@pytest.mark.parametrize("num_draws", [8, 16, 50, 200])
def test_a_perfect_forecaster_is_covered_as_stated(num_draws):
    n = 200_000 if num_draws < 100 else 60_000
    draws, y = RNG.normal(size=(num_draws, n)), RNG.normal(size=n)
    distance = np.abs(2 * pit(draws, y, key=KEY) - 1)
    for prob in (0.5, 0.95):
        error = 3.5 * np.sqrt(prob * (1 - prob) / n)
        assert abs(np.mean(distance <= prob) - prob) < max(error, 0.003)


def test_ranks_of_counts_are_uniform():
    draws, y = RNG.poisson(1.3, size=(40, 5000)), RNG.poisson(1.3, size=5000)
    assert stats.kstest(pit(draws, y, key=KEY), "uniform").pvalue > 1e-3
    wrong = RNG.poisson(1.6, size=(40, 5000))
    assert stats.kstest(pit(wrong, y, key=KEY), "uniform").pvalue < 1e-6


def test_residuals_of_counts_are_normal_under_the_right_law_only():
    y = RNG.poisson(2.0, size=4000)

    def residuals(rate):
        low = stats.poisson.cdf(y - 1, rate)
        return quantile_residuals(stats.poisson.cdf(y, rate), low, key=KEY)

    assert stats.kstest(residuals(2.0), "norm").pvalue > 1e-3
    assert stats.kstest(residuals(2.4), "norm").pvalue < 1e-6


def test_residuals_of_a_continuous_law_need_no_key():
    z = np.array([-3.0, 0.0, 1.5])
    np.testing.assert_allclose(quantile_residuals(stats.norm.cdf(z)), z, atol=1e-12)
    with pytest.raises(ValueError, match="needs"):
        quantile_residuals([0.5], [0.4])
    with pytest.raises(ValueError, match=r"above `cdf`, at index \(0,\)"):
        quantile_residuals([0.4], [0.5], key=KEY)
    with pytest.raises(ValueError, match=r"holds 1.2"):
        quantile_residuals([1.2])
    with pytest.raises(ValueError, match="NaN in `draws`"):
        pit([[np.nan], [0.0]], [0.0], key=KEY)


@pytest.mark.parametrize("n", [20, 50, 100, 500])
def test_a_band_holds_as_much_as_it_says(n):
    band = ecdf_band(n)
    # The exact value; the simulation below is an independent count.
    assert 0.95 <= band.coverage < 0.955
    values = RNG.random((20_000, n))
    shares = (
        np.mean(values[:, :, None] <= band.points, axis=1)
        if n < 200
        else (
            np.stack(
                [
                    np.searchsorted(np.sort(row), band.points, "right") / n
                    for row in values[:8000]
                ]
            )
        )
    )
    inside = np.all((shares >= band.lower) & (shares <= band.upper), axis=1)
    error = 3.5 * np.sqrt(0.05 * 0.95 / len(inside))
    assert abs(inside.mean() - band.coverage) < error


def test_bands_at_given_points_and_bad_ones():
    band = ecdf_band(30, prob=0.5, points=np.array([0.25, 0.5, 0.75]))
    assert 0.5 <= band.coverage < 0.75
    with pytest.raises(ValueError, match=r"within \(0, 1\)"):
        ecdf_band(30, points=np.array([0.0, 0.5]))
    with pytest.raises(ValueError, match="n=0"):
        ecdf_band(0)
