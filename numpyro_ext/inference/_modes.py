"""How many different modes an ensemble found, and which members agree."""

from collections.abc import Iterator
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from ._fit import Fit
from ._model_spec import ModelSpec
from ._sites import format_table
from ._status import Status

# Points between two members at which the log density is read.
NUM_BETWEEN = 9


@dataclass(frozen=True)
class Mode:
    """One mode, and the members that ended there.

    Attributes:
        members: numbers of the members, the highest first.
        log_density: the log density of the highest.
    """

    members: tuple[int, ...]
    log_density: float


@dataclass(frozen=True)
class Modes:
    """The modes of an ensemble, the highest first; prints as a table.

    Attributes:
        modes: the different modes.
        unconverged: members that did not converge, each with its status.
        tolerance: the depth in nats that tells two modes apart.
    """

    modes: tuple[Mode, ...]
    unconverged: dict[int, str]
    tolerance: float

    def __len__(self) -> int:
        return len(self.modes)

    def __iter__(self) -> Iterator[Mode]:
        return iter(self.modes)

    def __getitem__(self, index: int) -> Mode:
        return self.modes[index]

    def __repr__(self) -> str:
        best = self.modes[0].log_density if self.modes else 0.0
        rows = [
            (
                str(number),
                f"{mode.log_density:.6g}",
                f"{mode.log_density - best:.3g}",
                str(len(mode.members)),
                ", ".join(map(str, mode.members)),
            )
            for number, mode in enumerate(self.modes)
        ]
        header = ("mode", "log density", "below best", "count", "members")
        words = [format_table(header, rows)] if rows else ["no member converged"]
        if self.unconverged:
            listed = ", ".join(f"{i} ({s})" for i, s in self.unconverged.items())
            words.append(f"not converged: {listed}")
        return "\n".join(words)


def modes(fit: Fit, *, tolerance: float = 0.1) -> Modes:
    """Says how many different modes a fit found, and which members agree.

    Two members agree if the log density along the straight line between them, in the
    unconstrained space, stays within `tolerance` nats of their own: it falls no lower
    than the lower one less the tolerance, and rises no higher than the higher one
    and the tolerance. No scale of a parameter enters. Two members on a curved ridge
    may count as two modes.

    Args:
        fit: a fit of `EnsembleMAP`.
        tolerance: the depth in nats that tells two modes apart.

    Raises:
        ValueError: if the fit holds draws and no points, or `tolerance` is not
            positive.
    """
    if fit.kind != "points":
        raise ValueError(
            f"`modes` compares the members of an ensemble, and this fit holds "
            f"{fit.kind} of {type(fit.engine).__name__}. Use "
            "`EnsembleMAP(...).run(spec, key)`."
        )
    if not 0.0 < tolerance < float("inf"):
        raise ValueError(
            f"`modes(tolerance={tolerance!r})`: `tolerance` is a depth in nats above 0."
        )
    log_density = np.asarray(fit.stats["lp"])[:, -1]
    converged = [i for i, s in enumerate(fit.status) if s.code is Status.CONVERGED]
    remaining = sorted(converged, key=lambda i: -log_density[i])
    found = []
    while remaining:
        first = remaining[0]
        agree = _agree(fit, first, tolerance)
        members = tuple(i for i in remaining if i == first or agree[i])
        found.append(Mode(members, float(log_density[first])))
        remaining = [i for i in remaining if i not in members]
    unconverged = {
        i: s.code.name.lower()
        for i, s in enumerate(fit.status)
        if s.code is not Status.CONVERGED
    }
    return Modes(tuple(found), unconverged, tolerance)


def _agree(fit: Fit, first: int, tolerance: float) -> np.ndarray:
    """Marks the members that lie at the same mode as the member `first`."""
    # An array, so that the next mode compiles nothing.
    number = jnp.asarray(first)
    lines = np.asarray(_read_lines(fit.spec, fit.positions, number, _weights(fit)))
    ends = lines[:, [0, -1]]
    lowest, highest = lines.min(axis=1), lines.max(axis=1)
    is_level = highest <= ends.max(axis=1) + tolerance
    # A NaN on the way compares as False: the members are then told apart.
    return is_level & (lowest >= ends.min(axis=1) - tolerance)


def _weights(fit: Fit) -> tuple[bool, float]:
    return fit.jacobian, float(getattr(fit.engine, "prior_weight", 1.0))


@eqx.filter_jit
def _read_lines(
    spec: ModelSpec,
    positions: PyTree[Array],
    first: Int[Array, ""],
    weights: tuple[bool, float],
) -> Float[Array, "members points"]:
    """Reads the log density from the member `first` to every other one."""
    jacobian, prior_weight = weights
    last = jax.tree.map(lambda leaf: leaf[:, -1], positions)
    start = jax.tree.map(lambda leaf: leaf[first], last)
    shares = jnp.linspace(0.0, 1.0, NUM_BETWEEN + 2)

    def read(end: PyTree[Array], share: Float[Array, ""]) -> Float[Array, ""]:
        point = jax.tree.map(
            lambda a, b: (a + share * (b - a)).astype(a.dtype), start, end
        )
        return spec.log_density(point, jacobian=jacobian, prior_weight=prior_weight)

    def read_line(end: PyTree[Array]) -> Float[Array, " points"]:
        return jax.lax.map(lambda share: read(end, share), shares)

    return jax.lax.map(read_line, last)
