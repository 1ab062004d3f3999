"""How long trajectories are that do not find their own length."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from .._checks import check_open_interval, check_positive_int
from ._fit import Fit

NOTICEABLE_CUTS = 0.01


class TrajectoryLength(NamedTuple):
    """Lengths that are uniform on `(1 - jitter, 1 + jitter)` times their mean."""

    mean: float
    jitter: float
    max_num_steps: int

    def num_steps(
        self, key: Key[Array, ""], step_size: Float[Array, ""]
    ) -> Int[Array, ""]:
        """Draws a number of steps."""
        uniform = jax.random.uniform(
            key, dtype=step_size.dtype, minval=-1.0, maxval=1.0
        )
        steps = jnp.ceil((1.0 + self.jitter * uniform) * self.mean / step_size)
        # Before the integers: a tiny step size would overflow them.
        return jnp.clip(steps, 1.0, self.max_num_steps).astype(jnp.int32)

    def check(self, owner: str) -> None:
        """Raises ValueError, naming the engine's setting and its value."""
        check_open_interval(owner, "trajectory_length", self.mean, 0.0, np.inf)
        check_positive_int(owner, "max_num_steps", self.max_num_steps)
        if not 0.0 <= self.jitter <= 1.0:
            raise ValueError(
                f"`{owner}(jitter={self.jitter!r})`: `jitter` is a share of "
                "`trajectory_length`, from 0 to 1."
            )


def words_on_cuts(fit: Fit, max_num_steps: int) -> list[str]:
    """Returns what to warn of if trajectories were cut."""
    cut = np.asarray(fit.stats["reached_max_num_steps"]).mean()
    if cut <= NOTICEABLE_CUTS:
        return []
    return [
        f"{cut:.1%} of trajectories were cut at max_num_steps={max_num_steps}, so "
        "draws are strongly correlated. Scale or decorrelate the parameters, try "
        "dense_mass=True, or raise `max_num_steps`."
    ]
