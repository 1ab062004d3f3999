"""`Pathfinder`: normal laws along quasi-Newton paths, joined by importance sampling."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt

from .._checks import (
    InitializationError,
    check_choice,
    check_key,
    check_open_interval,
    check_positive_int,
)
from ._check import bad_arguments, refuse_params
from ._data import num_bytes
from ._displace import displace
from ._engine import AbstractEngine
from ._fit import Fit
from ._flat import unravel_position
from ._independent import MAX_PARETO_K, independent_fit, weigh
from ._init_values import InitLike, given_positions
from ._model_spec import ModelSpec
from ._path import Path, PathEnd, PathSettings, follow_path
from ._path_normal import PathNormal, log_prob
from ._shards import run_shards, shards
from ._starts import START_STRATEGIES, StartStrategy
from ._status import MemberStatus, Status
from ._stopwatch import timed


class Pathfinder(AbstractEngine):
    r"""Fast approximate draws: normal laws along L-BFGS paths, importance resampled.

    Each path climbs the log density from its own start. At each iterate, the inverse
    Hessian that L-BFGS has learned gives a normal law; the one with the highest ELBO
    is kept. The draws of all paths are weighed against their equal mixture,
    $w = p(z) / \frac{1}{P}\sum_j q_j(z)$, the weights are Pareto-smoothed, and
    `num_samples` draws are resampled by them. Against the paper's $p / q_j$ of the own
    path alone, this counts a mode that many paths found only once. The paths are
    calls of one compiled program, in a thread for each core; a second run, with
    another key or `spec.with_data` of the same shapes, compiles nothing. A path's
    memory is `2 * history_size` vectors and the draws that are evaluated together.

    The `Fit` has one chain of independent draws. `stats["path"]` says which path a
    draw is of, `status` how each path ended. `diagnostics` has `pareto_k`: at most
    0.7 says that the draws can be trusted, above it that the law is far from normal
    or has modes between paths; `ess`, the effective number of draws before resampling;
    and `path_elbo` and `path_weight` of each path. `history` has `log_density` and
    `elbo` (path, iteration). `log_evidence` is the log mean weight, given if
    `pareto_k` is at most 0.7.

    Args:
        num_paths: starts and paths.
        num_samples: draws to return.
        num_path_draws: draws of each path, from which they are resampled.
        num_elbo_draws: draws that estimate the ELBO at each iterate.
        max_iterations: the most iterations of a path.
        history_size: pairs of steps and gradients that L-BFGS remembers; the law has
            correlations along at most twice as many directions.
        tolerance: a path ends when two iterations in a row raise the log density by
            less than this part of it.
        init_strategy: `uniform` or `prior`, as in `ModelSpec.init`. Starts should be
            wider than the posterior.
        progress: whether to show a bar over paths.

    Raises:
        ValueError: naming the setting and its value.

    Source: Zhang, Carpenter, Gelman and Vehtari (2022), Pathfinder: parallel
        quasi-Newton variational inference, JMLR 23(306), 1-49; Veach and Guibas
        (1995) for the weights against the mixture.
    """

    num_paths: int = 16
    num_samples: int = 1000
    num_path_draws: int = 200
    num_elbo_draws: int = 25
    max_iterations: int = 100
    history_size: int = 6
    tolerance: float = 1e-8
    init_strategy: StartStrategy = "uniform"
    progress: bool = False

    def __check_init__(self) -> None:
        for name in (
            "num_paths",
            "num_samples",
            "num_path_draws",
            "num_elbo_draws",
            "max_iterations",
            "history_size",
        ):
            check_positive_int("Pathfinder", name, getattr(self, name))
        check_open_interval("Pathfinder", "tolerance", self.tolerance, 0.0, 1.0)
        check_choice(
            "Pathfinder", "init_strategy", self.init_strategy, START_STRATEGIES
        )

    @timed
    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: InitLike = None
    ) -> Fit:
        """Follows all paths, and resamples their draws.

        Args:
            spec: the model with its data.
            key: random key; the same key gives the same draws.
            init: where paths start: None for draws by `init_strategy`, values by site
                (one for all paths, or a leading axis of paths), or a `Fit`. Starts
                that are given are displaced at random by a tenth of the prior's width
                or less, since a path that begins at a mode learns nothing of it.

        Raises:
            ValueError: for param sites, and for an `init` that does not fit the sites.
            InitializationError: if no start is finite, or if all paths fail.
        """
        key = check_key("Pathfinder.run", key)
        refuse_params("Pathfinder", spec)
        starts = self._starts(spec, jax.random.fold_in(key, 0), init)
        settings = PathSettings(
            max_iterations=self.max_iterations,
            history_size=self.history_size,
            num_elbo_draws=self.num_elbo_draws,
            num_draws=self.num_path_draws,
            tolerance=self.tolerance,
        )
        path_key = jax.random.fold_in(key, 1)
        paths = run_shards(
            "Pathfinder",
            lambda group: _follow_paths(settings, spec, path_key, *group),
            (jnp.arange(self.num_paths, dtype=jnp.uint32), starts),
            shards(self.num_paths, "auto", progress=self.progress),
            unit="path",
            progress=self.progress,
        )
        status = _judge(spec, paths)
        pool = _pool(spec, jax.random.fold_in(key, 2), paths, self.num_samples)
        is_trusted = float(pool.pareto_k) <= MAX_PARETO_K
        return independent_fit(
            self,
            spec,
            key,
            pool.positions,
            status,
            log_density=pool.log_density,
            stats={"path": pool.path},
            history={"log_density": paths.log_densities, "elbo": paths.elbos},
            log_evidence=pool.log_evidence if is_trusted else None,
            log_evidence_error=pool.log_evidence_error if is_trusted else None,
            diagnostics={
                "pareto_k": pool.pareto_k,
                "ess": pool.ess,
                "path_elbo": paths.elbo,
                "path_weight": pool.path_weight,
            },
        )

    def _starts(
        self, spec: ModelSpec, key: Key[Array, ""], init: InitLike
    ) -> PyTree[Array]:
        if init is None:
            return spec.init(key, self.num_paths, strategy=self.init_strategy)
        given = given_positions("Pathfinder", spec, init, self.num_paths)
        return displace(spec, key, given)


class Pool(NamedTuple):
    """The draws of all paths, weighed together and resampled.

    Attributes:
        positions: resampled draws, each leaf (1, draw, ...).
        log_density: the log density there.
        path: which path each is of.
        path_weight: the share of each path in the weights.
        pareto_k: shape of the tail of the weights.
        ess: effective number of weighted draws.
        log_evidence: log of the mean weight.
        log_evidence_error: its standard error.
    """

    positions: PyTree[Array]
    log_density: Float[Array, "1 draw"]
    path: Int[Array, "1 draw"]
    path_weight: Float[Array, " paths"]
    pareto_k: Float[Array, ""]
    ess: Float[Array, ""]
    log_evidence: Float[Array, ""]
    log_evidence_error: Float[Array, ""]


@eqx.filter_jit
def _follow_paths(
    settings: PathSettings,
    spec: ModelSpec,
    key: Key[Array, ""],
    numbers: UInt[Array, " paths"],
    starts: PyTree[Array],
) -> Path:
    """Follows paths one after another; all together on an accelerator."""
    unravel = unravel_position(spec)
    flat = jax.vmap(lambda start: ravel_pytree(start)[0])(starts)
    shared_bytes = num_bytes((spec.model.args, spec.model.kwargs))

    def log_density(position: Float[Array, " n"]) -> Float[Array, ""]:
        return spec.log_density(unravel(position))

    def follow(member: tuple[UInt[Array, ""], Float[Array, " n"]]) -> Path:
        number, start = member
        return follow_path(
            settings,
            log_density,
            jax.random.fold_in(key, number),
            start,
            shared_bytes=shared_bytes,
        )

    if jax.default_backend() == "cpu":
        return jax.lax.map(follow, (numbers, flat))
    return jax.vmap(follow)((numbers, flat))


@eqx.filter_jit
def _pool(spec: ModelSpec, key: Key[Array, ""], paths: Path, num_samples: int) -> Pool:
    """Weighs the draws of all paths against their mixture, and resamples them."""
    num_paths, num_draws, _ = paths.draws.shape
    is_usable = jnp.isfinite(paths.elbo)
    log_mixture = _log_mixture(paths.normal, is_usable, paths.draws)
    log_ratios = paths.log_density - log_mixture
    log_ratios = jnp.where(is_usable[:, None], log_ratios, -jnp.inf)
    weighed = weigh(log_ratios)
    weights = jnp.exp(weighed.log_weights)
    chosen = _resample(key, weights.reshape(-1), num_samples)
    kept = paths.draws.reshape(num_paths * num_draws, -1)[chosen]
    squares = jnp.sum(jnp.square(weights))
    # Paths that failed have no draws in the mean.
    share = jnp.mean(is_usable.astype(weights.dtype))
    num_usable = share * weights.size
    error = jnp.sqrt(jnp.maximum(squares - 1.0 / num_usable, 0.0))
    return Pool(
        positions=jax.tree.map(
            lambda leaf: leaf[None], jax.vmap(unravel_position(spec))(kept)
        ),
        log_density=paths.log_density.reshape(-1)[chosen][None],
        path=(chosen // num_draws)[None],
        path_weight=jnp.sum(weights, axis=1),
        pareto_k=weighed.pareto_k,
        ess=1.0 / squares,
        log_evidence=weighed.log_evidence - jnp.log(share),
        log_evidence_error=error,
    )


def _log_mixture(
    normals: PathNormal,
    is_usable: Bool[Array, " paths"],
    draws: Float[Array, "paths draws n"],
) -> Float[Array, "paths draws"]:
    """Returns the log density of the equal mixture of the usable laws at all draws."""

    def add(
        total: Float[Array, "paths draws"], law: tuple[PathNormal, Bool[Array, ""]]
    ) -> tuple[Float[Array, "paths draws"], None]:
        normal, usable = law
        # The draws of one path at a time: the same size as what they are made of.
        values = jax.lax.map(jax.vmap(lambda z: log_prob(normal, z)), draws)
        return jnp.where(usable, jnp.logaddexp(total, values), total), None

    nothing = jnp.full(draws.shape[:2], -jnp.inf, draws.dtype)
    total, _ = jax.lax.scan(add, nothing, (normals, is_usable))
    return total - jnp.log(jnp.sum(is_usable))


def _resample(
    key: Key[Array, ""], weights: Float[Array, " n"], num: int
) -> Int[Array, " num"]:
    """Chooses `num` indices in random order, each `num * weight` times on average.

    Systematic resampling: no draw comes twice unless its weight is above `1 / num`.
    """
    offset_key, order_key = jax.random.split(key)
    offset = jax.random.uniform(offset_key, dtype=weights.dtype)
    levels = (jnp.arange(num) + offset) / num
    cumulated = jnp.cumsum(weights)
    chosen = jnp.searchsorted(cumulated, levels * cumulated[-1], side="right")
    # Rounding must not lead behind the last draw that has weight.
    last = weights.size - 1 - jnp.argmax(weights[::-1] > 0.0)
    return jax.random.permutation(order_key, jnp.minimum(chosen, last))


def _judge(spec: ModelSpec, paths: Path) -> tuple[MemberStatus, ...]:
    """Returns the status of each path.

    Raises:
        InitializationError: if no path has a law with a finite ELBO.
    """
    scalars = jax.device_get((paths.elbo, paths.best, paths.num_iterations, paths.end))
    status = tuple(
        _status(path, *(column.item() for column in columns))
        for path, columns in enumerate(zip(*scalars, strict=True))
    )
    if not any(s.code.is_usable for s in status):
        words = [f"All {len(status)} paths failed; {status[0].message}."]
        words += bad_arguments(spec)
        words.append(
            "A density that is not finite near the starts is the usual cause. Look at "
            "`spec.check(key)`, or give other values in `run(spec, key, init=...)`."
        )
        raise InitializationError(" ".join(words))
    return status


def _status(
    path: int, elbo: float, best: int, num_iterations: int, end: int
) -> MemberStatus:
    name = f"path {path}"
    if not np.isfinite(elbo):
        words = (
            f"{name}: no normal law along its {num_iterations} iterations has a finite "
            "ELBO"
        )
        return MemberStatus(Status.NONFINITE_VALUE, words)
    kept = f"ELBO {elbo:.2f}, best at iteration {best} of {num_iterations}"
    if end == PathEnd.NONFINITE:
        words = f"{name}: the density is nan or inf where it ended; {kept}"
        return MemberStatus(Status.STOPPED_EARLY, words)
    if end == PathEnd.SETTLED:
        return MemberStatus(Status.CONVERGED, f"{name}: {kept}")
    return MemberStatus(Status.MAX_STEPS, f"{name}: still climbing; {kept}")
