"""Each picture shows the data that it was given, with labels and an exact band."""

import functools
import subprocess
import sys
import warnings

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from scipy import stats

from numpyro_ext.diagnostics import (
    Calibration,
    SBCResult,
    calibration,
    ecdf_band,
    plot_coverage,
    plot_loo_pit,
    plot_members,
    plot_pit_ecdf,
    plot_predictive,
    plot_reliability,
    plot_residual_qq,
    plot_residuals,
    plot_sbc,
)
from numpyro_ext.diagnostics._plots._reliability import simultaneous_curve
from numpyro_ext.diagnostics._plots._residuals import _order_band
from numpyro_ext.inference import EnsembleMAP, Laplace, ModelSpec

RNG = np.random.default_rng(8)
UNIFORM = RNG.random(150)
NARROW = stats.norm.cdf(1.6 * RNG.normal(size=150))


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    plt.close("all")


def line(ax, label):
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return found.get_xdata(), found.get_ydata()


def edges(ax):
    """Points, lower and upper edge of the first band of a picture."""
    band = next(c for c in ax.collections if isinstance(c, PolyCollection))
    corners = band.get_paths()[0].vertices
    points = np.unique(corners[:, 0])
    ys = [corners[corners[:, 0] == x, 1] for x in points]
    return points, np.array([y.min() for y in ys]), np.array([y.max() for y in ys])


def check_words(ax, *words):
    ax.figure.canvas.draw()
    assert ax.get_xlabel()
    assert ax.get_title(loc="left")
    legend = " ".join(text.get_text() for text in ax.get_legend().get_texts())
    said = f"{ax.get_title(loc='left')} {legend}"
    for word in words:
        assert word in said


def test_coverage_is_the_share_of_data_in_central_intervals():
    ax = plot_coverage(UNIFORM, prob=0.9)
    check_words(ax, "n = 150", "inside the band", "90% band")
    levels, share = line(ax, "observed")
    for p, s in zip(levels[::10], share[::10], strict=True):
        inside = (UNIFORM >= (1 - p) / 2) & (UNIFORM <= (1 + p) / 2)
        assert s == pytest.approx(inside.mean())
    band = ecdf_band(150, prob=0.9)
    points, lower, upper = edges(ax)
    np.testing.assert_allclose(points, band.points)
    np.testing.assert_allclose(lower, band.lower)
    np.testing.assert_allclose(upper, band.upper)
    check_words(plot_coverage(NARROW, title="Held-out"), "Held-out", "outside at")


def test_pit_ecdf_is_the_ecdf_less_uniform_in_the_exact_band():
    ax = plot_pit_ecdf(UNIFORM)
    check_words(ax, "n = 150", "inside the band", "95% band")
    points, difference = line(ax, "observed")
    reference = stats.ecdf(UNIFORM).cdf.evaluate(points) - points
    np.testing.assert_allclose(difference, reference, atol=1e-15)
    band = ecdf_band(150)
    _, lower, upper = edges(ax)
    np.testing.assert_allclose(lower, band.lower - band.points, atol=1e-15)
    np.testing.assert_allclose(upper, band.upper - band.points, atol=1e-15)
    wrong = plot_pit_ecdf(NARROW)
    check_words(wrong, "outside at")
    x, y = line(wrong, "outside")
    assert len(x) > 10
    assert np.all(y[x < 0.3] > 0)


@pytest.mark.parametrize("plot", [plot_coverage, plot_pit_ecdf])
def test_what_is_no_pit_is_refused(plot):
    with pytest.raises(ValueError, match=r"\[0, 1\], and got 1\.5"):
        plot([0.2, 1.5])
    with pytest.raises(ValueError, match="got nan"):
        plot([0.2, np.nan])
    with pytest.raises(ValueError, match="none at all"):
        plot([])
    with pytest.raises(ValueError, match=r"prob=95.0.*open interval"):
        plot(UNIFORM, prob=95.0)


def test_pictures_go_into_the_axes_given():
    _, row = plt.subplots(1, 2)
    assert plot_coverage(UNIFORM, ax=row[0]) is row[0]
    assert plot_residual_qq(RNG.normal(size=20), ax=row[1]) is row[1]


def test_qq_band_holds_all_normal_residuals_with_its_probability():
    lower, upper = _order_band(60, 0.8)
    sorted_draws = np.sort(np.random.default_rng(1).normal(size=(20_000, 60)), axis=1)
    inside = np.all((sorted_draws >= lower) & (sorted_draws <= upper), axis=1).mean()
    exact = ecdf_band(
        60,
        prob=0.8,
        points=stats.norm.cdf(
            np.linspace(-1, 1, 80) * (-stats.norm.ppf(0.5 / 60) + 0.5)
        ),
    ).coverage
    assert inside == pytest.approx(exact, abs=0.012)
    ax = plot_residual_qq(RNG.normal(size=100))
    check_words(ax, "n = 100", "inside the band")
    normal, residuals = line(ax, "observed")
    np.testing.assert_allclose(normal, stats.norm.ppf((np.arange(100) + 0.5) / 100))
    assert np.all(np.diff(residuals) >= 0)
    check_words(plot_residual_qq(RNG.standard_t(2, size=300)), "outside at")
    with pytest.raises(ValueError, match="finite numbers, and got inf"):
        plot_residual_qq([0.0, np.inf])


def test_residuals_against_fitted_have_means_by_bin():
    fitted = RNG.gamma(2.0, size=200)
    r = RNG.normal(size=200) + np.where(fitted > np.median(fitted), 1.0, -1.0)
    ax = plot_residuals(r, fitted, num_bins=2, xlabel="height (cm)")
    check_words(ax, "bins off zero: 2 of 2")
    assert ax.get_xlabel() == "height (cm)"
    means = ax.containers[0].lines[0].get_ydata()
    order = np.argsort(fitted)
    np.testing.assert_allclose(means, [r[order[:100]].mean(), r[order[100:]].mean()])
    with pytest.raises(ValueError, match="200 residuals and 3 fitted"):
        plot_residuals(r, fitted[:3])


def model(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(slope * x, noise), obs=y)


X_DATA = RNG.uniform(-2, 2, size=25)
Y_DATA = 1.5 * X_DATA + 0.4 * RNG.normal(size=25)


SPEC = ModelSpec(model, X_DATA, y=Y_DATA)


@functools.cache
def tree_of(engine):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short runs
        fit = {
            "Laplace": Laplace(num_samples=400, num_starts=1),
            "EnsembleMAP": EnsembleMAP(num_members=4, num_steps=60, num_candidates=1),
        }[engine].run(SPEC, jax.random.key(0))
    new = np.linspace(-3, 3, 11)[::-1]
    return fit.to_datatree(new_data={"x": new, "y": 1.5 * new})


def test_predictions_have_an_epistemic_and_an_aleatoric_band():
    tree = tree_of("Laplace")
    new = np.linspace(-3, 3, 11)[::-1]
    ax = plot_predictive(tree, x=new, prob=0.8, xlabel="dose (mg)")
    check_words(ax, "held-out predictions of y", "epistemic part", "80%: epistemic")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("dose (mg)", "y")
    points, lower, upper = edges(ax)
    np.testing.assert_allclose(points, new[::-1])
    draws = tree["predictions"]["y"].values.reshape(-1, 11)
    np.testing.assert_allclose(lower[::-1], np.quantile(draws, 0.1, axis=0))
    np.testing.assert_allclose(upper[::-1], np.quantile(draws, 0.9, axis=0))
    slope = tree["posterior"]["slope"].values[0]
    np.testing.assert_allclose(line(ax, "mean")[1], slope.mean() * new[::-1])
    inner = [c for c in ax.collections if isinstance(c, PolyCollection)][1]
    top = inner.get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(3 * (slope.mean() + stats.norm.ppf(0.9) * slope.std()))
    np.testing.assert_allclose(line(ax, "data")[1], 1.5 * new[::-1])
    inside = plot_predictive(tree, split="in-sample")
    check_words(inside, "in-sample predictions")
    assert inside.get_xlabel() == "rows"


def test_predictions_that_cannot_be_drawn_are_named():
    tree = tree_of("Laplace")
    with pytest.raises(ValueError, match=r"shape \(3,\), and there are 11 data"):
        plot_predictive(tree, x=np.zeros(3))
    with pytest.raises(ValueError, match="no predictions of `z`"):
        plot_predictive(tree, var_name="z")
    posterior = tree.filter(lambda node: node.name in (None, "posterior"))
    with pytest.raises(ValueError, match=r"to_datatree\(new_data"):
        plot_predictive(posterior)


@pytest.mark.usefixtures("as_users_run_it")
def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="no such choice; did you mean `held-out`"):
        plot_predictive(tree_of("Laplace"), split="heldout")


def test_reliability_is_the_isotonic_fit_in_a_simulated_band():
    p = RNG.random(300)
    y = RNG.random(300) < p
    ax = plot_reliability(p, y)
    check_words(ax, "n = 300", "inside the band")
    stated, observed = line(ax, "observed")
    np.testing.assert_allclose(stated, np.sort(p))
    reference = pool_adjacent(y[np.argsort(p)].astype(float))
    np.testing.assert_allclose(observed, reference, atol=1e-12)
    check_words(plot_reliability(p**3, y), "outside at")


def pool_adjacent(values):
    """Pool adjacent violators, by the max-min formula."""
    n = len(values)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return [
        max(
            min((sums[t + 1] - sums[s]) / (t + 1 - s) for t in range(i, n))
            for s in range(i + 1)
        )
        for i in range(n)
    ]


def test_reliability_band_holds_new_outcomes_with_its_probability():
    p = np.repeat(np.linspace(0.05, 0.95, 10), 20)
    rng = np.random.default_rng(3)
    uniform = np.random.default_rng(4).random((2000, 200))
    _, _, lower, upper = simultaneous_curve(p, np.zeros(200), uniform, 0.9)
    inside = 0
    for _ in range(400):
        shares = (rng.random(200) < p).reshape(10, 20).mean(axis=1)
        fit = np.repeat(pool_adjacent(shares), 20)
        inside += np.all((fit >= lower - 1e-12) & (fit <= upper + 1e-12))
    # Shares are whole numbers of twentieths, so that the band holds a little more.
    assert 0.86 <= inside / 400 <= 0.97


def test_reliability_names_what_is_no_probability():
    with pytest.raises(ValueError, match="got 2.0 among the probabilities.*sigmoid"):
        plot_reliability([0.1, 2.0], [0, 1])
    with pytest.raises(ValueError, match="got 3.0 among the outcomes"):
        plot_reliability([0.1, 0.2], [0, 3])
    with pytest.raises(ValueError, match="2 probabilities and 3 outcomes"):
        plot_reliability([0.1, 0.2], [0, 1, 1])


@pytest.mark.slow
def test_members_are_dots_at_their_distance_from_the_mean():
    tree = tree_of("EnsembleMAP")
    tree = tree.assign()
    tree.attrs["status"] = '["CONVERGED", "CONVERGED", "MAX_STEPS", "CONVERGED"]'
    tree["posterior"]["slope"] = tree["posterior"]["slope"].copy(
        data=np.array([[1.0], [2.0], [3.0], [6.0]])
    )
    ax = plot_members(tree, var_names=["slope", "noise"])
    check_words(ax, "4 members", "did not converge (1)")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["slope", "noise"]
    dots = ax.collections[0].get_offsets()
    sd = np.std([1.0, 2.0, 3.0, 6.0], ddof=1)
    np.testing.assert_allclose(dots[:3, 0], (np.array([1.0, 2.0, 6.0]) - 3.0) / sd)
    right = ax.child_axes[0]
    assert right.get_yticklabels()[0].get_text() == "3 ± 2.2"
    with pytest.raises(ValueError, match="no variable `slop`; did you mean `slope`"):
        plot_members(tree, var_names=["slop"])
    with pytest.raises(ValueError, match="the tree has one"):
        plot_members(tree_of("Laplace"))


@functools.cache
def calibrated():
    return calibration(tree_of("Laplace"), model=SPEC, split="LOO")


def test_a_result_of_calibration_brings_its_own_curve():
    result = calibrated()
    site = result.sites["y"]
    ax = plot_coverage(result)
    check_words(ax, "y, leave-one-out: n = 25")
    np.testing.assert_allclose(line(ax, "observed")[1], site.curve["coverage"])
    points, lower, upper = edges(ax)
    np.testing.assert_allclose(points, site.curve["nominal"])
    np.testing.assert_allclose(lower, site.curve["lower"])
    np.testing.assert_allclose(upper, site.curve["upper"])
    with pytest.raises(ValueError, match="site `y` has no probabilities"):
        plot_reliability(result)
    two = Calibration({"a": site, "b": site})
    with pytest.raises(ValueError, match=r"\['a', 'b'\].*sites\['a'\]"):
        plot_coverage(two)


def test_loo_pit_is_that_of_calibration():
    ax = plot_loo_pit(tree_of("Laplace"), model=SPEC)
    check_words(ax, "PIT of y, leave-one-out: n = 25")
    points, difference = line(ax, "observed")
    u = calibrated().sites["y"].pit.ravel()
    reference = stats.ecdf(u).cdf.evaluate(points) - points
    np.testing.assert_allclose(difference, reference, atol=1e-15)
    with pytest.raises(ValueError, match="are points"):
        plot_loo_pit(tree_of("EnsembleMAP"))


@pytest.mark.filterwarnings("ignore:The Laplace approximation is far")
@pytest.mark.slow
def test_binary_data_have_a_reliability_and_no_pit():
    def coin(x, y=None):
        slope = numpyro.sample("slope", dist.Normal(0.0, 0.5))
        with numpyro.plate("rows", x.shape[0]):
            numpyro.sample("y", dist.Bernoulli(logits=slope * x), obs=y)

    y = (RNG.random(25) < 1 / (1 + np.exp(-2 * X_DATA))).astype(int)
    fit = Laplace(num_samples=200, num_starts=1).run(
        ModelSpec(coin, X_DATA, y=y), jax.random.key(0)
    )
    result = calibration(fit)
    ax = plot_reliability(result)
    check_words(ax, "y, leave-one-out, category 1", "95% band, each point")
    found = result.sites["y"].reliability[1]
    np.testing.assert_array_equal(line(ax, "observed")[1], found.frequency)
    with pytest.raises(ValueError, match="no PIT.*plot_reliability"):
        plot_pit_ecdf(result)
    with pytest.raises(ValueError, match=r"category=3.*categories \[1\]"):
        plot_reliability(result, category=3)


def result_of(ranks):
    table = pd.DataFrame(
        {
            name: {"p_value": stats.kstest(u, "uniform").pvalue, "mean": 0.5, "sd": 0.3}
            for name, u in ranks.items()
        }
    ).T
    return SBCResult(ranks, table, tuple(range(150)), {}, {})


def test_sbc_lines_are_ecdfs_and_the_band_is_corrected_for_their_number():
    ranks = {"a": UNIFORM, "bad": NARROW, "log_likelihood": RNG.random(150)}
    ax = plot_sbc(result_of(ranks))
    check_words(ax, "outside the band: 1 of 3", "95% band, all lines")
    band = ecdf_band(150, prob=1 - 0.05 / 3)
    points, lower, upper = edges(ax)
    np.testing.assert_allclose(lower, band.lower - band.points, atol=1e-15)
    np.testing.assert_allclose(upper, band.upper - band.points, atol=1e-15)
    for name, u in ranks.items():
        reference = stats.ecdf(u).cdf.evaluate(points) - points
        np.testing.assert_allclose(line(ax, name)[1], reference, atol=1e-15)
    with pytest.raises(ValueError, match="no ranks of `b`"):
        plot_sbc(result_of(ranks), quantities=["b"])


def test_sbc_of_many_quantities_names_the_worst():
    ranks = {f"x[{i}]": RNG.random(150) for i in range(12)} | {"bad": NARROW}
    ax = plot_sbc(result_of(ranks))
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "bad" in names
    assert len(names) == 7  # six lines and the band
    assert len(ax.lines) == 14


def test_without_matplotlib_the_install_line_is_given():
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from numpyro_ext.diagnostics import plot_pit_ecdf\n"
        "try: plot_pit_ecdf([0.5])\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "pip install 'numpyro-ext-suite[plots]'" in run.stdout


def test_diagnostics_do_not_load_matplotlib():
    script = "import numpyro_ext.diagnostics, sys; print('matplotlib' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
