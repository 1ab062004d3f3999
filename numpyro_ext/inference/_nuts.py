"""No-U-Turn sampling by BlackJAX, warm-up included."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from .._checks import check_positive_int
from .._compat import nuts_transition
from ._fit import Fit
from ._kernel import DIVERGENCE_THRESHOLD, AbstractKernel, Point, Transition, Tuned
from ._markov import AbstractMarkov
from ._metric import euclidean_metric
from ._starts import StartStrategy

NOTICEABLE_SATURATION = 0.01


class Tree(AbstractKernel):
    """A transition by a trajectory that doubles until it turns back."""

    count_names: ClassVar[tuple[str, ...]] = ("n_steps", "tree_depth")
    # It gives the shape of the kernel's memory.
    max_depth: int = eqx.field(static=True)

    def __call__(
        self,
        key: Key[Array, ""],
        point: Point,
        log_density: Callable[[Array], Array],
        tuned: Tuned,
    ) -> Transition:
        hmc, info = nuts_transition(DIVERGENCE_THRESHOLD)(
            key,
            point,
            log_density,
            tuned.step_size,
            euclidean_metric(tuned.metric),
            self.max_depth,
        )
        counts = {
            "n_steps": jnp.asarray(info.num_integration_steps, jnp.int32),
            "tree_depth": jnp.asarray(info.num_trajectory_expansions, jnp.int32),
        }
        return Transition(
            Point(*hmc), info.energy, info.acceptance_rate, info.is_divergent, counts
        )


class NUTS(AbstractMarkov):
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
        mass_rank: the metric is a diagonal and so many directions, the widest and the
            narrowest of the draws and gradients of warm-up; for hundreds of
            coordinates of which a few combinations are strongly correlated.
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
    mass_rank: int = 0
    step_size: float = 1.0
    inverse_mass_matrix: Any = None
    chain_method: str = "auto"
    init_strategy: StartStrategy = "uniform"
    num_candidates: int = 20
    keep_warmup: bool = False
    chunk_size: int = 250
    progress: bool = False

    def __check_init__(self) -> None:
        check_positive_int("NUTS", "max_tree_depth", self.max_tree_depth)

    def _kernel(self) -> Tree:
        return Tree(self.max_tree_depth)

    def _limit(self, stats: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        saturated = stats["tree_depth"] >= self.max_tree_depth
        # ArviZ reads one spelling and writes the other.
        names = ("reached_max_treedepth", "reached_max_tree_depth")
        return dict.fromkeys(names, saturated)

    def _own_words(self, fit: Fit) -> list[str]:
        saturated = np.asarray(fit.stats["reached_max_treedepth"]).mean()
        if saturated <= NOTICEABLE_SATURATION:
            return []
        return [
            f"{saturated:.1%} of trajectories reached "
            f"max_tree_depth={self.max_tree_depth} before they turned, so draws are "
            "strongly correlated. Scale or decorrelate the parameters, try "
            "dense_mass=True, or raise `max_tree_depth`."
        ]
