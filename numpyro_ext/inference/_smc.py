"""Sequential Monte Carlo from the prior to the posterior, with the evidence."""

import dataclasses
import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from tqdm.auto import tqdm

from .._checks import OWN_FRAMES, check_key, check_open_interval, check_positive_int
from ._engine import AbstractEngine
from ._fit import Fit
from ._independent import independent_fit
from ._init_values import InitLike
from ._model_spec import ModelSpec
from ._population import (
    check_population,
    check_prior,
    draw_population,
    unravel_all,
)
from ._smc_moves import MoveSettings
from ._smc_step import SMCInfo, SMCState, first_state, raise_temperature
from ._status import MemberStatus, Status
from ._stopwatch import timed
from ._threads import num_cores, work_off

# Populations that differ by more than this did not find the same posterior.
MAX_R_HAT = 1.1
MAX_EVIDENCE_SPREAD = 1.0
# What is kept of each temperature.
TRACES = (
    "temperature",
    "ess",
    "acceptance_rate",
    "step_size",
    "num_moves",
    "correlation",
)


class SMC(AbstractEngine):
    r"""Draws from the posterior, and its evidence, by tempering from the prior.

    Particles start as draws of the prior and go through
    $$\pi_b(z) \propto p(\theta)\,|\det \partial T / \partial z|\,
      p(y \mid \theta)^b, \quad \theta = T(z), \quad 0 = b_0 < b_1 < \dots < 1.$$
    Each $b$ is as large as the effective number of particles allows. Then particles
    are resampled (systematically), and moved by Hamiltonian trajectories of about a
    quarter of a period, in the metric of their covariance, until they have forgotten
    where they began. The trajectories, the resampling and the search for $b$ are
    BlackJAX's. Since all modes with prior mass have particles from the start, a
    posterior of several modes comes out with the right share of each.

    Several populations run independently, in threads over one compiled program. They
    are pooled in proportion to their evidence, and the error of the evidence is the
    larger of two accounts: the spread between populations, and the sum of the
    variances of their weights.

    Args:
        num_particles: particles of each population; more make the evidence exact.
        num_populations: how many populations; 1 leaves the error without the spread
            between them.
        target_ess: share of the particles that is effective after a step of $b$.
        target_accept: acceptance rate that the step size aims at.
        max_correlation: at each temperature, particles move until their rank
            correlation with where they began is below this at each coordinate, or
            no longer falls.
        max_temperatures: a population that needs more is left out, and the status
            says so.
        max_mcmc_steps: at each temperature, at most so many trajectories.
        max_leapfrog_steps: a trajectory has at most so many steps.
        progress: whether to show a progress bar.

    A particle whose likelihood is NaN or 0 has no weight and is not resampled.

    Raises:
        ValueError: naming the setting and its value.

    Source: Del Moral, Doucet and Jasra (2006), J. R. Statist. Soc. B 68, 411-436;
        Buchholz, Chopin and Jacob (2021), Bayesian Analysis 16, 745-771 (Hamiltonian
        moves tuned by the particles, and their number by a correlation).
    """

    num_particles: int = 1000
    num_populations: int = 4
    _: dataclasses.KW_ONLY
    target_ess: float = 0.5
    target_accept: float = 0.8
    max_correlation: float = 0.05
    max_temperatures: int = 300
    max_mcmc_steps: int = 100
    max_leapfrog_steps: int = 32
    progress: bool = False

    def __check_init__(self) -> None:
        for name in (
            "num_populations",
            "max_temperatures",
            "max_mcmc_steps",
            "max_leapfrog_steps",
        ):
            check_positive_int("SMC", name, getattr(self, name))
        check_positive_int("SMC", "num_particles", self.num_particles, minimum=10)
        check_open_interval("SMC", "target_ess", self.target_ess, 0.0, 1.0)
        check_open_interval("SMC", "target_accept", self.target_accept, 0.0, 1.0)
        check_open_interval("SMC", "max_correlation", self.max_correlation, 0.0, 1.0)

    @timed
    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: InitLike = None
    ) -> Fit:
        """Samples the posterior.

        Args:
            spec: the model with its data.
            key: random key; the same key gives the same draws.
            init: is checked, and changes nothing: the evidence needs particles that
                start as draws of the prior.

        Returns:
            A fit of `num_populations` x `num_particles` draws of equal weight, in one
            chain. `diagnostics` has, by population, `log_evidence`,
            `acceptance_rate` (at the last temperature) and `num_gradients` (of one
            particle), and `r_hat`, the largest one between populations over the
            unconstrained coordinates. `history` has `temperature`, `ess`,
            `acceptance_rate`, `step_size`, `num_moves` and `correlation` (population,
            step), NaN after the end.

        Raises:
            InitializationError: if no draw of the prior has a finite log density.
            ValueError: for an improper or rescaled prior, an undeclared `factor` and
                param sites, naming them; for data outside their support; and for
                populations that do not arrive.
        """
        key = check_key("SMC.run", key)
        check_prior("SMC", spec, init)
        runs = self._run_populations(spec, key)
        evidence = combine(runs)
        positions, log_density = _pool(key, runs, evidence.log_evidences)
        fit = independent_fit(
            self,
            spec,
            key,
            unravel_all(spec, jax.device_put(positions[None])),
            (_status(runs),),
            log_density=jax.device_put(log_density[None]),
            history=_history(runs),
            log_evidence=jax.device_put(evidence.value),
            log_evidence_error=jax.device_put(evidence.error),
            diagnostics=_diagnostics(runs, evidence),
        )
        _warn(fit)
        return fit

    def _run_populations(self, spec: ModelSpec, key: Key[Array, ""]) -> list["Run"]:
        settings = MoveSettings(
            self.max_mcmc_steps,
            self.max_correlation,
            self.max_leapfrog_steps,
            self.target_accept,
        )
        keys = [
            jax.random.fold_in(key, np.uint32(i)) for i in range(self.num_populations)
        ]
        bar = tqdm(total=float(len(keys)), unit="population", disable=not self.progress)
        first = draw_population(
            spec, jax.random.fold_in(keys[0], 0), self.num_particles
        )
        check_population(spec, first)
        runs = [Run(first_state(first.particles), [])]

        def advance(i: int) -> bool:
            """Goes to a population's next temperature; says whether there are more."""
            run = runs[i]
            step_key = jax.random.fold_in(keys[i], np.uint32(len(run.steps) + 1))
            state, info = raise_temperature(
                spec, step_key, run.state, self.target_ess, settings
            )
            info = jax.tree.map(np.asarray, info)
            before = run.steps[-1].temperature if run.steps else 0.0
            bar.update(float(np.nan_to_num(info.temperature - before)))
            run.steps.append(info)
            is_rising = bool(before < info.temperature < 1.0)
            is_cut = is_rising and len(run.steps) == self.max_temperatures
            runs[i] = Run(state, run.steps, is_cut)
            return is_rising and not is_cut

        # The first step compiles; the threads then find the program.
        is_going = advance(0)
        for one in keys[1:]:
            population = draw_population(
                spec, jax.random.fold_in(one, 0), self.num_particles
            )
            runs.append(Run(first_state(population.particles), []))
        waiting = [i for i in range(len(keys)) if i > 0 or is_going]
        is_cpu = jax.default_backend() == "cpu"
        queue = [partial(advance, i) for i in waiting]
        interrupted = work_off([queue], num_cores() if is_cpu else 1)
        bar.close()
        if interrupted:
            raise KeyboardInterrupt(
                "SMC was interrupted on its way from the prior to the posterior; there "
                "are no draws yet."
            )
        _check_arrival(runs, self.max_temperatures)
        return runs


class Run(NamedTuple):
    """A population, what its temperatures left, and whether they were too many."""

    state: SMCState
    steps: list[SMCInfo]
    is_cut: bool = False

    @property
    def has_arrived(self) -> bool:
        """Whether the population is one of the posterior."""
        return float(self.steps[-1].temperature) == 1.0


class Evidence(NamedTuple):
    """The log evidence, its standard error, and the log evidence by population."""

    value: Float[np.ndarray, ""]
    error: Float[np.ndarray, ""]
    log_evidences: Float[np.ndarray, " population"]


def combine(runs: list[Run]) -> Evidence:
    """Averages the evidence of populations, and says how far it may be off."""
    dtype = np.asarray(runs[0].state.log_evidence).dtype
    logs = np.array([float(run.state.log_evidence) for run in runs])
    logs[[not run.has_arrived for run in runs]] = -np.inf
    # What lost its particles has no evidence; of what was cut short, nobody knows.
    logs[[run.is_cut for run in runs]] = np.nan
    arrived = logs[np.isfinite(logs)]
    shares = np.exp(logs - arrived.max())
    value = arrived.max() + np.log(np.nanmean(shares))
    variances = [float(r.state.variance) for r in runs if r.has_arrived]
    within = float(np.mean(variances))
    between = float(np.var(arrived, ddof=1)) if len(arrived) > 1 else 0.0
    error = np.sqrt(max(within, between) / len(arrived))
    return Evidence(
        np.asarray(value, dtype), np.asarray(error, dtype), logs.astype(dtype)
    )


def _pool(
    key: Key[Array, ""], runs: list[Run], log_evidences: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "draw dim"], Float[np.ndarray, " draw"]]:
    """Draws from all populations in proportion to their evidence, without order."""
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    logs = np.nan_to_num(log_evidences.astype(float), nan=-np.inf)
    shares = np.exp(logs - logs.max())
    size = len(runs[0].state.particles.log_likelihood)
    num = len(runs) * size
    # Systematic: a population of share s gives s * num draws, up to one.
    ends = np.cumsum(shares) / shares.sum()
    points = (random.uniform() + np.arange(num)) / num
    source = np.minimum(np.searchsorted(ends, points), len(runs) - 1)
    positions, log_densities = [], []
    for i, run in enumerate(runs):
        count = int(np.sum(source == i))
        # As few repetitions as there can be.
        index = np.concatenate(
            [random.permutation(size) for _ in range(-(-count // size))]
            or [np.zeros(0, int)]
        )[:count]
        particles = jax.tree.map(np.asarray, run.state.particles)
        positions.append(particles.positions[index])
        log_densities.append((particles.log_prior + particles.log_likelihood)[index])
    order = random.permutation(num)
    return np.concatenate(positions)[order], np.concatenate(log_densities)[order]


def _check_arrival(runs: list[Run], limit: int) -> None:
    if any(run.has_arrived for run in runs):
        return
    reached = max(float(run.steps[-1].temperature) for run in runs)
    if any(run.is_cut for run in runs):
        cause = (
            f"That took `max_temperatures={limit}` steps. Priors far wider than the "
            "posterior are the usual cause: narrow them, lower `target_ess`, or raise "
            "`max_temperatures`."
        )
    else:
        cause = (
            "It jumps so much that no smaller step keeps enough particles, or all "
            "particles lost their likelihood. Raise `num_particles`, narrow the "
            "priors, or use float64."
        )
    raise ValueError(
        f"No population of SMC arrived at the posterior: the likelihood got to the "
        f"power {reached:.3g} of 1. {cause}"
    )


def _status(runs: list[Run]) -> MemberStatus:
    num_steps = [len(run.steps) for run in runs]
    cut = sum(run.is_cut for run in runs)
    lost = sum(not run.has_arrived for run in runs) - cut
    words = f"{len(runs)} populations, {min(num_steps)} to {max(num_steps)} steps"
    if lost:
        words += f"; {lost} lost all particles and count for nothing"
    if cut:
        words += f"; {cut} had not arrived by then and are left out"
    return MemberStatus(Status.MAX_STEPS if cut else Status.OK, words)


def _history(runs: list[Run]) -> dict[str, Array]:
    longest = max(len(run.steps) for run in runs)
    history = {}
    dtype = runs[0].steps[0].temperature.dtype
    for name in TRACES:
        table = np.full((len(runs), longest), np.nan, dtype)
        for row, run in zip(table, runs, strict=True):
            row[: len(run.steps)] = [getattr(step, name) for step in run.steps]
        history[name] = jax.device_put(table)
    return history


def _diagnostics(runs: list[Run], evidence: Evidence) -> dict[str, Array]:
    last = [run.steps[-1] for run in runs]
    gradients = [sum(int(step.num_gradients) for step in run.steps) for run in runs]
    found: dict[str, Any] = {
        "log_evidence": evidence.log_evidences,
        "acceptance_rate": np.stack([step.acceptance_rate for step in last]),
        "num_gradients": np.asarray(gradients, np.int32),
    }
    arrived = [run for run in runs if run.has_arrived]
    if len(arrived) > 1:
        found["r_hat"] = _r_hat(
            np.stack([np.asarray(run.state.particles.positions) for run in arrived])
        )
    return jax.device_put(found)


def _r_hat(positions: Float[np.ndarray, "population n dim"]) -> np.ndarray:
    within = positions.var(axis=1, ddof=1).mean(axis=0)
    between = positions.mean(axis=1).var(axis=0, ddof=1)
    ratio = between / np.maximum(within, np.finfo(within.dtype).tiny)
    return np.asarray(np.sqrt(1.0 + np.max(ratio)))


def _warn(fit: Fit) -> None:
    logs = np.asarray(fit.diagnostics["log_evidence"])
    logs = logs[np.isfinite(logs)]
    spread = logs.std(ddof=1) if len(logs) > 1 else 0.0
    r_hat = float(fit.diagnostics.get("r_hat", 1.0))
    if spread > MAX_EVIDENCE_SPREAD or r_hat > MAX_R_HAT:
        warnings.warn(
            f"The populations of SMC disagree: R-hat is {r_hat:.2f}, and the log "
            f"evidence differs between them by {spread:.2g} (standard deviation). "
            "Raise `num_particles`, or lower `max_correlation`.",
            UserWarning,
            skip_file_prefixes=OWN_FRAMES,
        )
