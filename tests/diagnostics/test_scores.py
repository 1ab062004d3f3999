"""Scores against double loops and closed forms."""

import numpy as np
import pytest
import scoringrules
from scipy import stats

from numpyro_ext.diagnostics import (
    brier_decomposition,
    brier_score,
    crps,
    energy_score,
    interval_score,
    log_score,
    scores,
)
from numpyro_ext.diagnostics._ordered import order, quantiles

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


def test_one_datum_needs_no_axis():
    x, v = RNG.normal(size=8), RNG.normal(size=(8, 2))
    assert crps(x, 0.3).shape == energy_score(v, [0.0, 0.0]).shape == ()
    assert crps(x, 0.3) == crps(x[:, None], [0.3])[0]
    assert log_score(x) == log_score(x[:, None])[0]
    assert brier_score(0.3, 1) == pytest.approx(0.49)
    assert interval_score(0.0, 1.0, 0.5, prob=0.5) == 1.0
    assert scores(x, 0.3).interval_score.shape == (4,)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"shape \(5, 3\).*data \(4,\)"):
        crps(np.zeros((5, 3)), np.zeros(4))
    with pytest.raises(ValueError, match="only one"):
        crps(np.zeros((1, 3)), np.zeros(3), fair=True)
    assert np.isnan(crps([[np.nan], [1.0]], [0.0])).all()


@pytest.mark.parametrize("fair", [False, True])
def test_scores_are_those_of_scoringrules(fair):
    x, y = RNG.standard_t(4, size=(41, 6)), RNG.normal(size=6)
    kind = "fair" if fair else "nrg"
    np.testing.assert_allclose(
        crps(x, y, fair=fair),
        scoringrules.crps_ensemble(y, x, m_axis=0, estimator=kind),
        rtol=1e-12,
    )
    v, z = RNG.normal(size=(41, 6, 3)), RNG.normal(size=(6, 3))
    np.testing.assert_allclose(
        energy_score(v, z, fair=fair),
        scoringrules.es_ensemble(z, v, m_axis=0, v_axis=-1, estimator=kind),
        rtol=1e-12,
    )
    low, high = np.quantile(x, [0.1, 0.9], axis=0)
    np.testing.assert_allclose(
        interval_score(low, high, y, prob=0.8),
        scoringrules.interval_score(y, low, high, 0.2),
        rtol=1e-12,
    )
    p, b = RNG.random(6), RNG.integers(0, 2, 6)
    np.testing.assert_allclose(
        brier_score(p, b), scoringrules.brier_score(b, p), rtol=1e-12
    )


def test_weighted_scores_are_double_loops():
    x, y = RNG.normal(size=(9, 4)), RNG.normal(size=4)
    w = RNG.random((9, 4))
    for i in range(4):
        p = w[:, i] / w[:, i].sum()
        near = sum(p[s] * abs(x[s, i] - y[i]) for s in range(9))
        gaps = [
            p[s] * p[t] * abs(x[s, i] - x[t, i]) for s in range(9) for t in range(9)
        ]
        expected = near - sum(gaps) / 2
        assert crps(x, y, weights=w)[i] == pytest.approx(expected, rel=1e-12)
        vector = energy_score(x[..., None], y[..., None], weights=w)[i]
        assert vector == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(crps(x, y, weights=np.ones(9)), crps(x, y), rtol=1e-12)


def test_weights_that_are_none_are_named():
    x, y = np.zeros((3, 2)), np.zeros(2)
    with pytest.raises(ValueError, match=r"holds -1.0"):
        crps(x, y, weights=[1.0, -1.0, 1.0])
    with pytest.raises(ValueError, match=r"all 0 for the datum \(0,\)"):
        crps(x, y, weights=[0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="`weights`, or `fair=True`"):
        crps(x, y, weights=[1.0, 1.0, 1.0], fair=True)
    with pytest.raises(ValueError, match=r"shape \(4, 1\)"):
        crps(x, y, weights=np.ones(4))


def test_quantiles_are_those_of_the_next_value():
    x, probs = RNG.normal(size=(19, 3)), [0.01, 0.05, 0.33, 0.5, 0.975]
    expected = np.quantile(x, probs, axis=0, method="weibull")
    np.testing.assert_allclose(quantiles(order(x), probs), expected, rtol=1e-12)
    equal = np.full(x.shape, 1 / 19)
    np.testing.assert_allclose(quantiles(order(x, equal), probs), expected, rtol=1e-9)
    # A draw of weight 0 is as if it were not there.
    less = np.where(np.arange(19)[:, None] < 3, 0.0, 1 / 16) * np.ones(x.shape)
    expected = np.quantile(x[3:], 0.4, axis=0, method="weibull")
    np.testing.assert_allclose(quantiles(order(x, less), 0.4)[0], expected, rtol=0.2)
    assert (quantiles(order(x, less), 0.999)[0] == x[3:].max(axis=0)).all()


def test_all_scores_are_the_single_ones():
    x, y = RNG.normal(size=(30, 5)), RNG.normal(size=5)
    density = stats.norm.logpdf(y, loc=x)
    found = scores(x, y, log_likelihood=density, levels=[0.5, 0.9])
    np.testing.assert_array_equal(found.log_score, log_score(density))
    np.testing.assert_array_equal(found.crps, crps(x, y))
    assert found.energy_score is None
    assert found.brier_score is None
    assert found.interval_score is not None
    low, high = np.quantile(x, [0.05, 0.95], axis=0, method="weibull")
    np.testing.assert_allclose(
        found.interval_score[1], scoringrules.interval_score(y, low, high, 0.1)
    )


def test_what_has_no_meaning_is_none():
    x, y = RNG.normal(size=(30, 5, 2)), RNG.normal(size=(5, 2))
    found = scores(x, y, is_vector=True)
    np.testing.assert_array_equal(found.energy_score, energy_score(x, y))
    assert (found.log_score, found.crps, found.interval_score) == (None, None, None)
    x, y = RNG.integers(0, 2, (30, 5)), RNG.integers(0, 2, 5)
    found = scores(x, y)
    np.testing.assert_array_equal(found.brier_score, brier_score(x.mean(axis=0), y))
    # The ranked probability score of two classes is the Brier score.
    np.testing.assert_allclose(found.crps, found.brier_score, rtol=1e-12)
    assert found.interval_score is None
    with pytest.raises(ValueError, match="levels=1.0"):
        scores(np.zeros((3, 2)) + 0.5, np.zeros(2), levels=[1.0])


def isotonic(p, y):
    """Max-min formula, on the distinct forecasts."""
    values = np.unique(p)
    sums = np.array([y[p == v].sum() for v in values])
    counts = np.array([(p == v).sum() for v in values])
    n = len(values)
    fitted = [
        max(
            min(sums[a : b + 1].sum() / counts[a : b + 1].sum() for b in range(i, n))
            for a in range(i + 1)
        )
        for i in range(n)
    ]
    return np.array(fitted)[np.searchsorted(values, p)]


def test_the_parts_of_a_brier_score_add_up():
    p = np.round(RNG.random(60), 1)
    y = (RNG.random(60) < p**2).astype(int)
    found = brier_decomposition(p, y)
    fitted = isotonic(p, y)
    overall = y.mean() * (1 - y.mean())
    assert found.score == pytest.approx(np.mean((p - y) ** 2), rel=1e-12)
    recalibrated = np.mean((fitted - y) ** 2)
    assert found.reliability == pytest.approx(found.score - recalibrated, rel=1e-12)
    assert found.resolution == pytest.approx(overall - recalibrated, rel=1e-12)
    assert found.uncertainty == pytest.approx(overall, rel=1e-12)
    parts = found.reliability - found.resolution + found.uncertainty
    assert parts == pytest.approx(found.score, rel=1e-12)


def test_forecasts_that_are_right_lose_nothing():
    y = np.array([0, 1] * 50)
    assert brier_decomposition(np.full(100, 0.5), y)[1:] == (0.0, 0.0, 0.25)
    assert brier_decomposition(y, y)[1:] == (0.0, 0.25, 0.25)
    assert brier_decomposition(1 - y, y).reliability == pytest.approx(0.75)
    with pytest.raises(ValueError, match="no data"):
        brier_decomposition([], [])
