"""Can the draws be trusted? One table of checks, none of which passes in silence."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from ..inference import Fit, Status
from ..inference._independent import MAX_PARETO_K
from ._datatree import to_datatree
from ._sample_stats import SampleStats, sample_stats

CheckStatus = Literal["ok", "warn", "fail", "not applicable"]
ORDER: tuple[CheckStatus, ...] = ("not applicable", "ok", "warn", "fail")
MAX_R_HAT, BAD_R_HAT = 1.01, 1.05
# Effective draws that a tail quantile needs, in all and by chain (Stan's).
MIN_ESS_PER_CHAIN = 100
MAX_DIVERGENT = 0.01
MIN_BFMI = 0.3
MIN_P_VALUE = 1e-3
SAME_MODE = 0.1
MAX_NAMED = 3


class Check(NamedTuple):
    """One row of a diagnosis.

    Attributes:
        check: what was looked at.
        status: `ok`, `warn`, `fail` or `not applicable`.
        value: the worst value found.
        threshold: what it was held against.
        where: the sites and entries, or chains, where it was found.
        advice: what to do.
    """

    check: str
    status: CheckStatus
    value: float
    threshold: str
    where: str
    advice: str


@dataclass(frozen=True)
class Diagnosis:
    """A table of checks and the worst of them.

    Attributes:
        checks: all checks that were made.
        kind: what the tree holds: `draws`, `points` or `independent`.
    """

    checks: tuple[Check, ...]
    kind: str

    @property
    def table(self) -> pd.DataFrame:
        """One row for each check."""
        return pd.DataFrame(self.checks, columns=list(Check._fields))

    @property
    def status(self) -> CheckStatus:
        """The worst status of all checks; `ok` only if draws were judged."""
        found: list[CheckStatus] = [check.status for check in self.checks]
        worst = max(found, key=ORDER.index)
        if self.kind == "points" and worst == "ok":
            # Points that converged are no posterior.
            return "not applicable"
        return worst

    @property
    def verdict(self) -> str:
        """The result in words, with what to do."""
        bad = [c for c in self.checks if c.status in ("warn", "fail")]
        if bad:
            return "\n".join(
                f"{c.status}: {c.check} at {c.where} "
                f"({_beside(c.value, c.threshold)}, should be {c.threshold}). "
                f"{c.advice}"
                for c in bad
            )
        if self.kind == "points":
            return (
                "The members converged and agree. They are points: how wide the "
                "posterior is, they cannot say."
            )
        return "No check found anything wrong."

    def __repr__(self) -> str:
        table = self.table.drop(columns="advice").to_string(index=False)
        return f"{table}\n{self.verdict}"


def _beside(value: float, threshold: str) -> str:
    """Returns the value with the digits that tell it from its threshold."""
    texts = [f"{value:.{digits}g}" for digits in range(3, 8)]
    return next((t for t in texts if t not in threshold.split()), texts[-1])


def diagnose(tree: xr.DataTree | Fit) -> Diagnosis:
    """Checks whether the draws of a tree can be trusted.

    Markov chains are judged by R-hat, bulk and tail ESS, divergences, E-BFMI, tree
    depth, and chains that are stuck or copies of each other; independent draws by
    Pareto k, R-hat between populations and what else the engine says of itself; points
    of an ensemble by whether they converged and agree. NaN and constant draws are
    looked for in all. A check that cannot be made says so, and is never `ok`: one
    chain has no R-hat, points have no posterior.

    Args:
        tree: a tree of `to_datatree`, or of ArviZ (taken for Markov chains); or a fit.

    Returns:
        The table, its worst status, and what to do.

    Raises:
        ValueError: for a tree without a posterior.

    Source: Vehtari et al. (2021), Bayesian Analysis 16, 667-718 (R-hat, ESS);
        Betancourt (2016), arXiv:1604.00695 (E-BFMI); Vehtari et al. (2024), JMLR 25,
        1-58 (Pareto k).
    """
    if isinstance(tree, Fit):
        tree = to_datatree(
            tree, posterior_predictive=False, log_likelihood=False, log_prior=False
        )
    if "posterior" not in tree.children:
        raise ValueError(
            f"The tree has the groups {list(tree.children)} and no `posterior`. Give a "
            "tree of `fit.to_datatree()`."
        )
    kind = str(tree.attrs.get("kind", tree["posterior"].attrs.get("kind", "draws")))
    draws = _flatten(tree)
    judges = {"draws": _chains, "points": _points, "independent": _independent}
    checks = (*_values(draws, kind), *judges[kind](tree, draws))
    return Diagnosis(checks, kind)


class Draws(NamedTuple):
    """All scalars of the posterior: their labels and (chain, draw, scalar)."""

    labels: list[str]
    values: Float[np.ndarray, "chain draw n"]

    def name(self, marks: np.ndarray) -> str:
        """Names the marked scalars."""
        places = np.flatnonzero(marks)
        names = ", ".join(f"`{self.labels[i]}`" for i in places[:MAX_NAMED])
        more = f" and {places.size - MAX_NAMED} more" if places.size > MAX_NAMED else ""
        return names + more


def _flatten(tree: xr.DataTree) -> Draws:
    labels, columns = [], []
    for name, array in tree["posterior"].to_dataset().data_vars.items():
        value = array.transpose("chain", "draw", ...).values
        for place in np.ndindex(value.shape[2:]):
            entry = f"[{', '.join(map(str, place))}]" if place else ""
            labels.append(f"{name}{entry}")
            columns.append(value[(slice(None), slice(None), *place)].astype(float))
    return Draws(labels, np.stack(columns, axis=2))


def _values(draws: Draws, kind: str) -> Iterator[Check]:
    """NaN and constants, which no statistic can judge."""
    is_bad = ~np.isfinite(draws.values).all(axis=(0, 1))
    yield _count(
        "finite draws",
        is_bad,
        draws,
        "0 scalars with NaN or inf",
        "Look at `spec.check(key)`; a model that overflows needs tighter priors, or "
        "float64.",
    )
    if kind == "points":
        return
    is_constant = (np.ptp(draws.values, axis=(0, 1)) == 0) & ~is_bad
    # Entries that are constants by definition, as the zeros of a Cholesky factor.
    fraction = is_constant.mean()
    status: CheckStatus = "ok"
    if is_constant.any():
        status = "fail" if fraction == 1 else "warn"
    yield Check(
        "moving draws",
        status,
        float(is_constant.sum()),
        "0 scalars that never move",
        draws.name(is_constant),
        "Right for entries that are constants (a correlation with itself); else the "
        "sampler is stuck: other starts, a smaller step size.",
    )


def _chains(tree: xr.DataTree, draws: Draws) -> Iterator[Check]:
    with np.errstate(invalid="ignore"):
        stats = sample_stats(draws.values, ci_prob=0.9)
    varies = np.ptp(np.nan_to_num(draws.values), axis=(0, 1)) > 0
    yield _r_hat(stats, draws, varies)
    num_chains = len(draws.values)
    for name, ess in (("bulk ESS", stats.ess_bulk), ("tail ESS", stats.ess_tail)):
        yield _ess(name, ess, draws, varies, MIN_ESS_PER_CHAIN * num_chains)
    yield _stuck(draws)
    yield _copies(draws)
    sample = tree["sample_stats"] if "sample_stats" in tree.children else {}
    found = {str(name): np.asarray(sample[name].values) for name in sample}
    yield _divergences(found)
    yield _tree_depth(found)
    yield _energy(found)


def _r_hat(stats: SampleStats, draws: Draws, varies: np.ndarray) -> Check:
    if len(draws.values) < 2:
        return Check(
            "R-hat",
            "warn",
            np.nan,
            f"at most {MAX_R_HAT}, of several chains",
            "the only chain",
            "One chain cannot show that it missed something: run four.",
        )
    worst = float(np.nanmax(np.where(varies, stats.r_hat, np.nan), initial=1.0))
    return Check(
        "R-hat",
        _grade(worst > MAX_R_HAT, worst > BAD_R_HAT),
        worst,
        f"at most {MAX_R_HAT}",
        draws.name(varies & ~(stats.r_hat <= MAX_R_HAT)),
        "Chains disagree: more warm-up, other starts, or several modes "
        "(`modes` of an ensemble).",
    )


def _ess(
    name: str, ess: np.ndarray, draws: Draws, varies: np.ndarray, enough: int
) -> Check:
    worst = float(np.nanmin(np.where(varies, ess, np.nan), initial=np.inf))
    return Check(
        name,
        _grade(not worst >= enough, not worst >= enough / 4),
        worst,
        f"at least {enough}",
        draws.name(varies & ~(ess >= enough)),
        "More draws, `fit.resume(...)`; where that does not help, another "
        "parametrization.",
    )


def _stuck(draws: Draws) -> Check:
    moves = np.ptp(draws.values, axis=1).max(axis=1) > 0
    bad = np.flatnonzero(~moves)
    return Check(
        "chains that move",
        "fail" if bad.size else "ok",
        float(bad.size),
        "0 stuck chains",
        ", ".join(f"chain {i}" for i in bad),
        "Other starts for these chains, or a smaller step size.",
    )


def _copies(draws: Draws) -> Check:
    values = draws.values
    same = [
        f"chains {i} and {j}"
        for i in range(len(values))
        for j in range(i)
        if values.shape[1] > 1 and np.array_equal(values[i], values[j])
    ]
    return Check(
        "different chains",
        "fail" if same else "ok",
        float(len(same)),
        "0 copies",
        ", ".join(same[:MAX_NAMED]),
        "Copies make R-hat look right: give each chain a key of its own.",
    )


def _divergences(stats: dict[str, np.ndarray]) -> Check:
    if "diverging" not in stats:
        return _not_applicable("divergences", "the tree has no `diverging`")
    share = float(stats["diverging"].mean())
    bad = np.flatnonzero(stats["diverging"].any(axis=1))
    return Check(
        "divergences",
        _grade(share > 0, share > MAX_DIVERGENT),
        float(stats["diverging"].sum()),
        "0 transitions",
        ", ".join(f"chain {i}" for i in bad),
        "Part of the posterior may be missing: the non-centred form of hierarchical "
        "sites, or a larger `target_accept`.",
    )


def _tree_depth(stats: dict[str, np.ndarray]) -> Check:
    # ArviZ reads one spelling and writes the other.
    names = ("reached_max_treedepth", "reached_max_tree_depth")
    found = [stats[name] for name in names if name in stats]
    if not found:
        return _not_applicable("tree depth", "the tree has no `reached_max_treedepth`")
    share = float(found[0].mean())
    bad = np.flatnonzero(found[0].any(axis=1))
    return Check(
        "tree depth",
        _grade(share > 0, share > 0.1),
        float(found[0].sum()),
        "0 trajectories at the limit",
        ", ".join(f"chain {i}" for i in bad),
        "Slow, and not wrong: scale the parameters, `dense_mass=True`, or a larger "
        "`max_tree_depth`.",
    )


def _energy(stats: dict[str, np.ndarray]) -> Check:
    if "energy" not in stats or stats["energy"].shape[1] < 2:
        return _not_applicable("E-BFMI", "the tree has no `energy`")
    energy = stats["energy"]
    with np.errstate(invalid="ignore", divide="ignore"):
        steps = np.square(np.diff(energy, axis=1)).mean(axis=1)
        ratio = steps / energy.var(axis=1)
    worst = float(np.min(ratio))
    bad = np.flatnonzero(~(ratio >= MIN_BFMI))
    return Check(
        "E-BFMI",
        _grade(not worst >= MIN_BFMI, not worst >= MIN_BFMI / 2),
        worst,
        f"at least {MIN_BFMI}",
        ", ".join(f"chain {i}" for i in bad),
        "The momentum does not reach the tails: another parametrization.",
    )


def _points(tree: xr.DataTree, draws: Draws) -> Iterator[Check]:
    codes = json.loads(tree.attrs.get("status", "[]"))
    bad = [i for i, code in enumerate(codes) if code != Status.CONVERGED.name]
    named = ", ".join(f"member {i} ({codes[i].lower()})" for i in bad[:MAX_NAMED])
    yield Check(
        "converged members",
        _grade(bool(bad), len(bad) == len(codes)) if codes else "not applicable",
        float(len(bad)),
        "0 that did not",
        named,
        "More steps, another optimizer, or tighter priors.",
    )
    lp = np.asarray(tree["sample_stats"]["lp"].values)[:, -1]
    good = [i for i, code in enumerate(codes) if code == Status.CONVERGED.name]
    if len(good) < 2:
        yield _not_applicable("members agree", "fewer than two members converged")
    else:
        spread = float(np.ptp(lp[good]))
        below = [i for i in good if lp[i] < lp[good].max() - SAME_MODE]
        yield Check(
            "members agree",
            _grade(spread > SAME_MODE, False),
            spread,
            f"within {SAME_MODE} nats",
            ", ".join(f"member {i}" for i in below[:MAX_NAMED]),
            "Several modes: `modes(fit)` lists them; `SMC` weighs them.",
        )
    for name in ("R-hat", "bulk ESS", "tail ESS"):
        yield _not_applicable(name, "points are no draws")


def _independent(tree: xr.DataTree, draws: Draws) -> Iterator[Check]:
    codes = json.loads(tree.attrs.get("status", "[]"))
    bad = [i for i, code in enumerate(codes) if not Status[code].is_usable]
    yield Check(
        "how the engine ended",
        "fail" if bad else "ok",
        float(len(bad)),
        "0 that ended badly",
        ", ".join(f"number {i} ({codes[i].lower()})" for i in bad[:MAX_NAMED]),
        "Read `fit.status`, which has its chains, paths or members in this order.",
    )
    rules: dict[str, tuple[str, Callable[[float], CheckStatus], str, str]] = {
        "pareto_k": (
            "Pareto k",
            lambda k: _grade(not k <= MAX_PARETO_K, not k <= 1.0),
            f"at most {MAX_PARETO_K}",
            "The approximation is far from the posterior: draw with NUTS from it, "
            "`NUTS().run(spec, key, init=fit)`.",
        ),
        "sd_ratio": (
            "sd of the draws over that by weights",
            lambda r: _grade(not 0.8 <= r <= 1.25, not 0.5 <= r <= 2.0),
            "0.8 to 1.25",
            "The approximation is too narrow (below 1) or too wide somewhere: take a "
            "law with correlations, or draw with NUTS from it, "
            "`NUTS().run(spec, key, init=fit)`.",
        ),
        "r_hat": (
            "R-hat between populations",
            lambda r: _grade(not r <= BAD_R_HAT, not r <= 1.1),
            f"at most {BAD_R_HAT}",
            "Populations disagree: more `num_mcmc_steps`, then more particles.",
        ),
        "insertion_p_value": (
            "insertion ranks",
            lambda p: _grade(not p >= MIN_P_VALUE, not p >= 1e-6),
            f"at least {MIN_P_VALUE}",
            "New points are not independent: more `num_inner_steps`.",
        ),
    }
    known = [name for name in rules if name in tree.attrs]
    for name in known:
        title, grade, threshold, advice = rules[name]
        value = float(tree.attrs[name])
        yield Check(title, grade(value), value, threshold, "all draws", advice)
    if not known:
        yield Check(
            "the engine's own account",
            "warn",
            np.nan,
            "one of " + ", ".join(rules),
            "the tree",
            "Nothing says how far these draws are from the posterior: compare with "
            "NUTS.",
        )
    yield _not_applicable("R-hat", "independent draws have 1 whatever they come from")


def _count(
    check: str, marks: np.ndarray, draws: Draws, threshold: str, advice: str
) -> Check:
    status: CheckStatus = "fail" if marks.any() else "ok"
    return Check(
        check, status, float(marks.sum()), threshold, draws.name(marks), advice
    )


def _not_applicable(check: str, why: str) -> Check:
    return Check(check, "not applicable", np.nan, "", "", f"Not judged: {why}.")


def _grade(is_bad: bool, is_worse: bool) -> CheckStatus:
    if is_worse:
        return "fail"
    return "warn" if is_bad else "ok"
