"""Fits of several engines to one spec, side by side."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import numpy as np
import pandas as pd

from .._checks import nearest
from ._fit import Fit
from ._model_spec import ModelSpec
from ._storage import hash_data


@dataclass(frozen=True)
class Comparison:
    """Two tables; prints as both.

    Attributes:
        engines: a row for each fit: what it is, what it says of itself, its seconds.
        sites: rows (scalar, fit): mean, sd, and both against the reference.
        reference: the name of the fit that the others are held against.
    """

    engines: pd.DataFrame
    sites: pd.DataFrame
    reference: str

    def __repr__(self) -> str:
        engines = self.engines.map(_format).to_string()
        sites = self.sites.map(_format).to_string()
        return f"{engines}\n\nagainst `{self.reference}`:\n{sites}"

    def _repr_html_(self) -> str:
        engines = self.engines.map(_format).to_html()
        sites = self.sites.map(_format).to_html()
        return f"{engines}<p>against <code>{self.reference}</code></p>{sites}"


def compare(
    fits: Mapping[str, Fit] | Iterable[Fit],
    *,
    reference: str | None = None,
    sites: list[str] | None = None,
) -> Comparison:
    r"""Sets the fits of several engines to one spec side by side.

    For each scalar $\theta$ and each fit, with mean $m$ and standard deviation $s$
    over all its draws and those of the reference $m_0, s_0$: `shift` is
    $(m - m_0) / s_0$ and `sd_ratio` is $s / s_0$. The sd of points of an ensemble is
    over members, and no posterior uncertainty: they have no `sd_ratio`.

    Args:
        fits: fits, by name or not (their engines' names are taken then).
        reference: the fit to hold the others against; by default the first of Markov
            chains, or the first of all.
        sites: which sites; by default the latent ones.

    Returns:
        `engines`, a row for each fit: kind, draws, status, the largest `shift` and the
        extreme `sd_ratio` over all scalars, `pareto_k`, `log_evidence` with its error,
        and seconds by phase; and `sites`, rows (scalar, fit).

    Raises:
        ValueError: if there are no fits, if they are not of the same data and sites, or
            if `reference` or a site is unknown.
    """
    named = _named(fits)
    first = next(iter(named.values()))
    _check_same(named)
    chains = [name for name, fit in named.items() if fit.kind == "draws"]
    chosen = reference or (chains or list(named))[0]
    if chosen not in named:
        raise ValueError(
            f"`compare(reference={reference!r})` is none of the fits; "
            + nearest(chosen, named)
        )
    names = list(sites or first.spec.sites.coordinates)
    for site in names:
        if site not in first.draws:
            raise ValueError(
                f"The fits have no site `{site}`; " + nearest(site, first.draws)
            )
    moments = {name: _moments(fit, names) for name, fit in named.items()}
    table = _site_table(named, moments, moments[chosen])
    rows = {name: _engine_row(name, fit, table) for name, fit in named.items()}
    engines = pd.DataFrame.from_dict(rows, orient="index")
    return Comparison(engines, table, chosen)


def _named(fits: Mapping[str, Fit] | Iterable[Fit]) -> dict[str, Fit]:
    named: dict[str, Fit] = {}
    if isinstance(fits, Mapping):
        named |= {str(name): fit for name, fit in fits.items()}
    else:
        for fit in fits:
            base = type(fit.engine).__name__
            same = sum(name.split(" ")[0] == base for name in named)
            named[f"{base} {same + 1}" if same else base] = fit
    if not named:
        raise ValueError("`compare` got no fits; write `compare([fit, other])`.")
    return named


def _check_same(named: dict[str, Fit]) -> None:
    (name, first), *others = named.items()
    for other, fit in others:
        if _identity(fit.spec) != _identity(first.spec):
            raise ValueError(
                f"`compare`: `{other}` is a fit of other data or sites than `{name}`. "
                "Run all engines on one spec."
            )


def _identity(spec: ModelSpec) -> tuple[str, tuple[str, ...]]:
    return hash_data(spec), tuple(spec.sites.coordinates)


def _moments(fit: Fit, names: list[str]) -> dict[str, tuple[float, float]]:
    """Returns (mean, sd) over all draws of each scalar."""
    found = {}
    for name in names:
        for path, leaf in jax.tree_util.tree_leaves_with_path(fit.draws[name]):
            values = np.asarray(leaf)
            label = name + jax.tree_util.keystr(path)
            flat = values.reshape(-1, *values.shape[2:]).astype(float)
            for place in np.ndindex(flat.shape[1:]):
                entry = f"{label}[{', '.join(map(str, place))}]" if place else label
                column = flat[(slice(None), *place)]
                sd = column.std(ddof=1) if column.size > 1 else np.nan
                found[entry] = float(column.mean()), float(sd)
    return found


def _site_table(
    named: dict[str, Fit],
    moments: dict[str, dict[str, tuple[float, float]]],
    truth: dict[str, tuple[float, float]],
) -> pd.DataFrame:
    rows = {}
    for entry, (mean, sd) in truth.items():
        for name, fit in named.items():
            own_mean, own_sd = moments[name][entry]
            scale = sd if sd > 0 else np.nan
            rows[entry, name] = {
                "mean": own_mean,
                "sd": own_sd,
                "shift": (own_mean - mean) / scale,
                "sd_ratio": np.nan if fit.kind == "points" else own_sd / scale,
            }
    index = pd.MultiIndex.from_tuples(rows, names=["scalar", "fit"])
    return pd.DataFrame(list(rows.values()), index=index)


def _engine_row(name: str, fit: Fit, table: pd.DataFrame) -> dict[str, object]:
    own = table[table.index.get_level_values("fit") == name]
    shifts = _finite(own["shift"])
    ratios = _finite(own["sd_ratio"])
    num_chains, num_draws = fit.stats["lp"].shape
    bad = sum(not status.code.is_usable for status in fit.status)
    row: dict[str, object] = {
        "kind": fit.kind,
        "draws": num_chains * num_draws,
        "status": f"{bad} of {len(fit.status)} bad" if bad else "ok",
        "max_shift": float(max(shifts, key=abs, default=np.nan)),
        "min_sd_ratio": float(min(ratios, default=np.nan)),
        "max_sd_ratio": float(max(ratios, default=np.nan)),
        "pareto_k": _scalar(fit.diagnostics.get("pareto_k")),
        "log_evidence": _scalar(fit.log_evidence),
        "log_evidence_error": _scalar(fit.log_evidence_error),
    }
    for phase in ("total", "trace", "compile", "run"):
        row[f"{phase}_s"] = fit.timing.get(phase, np.nan)
    return row


def _finite(column: object) -> list[float]:
    return [x for x in np.asarray(column, dtype=float) if np.isfinite(x)]


def _scalar(value: object) -> float:
    return np.nan if value is None else float(np.asarray(value))


def _format(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3g}"
    return str(value)
