"""The rows of the table of goodness of fit, each with what it means and for what."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Key

from ..inference._independent import MAX_PARETO_K
from ._brier import brier_decomposition
from ._ordered import Ordered, crps, order, quantiles
from ._outcomes import Outcome, Split
from ._scores import energy_score, interval_score

# Draws whose pairs an energy score of many draws takes.
MAX_PAIRED = 256
NO_DRAWS = "the tree has no predictive draws"
NO_LAWS = "the laws of these data are not known: give `model=` with them, or a fit"

type Statistic = Callable[..., Any]

STATISTICS: dict[str, Statistic] = {
    "mean": np.mean,
    "sd": np.std,
    "min": np.min,
    "max": np.max,
    "median": np.median,
}
DEFAULT_STATISTICS = ("mean", "sd", "min", "max")


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        site: the observed site.
        metric: what was computed.
        value: its value; NaN where it is not applicable.
        se: standard error over the data, where there is one.
        better: `lower`, `higher`, or the value that a right model has.
        split: what the predictions know of the data.
        note: what to know of it, or why it is not applicable.
    """

    site: str
    metric: str
    value: float
    se: float
    better: str
    split: str
    note: str


class Settings(NamedTuple):
    """What a user may choose."""

    levels: Float[np.ndarray, " level"]
    statistics: Mapping[str, Statistic]
    truth: Float[np.ndarray, "n d"] | None
    key: Key[Array, ""]


def rows(outcome: Outcome, settings: Settings) -> Iterator[Row]:
    """Yields all rows of a site."""
    yield from _density(outcome)
    if outcome.nature == "categorical":
        yield from _categories(outcome)
        return
    yield from _errors(outcome, settings.truth)
    if outcome.nature == "binary":
        yield from _binary(outcome)
    else:
        draws = outcome.predicted.draws
        ordered = None if draws is None else order(draws, outcome.entry_weights())
        yield from _scores(outcome, ordered)
        yield from _coverage(outcome, settings)
        yield from _intervals(outcome, ordered, settings.levels)
    yield from _explained(outcome)
    yield from _variances(outcome)
    yield from _glm(outcome)
    yield from _p_values(outcome, settings.statistics)


def _row(
    outcome: Outcome,
    metric: str,
    value: Any,
    better: str = "lower",
    *,
    se: Any = np.nan,
    note: str = "",
    split: Split | None = None,
) -> Row:
    return Row(
        outcome.name,
        metric,
        float(value),
        float(se),
        better,
        split or outcome.split,
        note,
    )


def _not_applicable(outcome: Outcome, metric: str, why: str, better: str = "") -> Row:
    return _row(outcome, metric, np.nan, better, note=f"not applicable: {why}")


def _mean_row(outcome: Outcome, metric: str, values: np.ndarray, note: str = "") -> Row:
    return _row(outcome, metric, np.mean(values), se=_se(values), note=note)


def _se(values: np.ndarray) -> float:
    """Returns the standard error of the mean over data."""
    flat = values.reshape(len(values), -1).mean(axis=1)
    return float(flat.std(ddof=1) / np.sqrt(len(flat))) if len(flat) > 1 else np.nan


def _density(outcome: Outcome) -> Iterator[Row]:
    values = outcome.predicted.log_likelihood
    if values is None:
        why = "the tree has no log likelihood of these data"
        yield _not_applicable(outcome, "nll", why, "lower")
        yield _not_applicable(outcome, "elpd", why, "higher")
        return
    in_sample = np.logaddexp.reduce(values, axis=0) - np.log(len(values))
    pointwise = in_sample
    if outcome.weights is not None:
        with np.errstate(divide="ignore"):
            log_weights = np.log(outcome.weights)
        pointwise = np.logaddexp.reduce(log_weights + values, axis=0)
    yield _mean_row(outcome, "nll", -pointwise, "nats for each datum")
    total = pointwise.sum()
    yield _row(outcome, "elpd", total, "higher", se=_se(pointwise) * outcome.size)
    if outcome.pareto_k is not None:
        yield _row(outcome, "p_loo", np.sum(in_sample - pointwise), "")
        bad = np.sum(~(outcome.pareto_k <= MAX_PARETO_K))
        note = f"above {MAX_PARETO_K} for {bad} of {outcome.size} data"
        if outcome.approximation_k > MAX_PARETO_K:
            k = f"{outcome.approximation_k:.2f}"
            note += f"; the draws are of an approximation whose own k is {k}"
        yield _row(outcome, "pareto_k", outcome.pareto_k.max(), note=note)


def _center(outcome: Outcome) -> Float[np.ndarray, "n d"] | None:
    """Returns the predictive mean."""
    if outcome.nature == "binary":
        p = outcome.probability()
        return None if p is None else p[:, None]
    if "mean" in outcome.predicted.laws:
        return outcome.mean(outcome.predicted.laws["mean"])
    draws = outcome.predicted.draws
    return None if draws is None else outcome.mean(draws)


def _errors(outcome: Outcome, truth: np.ndarray | None) -> Iterator[Row]:
    center = _center(outcome)
    if center is None:
        yield _not_applicable(outcome, "rmse", NO_DRAWS, "lower")
        return
    targets = {"rmse": (outcome.observed, "")}
    if truth is not None:
        targets["rmse_truth"] = (truth, "of the predictive mean against `truth`")
    for metric, (target, note) in targets.items():
        squares = np.square(center - target)
        root = np.sqrt(squares.mean())
        se = _se(squares) / (2 * root) if root > 0 else 0.0
        yield _row(outcome, metric, root, se=se, note=note)


def _binary(outcome: Outcome) -> Iterator[Row]:
    p = outcome.probability()
    if p is None:
        yield _not_applicable(outcome, "brier", NO_DRAWS, "lower")
        return
    y = outcome.observed[:, 0]
    parts = brier_decomposition(p, y)
    yield _row(outcome, "brier", parts.score, se=_se(np.square(p - y)))
    yield _row(outcome, "brier_reliability", parts.reliability)
    yield _row(outcome, "brier_resolution", parts.resolution, "higher")
    yield _row(outcome, "brier_uncertainty", parts.uncertainty, "")
    for metric in ("crps", "interval_score", "coverage", "sharpness"):
        yield _not_applicable(
            outcome, metric, "the outcome is binary; see `brier` and `calibration`"
        )


def _categories(outcome: Outcome) -> Iterator[Row]:
    probs = outcome.mean(outcome.predicted.laws["probs"])
    index = outcome.observed[:, 0].astype(int)
    happened = np.arange(probs.shape[1]) == index[:, None]
    brier = np.sum(np.square(probs - happened), axis=1)
    yield _mean_row(outcome, "brier", brier, "sum over categories")
    is_right = (np.argmax(probs, axis=1) == index).astype(float)
    yield _row(outcome, "accuracy", is_right.mean(), "higher", se=_se(is_right))
    for metric in ("rmse", "crps", "interval_score", "coverage", "r2"):
        yield _not_applicable(outcome, metric, "categories are no numbers")


def _scores(outcome: Outcome, ordered: Ordered | None) -> Iterator[Row]:
    draws = outcome.predicted.draws
    if draws is None or ordered is None:
        why = outcome.missing.get("draws", NO_DRAWS)
        for name in ("mae", "crps", *(["energy_score"] if outcome.is_vector else [])):
            yield _not_applicable(outcome, name, why, "lower")
        return
    median = quantiles(ordered, 0.5)[0]
    note = "of the predictive median"
    yield _mean_row(outcome, "mae", np.abs(median - outcome.observed), note)
    yield _mean_row(outcome, "crps", crps(ordered, outcome.observed))
    if outcome.is_vector:
        yield _mean_row(outcome, "energy_score", *_energy(outcome, draws))


def _energy(outcome: Outcome, draws: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns the energy score: exact for few draws, of some pairs for many."""
    weights = outcome.weights
    if len(draws) <= MAX_PAIRED:
        return energy_score(draws, outcome.observed, weights=weights), ""
    near = outcome.mean(np.linalg.norm(draws - outcome.observed, axis=-1))
    chosen = np.linspace(0, len(draws) - 1, MAX_PAIRED).astype(int)
    some = draws[chosen]
    own = np.full(some.shape[:2], 1.0) if weights is None else weights[chosen]
    own = own / own.sum(axis=0)
    spread = np.zeros(outcome.size)
    for value, share in zip(some, own, strict=True):
        gaps = np.linalg.norm(some - value, axis=-1)
        spread += share * np.sum(own * gaps, axis=0)
    # Without the pairs of a draw with itself, which are few among all draws.
    spread /= 1.0 - np.sum(np.square(own), axis=0)
    return near - 0.5 * spread, f"distances between {MAX_PAIRED} of the draws"


def _coverage(outcome: Outcome, settings: Settings) -> Iterator[Row]:
    u = outcome.pit(settings.key)
    if u is None:
        yield _not_applicable(outcome, "coverage", NO_DRAWS)
        return
    distance = np.abs(2.0 * u - 1.0)
    for level in settings.levels:
        inside = (distance <= level).astype(float)
        name = f"coverage_{100 * level:g}"
        yield _row(outcome, name, inside.mean(), f"{level:g}", se=_se(inside))


def _intervals(
    outcome: Outcome, ordered: Ordered | None, levels: Float[np.ndarray, " level"]
) -> Iterator[Row]:
    if ordered is None:
        why = outcome.missing.get("draws", NO_DRAWS)
        for metric in ("sharpness", "interval_score"):
            yield _not_applicable(outcome, metric, why, "lower")
        return
    ends = quantiles(ordered, np.concatenate([(1 - levels) / 2, (1 + levels) / 2]))
    lower, upper = ends[: len(levels)], ends[len(levels) :]
    names = [f"{100 * level:g}" for level in levels]
    for low, high, name in zip(lower, upper, names, strict=True):
        yield _mean_row(outcome, f"sharpness_{name}", high - low, "mean width")
    for low, high, level, name in zip(lower, upper, levels, names, strict=True):
        score = interval_score(low, high, outcome.observed, prob=float(level))
        yield _mean_row(outcome, f"interval_score_{name}", score)


def _explained(outcome: Outcome) -> Iterator[Row]:
    center = _center(outcome)
    spread = np.square(outcome.observed - outcome.observed.mean(axis=0)).sum()
    if center is None or spread == 0:
        why = NO_DRAWS if center is None else "the data are constant"
        yield _not_applicable(outcome, "r2", why, "higher")
    else:
        lost = np.square(outcome.observed - center).sum()
        note = "1 - squared error / squared distance from the mean of the data"
        yield _row(outcome, "r2", 1.0 - lost / spread, "higher", note=note)
    laws = outcome.predicted.laws
    if "mean" not in laws or "variance" not in laws:
        yield _not_applicable(outcome, "bayes_r2", _why(outcome, "variance"), "higher")
        return
    fitted = laws["mean"].var(axis=1).mean(axis=1)
    noise = laws["variance"].mean(axis=(1, 2))
    share = fitted / (fitted + noise)
    # Of the posterior of all data, whatever the split is.
    split = "held-out" if outcome.split == "held-out" else "in-sample"
    se = share.std(ddof=1) if len(share) > 1 else np.nan
    note = "posterior mean; `se` is its posterior sd"
    yield _row(
        outcome, "bayes_r2", share.mean(), "higher", se=se, note=note, split=split
    )


def _why(outcome: Outcome, quantity: str) -> str:
    return outcome.missing.get(quantity, NO_LAWS)


def _variances(outcome: Outcome) -> Iterator[Row]:
    """The law of total variance, over draws of the parameters."""
    laws, draws = outcome.predicted.laws, outcome.predicted.draws
    if outcome.nature == "binary" and outcome.predicted.log_likelihood is not None:
        p = np.exp(np.minimum(outcome.predicted.log_likelihood, 0.0))[..., None]
        mean, variance = p, p * (1.0 - p)
    elif "mean" in laws and "variance" in laws:
        mean, variance = laws["mean"], laws["variance"]
    elif outcome.kind == "points" and draws is not None:
        by_member = draws.reshape(outcome.num_chains, -1, *draws.shape[1:])
        if by_member.shape[1] < 2:
            why = "each member has one replicate; make more with `num_replicates`"
            yield _not_applicable(outcome, "epistemic_variance", why)
            return
        mean, variance = by_member.mean(axis=1), by_member.var(axis=1, ddof=1)
        # The means of replicates scatter by their noise too.
        between = mean.var(axis=0) - variance.mean(axis=0) / by_member.shape[1]
        yield _row(outcome, "epistemic_variance", np.maximum(between, 0).mean(), "")
        yield _row(outcome, "aleatoric_variance", variance.mean(), "")
        return
    else:
        for metric in ("epistemic_variance", "aleatoric_variance"):
            yield _not_applicable(outcome, metric, _why(outcome, "variance"))
        return
    center = outcome.mean(mean)
    between = outcome.mean(np.square(mean - center))
    note = "of the mean of a datum, over draws"
    yield _row(outcome, "epistemic_variance", between.mean(), "", note=note)
    note = "of a datum around its mean, averaged over draws"
    within = outcome.mean(variance).mean()
    yield _row(outcome, "aleatoric_variance", within, "", note=note)


def _glm(outcome: Outcome) -> Iterator[Row]:
    laws = outcome.predicted.laws
    note = f"posterior mean of the sum over {outcome.observed.size} data"
    if "deviance" in laws:
        total = outcome.mean(laws["deviance"]).sum()
        yield _row(outcome, "deviance", total, note=note)
    else:
        yield _not_applicable(outcome, "deviance", _why(outcome, "deviance"), "lower")
    if "mean" in laws and "variance" in laws and np.all(laws["variance"] > 0):
        squares = np.square(outcome.observed - laws["mean"]) / laws["variance"]
        expected = f"{outcome.observed.size}"
        total = outcome.mean(squares).sum()
        yield _row(outcome, "pearson", total, expected, note=note)
    else:
        yield _not_applicable(outcome, "pearson", _why(outcome, "variance"))


def _p_values(outcome: Outcome, statistics: Mapping[str, Statistic]) -> Iterator[Row]:
    draws = outcome.predicted.draws
    split = "held-out" if outcome.split == "held-out" else "in-sample"
    for name, statistic in statistics.items():
        metric = f"p_{name}"
        if draws is None:
            yield _not_applicable(outcome, metric, NO_DRAWS)
            continue
        replicated = np.asarray(statistic(draws.reshape(len(draws), -1), axis=1))
        own = np.asarray(statistic(outcome.observed.reshape(1, -1), axis=1))
        if replicated.shape != (len(draws),) or own.shape != (1,):
            raise ValueError(
                f"`gof(statistics=...)`: `{name}` gives shape {replicated.shape} for "
                f"{len(draws)} replicated data sets. It is called as `{name}(values, "
                "axis=1)`, and returns one number for each row."
            )
        share = np.mean(replicated > own) + 0.5 * np.mean(replicated == own)
        note = "share of replicated data sets above the data"
        yield _row(outcome, metric, share, "0.5", note=note, split=split)
