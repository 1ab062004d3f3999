"""Scores against double loops and closed forms."""

import numpy as np
import pytest
from scipy import stats

from numpyro_ext.diagnostics import (
    brier_score,
    crps,
    energy_score,
    interval_score,
    log_score,
)

RNG = np.random.default_rng(4)


def loop(x, y, distance, pairs):
    near = np.mean([distance(s - y) for s in x])
    return near - sum(distance(s - t) for s in x for t in x) / (2 * pairs)


@pytest.mark.parametrize("fair", [False, True])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_crps_is_the_double_loop(fair, shift):
    x = shift + RNG.standard_t(3, size=(9, 4))
    y = shift + RNG.normal(size=4)
    pairs = 72 if fair else 81
    expected = [loop(x[:, i], y[i], abs, pairs) for i in range(4)]
    # The loop itself loses digits where the data lie far from zero.
    rtol = 1e-12 if shift == 0 else 1e-8
    np.testing.assert_allclose(crps(x, y, fair=fair), expected, rtol=rtol)


def test_crps_tends_to_that_of_the_law():
    z = np.array([-1.2, 0.0, 2.5])
    exact = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - np.pi**-0.5
    draws = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    np.testing.assert_allclose(crps(draws[:, None], z), exact, atol=1e-4)


def test_the_fair_score_has_no_bias():
    draws, y = RNG.normal(size=(4, 40_000)), RNG.normal(size=40_000)
    # E of a perfect forecast: 1 / sqrt(pi).
    assert crps(draws, y, fair=True).mean() == pytest.approx(np.pi**-0.5, abs=0.01)
    assert crps(draws, y).mean() > np.pi**-0.5 + 0.05


@pytest.mark.parametrize("fair", [False, True])
def test_energy_score_is_the_double_loop(fair):
    x, y = RNG.normal(size=(7, 3, 2)), RNG.normal(size=(3, 2))
    pairs = 42 if fair else 49
    expected = [loop(x[:, i], y[i], np.linalg.norm, pairs) for i in range(3)]
    np.testing.assert_allclose(energy_score(x, y, fair=fair), expected, rtol=1e-12)


def test_energy_score_in_one_dimension_is_crps(monkeypatch):
    x, y = RNG.normal(size=(50, 3)), RNG.normal(size=3)
    expected = crps(x, y)
    np.testing.assert_allclose(energy_score(x[..., None], y[..., None]), expected)
    monkeypatch.setattr("numpyro_ext.diagnostics._scores.MAX_PAIRS", 200)
    np.testing.assert_allclose(energy_score(x[..., None], y[..., None]), expected)


def test_interval_score_penalises_what_lies_outside():
    y = np.array([-1.0, 0.5, 3.0])
    np.testing.assert_allclose(
        interval_score(0.0, 2.0, y, prob=0.9), [2 + 20 * 1, 2, 2 + 20 * 1]
    )
    with pytest.raises(ValueError, match=r"above its `upper` end, at index \(1,\)"):
        interval_score([0.0, 3.0], [1.0, 2.0], 0.0, prob=0.9)
    with pytest.raises(ValueError, match="prob=90"):
        interval_score(0.0, 1.0, 0.0, prob=90.0)


def test_brier_and_log_score():
    np.testing.assert_allclose(brier_score([0.2, 0.9], [0, 1]), [0.04, 0.01])
    values = np.log([[0.1, 0.5], [0.3, 0.7]])
    np.testing.assert_allclose(log_score(values), -np.log([0.2, 0.6]), rtol=1e-14)
    assert log_score(np.full((3, 1), -2000.0)) == pytest.approx(2000.0)
    with pytest.raises(ValueError, match="probability 1.5"):
        brier_score([1.5], [1])
    with pytest.raises(ValueError, match=r"outcome 2.0.*`crps`"):
        brier_score([0.5], [2])


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"shape \(5, 3\).*data \(4,\)"):
        crps(np.zeros((5, 3)), np.zeros(4))
    with pytest.raises(ValueError, match="only one"):
        crps(np.zeros((1, 3)), np.zeros(3), fair=True)
    assert np.isnan(crps([[np.nan], [1.0]], [0.0])).all()
