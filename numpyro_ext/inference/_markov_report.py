"""What a Markov engine says of its chains: verdicts, refusals and warnings."""

import warnings
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._checks import OWN_FRAMES, DivergenceWarning
from ._chain_chunk import MAX_START_TRIES
from ._chains import ChainOutput
from ._check import raise_bad_start
from ._fit import Fit
from ._flat import unravel_position
from ._model_spec import ModelSpec
from ._starts import Start
from ._status import MemberStatus, Status

# Fewer divergences than this are named in the summary only.
NOTICEABLE_DIVERGENCES = 1e-3
# Error of the log density, in nats, that starts to matter for acceptance.
RISKY_ROUNDING = 0.1


def chain_status(parts: dict[str, Any], interrupted: bool) -> tuple[MemberStatus, ...]:
    lp, accepted = (np.asarray(parts["stats"][n]) for n in ("lp", "acceptance_rate"))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(parts["positions"])]
    words = []
    for chain in range(len(lp)):
        moved = any(np.any(leaf[chain] != leaf[chain, :1]) for leaf in leaves)
        if not np.isfinite(lp[chain]).all():
            step = int(np.argmin(np.isfinite(lp[chain])))
            message = (
                f"chain {chain}: the log density is {lp[chain, step]} at draw {step}"
            )
            words.append(MemberStatus(Status.NONFINITE_VALUE, message))
        elif not moved and lp.shape[1] > 1:
            message = f"chain {chain} never moved from its first draw"
            words.append(MemberStatus(Status.STUCK, message))
        else:
            code = Status.INTERRUPTED if interrupted else Status.OK
            message = f"chain {chain}: mean acceptance {accepted[chain].mean():.2f}"
            words.append(MemberStatus(code, message))
    return tuple(words)


def raise_starts(spec: ModelSpec, done: list[ChainOutput]) -> None:
    states = [one.state for one in done]
    if all(state.start_is_finite and state.data_are_valid for state in states):
        return
    # A start that stayed non-finite is still the chain's position: it cannot move.
    unravel = unravel_position(spec)
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *states)
    starts = Start(
        position=jax.vmap(unravel)(stacked.position),
        log_density=stacked.log_density,
        grad=stacked.grad,
        is_finite=stacked.start_is_finite,
        data_are_valid=stacked.data_are_valid,
    )
    raise_bad_start(spec, starts, MAX_START_TRIES)


def warn_of_chains(fit: Fit, own_words: Iterable[str]) -> None:
    """Warns of divergences, of what the engine itself says, of rounding and Ctrl-C."""
    words = list(own_words)
    diverging = np.asarray(fit.stats["diverging"])
    if diverging.mean() >= NOTICEABLE_DIVERGENCES:
        warnings.warn(
            f"{diverging.sum()} of {diverging.size} transitions diverged "
            f"({diverging.mean():.1%}), most unlike the other draws at site "
            f"`{_strangest_site(fit, diverging)}`: part of the posterior may be "
            "missing. Write the non-centred form of hierarchical sites "
            "(`LocScaleReparam`), or raise `target_accept`.",
            DivergenceWarning,
            skip_file_prefixes=OWN_FRAMES,
        )
    lp = np.asarray(fit.stats["lp"])
    if np.finfo(lp.dtype).eps * np.abs(lp).max() > RISKY_ROUNDING:
        words.append(
            f"The log density is {np.abs(lp).max():.3g} in {lp.dtype}, where one unit "
            "in the last place moves the acceptance rate. Use `jax.config.update("
            '"jax_enable_x64", True)` before anything else.'
        )
    if any(status.code is Status.INTERRUPTED for status in fit.status):
        words.append(
            f"{type(fit.engine).__name__} was interrupted after {lp.shape[1]} kept "
            "draws a chain. `fit.resume(num_samples)` goes on from there."
        )
    for message in words:
        warnings.warn(message, UserWarning, skip_file_prefixes=OWN_FRAMES)


def _strangest_site(fit: Fit, diverging: np.ndarray) -> str:
    """Names the site whose coordinate is most displaced where transitions diverge."""

    def displacement(leaf: Array) -> float:
        values = np.asarray(leaf).reshape(*diverging.shape, -1)
        spread = values.std(axis=(0, 1)) + np.finfo(values.dtype).tiny
        shift = values[diverging].mean(axis=0) - values.mean(axis=(0, 1))
        return float(np.max(np.abs(shift / spread), initial=0.0))

    by_site = fit.spec.model.by_site(fit.positions)
    return max(by_site, key=lambda name: displacement(by_site[name]))
