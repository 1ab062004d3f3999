"""The data of a tree, each site with all that predicts it."""

import json
import warnings
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key

from .._checks import OWN_FRAMES, check_choice, nearest
from ..inference import Fit, ModelSpec
from ..inference._independent import MAX_PARETO_K
from ._datatree import to_datatree
from ._laws import HELD_OUT, with_laws
from ._pit import pit
from ._psis import smooth
from ._sample_stats import sample_stats

type Split = Literal["held-out", "LOO", "in-sample"]
type SplitChoice = Literal["auto", "held-out", "LOO", "in-sample"]
type Nature = Literal["continuous", "count", "binary", "categorical"]
NAMES: tuple[Split, ...] = ("held-out", "LOO", "in-sample")
MAX_NAMED = 5


class Predicted(NamedTuple):
    """Arrays over (draw, datum, entry); each None where the tree has none.

    Attributes:
        draws: predictive draws.
        log_likelihood: (draw, datum).
        laws: `cdf`, `cdf_below`, `mean`, `variance` and `deviance` of each law;
            `probs` is (draw, datum, category).
    """

    draws: Float[np.ndarray, "draw n d"] | None
    log_likelihood: Float[np.ndarray, "draw n"] | None
    laws: dict[str, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """One observed site under one split.

    Attributes:
        name: the site.
        split: what the predictions know of the data.
        kind: the tree's kind, as `Fit.kind`.
        nature: what sort of numbers these are.
        event_shape: shape of one datum.
        observed: the data, (datum, entry).
        predicted: what predicts them.
        num_chains: chains or members.
        weights: (draw, datum), leave-one-out importance weights; None elsewhere.
        pareto_k: of each datum, for LOO.
        missing: what is not known of the site, and why.
        approximation_k: Pareto k of the draws against the posterior; 0 for draws of
            Markov chains.
    """

    name: str
    split: Split
    kind: str
    nature: Nature
    event_shape: tuple[int, ...]
    observed: Float[np.ndarray, "n d"]
    predicted: Predicted
    num_chains: int
    weights: Float[np.ndarray, "draw n"] | None = None
    pareto_k: Float[np.ndarray, " n"] | None = None
    missing: dict[str, str] = field(default_factory=dict)
    approximation_k: float = 0.0

    @property
    def size(self) -> int:
        """Number of data."""
        return len(self.observed)

    @property
    def is_vector(self) -> bool:
        """Whether a datum is more than a number."""
        return self.event_shape != ()

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Averages (draw, datum, ...) over draws by the weights of the split."""
        if self.weights is None:
            return values.mean(axis=0)
        return np.einsum("sn,sn...->n...", self.weights, values)

    def entry_weights(self) -> Float[np.ndarray, "draw n d"] | None:
        """Returns the weights, repeated for the entries of a datum."""
        if self.weights is None:
            return None
        shape = (*self.weights.shape, self.observed.shape[1])
        return np.broadcast_to(self.weights[:, :, None], shape)

    def probability(self) -> Float[np.ndarray, " n"] | None:
        """Returns the predicted probability of a 1, for binary data."""
        log_likelihood = self.predicted.log_likelihood
        if log_likelihood is not None:
            p = np.exp(np.minimum(log_likelihood, 0.0))
            p = np.where(self.observed[:, 0] == 1, p, 1.0 - p)
        elif "mean" in self.predicted.laws:
            p = self.predicted.laws["mean"][..., 0]
        elif self.predicted.draws is not None:
            p = self.predicted.draws[..., 0]
        else:
            return None
        return np.clip(self.mean(p), 0.0, 1.0)

    def pit(self, key: Key[Array, ""]) -> Float[np.ndarray, "n d"] | None:
        """Returns the probability integral transform of each entry.

        Of the mean of the laws where they have a distribution function, else the
        randomised rank among the predictive draws.
        """
        laws, draws = self.predicted.laws, self.predicted.draws
        uniform = np.asarray(jax.random.uniform(key, self.observed.shape), dtype=float)
        if "cdf" in laws:
            at = self.mean(laws["cdf"])
            below = self.mean(laws["cdf_below"]) if "cdf_below" in laws else at
            return np.clip(below + uniform * (at - below), 0.0, 1.0)
        if draws is None:
            return None
        if self.weights is None:
            return pit(draws, self.observed, key=key)
        size = 1.0 / np.sum(np.square(self.weights), axis=0)[:, None]
        less = self.mean((draws < self.observed).astype(float))
        equal = self.mean((draws == self.observed).astype(float))
        return (size * less + uniform * (size * equal + 1.0)) / (size + 1.0)


def read_outcomes(
    owner: str,
    tree: xr.DataTree | Fit,
    model: ModelSpec | Fit | None,
    split: str,
    sites: list[str] | None,
) -> list[Outcome]:
    """Reads the observed sites of a tree under a split; warns of what LOO cannot do."""
    check_choice(owner, "split", split, ("auto", *NAMES))
    if isinstance(tree, Fit):
        model = tree if model is None else model
        is_plain = not hasattr(tree.spec.model, "observed_sites")
        tree = to_datatree(tree)
        model = None if is_plain else model
    if model is not None:
        tree = with_laws(tree, model)
    kind = str(tree.attrs.get("kind", "draws"))
    chosen = _choose(owner, tree, kind, split)
    group = tree[f"{HELD_OUT if chosen == 'held-out' else ''}observed_data"]
    known = [str(name) for name in group.data_vars]
    names = known if sites is None else list(sites)
    for name in names:
        if name not in known:
            raise ValueError(
                f"`{owner}(sites=...)` names `{name}`, which has no data; "
                + nearest(name, known)
            )
    outcomes = [_read(tree, name, chosen, kind) for name in names]
    for outcome in outcomes:
        _warn_of_shapes(outcome)
    return outcomes


def warn_in_sample(owner: str, why: str) -> None:
    """Says that nothing here is about data that the fit has not seen."""
    warnings.warn(
        f"`{owner}` has nothing but in-sample predictions, {why}. They know the data "
        "that they predict: good values prove nothing. Give held-out data, or a tree "
        "with a `log_likelihood` group, for leave-one-out.",
        UserWarning,
        skip_file_prefixes=OWN_FRAMES,
    )


def _choose(owner: str, tree: xr.DataTree, kind: str, split: str) -> Split:
    has_held_out = f"{HELD_OUT}observed_data" in tree.children
    has_loo = "log_likelihood" in tree.children and kind != "points"
    if "observed_data" not in tree.children and not has_held_out:
        raise ValueError(
            f"`{owner}` compares predictions with data, and the tree has no "
            f"`observed_data`; its groups are {list(tree.children)}. Give a tree of "
            "`fit.to_datatree()`."
        )
    if split == "auto":
        if has_held_out:
            return "held-out"
        return "LOO" if has_loo else "in-sample"
    if split == "held-out" and not has_held_out:
        raise ValueError(
            f'`{owner}(split="held-out")` needs the groups `predictions` and '
            "`predictions_observed_data`, and the tree has "
            f"{list(tree.children)}. Add them, or leave `split` out."
        )
    if split == "LOO" and not has_loo:
        why = "are points, which leave-one-out means nothing for"
        if kind != "points":
            why = "has no `log_likelihood` group"
        raise ValueError(
            f'`{owner}(split="LOO")`: the tree {why}. Give held-out data, or leave '
            "`split` out."
        )
    chosen: dict[str, Split] = {name: name for name in NAMES}
    return chosen[split]


def _read(tree: xr.DataTree, name: str, split: Split, kind: str) -> Outcome:
    prefix = HELD_OUT if split == "held-out" else ""
    arrays = _arrays(tree, name, prefix)
    if kind == "points" and not prefix:
        # Whatever the tree has: points cannot be weighed.
        arrays.pop("log_likelihood", None)
    observed = tree[f"{prefix}observed_data"].to_dataset()[name]
    event_dim = _event_dim(observed, arrays)
    batch = int(np.prod(observed.shape[: observed.ndim - event_dim]))
    if observed.size > batch:
        # Reliability is that of one outcome; entries of a vector have transforms.
        arrays.pop("probs", None)
    rows = _rows(arrays.get("log_likelihood"), name)
    flat = {role: _flatten(role, x, batch, rows) for role, x in arrays.items()}
    y = np.asarray(observed.values, dtype=float).reshape(batch, -1)
    y = y if rows is None else y[rows]
    draws, log_likelihood = flat.pop("draws", None), flat.pop("log_likelihood", None)
    _refuse_nan(name, y, draws)
    missing = _missing(tree, name)
    if split == "LOO" and draws is not None and log_likelihood is not None:
        if len(draws) != len(log_likelihood):
            missing["draws"] = (
                f"`posterior_predictive` has {len(draws)} draws and `log_likelihood` "
                f"{len(log_likelihood)}, so that none can be weighed"
            )
            draws = None
    outcome = Outcome(
        name=name,
        split=split,
        kind=kind,
        nature=_nature(y, draws, flat.get("probs")),
        event_shape=observed.shape[observed.ndim - event_dim :],
        observed=y,
        predicted=Predicted(draws, log_likelihood, flat),
        num_chains=next((len(value) for value in arrays.values()), 1),
        missing=missing,
        approximation_k=float(tree.attrs.get("pareto_k", 0.0)),
    )
    return _weigh(outcome, arrays) if split == "LOO" else outcome


def _arrays(tree: xr.DataTree, name: str, prefix: str) -> dict[str, xr.DataArray]:
    """Returns what the tree has on a site, (chain, draw, ...)."""
    groups = {"draws": "predictions" if prefix else "posterior_predictive"}
    groups["log_likelihood"] = f"{prefix}log_likelihood"
    for law in ("cdf", "cdf_below", "mean", "variance", "probs", "deviance"):
        groups[law] = f"{prefix}conditional_{law}"
    return {
        role: tree[group].to_dataset()[name].transpose("chain", "draw", ...)
        for role, group in groups.items()
        if group in tree.children and name in tree[group]
    }


def _flatten(
    role: str, value: xr.DataArray, batch: int, rows: np.ndarray | None
) -> np.ndarray:
    """Returns (draw, datum, entry or category), and the log likelihood (draw, datum).

    The log likelihood has the rows that are not masked and no others.
    """
    array = np.asarray(value.values, dtype=float)
    num = array.shape[0] * array.shape[1]
    if role == "log_likelihood":
        return array.reshape(num, -1)
    array = array.reshape(num, batch, array.shape[-1] if role == "probs" else -1)
    return array if rows is None else array[:, rows]


def _refuse_nan(name: str, y: np.ndarray, draws: np.ndarray | None) -> None:
    if np.isnan(y).any():
        raise ValueError(
            f"Site `{name}` has NaN for {np.isnan(y).any(axis=1).sum()} of its data, "
            "which no prediction can be compared with. Mask them in the model "
            "(`handlers.mask`), or leave them out."
        )
    if draws is not None and np.isnan(draws).any():
        bad = np.isnan(draws).any(axis=(1, 2)).sum()
        raise ValueError(
            f"The predictions of site `{name}` are NaN in {bad} of {len(draws)} draws. "
            "Most often members or chains have failed: `diagnose(fit)` names them; "
            "leave them out."
        )


def _weigh(outcome: Outcome, arrays: dict[str, xr.DataArray]) -> Outcome:
    """Adds leave-one-out weights."""
    values = outcome.predicted.log_likelihood
    if values is None or not np.isfinite(values).all():
        what = "is missing" if values is None else "is not finite for some draws"
        raise ValueError(
            f"Leave-one-out of site `{outcome.name}` needs its log likelihood, which "
            f'{what}. Look at `spec.check(key)`, or take `split="in-sample"`.'
        )
    smoothed = smooth(-values, relative_ess=_relative_ess(outcome, arrays))
    weights = np.exp(smoothed.log_weights)
    return replace(outcome, weights=weights, pareto_k=smoothed.pareto_k)


def _relative_ess(outcome: Outcome, arrays: dict[str, xr.DataArray]) -> float:
    """Returns effective over actual draws, by the log likelihood of all data."""
    shape = arrays["log_likelihood"].shape[:2]
    values = outcome.predicted.log_likelihood
    if outcome.kind != "draws" or shape[1] < 4 or values is None:
        return 1.0
    total = values.sum(axis=1).reshape(*shape, 1)
    if np.ptp(total) == 0:
        return 1.0
    ess = sample_stats(total, ci_prob=0.9).ess_bulk[0]
    return float(np.clip(ess / total.size, 1.0 / total.size, 1.0))


def _warn_of_shapes(outcome: Outcome) -> None:
    if outcome.pareto_k is None:
        return
    bad = np.flatnonzero(~(outcome.pareto_k <= MAX_PARETO_K))
    if bad.size:
        worst = bad[np.argsort(-outcome.pareto_k[bad])][:MAX_NAMED]
        named = ", ".join(f"{i} (k = {outcome.pareto_k[i]:.2f})" for i in worst)
        more = f" and {bad.size - MAX_NAMED} more" if bad.size > MAX_NAMED else ""
        warnings.warn(
            f"Pareto k of site `{outcome.name}` is above {MAX_PARETO_K} at the "
            f"observation indices {named}{more}: leave-one-out is not reliable there. "
            "Fit again without them (ArviZ's `reloo`), use moment matching "
            "(`loo_moment_match`), or hold data out.",
            UserWarning,
            skip_file_prefixes=OWN_FRAMES,
        )


def _event_dim(observed: xr.DataArray, arrays: dict[str, xr.DataArray]) -> int:
    for role, value in arrays.items():
        if "event_dim" in value.attrs:
            return int(value.attrs["event_dim"])
        if role == "log_likelihood" and not _is_unmasked(value):
            return observed.ndim - (value.ndim - 2)
    return 0


def _is_unmasked(value: xr.DataArray) -> bool:
    return value.ndim == 3 and str(value.dims[-1]).endswith("_unmasked")


def _rows(log_likelihood: xr.DataArray | None, name: str) -> np.ndarray | None:
    """Returns the flat indices of the data that are not masked, if some are."""
    if log_likelihood is None or not _is_unmasked(log_likelihood):
        return None
    return np.asarray(log_likelihood[f"{name}_unmasked"].values)


def _missing(tree: xr.DataTree, name: str) -> dict[str, str]:
    known: dict[str, str] = json.loads(tree.attrs.get("laws_missing", "{}"))
    start = f"{name}: "
    return {k.removeprefix(start): v for k, v in known.items() if k.startswith(start)}


def _nature(
    y: np.ndarray, draws: np.ndarray | None, probs: np.ndarray | None
) -> Nature:
    values = (y,) if draws is None else (y, draws)
    is_one = y.shape[1] == 1
    if is_one and all(np.all((value == 0) | (value == 1)) for value in values):
        return "binary"
    if probs is not None:
        return "categorical"
    is_whole = all(np.array_equal(value, np.round(value)) for value in values)
    return "count" if is_whole else "continuous"


def by_site(given: Any, outcome: Outcome) -> Float[np.ndarray, "n d"] | None:
    """Returns the truth of a site: of a dictionary its entry, else what was given."""
    if isinstance(given, dict):
        given = given.get(outcome.name)
    if given is None:
        return None
    value = np.asarray(given, dtype=float)
    if value.size != outcome.observed.size:
        raise ValueError(
            f"`gof(truth=...)` has shape {value.shape}, and site `{outcome.name}` has "
            f"{outcome.size} data of shape {outcome.event_shape}. Give one number for "
            "each, or a dictionary by site."
        )
    return value.reshape(outcome.observed.shape)
