"""What Markov engines share: settings, chains in chunks, resumption, and the fit."""

import abc
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key

from .._checks import (
    check_choice,
    check_key,
    check_open_interval,
    check_positive_int,
)
from ._chain_chunk import (
    ChainState,
    ChunkSettings,
    initial_state,
    pack_state,
    unpack_state,
)
from ._chains import CHAIN_METHODS, ChainOutput, Job, choose_method, run_chains
from ._check import refuse_params
from ._engine import AbstractEngine
from ._fit import Fit
from ._flat import num_coordinates
from ._init_values import InitLike, given_positions
from ._kernel import AbstractKernel
from ._markov_report import chain_status, raise_starts, warn_of_chains
from ._metric import host_low_rank_metric, host_metric
from ._model_spec import ModelSpec
from ._replace import replace_fields
from ._starts import START_STRATEGIES, StartStrategy
from ._stopwatch import timed


class AbstractMarkov(AbstractEngine):
    """Markov chains of one kernel, with Stan's warm-up of step size and metric.

    An engine adds its settings and its kernel.
    """

    num_warmup: eqx.AbstractVar[int]
    num_samples: eqx.AbstractVar[int]
    num_chains: eqx.AbstractVar[int]
    target_accept: eqx.AbstractVar[float]
    dense_mass: eqx.AbstractVar[bool]
    mass_rank: eqx.AbstractVar[int]
    thinning: eqx.AbstractVar[int]
    step_size: eqx.AbstractVar[float]
    inverse_mass_matrix: eqx.AbstractVar[Any]
    chain_method: eqx.AbstractVar[str]
    init_strategy: eqx.AbstractVar[StartStrategy]
    num_candidates: eqx.AbstractVar[int]
    keep_warmup: eqx.AbstractVar[bool]
    chunk_size: eqx.AbstractVar[int]
    progress: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def _kernel(self) -> AbstractKernel:
        """Returns the transition."""

    @abc.abstractmethod
    def _limit(self, stats: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns statistics on draws whose trajectory was cut, by their names."""

    @abc.abstractmethod
    def _own_words(self, fit: Fit) -> list[str]:
        """Returns what to warn of, besides divergences."""

    def __check_init__(self) -> None:
        owner = type(self).__name__
        for name in ("num_samples", "num_chains", "thinning", "chunk_size"):
            check_positive_int(owner, name, getattr(self, name))
        check_positive_int(owner, "num_candidates", self.num_candidates)
        check_positive_int(owner, "num_warmup", self.num_warmup, minimum=0)
        check_positive_int(owner, "mass_rank", self.mass_rank, minimum=0)
        check_open_interval(owner, "target_accept", self.target_accept, 0.0, 1.0)
        check_open_interval(owner, "step_size", self.step_size, 0.0, np.inf)
        check_choice(owner, "chain_method", self.chain_method, CHAIN_METHODS)
        check_choice(owner, "init_strategy", self.init_strategy, START_STRATEGIES)
        if self.dense_mass and self.mass_rank:
            raise ValueError(
                f"`{owner}(dense_mass=True, mass_rank={self.mass_rank})`: a dense "
                "metric has all directions already. Give one of the two."
            )
        if self.thinning > self.num_samples:
            raise ValueError(
                f"`{owner}(thinning={self.thinning})` keeps no draw of "
                f"`num_samples={self.num_samples}`. Take a smaller `thinning`."
            )
        if self.num_warmup == 0 and self.inverse_mass_matrix is None:
            raise ValueError(
                f"`{owner}(num_warmup=0)` finds neither step size nor metric, so they "
                f"must be given: `{owner}(num_warmup=0, step_size=..., "
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
            `diverging`, `energy`, `acceptance_rate`, `n_steps`, `step_size`, and those
            of the engine.

        Raises:
            InitializationError: if no start is finite, naming sites and values.
            ValueError: for data outside their support, for param sites, and for an
                `init` or `inverse_mass_matrix` that does not fit.
        """
        key = check_key(f"{type(self).__name__}.run", key)
        refuse_params(type(self).__name__, spec)
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
        raise_starts(spec, done)
        fit = self._make_fit(spec, key, done, job, interrupted)
        warn_of_chains(fit, self._own_words(fit))
        return fit

    def resume(self, fit: Fit, num_samples: int) -> Fit:
        """Draws `num_samples` more; the result has the old draws and the new ones.

        Raises:
            ValueError: if the fit has no state to go on from.
        """
        owner = type(self).__name__
        check_positive_int(f"{owner}.resume", "num_samples", num_samples)
        if fit.state is None:
            raise ValueError(
                "The fit has no state to go on from. Resume a fit that "
                f"`{owner}.run` or `Fit.load` returned."
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
        states = unpack_state(fit.state, self.num_chains, self.num_warmup)
        done, interrupted = self._run_job(fit.spec, fit.key, states, job)
        new = self._make_fit(fit.spec, fit.key, done, job, interrupted)

        def join(old: Array, new: Array) -> Array:
            return jnp.concatenate([old, new], axis=1)

        joined = {
            name: jax.tree.map(join, getattr(fit, name), getattr(new, name))
            for name in ("positions", "draws", "stats")
        }
        fit = replace_fields(new, warmup=fit.warmup, **joined)
        warn_of_chains(fit, self._own_words(fit))
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
            self._kernel(),
            ChunkSettings(self.init_strategy, self.num_candidates),
            method=choose_method(self.chain_method, self.num_chains),
            progress=self.progress,
        )

    def _initial_states(self, spec: ModelSpec, init: InitLike) -> list[ChainState]:
        num, dtype = num_coordinates(spec), np.dtype(jnp.result_type(float))
        positions = np.zeros((self.num_chains, num), dtype)
        if init is not None:
            given = given_positions(type(self).__name__, spec, init, self.num_chains)
            positions = np.asarray(jax.vmap(lambda z: ravel_pytree(z)[0])(given))
        inverse_mass = self._inverse_mass(num, dtype)
        if self.mass_rank:
            metric = host_low_rank_metric(inverse_mass, self.mass_rank)
        else:
            metric = host_metric(inverse_mass)
        sizes = self.step_size, metric, self.num_warmup, self._kernel().first_length
        return [initial_state(z, *sizes) for z in positions]

    def _inverse_mass(self, num: int, dtype: Any) -> np.ndarray:
        if self.inverse_mass_matrix is None:
            return np.eye(num, dtype=dtype) if self.dense_mass else np.ones(num, dtype)
        owner, given = type(self).__name__, np.asarray(self.inverse_mass_matrix)
        shape = (num, num) if self.dense_mass else (num,)
        if given.shape != shape:
            raise ValueError(
                f"`{owner}(inverse_mass_matrix=...)` has shape {given.shape}; "
                f"{num} coordinates with dense_mass={self.dense_mass} need {shape}."
            )
        lowest = np.linalg.eigvalsh(given).min() if self.dense_mass else given.min()
        if not lowest > 0.0:
            raise ValueError(
                f"`{owner}(inverse_mass_matrix=...)` is not positive definite: its "
                f"lowest eigenvalue is {lowest}. Give a covariance of the coordinates."
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
            raise KeyboardInterrupt(
                f"{type(self).__name__} was interrupted before it kept a draw."
            )
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
            status=chain_status(kept_parts, interrupted),
            warmup=warmup,
            state=pack_state([one.state for one in done], job.first + num_steps),
        )

    def _stack(self, done: list[ChainOutput], kept: slice) -> dict[str, Any]:
        def stack(*leaves: np.ndarray) -> Array:
            # `jnp.asarray` would compile a copy for every new shape.
            return jax.device_put(np.stack([leaf[kept] for leaf in leaves]))

        def with_limit(one: ChainOutput) -> dict[str, np.ndarray]:
            return one.steps | self._limit(one.steps)

        return {
            "positions": jax.tree.map(stack, *[one.positions for one in done]),
            "draws": jax.tree.map(stack, *[one.values for one in done]),
            "stats": jax.tree.map(stack, *[with_limit(one) for one in done]),
        }
