"""Everything that is known of a fit, on one page."""

import html
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Array, Key
from scipy.special import ndtri

from ..inference import Fit, ModelSpec
from ._calibration import Calibration, SiteCalibration, calibration
from ._datatree import to_datatree
from ._diagnose import diagnose
from ._gof import gof
from ._html import mark, page, picture, section, table, text
from ._plots import (
    plot_coverage,
    plot_members,
    plot_pit_ecdf,
    plot_predictive,
    plot_reliability,
    plot_residual_qq,
    plot_residuals,
)
from ._summary import summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ROWS = 200
MAX_CATEGORIES = 6
SHOWN = (
    "engine",
    "kind",
    "space",
    "seed",
    "sampling_time",
    "log_evidence",
    "inference_library_version",
    "numpyro_version",
    "jax_version",
    "created_at",
)


def report(
    tree: xr.DataTree | Fit,
    path: str | Path,
    *,
    model: ModelSpec | Fit | None = None,
    title: str | None = None,
    key: Key[Array, ""] | None = None,
) -> Path:
    """Writes one HTML page about a fit: verdicts, tables and pictures.

    The page needs no other file and asks nothing of any host. It holds the tables of
    `diagnose`, `summarize`, `gof` and `calibration`, the warnings that these gave, and
    pictures of predictions, coverage, PIT, residuals, and the spread of the members of
    an ensemble. What cannot be judged says why.

    Args:
        tree: a tree of `to_datatree`; or a fit.
        path: the file to write.
        model: the model, for the laws of the data (see `with_laws`); a fit brings its
            own.
        title: heading of the page; by default the engine.
        key: random key of randomised ranks; by default always the same.

    Returns:
        The path.

    Raises:
        ImportError: without matplotlib (extra `plots`).
        FileNotFoundError: if the folder is missing.
        ValueError: for a tree without a posterior.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"The folder `{path.parent}` does not exist, so `{path.name}` cannot be "
            "written. Make it with `Path(...).mkdir(parents=True)`."
        )
    if isinstance(tree, Fit):
        model = tree if model is None else model
        tree = to_datatree(tree)
    title = title or f"Report of a fit by {tree.attrs.get('engine', 'unknown engine')}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parts = list(_parts(tree, model, title, key))
    said = list(dict.fromkeys(str(one.message) for one in caught))
    if said:
        parts.append(section("Warnings", *(text(words) for words in said)))
    path.write_text(page(title, parts), encoding="utf-8")
    return path


def _parts(
    tree: xr.DataTree,
    model: ModelSpec | Fit | None,
    title: str,
    key: Key[Array, ""] | None,
) -> Iterator[str]:
    diagnosis = diagnose(tree)
    summary = summarize(tree)
    judged, fit_table, why = _judge(tree, model, key)
    yield f"<h1>{html.escape(title)}</h1>" + text(_account(tree), small=True)
    verdicts = [f"<h3>Draws {mark(diagnosis.status)}</h3>", text(diagnosis.verdict)]
    if judged is not None:
        verdicts.append(f"<h3>Predictions {mark(judged.status)}</h3>")
        verdicts.append(text(judged.verdict))
    else:
        verdicts += [f"<h3>Predictions {mark('not applicable')}</h3>", text(why)]
    yield section("Verdicts", *verdicts)
    yield section("Pictures", *_pictures(tree, judged))
    if fit_table is not None and judged is not None:
        words = "`better` says which direction is better; `split`, what was known."
        yield section("Goodness of fit", text(words, small=True), table(fit_table))
        yield section("Calibration", table(judged.table))
    checks = diagnosis.table.set_index("check")
    # What to do is of use where something is to be done.
    checks.loc[checks["status"] == "ok", "advice"] = ""
    yield section("Checks of the draws", table(checks))
    notes = [text(note, small=True) for note in (summary.title, *summary.notes)]
    rows = summary.table.head(MAX_ROWS)
    if len(summary.table) > MAX_ROWS:
        left_out = len(summary.table) - MAX_ROWS
        notes.append(text(f"{left_out} more scalars are left out.", small=True))
    yield section("Posterior", *notes, table(rows))


def _judge(
    tree: xr.DataTree, model: ModelSpec | Fit | None, key: Key[Array, ""] | None
) -> tuple[Calibration | None, pd.DataFrame | None, str]:
    """Returns calibration, goodness of fit, and why there are none."""
    names = ("observed_data", "predictions_observed_data")
    if not any(name in tree.children for name in names):
        return None, None, "Not judged: the tree has no observed data."
    scores = gof(tree, model=model, key=key)
    assert isinstance(scores, pd.DataFrame)
    return calibration(tree, model=model, key=key), scores, ""


def _account(tree: xr.DataTree) -> str:
    sizes = tree["posterior"].sizes
    known = {name: tree.attrs[name] for name in SHOWN if name in tree.attrs}
    words = [f"{sizes['chain']} chains or members of {sizes['draw']} draws"]
    words += [f"{name.replace('_', ' ')}: {_short(x)}" for name, x in known.items()]
    return "  ·  ".join(words)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pictures(tree: xr.DataTree, judged: Calibration | None) -> Iterator[str]:
    yield '<div class="pictures">'
    for site in judged.sites.values() if judged else ():
        for draw, words in _of_site(tree, site):
            yield picture(draw(), words)
    if tree.attrs.get("kind") == "points" and tree["posterior"].sizes["chain"] > 1:
        words = "Where the members of the ensemble ended."
        yield picture(plot_members(tree), words)
    yield "</div>"


def _of_site(
    tree: xr.DataTree, site: SiteCalibration
) -> Iterator[tuple[Callable[[], "Axes"], str]]:
    split = "held-out" if site.split == "held-out" else "in-sample"
    draws = "predictions" if split == "held-out" else "posterior_predictive"
    if draws in tree.children and site.name in tree[draws]:
        if tree[draws][site.name].ndim == 3:
            yield (
                lambda: plot_predictive(tree, var_name=site.name, split=split),
                f"Predictions of {site.name} ({split}) with their two uncertainties.",
            )
    for category in list(site.reliability)[:MAX_CATEGORIES]:
        yield (
            lambda category=category: plot_reliability(site, category=category),
            f"Reliability of the probability of {site.name} = {category}.",
        )
    if site.pit is None:
        return
    if site.curve is not None:
        words = f"Share of {site.name} inside central intervals."
        yield lambda: plot_coverage(site), words
    yield lambda: plot_pit_ecdf(site), f"PIT of {site.name} against uniform."
    # A transform of 0 or 1 has no finite normal score.
    tiny = 0.5 / (site.pit.size + 1) * 1e-6
    residuals = ndtri(np.clip(site.pit.ravel(), tiny, 1 - tiny))
    words = f"Quantile residuals of {site.name} against the standard normal law."
    yield lambda: plot_residual_qq(residuals, title=f"{site.name}, {site.split}"), words
    moments = "predictions_moments" if split == "held-out" else "predictive_moments"
    if moments not in tree.children or f"{site.name}_mean" not in tree[moments]:
        return
    fitted = np.asarray(tree[moments][f"{site.name}_mean"].values).ravel()
    # A mean that is the same for all data is nothing to draw against.
    varies = np.ptp(fitted) > 1e-6 * np.max(np.abs(fitted))
    if fitted.size == residuals.size and varies:
        yield (
            lambda: plot_residuals(
                residuals,
                fitted,
                title=f"{site.name}, {site.split}",
                xlabel=f"mean of the predictions of {site.name}",
            ),
            f"Quantile residuals of {site.name} against the fitted mean.",
        )
