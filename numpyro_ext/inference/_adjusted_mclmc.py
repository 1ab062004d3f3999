"""Microcanonical Hamiltonian dynamics with a Metropolis step, by BlackJAX."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._compat import microcanonical_transition
from ._fit import Fit
from ._kernel import DIVERGENCE_THRESHOLD, AbstractKernel, Point, Transition, Tuned
from ._markov import AbstractMarkov
from ._starts import StartStrategy
from ._trajectory_length import TrajectoryLength, words_on_cuts


class Glide(AbstractKernel):
    r"""A transition to the end of a trajectory of constant speed, accepted or not.

    It moves in whitened coordinates $u$ of $x = x_0 + L u$, where a step of HMC of the
    same size is $\sqrt n$ times longer than a unit vector.
    """

    # The energy is the log density alone, whose changes BFMI would misread.
    has_energy: ClassVar[bool] = False
    length: TrajectoryLength

    def __call__(
        self,
        key: Key[Array, ""],
        point: Point,
        log_density: Callable[[Array], Array],
        tuned: Tuned,
    ) -> Transition:
        step_size, metric = tuned.step_size, tuned.metric
        length_key, idle_key, key = jax.random.split(key, 3)
        num_steps = self.length.num_steps(length_key, step_size)
        num, dtype = point.position.size, point.position.dtype
        # A unit vector needs two dimensions: a single one gets an idle companion,
        # normal, which is drawn anew at each transition.
        idle = jax.random.normal(idle_key, (1 if num == 1 else 0,), dtype)

        def stretch(white: Float[Array, " n"]) -> Float[Array, " n"]:
            return metric.velocity(metric.momentum(white))

        def white_log_density(white: Float[Array, " m"]) -> Float[Array, ""]:
            place = point.position + stretch(white[:num])
            return log_density(place) - 0.5 * jnp.sum(jnp.square(white[num:]))

        (white_grad,) = jax.linear_transpose(stretch, point.grad)(point.grad)
        start = Point(
            jnp.concatenate([jnp.zeros_like(point.position), idle]),
            point.log_density - 0.5 * jnp.sum(jnp.square(idle)),
            jnp.concatenate([white_grad, -idle]),
        )
        end, info = microcanonical_transition(DIVERGENCE_THRESHOLD)(
            key,
            start,
            white_log_density,
            step_size * math.sqrt(start.position.size),
            num_steps,
        )
        end = Point(*end)
        moved = Point(
            point.position + stretch(end.position[:num]),
            end.log_density + 0.5 * jnp.sum(jnp.square(end.position[num:])),
            metric.momentum(end.grad[:num]),
        )
        return Transition(
            jax.tree.map(
                lambda new, old: jnp.where(info.is_accepted, new, old), moved, point
            ),
            None,
            info.acceptance_rate,
            info.is_divergent,
            {"n_steps": num_steps},
        )


class AdjustedMCLMC(AbstractMarkov):
    r"""Draws from the posterior by microcanonical trajectories, with a Metropolis step.

    The dynamics of MCLMC keep the speed and turn its direction $u$, $|u| = 1$, by the
    gradient $g$ of the log density in whitened coordinates $x$ of $n$ dimensions:
    $$\dot x = u, \qquad \dot u = (I - u u^T) \frac{g}{n - 1}.$$
    Each trajectory starts in a random direction, and its end is accepted or not, so
    that the step size leaves no bias, unlike that of MCLMC without the adjustment.
    Compared with `HMC` the step may be longer where there are many coordinates. Step
    size and metric are found in warm-up, as in `NUTS`, and the chains run in the same
    way.

    Args:
        num_warmup: warm-up transitions of each chain.
        num_samples: transitions after warm-up; every `thinning`-th is kept.
        num_chains: how many chains.
        target_accept: acceptance rate that the step size aims at.
        dense_mass: whether the metric has correlations; costs n x n for n coordinates.
        trajectory_length: mean length of a trajectory, divided by $\sqrt n$, in units
            in which the metric's estimate of a posterior standard deviation is 1. So it
            compares with the time of a trajectory of `HMC`, whose speed is about
            $\sqrt n$. With a diagonal metric, strong correlations need more.
        jitter: each trajectory has its own length, uniform on `(1 - jitter, 1 +
            jitter)` times the mean.
        thinning: keep one draw in so many.
        mass_rank: the metric is a diagonal and so many directions, as in `NUTS`.
        max_num_steps: a trajectory has at most so many steps.
        step_size: first step size, in the unit of `trajectory_length`; the one that is
            used if `num_warmup` is 0.
        inverse_mass_matrix: first metric, (n,) or (n, n), in the order of
            `ravel_pytree` of a position; by default the identity.
        chain_method: `threads`, `devices`, `sequential`, `vectorized` or `auto`, as in
            `NUTS`.
        init_strategy: how starts are drawn, see `ModelSpec.init`.
        num_candidates: a start is the best of so many draws by log density.
        keep_warmup: whether the fit keeps the warm-up's draws.
        chunk_size: transitions between looks at the host (progress, interruption).
        progress: whether to show a progress bar.

    Its `stats` have `reached_max_num_steps` besides those of all Markov engines, and no
    `energy`, since BFMI is about momenta of random length. A single coordinate gets an
    idle normal companion, because one dimension has no directions to turn to.

    Raises:
        ValueError: naming the setting and its value.

    Source: Robnik, De Luca, Silverstein and Seljak (2023), JMLR 24 (311), 1-34; Robnik,
        Cohn-Gordon and Seljak (2025), arXiv:2503.01707 (the adjustment); Ver Steeg and
        Galstyan (2021), arXiv:2111.02434 (the integrator).
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
        self._length().check("AdjustedMCLMC")

    def _length(self) -> TrajectoryLength:
        return TrajectoryLength(self.trajectory_length, self.jitter, self.max_num_steps)

    def _kernel(self) -> Glide:
        return Glide(self._length())

    def _limit(self, stats: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"reached_max_num_steps": stats["n_steps"] >= self.max_num_steps}

    def _own_words(self, fit: Fit) -> list[str]:
        return words_on_cuts(fit, self.max_num_steps)
