"""Weights and shapes of many data at once are those that ArviZ finds one by one."""

import numpy as np
import pytest
from arviz_stats.base.array import array_stats

from numpyro_ext.diagnostics._psis import smooth

RNG = np.random.default_rng(8)


@pytest.mark.parametrize("relative_ess", [1.0, 0.4])
@pytest.mark.parametrize("num", [60, 1000])
def test_weights_are_those_of_arviz(num, relative_ess):
    log_ratios = RNG.normal(size=(num, 150)) * np.linspace(0.1, 4.0, 150)
    expected = array_stats.psislw(-log_ratios.T, r_eff=relative_ess)
    found = smooth(log_ratios, relative_ess=relative_ess)
    np.testing.assert_allclose(found.pareto_k, expected[1], rtol=1e-11)
    np.testing.assert_allclose(found.log_weights.T, expected[0], rtol=1e-11)
    # Light tails and heavy ones.
    assert found.pareto_k.min() < 0.5 < 1.0 < found.pareto_k.max()


def test_no_tail_is_told_from_one_that_cannot_be_fitted():
    equal = smooth(np.full((100, 1), 3.0))
    assert equal.pareto_k[0] == 0.0
    np.testing.assert_allclose(equal.log_weights, -np.log(100))
    tied = np.zeros((1000, 1))
    tied[0] = 5.0
    assert np.isinf(smooth(tied).pareto_k[0])
    assert np.isinf(smooth(RNG.normal(size=(20, 1))).pareto_k[0])
    for log_ratios in (tied, RNG.normal(size=(20, 3))):
        weights = np.exp(smooth(log_ratios).log_weights)
        np.testing.assert_allclose(weights.sum(axis=0), 1.0, rtol=1e-12)
