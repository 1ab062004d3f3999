"""Fits of several engines in one table."""

import jax
import numpy as np
import pytest

from numpyro_ext.inference import EnsembleMAP, Laplace, compare

from .targets import TARGETS


@pytest.fixture(scope="module")
def fits():
    target = TARGETS["regression"]()
    laplace = Laplace(num_samples=4000).run(target.spec, jax.random.key(0))
    points = EnsembleMAP(num_members=3).run(target.spec, jax.random.key(0))
    return target, laplace, points


@pytest.fixture(scope="module")
def narrow(fits):
    with pytest.warns(UserWarning, match="Pareto k"):
        return Laplace("diag").run(fits[0].spec, jax.random.key(0))


def test_moments_ratios_and_evidence_stand_side_by_side(fits, narrow):
    target, laplace, points = fits
    table = compare({"exact": laplace, "diag": narrow, "map": points})
    assert table.reference == "exact"
    row = table.sites.loc[("slopes[0]", "diag")]
    conditional = 1.0 / np.sqrt(np.linalg.inv(target.covariance)[1, 1])
    sd = np.sqrt(target.covariance[1, 1])
    assert row["sd"] == pytest.approx(conditional, rel=0.1)
    assert row["sd_ratio"] == pytest.approx(conditional / sd, rel=0.1)
    assert abs(row["shift"]) < 0.1
    assert np.isnan(table.sites.loc[("beta", "map"), "sd_ratio"])
    engines = table.engines
    assert engines.loc["exact", "log_evidence"] == pytest.approx(target.log_evidence)
    assert engines.loc["diag", "pareto_k"] > 0.7
    assert engines.loc["diag", "min_sd_ratio"] < 0.7
    assert engines.loc["exact", "min_sd_ratio"] == 1.0
    assert engines.loc["map", "draws"] == 3
    parts = engines[["trace_s", "compile_s", "run_s"]].sum(axis=1)
    np.testing.assert_allclose(parts, engines["total_s"])
    text = repr(table)
    assert "against `exact`" in text
    assert "nan" not in text


def test_names_come_from_the_engines(fits):
    _, laplace, points = fits
    table = compare([points, laplace, laplace], reference="Laplace")
    assert list(table.engines.index) == ["EnsembleMAP", "Laplace", "Laplace 2"]


def test_what_cannot_be_compared_is_refused(fits):
    _, laplace, points = fits
    with pytest.raises(ValueError, match="got no fits"):
        compare([])
    with pytest.raises(ValueError, match=r"'Laplac'.*did you mean `Laplace`"):
        compare([laplace, points], reference="Laplac")
    with pytest.raises(ValueError, match=r"no site `bet`; did you mean `beta`"):
        compare([laplace], sites=["bet"])
    other = TARGETS["lognormal"]()
    fit = Laplace(num_samples=10).run(other.spec, jax.random.key(0))
    with pytest.raises(ValueError, match="`Laplace 2` is a fit of other data"):
        compare([laplace, fit])
