"""Newton's method from near a mode to the mode, in the metric of a curvature."""

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._curvature import Space, Spectrum
from ._gaussian import Gaussian

MAX_STEPS, MAX_HALVINGS = 30, 20
# Below this part of the tolerance, the remaining step is taken and not looked at again.
SETTLED = 1e-12


class Mode(NamedTuple):
    """A point where Newton's method ended, and the curvature there.

    Attributes:
        point: the free coordinates.
        log_density: the log density, Jacobian included.
        spectrum: the curvature, as it is.
        gaussian: the law of the curvature, repaired where it is not positive.
        decrement: half the squared gradient in the metric of the inverse curvature:
            how many nats the quadratic model still promises.
        num_steps: steps taken.
    """

    point: Float[Array, " n"]
    log_density: float
    spectrum: Spectrum
    gaussian: Gaussian
    decrement: float
    num_steps: int


def refine(
    space: Space,
    point: Float[Array, " n"],
    curve: Callable[[Space, Float[Array, " n"]], Spectrum],
    tolerance: float,
) -> Mode:
    """Climbs until the Newton decrement is far below `tolerance`, or nothing improves.

    A direction of negative curvature is climbed as if it curved the other way, so that
    a saddle is left if there is any slope; one of no curvature, in long steps.
    """
    num_steps, before = 0, math.inf
    while True:
        spectrum = curve(space, point)
        loss, move, decrement = _newton_step(space, point, spectrum)
        size = float(decrement)
        is_near = size <= tolerance
        is_settled = size <= SETTLED * tolerance or (is_near and size >= before)
        if is_settled or num_steps == MAX_STEPS:
            break
        if is_near:
            # The loss itself can no longer tell the two points apart.
            point, before = point + move, size
        else:
            moved, new_loss = _search(space, point, move, loss)
            if not float(new_loss) < float(loss):
                break
            point = moved
        num_steps += 1
    if is_near:
        # What is left is small; for a Gaussian it makes the mode exact.
        point, loss = point + move, loss - decrement
    gaussian = Gaussian(point, *spectrum.repaired())
    return Mode(point, -float(loss), spectrum, gaussian, size, num_steps)


@eqx.filter_jit
def _newton_step(
    space: Space, point: Float[Array, " n"], spectrum: Spectrum
) -> tuple[Float[Array, ""], Float[Array, " n"], Float[Array, ""]]:
    loss, gradient = jax.value_and_grad(space.loss)(point)
    move = -Gaussian(point, *spectrum.repaired()).solve(gradient)
    return loss, move, -0.5 * jnp.dot(gradient, move)


@eqx.filter_jit
def _search(
    space: Space,
    point: Float[Array, " n"],
    move: Float[Array, " n"],
    loss: Float[Array, ""],
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Halves the step until the loss does not rise; stays if none is good."""

    def is_bad(state: tuple[Array, Array]) -> Array:
        halvings, value = state
        return ~(value <= loss) & (halvings < MAX_HALVINGS)

    def halve(state: tuple[Array, Array]) -> tuple[Array, Array]:
        halvings = state[0] + 1
        return halvings, space.loss(point + move * 0.5**halvings)

    start = jnp.zeros((), jnp.int32), space.loss(point + move)
    halvings, value = jax.lax.while_loop(is_bad, halve, start)
    is_good = value <= loss
    share = jnp.where(is_good, 0.5**halvings, 0.0)
    return point + move * share, jnp.where(is_good, value, loss)
