"""The preflight: which site, which index, and why, before anything is sampled."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from .._checks import InitializationError
from ._oddities import warn_of_oddities
from ._sites import format_table
from ._starts import Start, find_start

if TYPE_CHECKING:
    from ._model_spec import ModelSpec

MAX_TRIES = 100
NUM_PRIOR_DRAWS = 64


@dataclass(frozen=True)
class SiteCheck:
    """What the preflight saw at one site."""

    name: str
    kind: str
    shape: tuple[int, ...]
    support: str
    value: str
    log_prob: float
    gradient: str


@dataclass(frozen=True)
class CheckReport:
    """A passed preflight; prints as a table with a row for each site."""

    sites: tuple[SiteCheck, ...]

    def __repr__(self) -> str:
        header = ("site", "kind", "shape", "support", "value", "log prob", "gradient")
        rows = [
            (
                site.name,
                site.kind,
                str(site.shape),
                site.support,
                site.value,
                "" if np.isnan(site.log_prob) else f"{site.log_prob:.4g}",
                site.gradient,
            )
            for site in self.sites
        ]
        return format_table(header, rows)


def check_model(spec: "ModelSpec", key: Key[Array, ""]) -> CheckReport:
    """Runs every check at a start drawn from the prior; raises on the first failure."""
    _check_has_data(spec)
    _check_same_sites(spec)
    start = _find_start(spec, key)
    raise_bad_start(spec, jax.tree.map(lambda x: x[None], start), MAX_TRIES)
    _check_parameters(spec, key)
    warn_of_oddities(spec, start.position)
    return _report(spec, start.position)


def raise_bad_start(spec: "ModelSpec", starts: Start, max_tries: int) -> None:
    """Raises for the first start that is not finite or whose data are invalid."""
    valid = np.asarray(starts.data_are_valid)
    finite = np.asarray(starts.is_finite)
    if valid.all() and finite.all():
        return
    bad = int(np.argmin(valid & finite))
    position = jax.tree.map(lambda leaf: leaf[bad], starts.position)
    if not valid.all():
        _raise_data(spec, position)
    log_probs, gradient = _evaluate(spec, position)
    sites = ", ".join(
        f"`{name}` ({float(value)})"
        for name, value in log_probs.items()
        if not np.isfinite(value)
    )
    slopes = ", ".join(
        f"`{name}`" for name, leaf in gradient.items() if not np.isfinite(leaf).all()
    )
    words = [f"No finite start was found in {max_tries} tries."]
    if sites:
        words.append(f"The log probability is not finite at {sites}.")
    else:
        words.append("The log density is finite, but its gradient is not:")
    if slopes:
        words.append(f"The gradient is nan or inf in {slopes}.")
    words += bad_arguments(spec)
    words.append(
        "\nMost often a scale reaches 0, a number overflows, or the data hold NaN. "
        "Look at `spec.check(jax.random.key(0))`, widen the support or tighten the "
        "prior of these sites, or give values with `run(spec, key, init={...})`."
    )
    raise InitializationError(" ".join(words))


def refuse_params(engine: str, spec: "ModelSpec") -> None:
    """Raises if the model has params: they have no prior, so no posterior either."""
    params = spec.sites.names("param")
    if params:
        raise ValueError(
            f"{engine} samples, and the params {list(params)} have no prior. Give them "
            "one (`random_eqx_module`, `numpyro.sample`), hold them fixed with "
            "`numpyro.handlers.substitute(model, data={...})`, or optimise them with "
            "`EnsembleMAP`."
        )


def bad_arguments(spec: "ModelSpec") -> list[str]:
    """Names the arguments that hold NaN or inf, with the first index."""
    words = []
    for name, value in spec.model.arguments().items():
        if not eqx.is_array(value):
            continue
        array = np.asarray(value)
        if not np.issubdtype(array.dtype, np.floating) or np.isfinite(array).all():
            continue
        index = first_index(~np.isfinite(array))
        words.append(
            f"The argument `{name}` holds {array[index]} at index {_index(index)}."
        )
    return words


def first_index(mask: np.ndarray) -> tuple[int, ...]:
    """Returns the first index where the mask is true."""
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _index(index: tuple[int, ...]) -> str:
    return str(index[0]) if len(index) == 1 else str(index)


def _raise_data(spec: "ModelSpec", position: PyTree[Array]) -> None:
    marks = spec.model.data_violations(position)
    data = spec.model.observed_data(position)
    for name, mark in marks.items():
        mask = np.asarray(mark)
        if not mask.any():
            continue
        index = first_index(mask)
        value = np.asarray(data[name])
        value = np.broadcast_to(value, mask.shape + value.shape[mask.ndim :])[index]
        site = spec.sites[name]
        limit = " (0 to its `total_count`)" if "Binomial" in site.distribution else ""
        raise ValueError(
            f"The data of site `{name}` lie outside the support of "
            f"{site.distribution}, which is {site.support}{limit}: index "
            f"{_index(index)} holds {value}, one of {int(mask.sum())} such values of "
            f"{mask.size}.\n"
            "Missing values, another unit or the wrong likelihood are the usual "
            "causes. Drop or mask these rows (`obs_mask=` of `numpyro.sample`), or "
            "choose a distribution that allows them."
        )


def _check_has_data(spec: "ModelSpec") -> None:
    if spec.sites.names("observed", "factor") or spec.model.asks_for_prior:
        return
    latent = ", ".join(f"`{name}`" for name in spec.sites.names("latent"))
    raise ValueError(
        f"The model has no observed site; its latent sites are {latent}. Most often "
        "`obs=` got None because an argument was forgotten: pass it to `ModelSpec`, "
        "or write `ModelSpec(..., observed=())` to ask for the prior."
    )


def _check_parameters(spec: "ModelSpec", key: Key[Array, ""]) -> None:
    keys = jax.random.split(key, NUM_PRIOR_DRAWS)
    for (site, name), mark in _parameter_violations(spec, keys).items():
        count = int(np.sum(mark))
        if count == 0:
            continue
        real = [
            f"`{s.name}`"
            for s in spec.sites
            if s.kind == "latent" and s.support.startswith("real")
        ]
        law = spec.sites[site].distribution
        raise ValueError(
            f"The parameter `{name}` of {law} at site `{site}` is outside its "
            f"constraint in {count} of {NUM_PRIOR_DRAWS} draws from the prior. A prior "
            f"on the real line used as a `{name}` is the usual cause; sites with real "
            f"support are {', '.join(real) or 'none'}. Give it a positive prior "
            "(`HalfNormal`, `LogNormal`) or transform it (`jnp.exp`)."
        )


def _check_same_sites(spec: "ModelSpec") -> None:
    before = {site.name for site in spec.sites}
    after = {site.name for site in spec.model.structure()}
    if before != after:
        raise ValueError(
            f"The sites change from call to call: {sorted(after - before)} appeared "
            f"and {sorted(before - after)} vanished. A model that changes a global is "
            "the usual cause; make the model a function of its arguments."
        )


def _report(spec: "ModelSpec", position: PyTree[Array]) -> CheckReport:
    log_probs, gradient = _evaluate(spec, position)
    values = _constrain(spec, position)
    data = spec.model.observed_data(position)
    rows = [
        SiteCheck(
            name=site.name,
            kind=site.kind,
            shape=site.shape,
            support=site.support,
            value=_range({**data, **values}.get(site.name)),
            log_prob=float(log_probs.get(site.name, np.nan)),
            gradient="finite" if site.name in gradient else "",
        )
        for site in spec.sites
    ]
    return CheckReport(tuple(rows))


def _range(value: Any) -> str:
    if value is None:
        return ""
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(value)])
    if flat.size == 1:
        return f"{flat[0]:.4g}"
    return f"{np.nanmin(flat):.4g} to {np.nanmax(flat):.4g}"


@eqx.filter_jit
def _find_start(spec: "ModelSpec", key: Key[Array, ""]) -> Start:
    return find_start(
        spec,
        key,
        strategy="prior",
        num_candidates=1,
        max_tries=MAX_TRIES,
    )


@eqx.filter_jit
def _parameter_violations(
    spec: "ModelSpec", keys: Key[Array, " n"]
) -> dict[tuple[str, str], Bool[Array, " n"]]:
    def violations(key: Key[Array, ""]) -> dict[tuple[str, str], Bool[Array, ""]]:
        position = spec.model.draw_start(key, strategy="prior")
        return spec.model.parameter_violations(position)

    return jax.vmap(violations)(keys)


@eqx.filter_jit
def _constrain(spec: "ModelSpec", position: PyTree[Array]) -> dict[str, Any]:
    return spec.constrain(position, deterministic=True)


@eqx.filter_jit
def _evaluate(
    spec: "ModelSpec", position: PyTree[Array]
) -> tuple[dict[str, Float[Array, ""]], dict[str, PyTree[Array]]]:
    log_probs = spec.model.site_log_probs(position)
    gradient = jax.grad(spec.log_density)(position)
    return log_probs, spec.model.by_site(gradient)
