"""Calibrated models pass and others fail with the reason; nothing passes unseen."""

import arviz_base
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from scipy import stats

from numpyro_ext import NUTS, EnsembleMAP, ModelSpec
from numpyro_ext.diagnostics import calibration, ecdf_band, gof
from numpyro_ext.diagnostics._reliability import reliability
from tests.diagnostics.regression import regression_tree

KEY = jax.random.key(3)


def only(tree, **options):
    (site,) = calibration(tree, **options).sites.values()
    return site


@pytest.mark.filterwarnings("ignore:Pareto k")
@pytest.mark.parametrize("with_laws", [True, False])
@pytest.mark.parametrize("num_new", [0, 150])
def test_a_right_model_passes_and_an_overconfident_one_fails(with_laws, num_new):
    options = {"num_slopes": 30, "num_new": num_new, "with_laws": with_laws}
    split = "held-out" if num_new else "LOO"
    right = only(regression_tree(np.random.default_rng(6), **options))
    assert (right.split, right.status) == (split, "ok")
    assert "No sign of miscalibration" in right.verdict
    wrong = only(regression_tree(np.random.default_rng(6), factor=0.6, **options))
    assert (wrong.split, wrong.status) == (split, "fail")
    assert "too narrow (overconfident)" in wrong.verdict
    curve = wrong.curve
    assert ((curve["coverage"] < curve["lower"]) & (curve["nominal"] > 0.4)).any()
    assert (right.curve["coverage"] >= right.curve["lower"]).all()


def test_an_underconfident_and_a_shifted_model_fail_for_their_reason():
    wide = regression_tree(np.random.default_rng(5), num_slopes=5, factor=1.8)
    assert "too wide (underconfident)" in only(wide).verdict
    shifted = regression_tree(np.random.default_rng(5), num_slopes=5)
    y = shifted["observed_data"]["y"].values
    y += 1.0
    mean = shifted["conditional_mean"]["y"].values
    shifted["log_likelihood"]["y"].values[...] = stats.norm.logpdf(y, mean)
    shifted["conditional_cdf"]["y"].values[...] = stats.norm.cdf(y, mean)
    assert "data lie above their predictions" in only(shifted).verdict


def test_in_sample_transforms_warn_and_are_never_judged():
    tree = regression_tree(np.random.default_rng(5), factor=0.6)
    with pytest.warns(UserWarning, match="held-out data"):
        result = calibration(tree, split="in-sample")
    site = result.sites["y"]
    assert result.status == site.status == "not applicable"
    assert "Not judged" in site.verdict
    # They look right, although 90 % intervals hold three quarters of new data.
    assert result.table.loc["y", "coverage_90"] > 0.75


def test_the_transform_is_the_weighted_law():
    tree = regression_tree(np.random.default_rng(8), num_data=40, num_slopes=3)
    site = only(tree)
    density = tree["log_likelihood"]["y"].values.reshape(1000, 40)
    at = tree["conditional_cdf"]["y"].values.reshape(1000, 40)
    weights = 1.0 / np.exp(density)
    expected = np.sum(weights * at, axis=0) / weights.sum(axis=0)
    np.testing.assert_allclose(site.pit[:, 0], expected, atol=2e-3)
    assert site.reference == "correlated leave-one-out errors"


def counts_tree(rng, rate, taken_for, *, num=300):
    y = rng.poisson(rate, num)
    draws = rng.poisson(taken_for, (2, 300, num))
    shape = draws.shape
    law = stats.poisson(taken_for)
    tree = arviz_base.from_dict(
        {
            "posterior": {"a": rng.normal(size=shape[:2])},
            "posterior_predictive": {"y": draws},
            "log_likelihood": {"y": np.zeros(shape) + law.logpmf(y)},
            "observed_data": {"y": y},
        }
    )
    return tree, y, law


@pytest.mark.parametrize("exact", [True, False])
def test_counts_are_calibrated_although_they_are_steps(exact):
    rng = np.random.default_rng(2)
    for taken_for, status in ((1.3, "ok"), (2.0, "fail")):
        tree, y, law = counts_tree(rng, 1.3, taken_for)
        if exact:
            for name, at in (("cdf", y), ("cdf_below", y - 1)):
                value = np.zeros((2, 300, len(y))) + law.cdf(at)
                group = xr.Dataset({"y": (["chain", "draw", "y_dim_0"], value)})
                tree[f"conditional_{name}"] = xr.DataTree(group)
        site = only(tree)
        assert site.status == status
        assert site.reference == "independent data"
        assert stats.kstest(site.pit[:, 0], "uniform").pvalue > 1e-3 or status == "fail"


def test_without_laws_the_band_is_the_exact_one():
    tree, y, _ = counts_tree(np.random.default_rng(2), 1.3, 1.3)
    site = only(tree, levels=[0.3, 0.6, 0.9], prob=0.8)
    band = ecdf_band(len(y), prob=0.8, points=np.array([0.3, 0.6, 0.9]))
    np.testing.assert_array_equal(site.curve["lower"], band.lower)
    np.testing.assert_array_equal(site.curve["upper"], band.upper)
    u = site.pit[:, 0]
    expected = [np.mean(np.abs(2 * u - 1) <= level) for level in (0.3, 0.6, 0.9)]
    np.testing.assert_allclose(site.curve["coverage"], expected)


def test_tails_that_are_too_light_are_named():
    rng = np.random.default_rng(3)
    tree = arviz_base.from_dict(
        {
            "posterior": {"a": np.zeros((1, 1000))},
            "predictions": {"y": 1.6 * rng.normal(size=(1, 1000, 800))},
            "predictions_observed_data": {"y": rng.standard_t(2.5, size=800)},
        },
        check_conventions=False,
    )
    site = only(tree)
    assert site.status == "fail"
    assert "tails of the predictive law are too light" in site.verdict


@pytest.mark.parametrize("num_draws", [8, 16, 50, 200])
def test_a_perfect_forecaster_is_covered_for_any_number_of_draws(num_draws):
    rng = np.random.default_rng(num_draws)
    num = 60_000
    tree = arviz_base.from_dict(
        {
            "posterior": {"a": np.zeros((1, num_draws))},
            "predictions": {"y": rng.normal(size=(1, num_draws, num))},
            "predictions_observed_data": {"y": rng.normal(size=num)},
        },
        check_conventions=False,
    )
    value = gof(tree, levels=[0.5, 0.95]).loc["y"]["value"]
    assert value["coverage_50"] == pytest.approx(0.5, abs=0.006)
    assert value["coverage_95"] == pytest.approx(0.95, abs=0.003)


def binary_tree(p, y, rng, *, split, num=400):
    prefix = "predictions_" if split == "held-out" else ""
    draws = (rng.random((1, num, len(y))) < p).astype(int)
    density = stats.bernoulli(p).logpmf(y) + np.zeros(draws.shape)
    return arviz_base.from_dict(
        {
            "posterior": {"a": rng.normal(size=(1, num))},
            "predictions" if prefix else "posterior_predictive": {"y": draws},
            f"{prefix}log_likelihood": {"y": density},
            f"{prefix}observed_data": {"y": y},
        }
    )


@pytest.mark.parametrize("split", ["LOO", "held-out"])
def test_binary_outcomes_are_judged_by_reliability(split):
    rng = np.random.default_rng(4)
    p = rng.random(400)
    y = (rng.random(400) < p).astype(int)
    right = only(binary_tree(p, y, rng, split=split))
    assert right.status == "ok"
    assert right.pit is None
    diagram = right.reliability[1]
    assert np.all(np.diff(diagram.frequency) >= 0)
    assert np.mean(diagram.frequency < diagram.lower) < 0.1
    extreme = 1 / (1 + np.exp(-3 * np.log(p / (1 - p))))
    wrong = only(binary_tree(extreme, y, rng, split=split))
    assert wrong.status == "fail"
    assert "too extreme" in wrong.verdict
    high = only(binary_tree(np.sqrt(p), y, rng, split=split))
    assert high.status == "fail"
    assert "too high" in high.verdict


def test_the_calibration_error_is_the_loop_over_bins():
    rng = np.random.default_rng(4)
    p, y = np.sort(rng.random(50)), rng.random(50) < 0.4
    found = reliability(p, y, rng.random((200, 50)) < p)
    gaps = [
        abs(p[i : i + 5].mean() - y[i : i + 5].mean()) * 5 / 50 for i in range(0, 50, 5)
    ]
    assert found.ece == pytest.approx(sum(gaps), rel=1e-12)


def test_a_reliability_test_holds_its_level():
    rng = np.random.default_rng(9)
    p = rng.random(100)
    found = [
        reliability(p, rng.random(100) < p, rng.random((99, 100)) < p).p_value
        for _ in range(300)
    ]
    assert abs(np.mean(np.array(found) <= 0.05) - 0.05) < 0.035


def categories_tree(probs, y):
    shape = (1, 50, len(y))
    tree = arviz_base.from_dict(
        {
            "posterior": {"a": np.zeros(shape[:2])},
            "log_likelihood": {
                "y": np.zeros(shape) + np.log(probs[np.arange(len(y)), y])
            },
            "observed_data": {"y": y},
        },
        dims={"y": ["row"]},
    )
    dims = ["chain", "draw", "row", "category"]
    value = np.zeros((*shape, 3)) + probs
    tree["conditional_probs"] = xr.DataTree(xr.Dataset({"y": (dims, value)}))
    return tree


def test_categories_are_judged_one_by_one():
    rng = np.random.default_rng(1)
    probs = rng.dirichlet([1.0, 2.0, 1.0], size=400)
    y = np.array([rng.choice(3, p=row) for row in probs])
    right = only(categories_tree(probs, y))
    assert right.status == "ok"
    assert set(right.reliability) == {0, 1, 2}
    wrong = only(categories_tree(probs[:, [1, 0, 2]], y))
    assert wrong.status == "fail"
    assert "the probabilities of a" in wrong.verdict


def test_vectors_of_binary_and_categorical_entries_have_transforms():
    rng = np.random.default_rng(8)
    p = np.array([0.2, 0.5, 0.9])
    y = (rng.random((80, 3)) < p).astype(int)
    kinds = rng.integers(0, 3, (80, 2))

    def vectors(y, kinds):
        shift = numpyro.sample("shift", dist.Normal(0, 1))
        logits = jnp.log(p / (1 - p)) + shift
        with numpyro.plate("row", len(y)):
            numpyro.sample("y", dist.Bernoulli(logits=logits).to_event(1), obs=y)
            law = dist.Categorical(logits=shift * jnp.ones((2, 3))).to_event(1)
            numpyro.sample("kinds", law, obs=kinds)

    tree = arviz_base.from_dict(
        {
            "posterior": {"shift": 0.01 * rng.normal(size=(2, 150))},
            "predictions": {
                "y": (rng.random((2, 150, 80, 3)) < p).astype(int),
                "kinds": rng.integers(0, 3, (2, 150, 80, 2)),
            },
            "predictions_observed_data": {"y": y, "kinds": kinds},
        }
    )
    spec = ModelSpec(vectors, y, kinds)
    found = calibration(tree, model=spec)
    assert [site.status for site in found.sites.values()] == ["ok", "ok"]
    assert found.sites["y"].pit.shape == (80, 3)
    assert found.sites["kinds"].pit.shape == (80, 2)
    value = gof(tree, model=spec).loc["y"]["value"]
    # The CRPS of a binary entry is its Brier score.
    assert value["crps"] == pytest.approx(np.mean((y - p) ** 2), rel=0.02)
    tree["predictions_observed_data"]["y"].values[:, 1] = 0
    assert only(tree, sites=["y"]).status == "fail"


def test_what_cannot_be_judged_says_so():
    few = regression_tree(np.random.default_rng(6), num_data=12, num_slopes=2)
    site = only(few)
    assert site.status == "not applicable"
    assert "too few" in site.verdict
    groups = ("posterior", "log_likelihood", "observed_data")
    bare = xr.DataTree.from_dict({name: few[name] for name in groups})
    site = only(bare)
    assert site.status == "not applicable"
    assert "neither predictive draws nor laws" in site.verdict
    assert np.isnan(calibration(bare).table.loc["y", "coverage_90"])


def test_where_leave_one_out_fails_nothing_is_passed():
    tree = regression_tree(np.random.default_rng(5), num_data=50, num_slopes=3)
    rng = np.random.default_rng(0)
    values = tree["log_likelihood"]["y"].values
    values[:, :, :20] += 3.0 * rng.standard_normal((4, 250, 20))
    with pytest.warns(UserWarning, match="Pareto k"):
        site = only(tree)
    assert site.status in ("warn", "fail")


def test_a_poor_approximation_is_not_passed():
    tree = regression_tree(np.random.default_rng(6), num_slopes=3)
    assert only(tree).status == "ok"
    tree.attrs |= {"kind": "independent", "pareto_k": 1.3}
    site = only(tree)
    assert site.status == "warn"
    assert "Pareto k 1.30" in site.verdict


def test_nan_is_named():
    tree = regression_tree(np.random.default_rng(6), num_slopes=3)
    tree["posterior_predictive"]["y"].values[1, 7, 3] = np.nan
    with pytest.raises(ValueError, match="NaN in 1 of 1000 draws"):
        calibration(tree)
    tree["observed_data"]["y"].values[[3, 4]] = np.nan
    with pytest.raises(ValueError, match="`y` has NaN for 2 of its data"):
        gof(tree)


def model(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0, 5))
    scale = numpyro.sample("scale", dist.HalfNormal(5))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(slope * x, scale), obs=y)


def light_tails(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0, 5))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(slope * x, 0.5), obs=y)


def test_a_fit_brings_its_own_laws():
    rng = np.random.default_rng(6)
    x = rng.normal(size=150)
    y = 2 * x + rng.normal(size=150)
    engine = NUTS(num_chains=2, num_warmup=200, num_samples=200)
    right = engine.run(ModelSpec(model, x, y=y), KEY)
    result = calibration(right)
    assert result.status == "ok"
    assert result.sites["y"].reference == "correlated leave-one-out errors"
    value = gof(right).loc["y"]["value"]
    assert value["aleatoric_variance"] == pytest.approx(1.0, rel=0.3)
    assert np.isfinite(value[["bayes_r2", "deviance", "pearson"]]).all()
    wrong = engine.run(ModelSpec(light_tails, x, y=y), KEY)
    assert calibration(wrong).status == "fail"
    assert "overconfident" in repr(calibration(wrong))
    # The same from a tree with the model at hand.
    tree = right.to_datatree()
    again = calibration(tree, model=right.spec)
    np.testing.assert_array_equal(again.sites["y"].pit, result.sites["y"].pit)


def test_points_of_an_ensemble_are_not_judged_without_new_data():
    x = jnp.linspace(-1, 1, 30)
    spec = ModelSpec(model, x, y=2 * x + 0.1)
    fit = EnsembleMAP(num_members=3, num_steps=200).run(spec, KEY)
    with pytest.warns(UserWarning, match="held-out data"):
        result = calibration(fit)
    assert result.status == "not applicable"
    assert "Hold data out" in result.verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_new", "factor", "low", "high"),
    [(0, 1.0, 0.0, 0.05), (0, 0.7, 0.9, 1.0), (100, 1.0, 0.0, 0.08)],
    ids=["left-out-right", "left-out-overconfident", "held-out-right"],
)
@pytest.mark.filterwarnings("ignore:Pareto k")
def test_flags_over_many_data_sets_with_many_parameters(num_new, factor, low, high):
    rng = np.random.default_rng(7)
    flags = [
        only(
            regression_tree(rng, factor=factor, num_new=num_new), key=jax.random.key(i)
        ).status
        == "fail"
        for i in range(200)
    ]
    assert low <= np.mean(flags) <= high
