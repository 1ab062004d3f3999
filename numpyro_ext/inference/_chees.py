"""Hamiltonian Monte Carlo of many chains that find the length of trajectories."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._checks import check_positive_int
from ._fit import Fit
from ._hmc import follow
from ._kernel import AbstractKernel, Point, Transition, Tuned
from ._markov import AbstractMarkov
from ._metric import Metric
from ._pool import CHAINS, mean_of_chains
from ._starts import StartStrategy
from ._trajectory_length import words_on_cuts


class PooledTrajectory(AbstractKernel):
    """A transition whose length all chains share."""

    pools: ClassVar[bool] = True
    first_length: ClassVar[float | None] = 1.0
    max_num_steps: int

    def __call__(
        self,
        key: Key[Array, ""],
        point: Point,
        log_density: Callable[[Array], Array],
        tuned: Tuned,
    ) -> Transition:
        assert tuned.length is not None
        length_key, key = jax.random.split(key)
        uniform = jax.random.uniform(length_key, dtype=point.position.dtype)
        # The first chain decides for all: none waits for another.
        share = jax.lax.all_gather(uniform, CHAINS)[0]
        steps = jnp.ceil(share * tuned.length / tuned.step_size)
        steps = jnp.clip(steps, 1.0, self.max_num_steps).astype(jnp.int32)
        num_steps = jax.lax.pmax(steps, CHAINS)
        made, info = follow(key, point, log_density, tuned, num_steps)
        weight = jnp.nan_to_num(made.acceptance_rate)
        score = _score(tuned.metric, weight, point.position, info.proposal)
        # Below one step a length changes nothing any more.
        is_short = (tuned.length < tuned.step_size) & (score < 0.0)
        score = jnp.where(is_short, 0.0, num_steps * tuned.step_size * score)
        return made._replace(score=score)


def _score(
    metric: Metric, weight: Float[Array, ""], start: Float[Array, " n"], end: Any
) -> Float[Array, ""]:
    """Returns the derivative of ChEES by the time of the trajectory, over chains."""

    def whiten(x: Float[Array, " n"]) -> Float[Array, " n"]:
        return jax.linear_transpose(metric.momentum, x)(x)[0]

    first = whiten(start - mean_of_chains(start, weight))
    last = whiten(end.position - mean_of_chains(end.position, weight))
    # BlackJAX has turned the momentum of the proposal.
    velocity = whiten(metric.velocity(-end.momentum))
    growth = jnp.dot(last, last) - jnp.dot(first, first)
    return mean_of_chains(growth * jnp.dot(last, velocity), weight)


class ChEES(AbstractMarkov):
    r"""Draws from the posterior by many chains that adapt together.

    Trajectories as in `HMC`, whose mean length is found in warm-up: the one that makes
    the largest change in the squared distance from the centre,
    $$\mathrm{ChEES} = \tfrac14 E\left(|x' - E x'|^2 - |x - E x|^2\right)^2,$$
    in the units of the metric. Step size, metric and length come from all chains at
    once, and all chains make equally many steps, so that none waits for another: for
    tens or hundreds of chains on an accelerator, each of them short. A chain that
    cannot move has no weight in what the others learn.

    Args:
        num_warmup: warm-up transitions of each chain.
        num_samples: transitions after warm-up; every `thinning`-th is kept.
        num_chains: how many chains; of few, nothing can be learned together.
        target_accept: median acceptance rate that the step size aims at; it lies above
            the mean.
        dense_mass: whether the metric has correlations; costs n x n for n coordinates.
        thinning: keep one draw in so many.
        max_num_steps: a trajectory has at most so many steps.
        step_size: first step size; the one that is used if `num_warmup` is 0.
        inverse_mass_matrix: first metric, (n,) or (n, n), in the order of
            `ravel_pytree` of a position; by default the identity.
        init_strategy: how starts are drawn, see `ModelSpec.init`.
        num_candidates: a start is the best of so many draws by log density.
        keep_warmup: whether the fit keeps the warm-up's draws.
        chunk_size: transitions between looks at the host (progress, interruption).
        progress: whether to show a progress bar.

    Its `stats` have `reached_max_num_steps` besides those of all Markov engines.

    Raises:
        ValueError: naming the setting and its value.

    Source: Hoffman, Radul and Sountsov (2021), AISTATS, PMLR 130, 3907-3915. Here the
        metric is adapted too, from draws within chains, and acceptance is a median.
    """

    num_warmup: int = 500
    num_samples: int = 250
    num_chains: int = 32
    target_accept: float = 0.9
    dense_mass: bool = False
    thinning: int = 1
    _: dataclasses.KW_ONLY
    max_num_steps: int = 1024
    step_size: float = 1.0
    inverse_mass_matrix: Any = None
    init_strategy: StartStrategy = "uniform"
    num_candidates: int = 20
    keep_warmup: bool = False
    chunk_size: int = 250
    progress: bool = False
    # Chains that tell each other run in one program.
    chain_method: ClassVar[str] = "vectorized"  # pyright: ignore[reportIncompatibleVariableOverride]
    mass_rank: ClassVar[int] = 0  # pyright: ignore[reportIncompatibleVariableOverride]

    def __check_init__(self) -> None:
        check_positive_int("ChEES", "max_num_steps", self.max_num_steps)
        check_positive_int("ChEES", "num_chains", self.num_chains, minimum=2)

    def _kernel(self) -> PooledTrajectory:
        return PooledTrajectory(self.max_num_steps)

    def _limit(self, stats: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"reached_max_num_steps": stats["n_steps"] >= self.max_num_steps}

    def _own_words(self, fit: Fit) -> list[str]:
        return words_on_cuts(fit, self.max_num_steps)
