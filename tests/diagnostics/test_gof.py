"""The table of goodness of fit against loops, ArviZ, and what a right model has."""

import arviz_base
import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

from numpyro_ext.diagnostics import crps, energy_score, gof, interval_score
from tests.diagnostics.regression import regression_tree

RNG = np.random.default_rng(12)


@pytest.fixture(scope="module")
def tree():
    return regression_tree(RNG, num_data=60, num_slopes=4, num_new=40)


def column(table, name="value", site="y"):
    return table.loc[site][name]


def flat(tree, group):
    return tree[group]["y"].values.reshape(-1, tree[group]["y"].shape[-1])


def test_leave_one_out_is_that_of_arviz(tree):
    value = column(gof(tree, split="LOO"))
    se = column(gof(tree, split="LOO"), "se")
    loo = arviz_stats.loo(tree, reff=1.0, pointwise=True)
    # Tails are as long as the draws are effective, which ArviZ is told to be all.
    assert value["elpd"] == pytest.approx(loo.elpd, abs=0.05)
    assert se["elpd"] == pytest.approx(loo.se, rel=0.02)
    assert value["p_loo"] == pytest.approx(loo.p, abs=0.05)
    assert value["pareto_k"] == pytest.approx(float(loo.pareto_k.max()), abs=0.05)
    assert value["nll"] == pytest.approx(-value["elpd"] / 60)


def test_weighted_rows_are_loops_over_data(tree):
    table = gof(tree, split="LOO")
    value = column(table)
    y = tree["observed_data"]["y"].values
    draws, mean = flat(tree, "posterior_predictive"), flat(tree, "conditional_mean")
    ratios = -flat(tree, "log_likelihood")
    weights = np.exp(ratios - logsumexp(ratios, axis=0))
    # Raw weights: with light tails, smoothing changes them little.
    scores = [crps(draws[:, i], y[i], weights=weights[:, i]) for i in range(60)]
    assert value["crps"] == pytest.approx(np.mean(scores), rel=2e-3)
    errors = [np.sum(weights[:, i] * mean[:, i]) - y[i] for i in range(60)]
    assert value["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=2e-3)
    at = flat(tree, "conditional_cdf")
    u = np.array([np.sum(weights[:, i] * at[:, i]) for i in range(60)])
    inside = np.abs(2 * u - 1) <= 0.8
    assert abs(value["coverage_80"] - inside.mean()) <= 1 / 60
    assert set(column(table, "split")[["crps", "rmse", "coverage_80"]]) == {"LOO"}
    assert column(table, "split")["p_mean"] == "in-sample"


def test_held_out_rows_are_plain_means(tree):
    table = gof(tree)
    value = column(table)
    assert set(table["split"]) == {"held-out"}
    y = tree["predictions_observed_data"]["y"].values
    draws, mean = flat(tree, "predictions"), flat(tree, "predictions_conditional_mean")
    density = flat(tree, "predictions_log_likelihood")
    elpd = np.log(np.mean(np.exp(density), axis=0)).sum()
    error = mean.mean(axis=0) - y
    low, high = np.quantile(draws, [0.05, 0.95], axis=0, method="weibull")
    u = flat(tree, "predictions_conditional_cdf").mean(axis=0)
    expected = {
        "elpd": elpd,
        "nll": -elpd / 40,
        "rmse": np.sqrt(np.mean(error**2)),
        "mae": np.mean(np.abs(np.median(draws, axis=0) - y)),
        "crps": crps(draws, y).mean(),
        "sharpness_90": np.mean(high - low),
        "interval_score_90": interval_score(low, high, y, prob=0.9).mean(),
        "coverage_90": np.mean(np.abs(2 * u - 1) <= 0.9),
        "r2": 1 - np.sum(error**2) / np.sum((y - y.mean()) ** 2),
        "bayes_r2": np.mean(mean.var(axis=1) / (mean.var(axis=1) + 1.0)),
        "epistemic_variance": mean.var(axis=0).mean(),
        "aleatoric_variance": 1.0,
        "pearson": np.mean((y - mean) ** 2, axis=0).sum(),
        "p_max": np.mean(draws.max(axis=1) > y.max()),
        "p_sd": np.mean(draws.std(axis=1) > y.std()),
    }
    for metric, number in expected.items():
        assert value[metric] == pytest.approx(number, rel=1e-10), metric


def test_the_table_says_what_is_better(tree):
    better = column(gof(tree, split="LOO"), "better")
    assert better["elpd"] == better["r2"] == "higher"
    assert set(better[["rmse", "mae", "nll", "crps", "interval_score_50"]]) == {"lower"}
    assert better["coverage_95"] == "0.95"
    assert better["p_mean"] == "0.5"


def test_the_truth_and_own_statistics_and_levels(tree):
    truth = tree["predictions_observed_data"]["y"].values + 1.0
    mean = flat(tree, "predictions_conditional_mean").mean(axis=0)
    table = gof(tree, truth=truth, levels=[0.3], statistics={"median": np.median})
    value = column(table)
    expected = np.sqrt(np.mean((mean - truth) ** 2))
    assert value["rmse_truth"] == pytest.approx(expected, rel=1e-12)
    assert {"coverage_30", "p_median"} <= set(value.index)
    assert not {"coverage_90", "p_mean"} & set(value.index)
    np.testing.assert_array_equal(
        column(gof(tree, truth={"y": truth}))["rmse_truth"], value["rmse_truth"]
    )
    with pytest.raises(ValueError, match=r"shape \(3,\).*40 data"):
        gof(tree, truth=np.zeros(3))
    with pytest.raises(ValueError, match="did you mean `mean`"):
        gof(tree, statistics=["maen"])
    with pytest.raises(ValueError, match=r"`f` gives shape \(\)"):
        gof(tree, statistics={"f": lambda x, axis: x.sum()})
    with pytest.raises(ValueError, match="levels=90"):
        gof(tree, levels=[90.0])


def test_xarray_has_the_curve_of_coverage(tree):
    table = gof(tree)
    dataset = gof(tree, fmt="xarray")
    assert dataset["value"].sel(site="y", metric="crps") == column(table)["crps"]
    assert dataset["better"].sel(site="y", metric="elpd") == "higher"
    u = flat(tree, "predictions_conditional_cdf").mean(axis=0)
    expected = [np.mean(np.abs(2 * u - 1) <= p) for p in dataset["level"].values]
    np.testing.assert_allclose(dataset["coverage_curve"].sel(site="y"), expected)


def test_a_wrong_scale_costs_in_every_score():
    rng = np.random.default_rng(3)
    right = column(gof(regression_tree(rng, num_data=300, num_slopes=3)))
    rng = np.random.default_rng(3)
    wrong = column(gof(regression_tree(rng, num_data=300, num_slopes=3, factor=0.4)))
    for metric in ("nll", "crps", "interval_score_90", "pearson"):
        assert wrong[metric] > right[metric]
    assert wrong["elpd"] < right["elpd"]
    assert wrong["sharpness_90"] < right["sharpness_90"]
    assert wrong["coverage_90"] < 0.7 < 0.85 < right["coverage_90"]
    assert wrong["p_sd"] < 0.5


def test_without_laws_the_draws_speak_and_the_rest_says_why(tree):
    plain = xr.DataTree.from_dict(
        {name: tree[name] for name in tree.children if "conditional" not in name}
    )
    table = gof(plain)
    value, note = column(table), column(table, "note")
    exact = column(gof(tree))
    for metric in ("rmse", "crps", "coverage_80", "nll"):
        assert value[metric] == pytest.approx(exact[metric], rel=0.05)
    for metric in ("bayes_r2", "epistemic_variance", "deviance", "pearson"):
        assert np.isnan(value[metric])
        assert "give `model=`" in note[metric]


def test_draws_that_cannot_be_weighed_are_left_out():
    tree = regression_tree(np.random.default_rng(2), num_data=30, num_slopes=2)
    some = tree["posterior_predictive"].to_dataset().isel(draw=slice(0, 100))
    tree["posterior_predictive"] = xr.DataTree(some)
    tree.attrs |= {"kind": "independent", "pareto_k": 0.9}
    table = gof(tree)
    value, note = column(table), column(table, "note")
    assert np.isfinite(value[["nll", "rmse", "coverage_90"]]).all()
    assert np.isnan(value[["crps", "mae", "sharpness"]]).all()
    assert "400 draws and `log_likelihood` 1000" in note["crps"]
    assert "own k is 0.90" in note["pareto_k"]


def test_sites_are_chosen_by_name():
    tree = regression_tree(np.random.default_rng(2), num_data=30, num_slopes=2)
    for name in ("log_likelihood", "observed_data", "posterior_predictive"):
        tree[name]["z"] = tree[name]["y"]
    assert list(gof(tree, sites=["z"]).index.levels[0]) == ["z"]
    both = gof(tree)
    pd.testing.assert_series_equal(
        both.loc["y"].loc["nll"], both.loc["z"].loc["nll"], check_names=False
    )
    dataset = gof(tree, fmt="xarray")
    assert dataset.sizes["site"] == 2
    assert dataset["note"].sel(site="z", metric="pearson").item().startswith("not")


def test_in_sample_predictions_come_with_a_warning(tree):
    groups = ("posterior", "posterior_predictive", "observed_data")
    poor = xr.DataTree.from_dict({name: tree[name] for name in groups})
    with pytest.warns(UserWarning, match="held-out data"):
        table = gof(poor)
    assert set(table["split"]) == {"in-sample"}
    assert "no log likelihood" in column(table, "note")["elpd"]
    points = tree.copy()
    points.attrs["kind"] = "points"
    with pytest.raises(ValueError, match="are points"):
        gof(points, split="LOO")
    with pytest.raises(ValueError, match="`predictions_observed_data`"):
        gof(poor, split="held-out")
    with pytest.raises(ValueError, match="names `z`"):
        gof(tree, sites=["z"])
    with pytest.raises(ValueError, match="no `observed_data`"):
        gof(xr.DataTree.from_dict({"posterior": tree["posterior"]}))


@pytest.mark.usefixtures("as_users_run_it")
def test_unknown_choices_are_named(tree):
    with pytest.raises(ValueError, match="split='loo'.*did you mean|split='loo'"):
        gof(tree, split="loo")
    with pytest.raises(ValueError, match="fmt='panda'.*`pandas`"):
        gof(tree, fmt="panda")


def test_high_pareto_k_is_named():
    tree = regression_tree(np.random.default_rng(1), num_data=40, num_slopes=3)
    values = tree["log_likelihood"]["y"].values
    values[:, :, 7] *= 60.0
    with pytest.warns(UserWarning, match=r"observation indices 7 \(k = .*reloo"):
        table = gof(tree)
    assert column(table, "note")["pareto_k"] == "above 0.7 for 1 of 40 data"
    values[0, 0, 3] = -np.inf
    with pytest.raises(ValueError, match="not finite"):
        gof(tree, split="LOO")


def binary_tree(p, y, num=400):
    draws = RNG.random((1, num, len(y))) < p
    log_likelihood = np.broadcast_to(stats.bernoulli(p).logpmf(y), draws.shape)
    return arviz_base.from_dict(
        {
            "posterior": {"a": RNG.normal(size=(1, num))},
            "posterior_predictive": {"y": draws.astype(int)},
            "log_likelihood": {"y": np.array(log_likelihood)},
            "observed_data": {"y": y},
        }
    )


def test_binary_data_have_brier_scores():
    p = RNG.random(200)
    y = (RNG.random(200) < p).astype(int)
    table = gof(binary_tree(p, y))
    value = column(table)
    assert value["brier"] == pytest.approx(np.mean((p - y) ** 2), rel=1e-10)
    assert value["rmse"] ** 2 == pytest.approx(value["brier"], rel=1e-10)
    parts = (
        value["brier_reliability"]
        - value["brier_resolution"]
        + value["brier_uncertainty"]
    )
    assert parts == pytest.approx(value["brier"], rel=1e-10)
    assert value["epistemic_variance"] == pytest.approx(0.0, abs=1e-12)
    assert value["aleatoric_variance"] == pytest.approx(np.mean(p * (1 - p)))
    assert "binary" in column(table, "note")["coverage"]
    assert np.isnan(value["coverage"])


@pytest.mark.parametrize("num", [100, 600])
def test_vectors_have_energy_scores(num):
    y = RNG.normal(size=(9, 3))
    draws = RNG.normal(size=(2, num // 2, 9, 3))
    log_likelihood = np.zeros((2, num // 2, 9)) + stats.norm.logpdf(y).sum(axis=1)
    tree = arviz_base.from_dict({"posterior": {"a": draws[..., 0, 0]}})
    for name, value in {
        "posterior_predictive": draws,
        "log_likelihood": log_likelihood,
    }.items():
        dims = ["chain", "draw", "row", "part"][: value.ndim]
        tree[name] = xr.DataTree(xr.Dataset({"y": (dims, value)}))
    tree["observed_data"] = xr.DataTree(xr.Dataset({"y": (["row", "part"], y)}))
    value = column(gof(tree))
    x = draws.reshape(num, 9, 3)
    # With more than 256 draws some of the pairs stand for all.
    rel = 1e-10 if num < 256 else 0.02
    assert value["energy_score"] == pytest.approx(energy_score(x, y).mean(), rel=rel)
    assert value["crps"] == pytest.approx(crps(x, y).mean(), rel=1e-10)
    assert value["nll"] == pytest.approx(-stats.norm.logpdf(y).sum(axis=1).mean())


def test_categories_are_scored_as_such():
    probs = RNG.dirichlet([1.0, 1.0, 1.0], size=50)
    y = np.array([RNG.choice(3, p=row) for row in probs])
    shape = (1, 30, 50)
    tree = arviz_base.from_dict(
        {
            "posterior": {"a": np.zeros(shape[:2])},
            "log_likelihood": {"y": np.zeros(shape) + np.log(probs[np.arange(50), y])},
            "observed_data": {"y": y},
        },
        dims={"y": ["row"]},
    )
    dims = ["chain", "draw", "row", "category"]
    group = xr.Dataset({"y": (dims, np.broadcast_to(probs, (*shape, 3)).copy())})
    tree["conditional_probs"] = xr.DataTree(group)
    table = gof(tree)
    value = column(table)
    happened = np.eye(3)[y]
    expected = np.mean(np.sum((probs - happened) ** 2, axis=1))
    assert value["brier"] == pytest.approx(expected, rel=1e-10)
    assert value["accuracy"] == np.mean(probs.argmax(axis=1) == y)
    assert "no numbers" in column(table, "note")["rmse"]


def test_members_of_an_ensemble_have_their_spread_split():
    mean = RNG.normal(size=(20, 1, 30))
    draws = mean + 0.5 * RNG.normal(size=(20, 400, 30))
    tree = arviz_base.from_dict(
        {
            "posterior": {"a": mean[..., 0]},
            "posterior_predictive": {"y": draws},
            "observed_data": {"y": RNG.normal(size=30)},
        },
        check_conventions=False,
    )
    tree.attrs["kind"] = "points"
    with pytest.warns(UserWarning, match="held-out data"):
        value = column(gof(tree))
    assert value["epistemic_variance"] == pytest.approx(
        mean.var(axis=0).mean(), rel=0.02
    )
    assert value["aleatoric_variance"] == pytest.approx(0.25, rel=0.02)


def test_masked_data_are_left_out():
    tree = regression_tree(np.random.default_rng(4), num_data=30, num_slopes=2)
    kept = np.flatnonzero(np.arange(30) % 3)
    full = tree["log_likelihood"]["y"].values
    expected = gof(
        regression_tree(np.random.default_rng(4), num_data=30, num_slopes=2),
        split="in-sample",
    )
    group = xr.Dataset(
        {"y": (["chain", "draw", "y_unmasked"], full[:, :, kept])},
        coords={"y_unmasked": kept},
    )
    tree["log_likelihood"] = xr.DataTree(group)
    value = column(gof(tree, split="in-sample"))
    y = tree["observed_data"]["y"].values[kept]
    mean = flat(tree, "conditional_mean").mean(axis=0)[kept]
    assert value["rmse"] == pytest.approx(np.sqrt(np.mean((mean - y) ** 2)), rel=1e-10)
    assert value["rmse"] != column(expected)["rmse"]
    assert value["elpd"] == pytest.approx(
        np.log(np.mean(np.exp(flat(tree, "log_likelihood")), axis=0)).sum()
    )
