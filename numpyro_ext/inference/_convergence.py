"""The verdict on each member of an ensemble, in words, and one warning for all."""

import warnings
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, PyTree

from .._checks import OWN_FRAMES, ConvergenceWarning, InitializationError
from ._check import bad_arguments
from ._descent import Cause
from ._model_spec import ModelSpec
from ._status import MemberStatus, Status
from ._train import Trained

if TYPE_CHECKING:
    from ._ensemble_map import EnsembleMAP

MAX_NAMED = 8


def judge(
    engine: "EnsembleMAP", spec: ModelSpec, trained: Trained
) -> tuple[MemberStatus, ...]:
    """Returns the status of each member; warns of those that did not converge.

    Raises:
        InitializationError: if all members failed.
    """
    # One transfer of the scalars; reading arrays member by member is slow.
    scalars = jax.device_get(trained._replace(position=None, outward=None, parts=None))
    status = tuple(
        _status(engine, jax.tree.map(lambda leaf, i=i: leaf[i].item(), scalars))
        for i in range(engine.num_members)
    )
    _raise_if_all_failed(spec, scalars, status)
    sizes = np.nan_to_num(scalars.relative_gradient, nan=-1.0, posinf=-1.0)
    _warn_unconverged(engine, spec, trained.outward, sizes, status)
    return status


def _raise_if_all_failed(
    spec: ModelSpec, trained: Trained, status: tuple[MemberStatus, ...]
) -> None:
    """Raises InitializationError if no member ever had a finite density.

    A member that met NaN on its way has a last finite point; one that met it at its
    start has nothing.
    """
    if any(np.isfinite(trained.loss)):
        return
    words = [f"All {len(status)} members failed. Member 0: {status[0].message}."]
    words += bad_arguments(spec)
    words.append(
        "Starts where the density is not finite are the usual cause. Look at "
        "`spec.check(key)`, or give other values in `run(spec, key, init=...)`."
    )
    raise InitializationError(" ".join(words))


def _warn_unconverged(
    engine: "EnsembleMAP",
    spec: ModelSpec,
    outward: PyTree[Array],
    sizes: np.ndarray,
    status: tuple[MemberStatus, ...],
) -> None:
    """Warns once, naming the members that ended before their gradient was small.

    There is no such warning for mini-batches and early stopping, which are meant to
    end elsewhere; failures are reported then too.
    """
    expected = {Status.CONVERGED, Status.STOPPED_EARLY}
    is_stochastic = engine.batch_size is not None or engine.early_stopping is not None
    if is_stochastic or engine.tolerance is None:
        expected |= {Status.MAX_STEPS}
    bad = [i for i, s in enumerate(status) if s.code not in expected]
    if not bad:
        return
    named = ", ".join(map(str, bad[:MAX_NAMED])) + (
        ", ..." if len(bad) > MAX_NAMED else ""
    )
    worst = max(bad, key=sizes.__getitem__)
    warnings.warn(
        f"{len(bad)} of {len(status)} members not converged: {named}. Member {worst}: "
        f"{status[worst].message}.{_boundary(spec, outward, bad)} More `num_steps`, "
        "another `optimizer` (`optax.lbfgs()` for smooth models) or tighter priors "
        "help most often. A network that is meant to stop before its mode: "
        "`tolerance=None` or `early_stopping=EarlyStopping()`.",
        ConvergenceWarning,
        skip_file_prefixes=OWN_FRAMES,
    )


def _status(engine: "EnsembleMAP", member: Trained) -> MemberStatus:
    words = f"gradient norm {member.gradient_norm:.3g}"
    if engine.tolerance is not None:
        words += (
            f", relative gradient {member.relative_gradient:.3g} (tolerance "
            f"{engine.tolerance:g})"
        )
    cause = Cause(member.cause)
    kept = f"kept the point of step {member.kept_step}"
    if cause in (Cause.NONFINITE_VALUE, Cause.NONFINITE_GRADIENT):
        what = "log density" if cause is Cause.NONFINITE_VALUE else "gradient"
        at = f"step {member.num_steps}" if member.num_steps else "the start"
        words = f"the {what} is nan or inf at {at}; {kept}, {words}"
        return MemberStatus(Status[cause.name], words)
    is_small = member.relative_gradient <= (engine.tolerance or 0.0)
    if is_small:
        return MemberStatus(Status.CONVERGED, f"converged: {words}")
    if engine.batch_size is None and member.kept_step == 0:
        words = (
            f"no step improved on the start: {words}; the learning rate may be too "
            "large"
        )
        return MemberStatus(Status.AT_START, words)
    if cause is Cause.STOPPED_EARLY:
        words = f"stopped early after {member.num_steps} steps; {kept}, {words}"
        return MemberStatus(Status.STOPPED_EARLY, words)
    if cause is Cause.SETTLED:
        words = f"the line search found no better point: {words}"
        return MemberStatus(Status.MAX_STEPS, words)
    return MemberStatus(Status.MAX_STEPS, f"{member.num_steps} steps done: {words}")


def _boundary(spec: ModelSpec, outward: PyTree[Array], bad: list[int]) -> str:
    """Names the bounded sites whose coordinates still run away, if there are any."""
    words = ""
    for name, drive in spec.model.by_site(outward).items():
        if name not in spec.sites or spec.sites[name].kind != "latent":
            continue
        support = spec.sites[name].support
        if (
            support
            and not support.startswith("real")
            and np.any(np.asarray(drive)[bad])
        ):
            words += (
                f" The site `{name}` is running to the boundary of its support "
                f"({support}): the density looks unbounded there."
            )
    return words
