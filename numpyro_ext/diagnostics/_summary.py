"""A table of a fit that says what it is a table of."""

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from .._checks import nearest
from ..inference import Fit, MemberStatus, Status
from ..inference._independent import MAX_PARETO_K
from ._dims import entry_names, model_coords, site_dims
from ._sample_stats import sample_stats
from ._tree_groups import to_numpy

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
    fit: Fit | xr.DataTree, *, sites: list[str] | None = None, ci_prob: float = CI_PROB
) -> Summary:
    """Summarises a fit: one row for each scalar of its sites.

    Draws get mean, sd, a central interval of probability `ci_prob`, bulk and tail
    ESS (the tails are the 5 % and 95 % quantiles), R-hat and Monte Carlo standard
    errors: ArviZ's numbers, for thousands of scalars at once. Independent draws get no
    R-hat, which is 1 for them whatever they are drawn from. Points of an ensemble get
    the mean, the sd and the range over members; ESS and R-hat mean nothing there.

    Args:
        fit: the result of an engine, or a tree.
        sites: which sites; by default the latent ones (of a tree that is not of
            `to_datatree`: all).
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
    source = _of_fit(fit, sites) if isinstance(fit, Fit) else _of_tree(fit, sites)
    if source.kind == "points":
        return _summarize_points(source)
    return _summarize_draws(source, ci_prob)


class _Source(NamedTuple):
    """What a table needs of a fit or of a tree."""

    engine: str
    kind: str
    values: dict[str, np.ndarray]
    # Of the entries of each.
    labels: dict[str, list[str]]
    num_divergent: int
    status: tuple[MemberStatus, ...]
    account: dict[str, float]


def _of_fit(fit: Fit, sites: list[str] | None) -> _Source:
    names = list(sites or fit.spec.sites.coordinates)
    _check_names(names, list(fit.draws))
    found = {
        "log_evidence": fit.log_evidence,
        "log_evidence_error": fit.log_evidence_error,
        "pareto_k": fit.diagnostics.get("pareto_k"),
        "sd_ratio": fit.diagnostics.get("sd_ratio"),
    }
    values = to_numpy({name: fit.draws[name] for name in names})
    dims, coords = site_dims(fit.spec.sites), model_coords(fit.spec)
    return _Source(
        type(fit.engine).__name__,
        fit.kind,
        values,
        {
            name: entry_names(name, value.shape[2:], dims.get(name, ()), coords)
            for name, value in values.items()
        },
        int(np.sum(np.asarray(fit.stats.get("diverging", 0)))),
        fit.status,
        {name: float(value) for name, value in found.items() if value is not None},
    )


def _of_tree(tree: xr.DataTree, sites: list[str] | None) -> _Source:
    posterior = tree["posterior"].to_dataset()
    known = [str(name) for name in posterior.data_vars]
    names = list(sites or json.loads(tree.attrs.get("latent", "[]")) or known)
    _check_names(names, known)
    stats = tree["sample_stats"].data_vars if "sample_stats" in tree.children else {}
    codes = [Status[name] for name in json.loads(tree.attrs.get("status", "[]"))]
    account = ("log_evidence", "log_evidence_error", "pareto_k", "sd_ratio")
    return _Source(
        str(tree.attrs.get("engine", "Draws")),
        str(tree.attrs.get("kind", "draws")),
        {name: posterior[name].values for name in names},
        {name: _labels_of(posterior[name]) for name in names},
        int(np.sum(stats["diverging"].values)) if "diverging" in stats else 0,
        tuple(MemberStatus(code, code.name.lower()) for code in codes),
        {name: float(tree.attrs[name]) for name in account if name in tree.attrs},
    )


def _labels_of(variable: xr.DataArray) -> list[str]:
    dims = [str(dim) for dim in variable.dims[2:]]
    coords = {
        dim: variable[dim].values.tolist() for dim in dims if dim in variable.coords
    }
    return entry_names(str(variable.name), variable.shape[2:], dims, coords)


def _check_names(names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"The fit has no site `{name}`; {nearest(name, known)}")


def _summarize_draws(source: _Source, ci_prob: float) -> Summary:
    labels, columns = [], []
    for name, value in source.values.items():
        labels += source.labels[name]
        for place in np.ndindex(value.shape[2:]):
            columns.append(value[(slice(None), slice(None), *place)])
    stats = sample_stats(np.stack(columns, axis=2), ci_prob=ci_prob)
    interval = f"eti{100 * ci_prob:g}"
    names = {"lower": f"{interval}_lb", "upper": f"{interval}_ub"}
    table = pd.DataFrame(stats._asdict(), index=pd.Index(labels)).rename(columns=names)
    num_chains, num_draws = next(iter(source.values.values())).shape[:2]
    sizes = f"{num_chains} chains of {num_draws} draws"
    if source.kind == "independent":
        table = table.drop(columns="r_hat")
        sizes = f"{num_chains} x {num_draws} independent draws"
    title = (
        f"{source.engine}: {sizes}; "
        f"intervals are central and hold {ci_prob:.0%} of the draws"
    )
    notes = _failures(source.status) + _account(source.account)
    is_constant = np.asarray(table["sd"], dtype=float) == 0.0
    constant = [str(name) for name in np.asarray(table.index)[is_constant]]
    if constant:
        notes.append(f"All draws are equal, so there is no R-hat, at: {constant}.")
    if source.num_divergent:
        notes.append(
            f"{source.num_divergent} of {num_chains * num_draws} transitions diverged: "
            "the tails of the posterior may be missing."
        )
    return Summary(title, table, tuple(notes))


def _account(account: dict[str, float]) -> list[str]:
    """Says what the engine found beside the draws."""
    words = []
    if "log_evidence" in account:
        error = ""
        if "log_evidence_error" in account:
            error = f" (standard error {account['log_evidence_error']:.2g})"
        words.append(f"Log evidence {account['log_evidence']:.2f}{error}.")
    if "pareto_k" in account:
        k = account["pareto_k"]
        verdict = "close to the posterior" if k <= MAX_PARETO_K else "far from it"
        words.append(f"Pareto k of the approximation {k:.2f}: {verdict}.")
    if "sd_ratio" in account:
        words.append(
            f"Where it is furthest off, its sd is {account['sd_ratio']:.2f} times the "
            "one that weights against the posterior give."
        )
    return words


def _summarize_points(source: _Source) -> Summary:
    num_members = next(iter(source.values.values())).shape[0]
    rows = {}
    for name, value in source.values.items():
        labels = source.labels[name]
        for label, index in zip(labels, np.ndindex(value.shape[2:]), strict=True):
            member = value[(slice(None), 0, *index)]
            rows[label] = {
                "mean": np.mean(member),
                "sd": np.std(member, ddof=1) if num_members > 1 else np.nan,
                "min": np.min(member),
                "max": np.max(member),
            }
    title = (
        f"{source.engine}: {num_members} members, one point each; sd, min and max are "
        "over members and are no posterior uncertainty"
    )
    return Summary(title, pd.DataFrame(rows).T, tuple(_failures(source.status)))


def _failures(status: tuple[MemberStatus, ...]) -> list[str]:
    bad = [i for i, one in enumerate(status) if not one.code.is_usable]
    if not bad:
        return []
    first = status[bad[0]].message
    return [f"{len(bad)} of {len(status)} did not end well ({bad}): {first}"]


def _format(value: float) -> str:
    if np.isnan(value):
        return "nan"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
