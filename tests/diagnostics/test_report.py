"""A report is one page that needs nothing else and says what the functions say."""

import base64
import functools
import re
import struct
import warnings
from html.parser import HTMLParser

import arviz_base
import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

from numpyro_ext.diagnostics import calibration, diagnose, gof, report, summarize
from numpyro_ext.inference import EnsembleMAP, Laplace, ModelSpec

RNG = np.random.default_rng(2)
X = RNG.uniform(-2, 2, size=40)
Y = 1.5 * X + 0.4 * RNG.normal(size=40)


def model(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(slope * x, noise), obs=y)


SPEC = ModelSpec(model, X, y=Y)


@functools.cache
def fit_of(engine):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short runs
        engines = {
            "Laplace": Laplace(num_samples=300, num_starts=1),
            "EnsembleMAP": EnsembleMAP(num_members=4, num_steps=200),
        }
        return engines[engine].run(SPEC, jax.random.key(0))


class Page(HTMLParser):
    """Tags that are left open, what the page refers to, and its words."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.tags, self.words = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def read(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_a_report_is_one_page_with_tables_verdicts_and_pictures(tmp_path):
    fit = fit_of("Laplace")
    path = report(fit, tmp_path / "fit.html", title="Slopes <1 & more>")
    page = read(path)
    assert "Slopes <1 & more>" in page.words
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)
    assert not re.search(r"https?://|url\(|@import", path.read_text())
    assert len(page.sources) == 5
    for source in page.sources:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        png = base64.b64decode(data)
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", png[16:24])
        assert min(width, height) > 300
    tree = fit.to_datatree()
    assert diagnose(tree).verdict in page.words
    assert calibration(tree, model=fit).verdict in page.words
    for word in (*gof(fit).index.get_level_values("metric"), "slope", "noise"):
        assert word in page.words
    mean = summarize(fit).table.loc["slope", "mean"]
    assert f"{mean:.4g}" in page.words
    assert plt.get_fignums() == []


def test_a_wrong_model_fails_on_the_page(tmp_path):
    tree = fit_of("EnsembleMAP").to_datatree(
        new_data={"x": X, "y": 1.5 * X + 3.0 * RNG.normal(size=40)}
    )
    path = report(tree, tmp_path / "map.html")
    page = read(path)
    assert "Not calibrated" in page.words
    assert "overconfident" in page.words
    assert "held-out" in page.words
    assert '<span class="mark fail">fail</span>' in path.read_text()
    assert "Where the members of the ensemble ended." in page.words


def test_warnings_are_on_the_page(tmp_path):
    # Points have no leave-one-out, and this tree no held-out data.
    page = read(report(fit_of("EnsembleMAP"), tmp_path / "map.html"))
    assert "Warnings" in page.words
    assert "nothing but in-sample predictions" in page.words


def test_a_tree_without_data_says_so(tmp_path):
    tree = fit_of("Laplace").to_datatree(posterior_predictive=False)
    tree = tree.filter(lambda node: "data" not in (node.name or ""))
    page = read(report(tree, tmp_path / "fit.html"))
    assert "Not judged: the tree has no observed data" in page.words


def test_a_tree_of_arviz_gets_a_report(tmp_path):
    rng = np.random.default_rng(0)
    mean = rng.normal(0.0, 0.1, size=(4, 200))
    y = rng.normal(size=30)
    tree = arviz_base.from_dict(
        {
            "posterior": {"mean": mean},
            "posterior_predictive": {
                "y": mean[..., None] + rng.normal(size=(4, 200, 30))
            },
            "log_likelihood": {"y": stats.norm.logpdf(y, mean[..., None])},
            "observed_data": {"y": y},
        }
    )
    page = read(report(tree, tmp_path / "fit.html"))
    assert "No sign of miscalibration over 30 data" in page.words
    # Without moments, nothing is drawn against the fitted mean.
    assert len(page.sources) == 4


def test_a_missing_folder_is_named_before_any_work(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing.*fit\.html.*mkdir"):
        report(fit_of("Laplace"), tmp_path / "missing" / "fit.html")
