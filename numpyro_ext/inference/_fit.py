"""`Fit`: what every engine returns."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, Shaped

from ._function_model import FunctionModel
from ._model_spec import ModelSpec
from ._status import MemberStatus

if TYPE_CHECKING:
    from xarray import DataTree

    from ..diagnostics import Summary
    from ._engine import AbstractEngine

type FitKind = Literal["draws", "points", "independent"]


class Fit(eqx.Module):
    """The result of an engine on a spec: the same for all of them.

    Attributes:
        engine: the engine with its settings.
        spec: the model with its data.
        key: the key of the run.
        kind: `draws` of Markov chains; `points`, one for each member of an ensemble;
            or `independent` draws, of an approximation of the posterior or resampled
            from weighted ones, where R-hat means nothing.
        jacobian: whether log |Jacobian| was part of the density.
        positions: unconstrained points, each leaf (chain, draw, ...).
        draws: site -> (chain, draw, ...), constrained, deterministic sites included.
            Members of an ensemble are chains.
        stats: statistics by ArviZ's names, each (chain, draw).
        status: how each chain or member ended; for resampled draws, each member that
            proposed them.
        history: traces of the run, such as `loss` (member, step).
        warmup: the warm-up's `positions` and `stats`, if they were kept.
        state: what `resume` goes on from.
        timing: wall seconds: `total`, and of these `trace`, `compile` and `run`.
        log_evidence: log p(y), where the engine estimates it.
        log_evidence_error: its standard error, by the engine's own account.
        diagnostics: what the engine says of its own error, such as `pareto_k`.
    """

    engine: "AbstractEngine"
    spec: ModelSpec
    key: Key[Array, ""]
    kind: FitKind = eqx.field(static=True)
    jacobian: bool = eqx.field(static=True)
    positions: PyTree[Array]
    draws: dict[str, PyTree[Shaped[Array, "chain draw ..."]]]
    stats: dict[str, Shaped[Array, "chain draw"]]
    status: tuple[MemberStatus, ...] = eqx.field(static=True)
    history: dict[str, Array] = eqx.field(default_factory=dict)
    warmup: dict[str, Any] | None = None
    state: PyTree = None
    timing: dict[str, float] = eqx.field(static=True, default_factory=dict)
    log_evidence: Float[Array, ""] | None = None
    log_evidence_error: Float[Array, ""] | None = None
    diagnostics: dict[str, Array] = eqx.field(default_factory=dict)

    def starts(self, n: int) -> PyTree[Array]:
        """Picks `n` positions for another engine.

        They are the best of the members, the last draws of the chains, or independent
        draws, taken evenly from each chain.
        """
        usable = [i for i, s in enumerate(self.status) if s.code.is_usable]
        last = jax.tree.map(lambda leaf: leaf[:, -1], self.positions)
        if self.kind == "points":
            log_density = np.asarray(self.stats["lp"])[:, -1]
            usable.sort(key=lambda i: -log_density[i])
        if not usable:
            raise ValueError(
                "No member of the fit ended well, so none can be a start: "
                + "; ".join(s.message for s in self.status[:3])
                + ". Run it again from other starts (another key)."
            )
        num_chains, num_draws = jax.tree.leaves(self.positions)[0].shape[:2]
        if num_chains != len(self.status):
            # Resampled draws: those of members that failed are not among them.
            usable = list(range(num_chains))
        chosen = jnp.asarray([usable[i % len(usable)] for i in range(n)])
        if self.kind == "independent":
            each = -(-n // len(usable))
            draws = jnp.asarray(
                [i // len(usable) * num_draws // each for i in range(n)]
            )
            return jax.tree.map(lambda leaf: leaf[chosen, draws], self.positions)
        return jax.tree.map(lambda leaf: leaf[chosen], last)

    def params(self) -> PyTree:
        """Returns the parameters of a `from_log_density` spec, stacked by member.

        Each array has a leading axis of chain * draw; leaves that are no floating
        arrays are as `init_fn` made them. Feed it to `ensemble_predict`.

        Raises:
            ValueError: for a spec of a NumPyro model, whose values are in `draws`.
        """
        if not isinstance(self.spec.model, FunctionModel):
            raise ValueError(
                "`params` is for `ModelSpec.from_log_density`; a NumPyro model has its "
                "values in `fit.draws`, and predicts with `fit.predict(...)`."
            )
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), self.positions)
        return self.spec.model.params(flat)

    def predict(
        self, *args: Any, key: Key[Array, ""] | None = None, **kwargs: Any
    ) -> dict[str, Shaped[Array, "chain draw ..."]]:
        """Draws new data from the model's law, one for each draw.

        Args:
            *args: the model's arguments at the new data; none at all means the data
                of the fit. Observed sites are drawn, whether data are given or not.
            key: random key; by default derived from the key of the run.
            **kwargs: keyword arguments of the model.

        Returns:
            Observed and deterministic sites -> (chain, draw, ...).
        """
        key = jax.random.fold_in(self.key, 2) if key is None else key
        return self.spec.predictive(key, self.draws, *args, **kwargs)

    def summary(
        self, *, sites: list[str] | None = None, ci_prob: float = 0.89
    ) -> "Summary":
        """Returns a table that prints; see `numpyro_ext.diagnostics.summarize`."""
        from ..diagnostics import summarize

        return summarize(self, sites=sites, ci_prob=ci_prob)

    def to_datatree(self, **options: Any) -> "DataTree":
        """Returns an ArviZ tree; see `numpyro_ext.diagnostics.to_datatree`."""
        from ..diagnostics import to_datatree

        return to_datatree(self, **options)

    def save(self, path: str | Path) -> None:
        """Writes draws, statistics, status and state to one `.npz` file.

        Raises:
            OSError: if the folder is missing or cannot be written.
        """
        from ._storage import save_fit

        save_fit(self, path)

    @staticmethod
    def load(path: str | Path, spec: ModelSpec, engine: "AbstractEngine") -> "Fit":
        """Reads a saved fit, given the spec and the engine of its run (they are code).

        Raises:
            ValueError: if the file is damaged, is a pickle, or belongs to other data,
                sites or another engine.
        """
        from ._storage import load_fit

        return load_fit(path, spec, engine)

    def resume(self, num_samples: int) -> "Fit":
        """Goes on for `num_samples` draws: the same draws as one longer run.

        Raises:
            ValueError: if the engine has no draws to go on with.
        """
        return self.engine.resume(self, num_samples)
