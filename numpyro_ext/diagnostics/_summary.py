"""A table of a fit that says what it is a table of."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .._checks import nearest
from ..inference import Fit
from ..inference._independent import MAX_PARETO_K
from ._datatree import to_numpy
from ._dims import entry_names
from ._sample_stats import sample_stats

CI_PROB = 0.89


@dataclass(frozen=True)
class Summary:
    """A table with its heading; prints as text, and as HTML in notebooks.

    Attributes:
        title: engine, sizes, and what the interval is.
        table: one row for each scalar.
        notes: what to know before reading it.
    """

    title: str
    table: pd.DataFrame
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        table = self.table.map(_format).to_string()
        return "\n".join([self.title, table, *self.notes])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{note}</p>" for note in self.notes)
        return f"<p>{self.title}</p>{self.table.map(_format).to_html()}{notes}"


def summarize(
    fit: Fit, *, sites: list[str] | None = None, ci_prob: float = CI_PROB
) -> Summary:
    """Summarises a fit: one row for each scalar of its sites.

    Draws get mean, sd, a central interval of probability `ci_prob`, bulk and tail
    ESS (the tails are the 5 % and 95 % quantiles), R-hat and Monte Carlo standard
    errors: ArviZ's numbers, for thousands of scalars at once. Independent draws get no
    R-hat, which is 1 for them whatever they are drawn from. Points of an ensemble get
    the mean, the sd and the range over members; ESS and R-hat mean nothing there.

    Args:
        fit: the result of an engine.
        sites: which sites; by default the latent ones.
        ci_prob: probability of the central (equal-tailed) interval.

    Raises:
        ValueError: naming a site that the fit does not have, or `ci_prob` outside
            (0, 1).
    """
    if not 0.0 < ci_prob < 1.0:
        raise ValueError(
            f"`ci_prob={ci_prob}` is no probability between 0 and 1. Write "
            "`ci_prob=0.89`."
        )
    names = list(sites or fit.spec.sites.coordinates)
    for name in names:
        if name not in fit.draws:
            raise ValueError(
                f"The fit has no site `{name}`; {nearest(name, fit.draws)}"
            )
    values = to_numpy({name: fit.draws[name] for name in names})
    if fit.kind == "points":
        return _summarize_points(fit, values)
    return _summarize_draws(fit, values, ci_prob)


def _summarize_draws(
    fit: Fit, values: dict[str, np.ndarray], ci_prob: float
) -> Summary:
    labels, columns = [], []
    for name, value in values.items():
        labels += entry_names(fit.spec, name, value.shape[2:])
        for place in np.ndindex(value.shape[2:]):
            columns.append(value[(slice(None), slice(None), *place)])
    stats = sample_stats(np.stack(columns, axis=2), ci_prob=ci_prob)
    interval = f"eti{100 * ci_prob:g}"
    names = {"lower": f"{interval}_lb", "upper": f"{interval}_ub"}
    table = pd.DataFrame(stats._asdict(), index=pd.Index(labels)).rename(columns=names)
    if fit.kind == "independent":
        table = table.drop(columns="r_hat")
    num_chains, num_draws = next(iter(values.values())).shape[:2]
    sizes = f"{num_chains} chains of {num_draws} draws"
    if fit.kind == "independent":
        sizes = f"{num_chains} x {num_draws} independent draws"
    title = (
        f"{type(fit.engine).__name__}: {sizes}; "
        f"intervals are central and hold {ci_prob:.0%} of the draws"
    )
    notes = _failures(fit) + _account(fit)
    is_constant = np.asarray(table["sd"], dtype=float) == 0.0
    constant = [str(name) for name in np.asarray(table.index)[is_constant]]
    if constant:
        notes.append(f"All draws are equal, so there is no R-hat, at: {constant}.")
    divergences = int(np.sum(np.asarray(fit.stats.get("diverging", 0))))
    if divergences:
        notes.append(
            f"{divergences} of {num_chains * num_draws} transitions diverged: the "
            "tails of the posterior may be missing."
        )
    return Summary(title, table, tuple(notes))


def _account(fit: Fit) -> list[str]:
    """Says what the engine found beside the draws."""
    words = []
    if fit.log_evidence is not None:
        error = ""
        if fit.log_evidence_error is not None:
            error = f" (standard error {float(fit.log_evidence_error):.2g})"
        words.append(f"Log evidence {float(fit.log_evidence):.2f}{error}.")
    if "pareto_k" in fit.diagnostics:
        k = float(fit.diagnostics["pareto_k"])
        verdict = "close to the posterior" if k <= MAX_PARETO_K else "far from it"
        words.append(f"Pareto k of the approximation {k:.2f}: {verdict}.")
    return words


def _summarize_points(fit: Fit, values: dict[str, np.ndarray]) -> Summary:
    num_members = len(fit.status)
    rows = {}
    for name, value in values.items():
        labels = entry_names(fit.spec, name, value.shape[2:])
        for label, index in zip(labels, np.ndindex(value.shape[2:]), strict=True):
            member = value[(slice(None), 0, *index)]
            rows[label] = {
                "mean": np.mean(member),
                "sd": np.std(member, ddof=1) if num_members > 1 else np.nan,
                "min": np.min(member),
                "max": np.max(member),
            }
    title = (
        f"{type(fit.engine).__name__}: {num_members} members, one point each; sd, min "
        "and max are over members and are no posterior uncertainty"
    )
    return Summary(title, pd.DataFrame(rows).T, tuple(_failures(fit)))


def _failures(fit: Fit) -> list[str]:
    bad = [i for i, status in enumerate(fit.status) if not status.code.is_usable]
    if not bad:
        return []
    first = fit.status[bad[0]].message
    return [f"{len(bad)} of {len(fit.status)} did not end well ({bad}): {first}"]


def _format(value: float) -> str:
    if np.isnan(value):
        return "nan"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
