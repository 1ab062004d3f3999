"""Convergence statistics of many scalars are ArviZ's own, one by one."""

import numpy as np
import pytest
from arviz_stats.base.array import array_stats

from numpyro_ext.diagnostics._sample_stats import sample_stats

RNG = np.random.default_rng(12)


def autoregressive(rho, shape):
    chain, draw, n = shape
    noise = RNG.normal(size=shape)
    x = np.empty(shape)
    x[:, 0] = noise[:, 0]
    for t in range(1, draw):
        x[:, t] = rho * x[:, t - 1] + noise[:, t]
    return x


def samples(num_chains, num_draws):
    shape = (num_chains, num_draws, 1)
    parts = [
        RNG.normal(size=shape),
        autoregressive(0.9, shape),
        autoregressive(0.995, shape),
        autoregressive(-0.7, shape),
        RNG.standard_cauchy(size=shape),
        RNG.poisson(0.3, size=shape).astype(float),
        RNG.normal(size=shape) + np.arange(num_chains)[:, None, None],
        1e8 + RNG.normal(size=shape),
        np.cumsum(RNG.normal(size=shape), axis=1),
        np.tile([[[1.0]], [[-1.0]]], (num_chains, num_draws, 1))[
            :num_chains, :num_draws
        ],
    ]
    return np.concatenate(parts, axis=2)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning:arviz_stats")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning:arviz_stats")
@pytest.mark.parametrize("shape", [(4, 200), (2, 101), (1, 64), (3, 7), (2, 4)])
def test_each_statistic_is_arviz_own(shape):
    draws = samples(*shape)
    ours = sample_stats(draws, ci_prob=0.89)
    for i in range(draws.shape[2]):
        x = draws[:, :, i]
        expected = {
            "mean": x.mean(),
            "sd": x.std(ddof=1),
            "lower": np.quantile(x, 0.055),
            "upper": np.quantile(x, 0.945),
            "ess_bulk": array_stats.ess(x, method="bulk"),
            "ess_tail": array_stats.ess(x, method="tail", prob=(0.05, 0.95)),
            "mcse_mean": array_stats.mcse(x, method="mean"),
            "mcse_sd": array_stats.mcse(x, method="sd"),
        }
        if shape[0] > 1:
            expected["r_hat"] = array_stats.rhat(x)
        for name, value in expected.items():
            got = getattr(ours, name)[i]
            np.testing.assert_allclose(
                got, value, rtol=1e-11, atol=1e-300, err_msg=f"{name} of {i}"
            )
    if shape[0] == 1:
        assert np.isnan(ours.r_hat).all()


def test_nan_and_constants_are_not_judged():
    draws = RNG.normal(size=(4, 50, 3))
    draws[1, 3, 0] = np.nan
    draws[:, :, 1] = 2.5
    stats = sample_stats(draws, ci_prob=0.9)
    assert np.isnan([stats.ess_bulk[0], stats.ess_tail[0], stats.r_hat[0]]).all()
    assert stats.sd[1] == 0.0
    assert np.isnan(stats.r_hat[1])
    assert np.isfinite([stats.ess_bulk[2], stats.r_hat[2]]).all()
    assert sample_stats(draws[:, :, :0], ci_prob=0.9).mean.shape == (0,)
    few = sample_stats(draws[:, :3], ci_prob=0.9)
    assert np.isnan(few.ess_bulk).all()
