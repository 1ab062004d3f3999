"""Hamiltonian Monte Carlo with trajectories of a given length, by BlackJAX."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from .._compat import hmc_transition
from ._fit import Fit
from ._kernel import DIVERGENCE_THRESHOLD, AbstractKernel, Point, Transition, Tuned
from ._markov import AbstractMarkov
from ._metric import euclidean_metric
from ._starts import StartStrategy
from ._trajectory_length import TrajectoryLength, words_on_cuts


class Trajectory(AbstractKernel):
    """A transition to the end of a trajectory, accepted or not."""

    length: TrajectoryLength

    def __call__(
        self,
        key: Key[Array, ""],
        point: Point,
        log_density: Callable[[Array], Array],
        tuned: Tuned,
    ) -> Transition:
        length_key, key = jax.random.split(key)
        num_steps = self.length.num_steps(length_key, tuned.step_size)
        return follow(key, point, log_density, tuned, num_steps)[0]


def follow(
    key: Key[Array, ""],
    point: Point,
    log_density: Callable[[Array], Array],
    tuned: Tuned,
    num_steps: Int[Array, ""],
) -> tuple[Transition, Any]:
    """Follows a trajectory to its end; returns BlackJAX's information on it too."""
    euclidean = euclidean_metric(tuned.metric)
    hmc, info = hmc_transition(DIVERGENCE_THRESHOLD)(
        key, point, log_density, tuned.step_size, euclidean, num_steps
    )
    # BlackJAX tells the energy of the proposal; BFMI is about the chain's.
    before = euclidean.kinetic_energy(info.momentum) - point.log_density
    made = Transition(
        Point(*hmc),
        jnp.where(info.is_accepted, info.energy, before),
        info.acceptance_rate,
        info.is_divergent,
        {"n_steps": num_steps},
    )
    return made, info


class HMC(AbstractMarkov):
    r"""Draws from the posterior by Hamiltonian trajectories of a given length.

    A trajectory of leapfrog steps from a random momentum ends in a proposal, which is
    accepted or not. `NUTS` finds the length by itself, at each draw; take this where a
    good length is known, or where all chains should do the same work. Step size and
    metric are found in warm-up, as in `NUTS`, and the chains run in the same way.

    Args:
        num_warmup: warm-up transitions of each chain.
        num_samples: transitions after warm-up; every `thinning`-th is kept.
        num_chains: how many chains.
        target_accept: acceptance rate that the step size aims at.
        dense_mass: whether the metric has correlations; costs n x n for n coordinates.
        trajectory_length: mean time of a trajectory, in units in which the metric's
            estimate of a posterior standard deviation is 1. A Gaussian has period
            $2\pi$ there; a quarter of it forgets the start. With a diagonal metric,
            strong correlations need more.
        jitter: each trajectory has its own length, uniform on `(1 - jitter, 1 +
            jitter)` times the mean. With 0 a trajectory may be a period of some
            coordinate, which then never moves.
        thinning: keep one draw in so many.
        mass_rank: the metric is a diagonal and so many directions, as in `NUTS`.
        max_num_steps: a trajectory has at most so many steps.
        step_size: first step size; the one that is used if `num_warmup` is 0.
        inverse_mass_matrix: first metric, (n,) or (n, n), in the order of
            `ravel_pytree` of a position; by default the identity.
        chain_method: `threads`, `devices`, `sequential`, `vectorized` or `auto`, as in
            `NUTS`.
        init_strategy: how starts are drawn, see `ModelSpec.init`.
        num_candidates: a start is the best of so many draws by log density.
        keep_warmup: whether the fit keeps the warm-up's draws.
        chunk_size: transitions between looks at the host (progress, interruption).
        progress: whether to show a progress bar.

    Its `stats` have `reached_max_num_steps` besides those of all Markov engines.

    Raises:
        ValueError: naming the setting and its value.

    Source: Duane, Kennedy, Pendleton and Roweth (1987), Phys. Lett. B 195, 216-222;
        Neal (2011), Handbook of Markov Chain Monte Carlo, chapter 5 (random lengths:
        section 5.4.2.2).
    """

    num_warmup: int = 1000
    num_samples: int = 1000
    num_chains: int = 4
    target_accept: float = 0.8
    dense_mass: bool = False
    trajectory_length: float = math.pi / 2
    jitter: float = 0.5
    thinning: int = 1
    _: dataclasses.KW_ONLY
    mass_rank: int = 0
    max_num_steps: int = 1024
    step_size: float = 1.0
    inverse_mass_matrix: Any = None
    chain_method: str = "auto"
    init_strategy: StartStrategy = "uniform"
    num_candidates: int = 20
    keep_warmup: bool = False
    chunk_size: int = 250
    progress: bool = False

    def __check_init__(self) -> None:
        self._length().check("HMC")

    def _length(self) -> TrajectoryLength:
        return TrajectoryLength(self.trajectory_length, self.jitter, self.max_num_steps)

    def _kernel(self) -> Trajectory:
        return Trajectory(self._length())

    def _limit(self, stats: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"reached_max_num_steps": stats["n_steps"] >= self.max_num_steps}

    def _own_words(self, fit: Fit) -> list[str]:
        return words_on_cuts(fit, self.max_num_steps)
