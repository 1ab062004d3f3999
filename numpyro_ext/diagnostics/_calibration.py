"""Calibration: do data fall where the predictions say, as often as they say?"""

from dataclasses import dataclass

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Array, Float, Key

from .._checks import check_key, check_open_interval
from ..inference import Fit, ModelSpec
from ..inference._independent import MAX_PARETO_K
from ._bands import ecdf_band
from ._diagnose import CheckStatus
from ._outcomes import Outcome, Split, SplitChoice, read_outcomes, warn_in_sample
from ._reference import INDEPENDENT, reference_transforms, simulated_categories
from ._reliability import Reliability, reliability
from ._uniformity import band, p_value
from ._values import Values

LEVEL = 0.05
# Intervals by which tails are judged.
FAR_LEVEL = 0.98
CURVE = np.linspace(0.05, 0.95, 19)
# Fewer data show nothing but the grossest misfit.
MIN_DATA = 20
# With more data than this where leave-one-out fails, nothing is passed.
MAX_BAD_SHARE = 0.2
ORDER: tuple[CheckStatus, ...] = ("not applicable", "ok", "warn", "fail")


@dataclass(frozen=True)
class SiteCalibration:
    """Calibration of one observed site.

    Attributes:
        name: the site.
        split: what the predictions know of the data: `held-out`, `LOO` or `in-sample`.
        status: `ok`, `warn`, `fail` or `not applicable`.
        p_value: of calibration; of uniform transforms, or of reliable probabilities.
        verdict: the result in words, with the reason.
        pit: transform of each datum; None for categories.
        curve: a row for each level: `nominal`, `coverage`, and the simultaneous band
            `lower`, `upper`; None where the outcome is binary or categorical.
        reliability: the diagram of each category (`1` of a binary outcome).
        reference: what the p-value and the band take the data to be like.
    """

    name: str
    split: Split
    status: CheckStatus
    p_value: float
    verdict: str
    pit: Float[np.ndarray, "n d"] | None
    curve: pd.DataFrame | None
    reliability: dict[int, Reliability]
    reference: str


@dataclass(frozen=True)
class Calibration:
    """Calibration of all observed sites; prints as a table and verdicts.

    Attributes:
        sites: the result by site.
    """

    sites: dict[str, SiteCalibration]

    @property
    def table(self) -> pd.DataFrame:
        """One row for each site."""
        rows = [
            {
                "site": site.name,
                "split": site.split,
                "status": site.status,
                "p_value": site.p_value,
                "coverage_50": _at(site.curve, 0.5),
                "coverage_90": _at(site.curve, 0.9),
                "ece": max((r.ece for r in site.reliability.values()), default=np.nan),
            }
            for site in self.sites.values()
        ]
        return pd.DataFrame(rows).set_index("site")

    @property
    def status(self) -> CheckStatus:
        """The worst status of all sites; `ok` only if something was judged."""
        found: list[CheckStatus] = [site.status for site in self.sites.values()]
        return max(found, key=ORDER.index)

    @property
    def verdict(self) -> str:
        """The results in words."""
        return "\n".join(f"{s.name}: {s.verdict}" for s in self.sites.values())

    def __repr__(self) -> str:
        return f"{self.table.to_string()}\n{self.verdict}"


def calibration(
    tree: xr.DataTree | Fit,
    *,
    model: ModelSpec | Fit | None = None,
    split: SplitChoice = "auto",
    levels: Values = CURVE,
    prob: float = 0.95,
    sites: list[str] | None = None,
    key: Key[Array, ""] | None = None,
) -> Calibration:
    r"""Judges whether the stated uncertainty of predictions can be trusted.

    The transform of each datum is $F(y)$, the mean over draws (weighted, under LOO) of
    the distribution functions of its law, randomised between $F(y^-)$ and $F(y)$ where
    the law has atoms; without a known law, the randomised rank among the predictive
    draws, uniform for any number of them. Uniform transforms are calibrated. Binary and
    categorical data are judged by the reliability of their probabilities instead.

    p-value and band rest on simulated sets that depend among each other as the
    transforms do: data held out share the error of the parameters, so replicated data
    sets of single draws are the reference; leave-one-out errors are correlated as in a
    Gaussian model of the same means and variances (up to 2000 data; beyond, and without
    laws, they are taken as independent). In-sample transforms hide overconfidence, and
    look wrong for right models: they are shown, with a warning, and never judged.

    Args:
        tree: a tree of `to_datatree` or of ArviZ; or a fit.
        model: the model with the data of the split, whose laws make the transforms
            exact, as in `gof`; a fit brings its own. Leave-one-out without laws finds
            less: it does not know how the errors are correlated.
        split: `auto`, `held-out`, `LOO` or `in-sample`, as in `gof`.
        levels: levels of the curve of coverage.
        prob: probability of the simultaneous band.
        sites: which observed sites; by default all.
        key: random key; by default `jax.random.key(0)`.

    Raises:
        ValueError: as in `gof`.

    Source: Gelfand, Dey and Chang (1992), Bayesian Statistics 4, 147-167 (LOO-PIT);
        Dawid (1984), J. R. Statist. Soc. A 147, 278-292; `ecdf_band` for the band.
    """
    check_open_interval("calibration", "prob", prob, 0.0, 1.0)
    grid = np.asarray(levels, dtype=float).reshape(-1)
    for level in grid:
        check_open_interval("calibration", "levels", float(level), 0.0, 1.0)
    key = jax.random.key(0) if key is None else check_key("calibration", key)
    outcomes = read_outcomes("calibration", tree, model, split, sites)
    if outcomes and outcomes[0].split == "in-sample":
        why = "because you asked for them" if split == "in-sample" else "and no other"
        warn_in_sample("calibration", why)
    found = {
        outcome.name: _judge(outcome, jax.random.fold_in(key, number), grid, prob)
        for number, outcome in enumerate(outcomes)
    }
    return Calibration(found)


def _judge(
    outcome: Outcome, key: Key[Array, ""], levels: Float[np.ndarray, " k"], prob: float
) -> SiteCalibration:
    if outcome.nature in ("binary", "categorical"):
        return _of_probabilities(outcome, key)
    return _of_numbers(outcome, key, levels, prob)


def _of_numbers(
    outcome: Outcome, key: Key[Array, ""], levels: Float[np.ndarray, " k"], prob: float
) -> SiteCalibration:
    u = outcome.pit(key)
    if u is None:
        why = "the tree has neither predictive draws nor laws of these data."
        return _unjudged(outcome, why)
    rng = _generator(key)
    sets, reference = reference_transforms(outcome, rng)
    p = p_value(u, sets)
    if reference == INDEPENDENT and not outcome.is_vector:
        ends = ecdf_band(len(u), prob=prob, points=levels)
        lower, upper = ends.lower, ends.upper
    else:
        flat = sets.reshape(len(sets), -1)
        lower, upper = band(levels, np.abs(2.0 * flat - 1.0), prob)
    distance = np.abs(2.0 * u - 1.0).reshape(-1, 1)
    coverage = np.mean(distance <= levels, axis=0)
    curve = pd.DataFrame(
        {"nominal": levels, "coverage": coverage, "lower": lower, "upper": upper}
    )
    status, verdict = _verdict(outcome, p, _reason_of_numbers(u))
    return SiteCalibration(
        outcome.name, outcome.split, status, p, verdict, u, curve, {}, reference
    )


def _of_probabilities(outcome: Outcome, key: Key[Array, ""]) -> SiteCalibration:
    rng = _generator(key)
    if outcome.nature == "binary":
        p = outcome.probability()
        if p is None:
            return _unjudged(outcome, "the tree has no predictive draws.")
        probs = np.stack([1.0 - p, p], axis=1)
        events, reference = simulated_categories(outcome, probs, rng)
        found = {1: reliability(p, outcome.observed[:, 0] == 1, events == 1)}
    else:
        probs = outcome.mean(outcome.predicted.laws["probs"])
        events, reference = simulated_categories(outcome, probs, rng)
        found = {
            k: reliability(probs[:, k], outcome.observed[:, 0] == k, events == k)
            for k in range(probs.shape[1])
        }
    least = min(r.p_value for r in found.values())
    p_value_of_all = min(1.0, least * len(found))
    worst = min(found, key=lambda k: found[k].p_value)
    status, verdict = _verdict(
        outcome, p_value_of_all, _reason_of_probabilities(worst, found[worst])
    )
    return SiteCalibration(
        outcome.name,
        outcome.split,
        status,
        p_value_of_all,
        verdict,
        None,
        None,
        found,
        reference,
    )


def _verdict(outcome: Outcome, p: float, reason: str) -> tuple[CheckStatus, str]:
    """Returns the status, and the result in words."""
    what = {
        "held-out": f"{outcome.size} data held out",
        "LOO": f"{outcome.size} data, each left out in turn",
        "in-sample": f"the {outcome.size} data of the fit",
    }[outcome.split]
    if outcome.split == "in-sample":
        return "not applicable", (
            f"Not judged: predictions of {what} know them, and look right when they "
            "are not. Hold data out, or use leave-one-out (a tree with "
            "`log_likelihood`)."
        )
    if p < LEVEL:
        return "fail", f"Not calibrated: {reason} (p = {p:.2g} over {what})."
    if outcome.size < MIN_DATA:
        return "not applicable", (
            f"Not judged: {what} are too few to show anything but the grossest misfit, "
            f"which there is not (p = {p:.2g})."
        )
    if outcome.pareto_k is not None:
        share = np.mean(~(outcome.pareto_k <= MAX_PARETO_K))
        if share > MAX_BAD_SHARE:
            return "warn", (
                f"Nothing found over {what} (p = {p:.2g}), but Pareto k is above "
                f"{MAX_PARETO_K} for {100 * share:.0f} % of them, where leave-one-out "
                "fails. "
                "Hold data out."
            )
    if outcome.split == "LOO" and outcome.approximation_k > MAX_PARETO_K:
        return "warn", (
            f"Nothing found over {what} (p = {p:.2g}), but the draws are of an "
            f"approximation that is far from the posterior (Pareto k "
            f"{outcome.approximation_k:.2f}), which leave-one-out takes them for."
        )
    return "ok", f"No sign of miscalibration over {what} (p = {p:.2g})."


def _reason_of_numbers(u: Float[np.ndarray, "n d"]) -> str:
    """Says in which way transforms are not uniform: shifted, too wide or too narrow."""
    n = u.size
    shift = (u.mean() - 0.5) * np.sqrt(12 * n)
    square = np.square(2.0 * u - 1.0)
    spread = (square.mean() - 1 / 3) * np.sqrt(n / (4 / 45))
    depth = np.abs(2.0 * u - 1.0)
    inside, middle, beyond = (
        np.mean(depth <= 0.9),
        np.mean(depth <= 0.5),
        np.mean(depth > FAR_LEVEL),
    )
    expected = 1.0 - FAR_LEVEL
    excess = (beyond - expected) * np.sqrt(n / (expected * FAR_LEVEL))
    # More data than there should be both in the middle and far out.
    if excess > 2.0 and (middle - 0.5) * np.sqrt(4.0 * n) > 2.0:
        return (
            "the tails of the predictive law are too light, and its middle too wide: "
            f"intervals of {100 * FAR_LEVEL:.0f} % leave out {100 * beyond:.1f} % of "
            f"the data, and those of 50 % hold {100 * middle:.0f} %"
        )
    if max(abs(shift), abs(spread)) < 2.0:
        return "the shape of the predictive law differs from that of the data"
    if abs(shift) > abs(spread):
        where = "above" if shift > 0 else "below"
        return (
            f"the data lie {where} their predictions, their mean transform is "
            f"{u.mean():.2f} instead of 0.5"
        )
    how = "narrow (overconfident)" if spread > 0 else "wide (underconfident)"
    share = f"{100 * inside:.0f} %"
    return f"the intervals are too {how}, those of 90 % hold {share} of the data"


def _reason_of_probabilities(category: int, found: Reliability) -> str:
    gap = found.probability.mean() - found.frequency.mean()
    slope = np.cov(found.probability, found.frequency)
    name = f"the probabilities of a {category}"
    if abs(gap) > 0.5 * found.ece:
        how = "high" if gap > 0 else "low"
        return f"{name} are too {how}, by {abs(gap):.2f} on average"
    how = "extreme" if slope[0, 1] < slope[0, 0] else "timid"
    return f"{name} are too {how}, and off by {found.ece:.2f} on average"


def _unjudged(outcome: Outcome, why: str) -> SiteCalibration:
    return SiteCalibration(
        outcome.name,
        outcome.split,
        "not applicable",
        np.nan,
        f"Not judged: {why}",
        None,
        None,
        {},
        "",
    )


def _generator(key: Key[Array, ""]) -> np.random.Generator:
    seed = np.asarray(jax.random.key_data(jax.random.fold_in(key, 1)))
    return np.random.default_rng(seed)


def _at(curve: pd.DataFrame | None, level: float) -> float:
    if curve is None:
        return np.nan
    return float(np.interp(level, curve["nominal"], curve["coverage"]))
