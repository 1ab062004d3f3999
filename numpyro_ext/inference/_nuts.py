"""No-U-Turn sampling by BlackJAX, warm-up included."""

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key

from .._checks import (
    OWN_FRAMES,
    DivergenceWarning,
    check_choice,
    check_key,
    check_open_interval,
    check_positive_int,
)
from ._chains import CHAIN_METHODS, ChainOutput, Job, choose_method, run_chains
from ._check import raise_bad_start, refuse_params
from ._engine import AbstractEngine
from ._fit import Fit
from ._flat import unravel_position
from ._init_values import InitLike, given_positions
from ._model_spec import ModelSpec
from ._nuts_chunk import (
    MAX_START_TRIES,
    ChainState,
    ChunkSettings,
    initial_state,
    num_coordinates,
    pack_state,
    unpack_state,
)
from ._replace import replace_fields
from ._starts import START_STRATEGIES, Start, StartStrategy
from ._status import MemberStatus, Status
from ._stopwatch import timed
from ._warmup import host_metric

# Fewer divergences than this are named in the summary only.
NOTICEABLE_DIVERGENCES = 1e-3
NOTICEABLE_SATURATION = 0.01
# Error of the log density, in nats, that starts to matter for acceptance.
RISKY_ROUNDING = 0.1


class NUTS(AbstractEngine):
    r"""Draws from the posterior with the No-U-Turn sampler.

    Trajectories of Hamiltonian dynamics double until they turn back; the draw is taken
    among their points in proportion to the density. Warm-up finds the step size and
    the metric (dual averaging and Stan's windows). The kernel is BlackJAX's. Runs are
    reproducible from the key: the same draws whatever `chunk_size`, and whether the
    chains run in threads, in sequence or on several devices.

    Args:
        num_warmup: warm-up transitions of each chain.
        num_samples: transitions after warm-up; every `thinning`-th is kept.
        num_chains: how many chains.
        target_accept: acceptance rate that the step size aims at; raise it against
            divergences.
        dense_mass: whether the metric has correlations; costs n x n for n coordinates.
        max_tree_depth: a trajectory has at most `2**max_tree_depth` steps.
        thinning: keep one draw in so many.
        step_size: first step size; the one that is used if `num_warmup` is 0.
        inverse_mass_matrix: first metric, (n,) or (n, n), in the order of
            `ravel_pytree` of a position; by default the identity.
        chain_method: `threads` (one program, a thread for each core), `devices` (the
            same, spread over all devices), `sequential`, `vectorized` (`jax.vmap`), or
            `auto`. All but `vectorized` give the same draws to the last bit.
        init_strategy: how starts are drawn, see `ModelSpec.init`.
        num_candidates: a start is the best of so many draws by log density.
        keep_warmup: whether the fit keeps the warm-up's draws.
        chunk_size: transitions between looks at the host (progress, interruption).
        progress: whether to show a progress bar.

    Raises:
        ValueError: naming the setting and its value.

    Source: Hoffman and Gelman (2014), JMLR 15, 1593-1623; Betancourt (2017),
        arXiv:1701.02434 (multinomial trajectories); Stan reference manual (windows).
    """

    num_warmup: int = 1000
    num_samples: int = 1000
    num_chains: int = 4
    target_accept: float = 0.8
    dense_mass: bool = False
    max_tree_depth: int = 10
    thinning: int = 1
    _: dataclasses.KW_ONLY
    step_size: float = 1.0
    inverse_mass_matrix: Any = None
    chain_method: str = "auto"
    init_strategy: StartStrategy = "uniform"
    num_candidates: int = 20
    keep_warmup: bool = False
    chunk_size: int = 250
    progress: bool = False

    def __check_init__(self) -> None:
        for name in ("num_samples", "num_chains", "thinning", "chunk_size"):
            check_positive_int("NUTS", name, getattr(self, name))
        check_positive_int("NUTS", "max_tree_depth", self.max_tree_depth)
        check_positive_int("NUTS", "num_candidates", self.num_candidates)
        check_positive_int("NUTS", "num_warmup", self.num_warmup, minimum=0)
        check_open_interval("NUTS", "target_accept", self.target_accept, 0.0, 1.0)
        check_open_interval("NUTS", "step_size", self.step_size, 0.0, np.inf)
        check_choice("NUTS", "chain_method", self.chain_method, CHAIN_METHODS)
        check_choice("NUTS", "init_strategy", self.init_strategy, START_STRATEGIES)
        if self.thinning > self.num_samples:
            raise ValueError(
                f"`NUTS(thinning={self.thinning})` keeps no draw of "
                f"`num_samples={self.num_samples}`. Take a smaller `thinning`."
            )
        if self.num_warmup == 0 and self.inverse_mass_matrix is None:
            raise ValueError(
                "`NUTS(num_warmup=0)` finds neither step size nor metric, so they must "
                "be given: `NUTS(num_warmup=0, step_size=..., "
                "inverse_mass_matrix=...)`. Or leave `num_warmup` at 1000."
            )

    @timed
    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: InitLike = None
    ) -> Fit:
        """Samples the posterior.

        Args:
            spec: the model with its data.
            key: random key; the same key gives the same draws.
            init: None for the best of `num_candidates` draws a chain, values by site,
                or a `Fit` (its best members, or its last draws).

        Returns:
            A fit of draws (chain, draw, ...). `stats` has ArviZ's names: `lp`,
            `diverging`, `energy`, `acceptance_rate`, `n_steps`, `tree_depth`,
            `reached_max_treedepth`, `step_size`.

        Raises:
            InitializationError: if no start is finite, naming sites and values.
            ValueError: for data outside their support, for param sites, and for an
                `init` or `inverse_mass_matrix` that does not fit.
        """
        key = check_key("NUTS.run", key)
        refuse_params("NUTS", spec)
        job = Job(
            first=0,
            stop=self.num_warmup + self.num_samples,
            num_warmup=self.num_warmup,
            chunk_size=self.chunk_size,
            finds_start=init is None,
            target_accept=self.target_accept,
        )
        states = self._initial_states(spec, init)
        done, interrupted = self._run_job(spec, key, states, job)
        _raise_starts(spec, done)
        fit = self._make_fit(spec, key, done, job, interrupted)
        _warn(fit, self.max_tree_depth)
        return fit

    def resume(self, fit: Fit, num_samples: int) -> Fit:
        """Draws `num_samples` more; the result has the old draws and the new ones.

        Raises:
            ValueError: if the fit has no state to go on from.
        """
        check_positive_int("NUTS.resume", "num_samples", num_samples)
        if fit.state is None:
            raise ValueError(
                "The fit has no state to go on from. Resume a fit that `NUTS.run` or "
                "`Fit.load` returned."
            )
        first = int(fit.state["step"])
        job = Job(
            first=first,
            stop=first + num_samples,
            num_warmup=self.num_warmup,
            chunk_size=self.chunk_size,
            finds_start=False,
            target_accept=self.target_accept,
        )
        states = unpack_state(fit.state, self.num_chains)
        done, interrupted = self._run_job(fit.spec, fit.key, states, job)
        new = self._make_fit(fit.spec, fit.key, done, job, interrupted)

        def join(old: Array, new: Array) -> Array:
            return jnp.concatenate([old, new], axis=1)

        joined = {
            name: jax.tree.map(join, getattr(fit, name), getattr(new, name))
            for name in ("positions", "draws", "stats")
        }
        fit = replace_fields(new, warmup=fit.warmup, **joined)
        _warn(fit, self.max_tree_depth)
        return fit

    def _run_job(
        self,
        spec: ModelSpec,
        key: Key[Array, ""],
        states: list[ChainState],
        job: Job,
    ) -> tuple[list[ChainOutput], bool]:
        return run_chains(
            spec,
            key,
            states,
            job,
            ChunkSettings(self.max_tree_depth, self.init_strategy, self.num_candidates),
            method=choose_method(self.chain_method, self.num_chains),
            progress=self.progress,
        )

    def _initial_states(self, spec: ModelSpec, init: InitLike) -> list[ChainState]:
        num, dtype = num_coordinates(spec), np.dtype(jnp.result_type(float))
        positions = np.zeros((self.num_chains, num), dtype)
        if init is not None:
            given = given_positions("NUTS", spec, init, self.num_chains)
            positions = np.asarray(jax.vmap(lambda z: ravel_pytree(z)[0])(given))
        metric = host_metric(self._inverse_mass(num, dtype))
        return [initial_state(z, self.step_size, metric) for z in positions]

    def _inverse_mass(self, num: int, dtype: Any) -> np.ndarray:
        if self.inverse_mass_matrix is None:
            return np.eye(num, dtype=dtype) if self.dense_mass else np.ones(num, dtype)
        given = np.asarray(self.inverse_mass_matrix)
        shape = (num, num) if self.dense_mass else (num,)
        if given.shape != shape:
            raise ValueError(
                f"`NUTS(inverse_mass_matrix=...)` has shape {given.shape}; "
                f"{num} coordinates with dense_mass={self.dense_mass} need {shape}."
            )
        lowest = np.linalg.eigvalsh(given).min() if self.dense_mass else given.min()
        if not lowest > 0.0:
            raise ValueError(
                "`NUTS(inverse_mass_matrix=...)` is not positive definite: its lowest "
                f"eigenvalue is {lowest}. Give a covariance of the coordinates."
            )
        return given.astype(dtype)

    def _make_fit(
        self,
        spec: ModelSpec,
        key: Key[Array, ""],
        done: list[ChainOutput],
        job: Job,
        interrupted: bool,
    ) -> Fit:
        num_warmup = max(job.num_warmup - job.first, 0)
        num_before = max(job.first - job.num_warmup, 0)
        offset = num_warmup + (self.thinning - 1 - num_before) % self.thinning
        kept = slice(offset, None, self.thinning)
        num_steps = len(done[0].steps["lp"])
        if num_steps <= offset:
            raise KeyboardInterrupt("NUTS was interrupted before it kept a draw.")
        warmup = None
        if self.keep_warmup and num_warmup:
            warmup = self._stack(done, slice(0, num_warmup))
        kept_parts = self._stack(done, kept)
        return Fit(
            engine=self,
            spec=spec,
            key=key,
            kind="draws",
            jacobian=True,
            positions=kept_parts["positions"],
            draws=kept_parts["draws"],
            stats=kept_parts["stats"],
            status=_status(kept_parts, interrupted),
            warmup=warmup,
            state=pack_state([one.state for one in done], job.first + num_steps),
        )

    def _stack(self, done: list[ChainOutput], kept: slice) -> dict[str, Any]:
        def stack(*leaves: np.ndarray) -> Array:
            # `jnp.asarray` would compile a copy for every new shape.
            return jax.device_put(np.stack([leaf[kept] for leaf in leaves]))

        stats = jax.tree.map(stack, *[one.steps for one in done])
        depth = np.stack([one.steps["tree_depth"][kept] for one in done])
        saturated = jax.device_put(depth >= self.max_tree_depth)
        # ArviZ reads one spelling and writes the other.
        stats["reached_max_treedepth"] = saturated
        stats["reached_max_tree_depth"] = saturated
        return {
            "positions": jax.tree.map(stack, *[one.positions for one in done]),
            "draws": jax.tree.map(stack, *[one.values for one in done]),
            "stats": stats,
        }


def _status(parts: dict[str, Any], interrupted: bool) -> tuple[MemberStatus, ...]:
    lp, accepted = (np.asarray(parts["stats"][n]) for n in ("lp", "acceptance_rate"))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(parts["positions"])]
    words = []
    for chain in range(len(lp)):
        moved = any(np.any(leaf[chain] != leaf[chain, :1]) for leaf in leaves)
        if not np.isfinite(lp[chain]).all():
            step = int(np.argmin(np.isfinite(lp[chain])))
            message = (
                f"chain {chain}: the log density is {lp[chain, step]} at draw {step}"
            )
            words.append(MemberStatus(Status.NONFINITE_VALUE, message))
        elif not moved and lp.shape[1] > 1:
            message = f"chain {chain} never moved from its first draw"
            words.append(MemberStatus(Status.STUCK, message))
        else:
            code = Status.INTERRUPTED if interrupted else Status.OK
            message = f"chain {chain}: mean acceptance {accepted[chain].mean():.2f}"
            words.append(MemberStatus(code, message))
    return tuple(words)


def _raise_starts(spec: ModelSpec, done: list[ChainOutput]) -> None:
    states = [one.state for one in done]
    if all(state.start_is_finite and state.data_are_valid for state in states):
        return
    # A start that stayed non-finite is still the chain's position: it cannot move.
    unravel = unravel_position(spec)
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *states)
    starts = Start(
        position=jax.vmap(unravel)(stacked.position),
        log_density=stacked.log_density,
        grad=stacked.grad,
        is_finite=stacked.start_is_finite,
        data_are_valid=stacked.data_are_valid,
    )
    raise_bad_start(spec, starts, MAX_START_TRIES)


def _warn(fit: Fit, max_tree_depth: int) -> None:
    words = []
    diverging = np.asarray(fit.stats["diverging"])
    if diverging.mean() >= NOTICEABLE_DIVERGENCES:
        warnings.warn(
            f"{diverging.sum()} of {diverging.size} transitions diverged "
            f"({diverging.mean():.1%}), most unlike the other draws at site "
            f"`{_strangest_site(fit, diverging)}`: part of the posterior may be "
            "missing. Write the non-centred form of hierarchical sites "
            "(`LocScaleReparam`), or raise `target_accept`.",
            DivergenceWarning,
            skip_file_prefixes=OWN_FRAMES,
        )
    saturated = np.asarray(fit.stats["reached_max_treedepth"]).mean()
    if saturated > NOTICEABLE_SATURATION:
        words.append(
            f"{saturated:.1%} of trajectories reached max_tree_depth={max_tree_depth} "
            "before they turned, so draws are strongly correlated. Scale or "
            "decorrelate the parameters, try dense_mass=True, or raise "
            "`max_tree_depth`."
        )
    lp = np.asarray(fit.stats["lp"])
    if np.finfo(lp.dtype).eps * np.abs(lp).max() > RISKY_ROUNDING:
        words.append(
            f"The log density is {np.abs(lp).max():.3g} in {lp.dtype}, where one unit "
            "in the last place moves the acceptance rate. Use `jax.config.update("
            '"jax_enable_x64", True)` before anything else.'
        )
    if any(status.code is Status.INTERRUPTED for status in fit.status):
        words.append(
            f"NUTS was interrupted after {lp.shape[1]} kept draws a chain. "
            "`fit.resume(num_samples)` goes on from there."
        )
    for message in words:
        warnings.warn(message, UserWarning, skip_file_prefixes=OWN_FRAMES)


def _strangest_site(fit: Fit, diverging: np.ndarray) -> str:
    """Names the site whose coordinate is most displaced where transitions diverge."""

    def displacement(leaf: Array) -> float:
        values = np.asarray(leaf).reshape(*diverging.shape, -1)
        spread = values.std(axis=(0, 1)) + np.finfo(values.dtype).tiny
        shift = values[diverging].mean(axis=0) - values.mean(axis=(0, 1))
        return float(np.max(np.abs(shift / spread), initial=0.0))

    by_site = fit.spec.model.by_site(fit.positions)
    return max(by_site, key=lambda name: displacement(by_site[name]))
