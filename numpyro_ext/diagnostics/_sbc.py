"""Simulation-based calibration of any engine on any spec."""

import json
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import arviz_base
import equinox as eqx
import jax
import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base.array import array_stats
from jaxtyping import Array, Float, Key, PyTree
from tqdm.auto import tqdm

from .._checks import InitializationError, check_key, check_positive_int
from ..inference import AbstractEngine, Fit, ModelSpec
from ._pit import pit
from ._simulated_data import extended, replaced, with_simulated

LEVEL = 0.05
LOG_LIKELIHOOD = "log_likelihood"

type Quantity = Callable[[dict[str, Any]], Float[Array, ""]]


@dataclass(frozen=True)
class SBCResult:
    """Ranks of the truth among posterior draws, over simulations.

    Attributes:
        ranks: quantity -> normalised ranks in (0, 1), one for each simulation that
            gave a posterior: uniform if engine and model are right.
        table: for each quantity the p-value of uniformity, the mean of the ranks (0.5;
            above: the posterior lies too low) and their sd (0.289; above: it is too
            narrow).
        numbers: which simulations they are.
        failures: simulation -> why it gave no posterior.
        warned: how often each warning was given.
    """

    ranks: dict[str, Float[np.ndarray, " n"]]
    table: pd.DataFrame
    numbers: tuple[int, ...]
    failures: dict[int, str]
    warned: dict[str, int]

    @property
    def is_calibrated(self) -> bool:
        """Whether no quantity is rejected at 5 %, with Holm's correction for many."""
        return bool((self.table["p_value"].min() * len(self.table)) >= LEVEL)

    @property
    def verdict(self) -> str:
        """The result in words."""
        num = len(self.numbers)
        if self.failures:
            first = next(iter(self.failures))
            lost = (
                f" {len(self.failures)} simulations gave no posterior (the first, "
                f"{first}: {self.failures[first]}); ranks of the others alone can "
                "look right."
            )
        else:
            lost = ""
        if self.is_calibrated:
            return f"No departure from calibration in {num} simulations.{lost}"
        worst = self.table["p_value"].idxmin()
        row = self.table.loc[worst]
        sd, mean = float(row["sd"]), float(row["mean"])
        if abs(mean - 0.5) > 0.05:
            why = f"lies too {'low' if mean > 0.5 else 'high'}"
        elif abs(sd - 12**-0.5) > 0.02:
            why = f"is too {'narrow' if sd > 12**-0.5 else 'wide'}"
        else:
            why = "has another shape"
        p_value = float(row["p_value"])
        return (
            f"Not calibrated: the posterior of `{worst}` {why} (p = {p_value:.1g} over "
            f"{num} simulations).{lost}"
        )

    def to_datatree(self) -> xr.DataTree:
        """Returns the ranks as group `prior_sbc`, for `arviz_plots.plot_ecdf_pit`.

        Its draws are the simulations, by their numbers. Failures and warnings are
        attributes, so that `from_datatree` returns all of the result.
        """
        values = {name: ranks[None] for name, ranks in self.ranks.items()}
        tree = arviz_base.from_dict(
            {"prior_sbc": values},
            coords={"draw": list(self.numbers)},
            check_conventions=False,
        )
        tree.attrs["failures"] = json.dumps(self.failures)
        tree.attrs["warned"] = json.dumps(self.warned)
        return tree

    @classmethod
    def from_datatree(cls, tree: xr.DataTree) -> "SBCResult":
        """Returns the result that `to_datatree` made a tree of, to `resume` from.

        Raises:
            ValueError: for a tree without `prior_sbc`.
        """
        if "prior_sbc" not in tree.children:
            raise ValueError(
                f"The tree has the groups {list(tree.children)} and no `prior_sbc`. "
                "Give one of `SBCResult.to_datatree`."
            )
        group = tree["prior_sbc"].to_dataset()
        ranks = {str(n): np.asarray(u.values[0]) for n, u in group.data_vars.items()}
        failures = json.loads(tree.attrs.get("failures", "{}"))
        return cls(
            ranks,
            _table(ranks),
            tuple(group["draw"].values.tolist()),
            {int(number): why for number, why in failures.items()},
            json.loads(tree.attrs.get("warned", "{}")),
        )

    def __repr__(self) -> str:
        return f"{self.table.to_string()}\n{self.verdict}"


def sbc(
    spec: ModelSpec,
    engine: AbstractEngine,
    key: Key[Array, ""],
    *,
    num_simulations: int = 200,
    num_draws: int = 99,
    quantities: dict[str, Quantity] | None = None,
    posterior: Fit | None = None,
    resume: SBCResult | None = None,
    progress: bool = False,
) -> SBCResult:
    r"""Checks an engine on a spec by fits to data that the model itself made.

    For each simulation $\theta \sim p(\theta)$, $y \sim p(y \mid \theta)$, the engine
    draws from $p(\theta \mid y)$, and the rank of the true $f(\theta, y)$ among
    $f(\theta_l, y)$ is uniform for every $f$ if engine and model agree. All scalars of
    all latent sites are ranked, and the log likelihood, which sees what they cannot: a
    posterior that ignores the data ranks all parameters uniformly.

    All simulations run through one compiled program, one after another; the engine
    spreads its chains over the cores. The data of the spec are not used, only their
    shapes; observed sites get the simulated ones, whatever arguments brought the
    first.

    Args:
        spec: the model with any data of the right shape.
        engine: the engine with its settings.
        key: random key; simulation `i` depends on the key and `i` alone.
        num_simulations: how many.
        num_draws: posterior draws that the truth is ranked among, taken evenly from all
            chains, so that they are nearly independent.
        quantities: further functions of the values by site, each a scalar.
        posterior: a fit to the real data. The truth is then drawn from it, and the
            engine gets the real data and the simulated ones: calibration where the
            posterior is, and not where the prior is.
        resume: an earlier result with the same key, to which simulations are added up
            to `num_simulations`. Ctrl-C returns what there is.
        progress: whether to show a progress bar.

    Returns:
        Ranks, a table of p-values (the pot_c test, sensitive in the tails), and a
        verdict. A simulation without a posterior is named in `failures`.

    Raises:
        ValueError: for an improper prior, a spec of a plain function, or an engine
            whose fits are points or have too few draws.

    Source: Talts et al. (2018), arXiv:1804.06788; Modrak et al. (2023), Bayesian
        Analysis (data-dependent quantities); Saeilynoja, Schmitt, Buerkner and Vehtari
        (2025), arXiv:2502.03279 (posterior SBC); Tesso and Vehtari (2026),
        arXiv:2603.02928 (pot_c).
    """
    key = check_key("sbc", key)
    check_positive_int("sbc", "num_simulations", num_simulations)
    check_positive_int("sbc", "num_draws", num_draws)
    # On the host, where taking one simulation compiles nothing.
    truth = jax.tree.map(np.asarray, _simulate(spec, key, num_simulations, posterior))
    observed = [name for name in spec.sites.names("observed") if name in truth]
    first = {name: jax.device_put(truth[name][0]) for name in observed}
    base = extended(spec, first) if posterior else replaced(spec, first)
    latent = tuple(spec.sites.coordinates)
    done = {} if resume is None else _unpack(resume)
    failures = {} if resume is None else dict(resume.failures)
    bar = tqdm(total=num_simulations, unit="simulation", disable=not progress)
    bar.update(len(done))

    def simulate(number: int) -> None:
        one = jax.tree.map(lambda leaf: jax.device_put(leaf[number]), truth)
        current = with_simulated(base, {name: one[name] for name in observed})
        run_key, tie_key = jax.random.split(jax.random.fold_in(key, number))
        values = {name: one[name] for name in latent}
        try:
            fit = engine.run(current, run_key)
        except InitializationError as error:
            failures[number] = str(error).split("\n")[0]
            return
        draws = _thin(fit, num_draws)
        done[number] = _rank(current, values, draws, quantities or {}, tie_key)

    waiting = [i for i in range(num_simulations) if i not in done | failures]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # NumPyro's handlers are one stack for all threads: one model at a time.
            for number in waiting:
                simulate(number)
                bar.update(1)
        except KeyboardInterrupt:
            if not done:
                raise
    bar.close()
    counts = Counter(one.category.__name__ for one in caught)
    return _result(done, failures, dict(counts))


def _simulate(
    spec: ModelSpec, key: Key[Array, ""], num: int, posterior: Fit | None
) -> dict[str, PyTree[Array]]:
    """Draws latent and observed sites, from the prior or from a posterior."""
    draw_key = jax.random.fold_in(key, np.uint32(2**32 - 1))
    if posterior is None:
        return spec.prior_predictive(draw_key, num)
    _check_draws(posterior)
    chosen = jax.random.split(draw_key)
    num_chains, num_draws = posterior.stats["lp"].shape
    size = num_chains * num_draws
    index = jax.random.choice(chosen[0], size, (num,), replace=num > size)
    latent = {
        name: jax.tree.map(
            lambda x: x.reshape(size, *x.shape[2:])[index][None], posterior.draws[name]
        )
        for name in spec.sites.coordinates
    }
    drawn = spec.predictive(chosen[1], latent)
    return jax.tree.map(lambda x: x[0], latent | drawn)


def _check_draws(fit: Fit) -> None:
    if fit.kind == "points":
        raise ValueError(
            f"`sbc` ranks the truth among posterior draws, and a fit of "
            f"`{type(fit.engine).__name__}` holds points. Take an engine that draws, "
            "such as `NUTS` or `Laplace`."
        )


def _thin(fit: Fit, num: int) -> PyTree[Array]:
    """Takes draws evenly from each chain."""
    _check_draws(fit)
    num_chains, num_draws = fit.stats["lp"].shape
    if num_chains * num_draws < num:
        raise ValueError(
            f"`sbc(num_draws={num})` needs as many draws, and a fit has "
            f"{num_chains} x {num_draws}. Raise the engine's `num_samples`."
        )
    places = (np.arange(num) * num_chains * num_draws) // num
    return jax.tree.map(
        lambda x: jax.device_put(np.asarray(x).reshape(-1, *x.shape[2:])[places]),
        fit.positions,
    )


def _rank(
    spec: ModelSpec,
    values: dict[str, PyTree[Array]],
    positions: PyTree[Array],
    quantities: dict[str, Quantity],
    key: Key[Array, ""],
) -> dict[str, float]:
    true = _evaluate(spec, _unconstrain(spec, values), quantities)
    drawn = _evaluate_all(spec, positions, quantities)
    truths, samples = _flatten(true, 0), _flatten(drawn, 1)
    names = list(truths)
    x = np.stack([samples[name] for name in names], axis=1)
    u = pit(x, np.asarray([truths[name] for name in names]), key=key)
    return dict(zip(names, u.tolist(), strict=True))


@eqx.filter_jit
def _unconstrain(spec: ModelSpec, values: dict[str, PyTree[Array]]) -> PyTree[Array]:
    return spec.unconstrain(values)


@eqx.filter_jit
def _evaluate(
    spec: ModelSpec, position: PyTree[Array], quantities: dict[str, Quantity]
) -> dict[str, PyTree[Array]]:
    return _values(spec, position, quantities)


@eqx.filter_jit
def _evaluate_all(
    spec: ModelSpec, positions: PyTree[Array], quantities: dict[str, Quantity]
) -> dict[str, PyTree[Array]]:
    return jax.lax.map(lambda z: _values(spec, z, quantities), positions)


def _values(
    spec: ModelSpec, position: PyTree[Array], quantities: dict[str, Quantity]
) -> dict[str, PyTree[Array]]:
    values = spec.constrain(position)
    found = values | {name: take(values) for name, take in quantities.items()}
    if spec.sites.names("observed"):
        found |= {LOG_LIKELIHOOD: spec.parts(position).log_likelihood}
    return found


def _flatten(values: dict[str, PyTree[Array]], batch: int) -> dict[str, np.ndarray]:
    """Names each scalar by its site and entry."""
    flat = {}
    for name, value in values.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(value):
            array = np.asarray(leaf)
            label = name + jax.tree_util.keystr(path)
            for place in np.ndindex(array.shape[batch:]):
                entry = f"{label}[{', '.join(map(str, place))}]" if place else label
                flat[entry] = np.asarray(array[(*(slice(None),) * batch, *place)])
    return flat


def _unpack(result: SBCResult) -> dict[int, dict[str, float]]:
    return {
        number: {name: float(ranks[i]) for name, ranks in result.ranks.items()}
        for i, number in enumerate(result.numbers)
    }


def _result(
    done: dict[int, dict[str, float]], failures: dict[int, str], warned: dict[str, int]
) -> SBCResult:
    if not done:
        why = next(iter(failures.values()), "it was interrupted")
        raise ValueError(f"`sbc` has no simulation with a posterior: {why}.")
    numbers = tuple(sorted(done))
    names = list(done[numbers[0]])
    ranks = {name: np.array([done[i][name] for i in numbers]) for name in names}
    return SBCResult(ranks, _table(ranks), numbers, failures, warned)


def _table(ranks: dict[str, Float[np.ndarray, " n"]]) -> pd.DataFrame:
    rows = {
        name: {
            "p_value": float(array_stats.uniformity_test(u)[0]),
            "mean": float(u.mean()),
            "sd": float(u.std()),
        }
        for name, u in ranks.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
