"""What a Markov engine is made of: one transition that leaves the density as it is."""

import abc
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, Key

from ._metric import Metric

# Change of energy above which a trajectory has left the typical set (Stan's value).
DIVERGENCE_THRESHOLD = 1000


class Point(NamedTuple):
    """A position with its log density and gradient."""

    position: Float[Array, " n"]
    log_density: Float[Array, ""]
    grad: Float[Array, " n"]


class Transition(NamedTuple):
    """Where a transition led, and what it tells.

    Attributes:
        point: the next point of the chain.
        energy: the Hamiltonian there, which BFMI reads, if there is one.
        acceptance_rate: what the step size is adapted to.
        diverging: whether the integrator left the typical set.
        counts: integers by the names of ArviZ, those of `count_names`.
        score: derivative of what the length of trajectories is to maximise, by its
            logarithm; the same for all chains.
    """

    point: Point
    energy: Float[Array, ""] | None
    acceptance_rate: Float[Array, ""]
    diverging: Bool[Array, ""]
    counts: dict[str, Int[Array, ""]]
    score: Float[Array, ""] | None = None


class Tuned(NamedTuple):
    """What warm-up finds.

    Attributes:
        step_size: of the integrator, in the metric.
        metric: the estimated covariance of the coordinates.
        length: mean length of a trajectory, if the kernel finds it.
    """

    step_size: Float[Array, ""]
    metric: Metric
    length: Float[Array, ""] | None = None


class AbstractKernel(eqx.Module):
    """One transition. Its numbers are traced, but for the static ones."""

    count_names: ClassVar[tuple[str, ...]] = ("n_steps",)
    has_energy: ClassVar[bool] = True
    # Whether chains adapt together, and find the length of trajectories.
    pools: ClassVar[bool] = False
    first_length: ClassVar[float | None] = None

    @abc.abstractmethod
    def __call__(
        self,
        key: Key[Array, ""],
        point: Point,
        log_density: Callable[[Float[Array, " n"]], Float[Array, ""]],
        tuned: Tuned,
    ) -> Transition:
        """Makes a transition.

        Args:
            key: random key.
            point: where the chain is.
            log_density: of flat positions.
            tuned: step size and metric.
        """
