"""Nested sampling: the evidence, and a posterior of any shape."""

import dataclasses
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree
from tqdm.auto import tqdm

from .._checks import OWN_FRAMES, check_key, check_open_interval, check_positive_int
from ._engine import AbstractEngine
from ._fit import Fit
from ._flat import num_coordinates
from ._independent import independent_fit
from ._init_values import InitLike
from ._model_spec import ModelSpec
from ._nested_chunk import (
    NestedChunk,
    NestedSettings,
    Points,
    first_live,
    run_nested_chunk,
)
from ._population import check_population, check_prior, draw_population, unravel_all
from ._prior_volume import (
    Weighted,
    insertion_p_value,
    num_live,
    rank_correlation,
    weigh_points,
)
from ._status import MemberStatus, Status
from ._stopwatch import timed

# Slices for each new point, by dimension; fewer bias the evidence upwards.
SLICES_PER_DIMENSION = 3
MIN_SLICES = 5
# Steps between looks at the host shrink the prior volume by about this factor of e.
NATS_PER_CHUNK = 0.5
# A run of right draws gives a smaller p-value once in a million.
MIN_P_VALUE = 1e-6
MAX_CORRELATION = 0.3


class NestedSampler(AbstractEngine):
    r"""Draws from the posterior, and its evidence, by climbing through the likelihood.

    `num_live` points are drawn from the prior. At each step the `num_delete` points of
    lowest likelihood die, and are replaced by draws of the prior above their contour,
    so that the prior volume $X$ above it shrinks by a known factor. Then
    $$p(y) = \int_0^1 L(X)\,dX,$$
    a sum over the dead points, each with the prior volume that it stands for. New
    points come from slice sampling, by BlackJAX, along directions of the live points'
    covariance and, as often, along the line through two live points (ter Braak, 2006),
    which fits a mode where there are several; no gradient is needed. A posterior of
    several modes comes out with the right share of each, as long as each has live
    points.

    The standard error is the standard deviation of the log evidence over simulated
    prior volumes. It takes the new points for independent draws above their contour.
    Two figures in `diagnostics` test that: `correlation`, of the likelihoods of new
    points with those of the points they began at, by rank; and `insertion_p_value`,
    of the ranks of new points among the survivors. Where modes are apart, the
    share of each wanders as well, and the error is somewhat too small.

    Args:
        num_live: live points; the error of the log evidence falls with its root.
        num_delete: points that die at a step; they are replaced together, so more
            make better use of a wide machine. By default a tenth of `num_live`.
        num_inner_steps: slices for each new point; by default three for each
            coordinate, and at least five.
        tolerance: the run ends when the live points hold less than this share of the
            evidence.
        num_samples: draws of equal weight in the fit.
        max_nats: the run ends unfinished when the log of the prior volume is below
            `-max_nats`, as for a likelihood without a bound.
        progress: whether to show a progress bar.

    A point whose likelihood is NaN counts as one of likelihood zero.

    Raises:
        ValueError: naming the setting and its value.

    Source: Skilling (2006), Bayesian Analysis 1, 833-859; Yallup, Kroupa and Handley
        (2026), arXiv:2601.23252 (slice sampling of many points at once); ter Braak
        (2006), Statistics and Computing 16, 239-249 (directions of two points).
    """

    num_live: int = 500
    num_delete: int | None = None
    num_inner_steps: int | None = None
    _: dataclasses.KW_ONLY
    tolerance: float = 0.01
    num_samples: int = 1000
    max_nats: int = 500
    progress: bool = False

    def __check_init__(self) -> None:
        name = "NestedSampler"
        check_positive_int(name, "num_live", self.num_live, minimum=10)
        check_positive_int(name, "num_samples", self.num_samples)
        check_positive_int(name, "max_nats", self.max_nats)
        check_open_interval(name, "tolerance", self.tolerance, 0.0, 1.0)
        if self.num_inner_steps is not None:
            check_positive_int(name, "num_inner_steps", self.num_inner_steps)
        if self.num_delete is not None:
            check_positive_int(name, "num_delete", self.num_delete)
            if self.num_delete > self.num_live // 2:
                raise ValueError(
                    f"`NestedSampler(num_delete={self.num_delete})` replaces more than "
                    f"half of `num_live={self.num_live}` points at once, from too few "
                    "survivors. Take a tenth, or leave it out."
                )

    @timed
    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: InitLike = None
    ) -> Fit:
        """Samples the posterior.

        Args:
            spec: the model with its data.
            key: random key; the same key gives the same draws.
            init: is checked, and changes nothing: the evidence needs points that
                start as draws of the prior.

        Returns:
            A fit of `num_samples` draws of equal weight, resampled from all points of
            the run. The points themselves are in `state`, in the order of their
            likelihood: `positions` (unconstrained), `log_weights` (of the posterior;
            they sum to 1), `log_likelihood`, `log_likelihood_birth` (the contour above
            which the point was drawn, NaN for the first ones) and `log_volume` (of the
            prior, above the point). `diagnostics` has `ess` (Kish's, of the
            weights), `information` (nats), `correlation`, `insertion_p_value` and
            `num_evaluations`.

        Raises:
            InitializationError: if no draw of the prior has a finite log density.
            ValueError: for an improper or rescaled prior, an undeclared `factor` and
                param sites, naming them; and for data outside their support.
        """
        key = check_key("NestedSampler.run", key)
        check_prior("NestedSampler", spec, init)
        done = self._climb(spec, key)
        points, chunks = done.points, done.chunks
        random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        log_likelihood = np.asarray(points.log_likelihood, float)
        birth = np.asarray(points.log_likelihood_birth, float)
        weighted = weigh_points(random, log_likelihood, num_live(log_likelihood, birth))
        chosen = _resample(random, weighted, self.num_samples)
        log_density = (points.log_prior + points.log_likelihood)[chosen]
        found = {
            "ess": weighted.ess,
            "information": weighted.information,
            **_test_new_points(random, chunks),
        }
        dtype = points.positions.dtype

        def number(value: float) -> Array:
            return jax.device_put(np.asarray(value, dtype))

        num_evaluations = sum(int(chunk.num_evaluations) for chunk in chunks)
        counted = jax.device_put(np.asarray(num_evaluations, np.int32))
        fit = independent_fit(
            self,
            spec,
            key,
            unravel_all(spec, jax.device_put(points.positions[chosen][None])),
            (_status(done, weighted),),
            log_density=jax.device_put(log_density[None]),
            state=_state(spec, points, weighted),
            log_evidence=number(weighted.log_evidence),
            log_evidence_error=number(weighted.log_evidence_error),
            diagnostics={n: number(v) for n, v in found.items()}
            | {"num_evaluations": counted},
        )
        self._warn(fit)
        return fit

    def _climb(self, spec: ModelSpec, key: Key[Array, ""]) -> "Climb":
        """Runs until the live points hold little of the evidence."""
        first = draw_population(spec, jax.random.fold_in(key, 0), self.num_live)
        check_population(spec, first)
        settings = self._settings(spec)
        state = first_live(spec, first.particles.positions, settings)
        chunks: list[NestedChunk] = []
        bar = tqdm(unit="point", disable=not self.progress)
        is_finished, is_climbing = _is_flat(state), True
        while is_climbing and not is_finished:
            chunk_key = jax.random.fold_in(key, np.uint32(len(chunks) + 1))
            state, chunk = run_nested_chunk(spec, chunk_key, state, settings)
            chunks.append(jax.tree.map(np.asarray, chunk))
            share = _live_share(state)
            is_finished = share < self.tolerance or _is_flat(state)
            is_climbing = float(state.integrator.logX) > -self.max_nats
            bar.update(len(chunk.rank))
            bar.set_postfix(live_share=f"{share:.2g}")
        bar.close()
        live = Points(*jax.tree.map(np.asarray, state.particles))
        dead = [chunk.dead for chunk in chunks]
        points = jax.tree.map(lambda *x: np.concatenate(x), *dead, live)
        return Climb(_in_order(points), chunks, is_finished)

    def _settings(self, spec: ModelSpec) -> NestedSettings:
        num_delete = self.num_delete or max(1, self.num_live // 10)
        default = max(MIN_SLICES, SLICES_PER_DIMENSION * num_coordinates(spec))
        return NestedSettings(
            num_inner_steps=self.num_inner_steps or default,
            num_delete=num_delete,
            num_steps=max(1, round(NATS_PER_CHUNK * self.num_live / num_delete)),
        )

    def _warn(self, fit: Fit) -> None:
        words = []
        p_value = float(fit.diagnostics["insertion_p_value"])
        correlation = float(fit.diagnostics["correlation"])
        if p_value < MIN_P_VALUE or correlation > MAX_CORRELATION:
            words.append(
                "The new points of nested sampling are not independent draws above "
                f"their contour: {correlation:.2f} is their correlation with the "
                f"points that they began at, p = {p_value:.1g} that of their ranks. "
                "The evidence is off by more than its error. Raise `num_inner_steps`."
            )
        if fit.status[0].code is Status.MAX_STEPS:
            words.append(
                f"Nested sampling ended at `max_nats={self.max_nats}`, with the "
                "likelihood still on the rise. A likelihood without a bound is the "
                "usual cause (a scale that goes to 0); give the scale a prior that "
                "keeps away from 0, or raise `max_nats`."
            )
        for message in words:
            warnings.warn(message, UserWarning, skip_file_prefixes=OWN_FRAMES)


class Climb(NamedTuple):
    """All points of a run by likelihood, what its steps left, and how it ended."""

    points: Points
    chunks: list[NestedChunk]
    is_finished: bool


def _test_new_points(
    random: np.random.Generator, chunks: list[NestedChunk]
) -> dict[str, float]:
    if not chunks:
        return {"correlation": 0.0, "insertion_p_value": 1.0}
    start_rank, rank, num_ties, num_survivors = (
        np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("start_rank", "rank", "num_ties", "num_survivors")
    )
    return {
        "correlation": rank_correlation(start_rank, rank, num_survivors),
        "insertion_p_value": insertion_p_value(random, rank, num_ties, num_survivors),
    }


def _in_order(points: Points) -> Points:
    """Sorts points by likelihood; leaves out those that are not above their contour.

    Where all live points are on one plateau, there is nothing above it to draw, and
    the sampler returns copies.
    """
    birth = np.asarray(points.log_likelihood_birth)
    log_likelihood = np.asarray(points.log_likelihood)
    order = np.argsort(log_likelihood, kind="stable")
    is_drawn = np.isnan(birth) | (log_likelihood > birth)
    kept = order[is_drawn[order]]
    return jax.tree.map(lambda x: x[kept], points)


def _live_share(state: Any) -> float:
    live = float(state.integrator.logZ_live)
    total = np.logaddexp(float(state.integrator.logZ), live)
    return float(np.exp(live - total))


def _is_flat(state: Any) -> bool:
    log_likelihood = np.asarray(state.particles.loglikelihood)
    return bool(log_likelihood.min() == log_likelihood.max())


def _resample(random: np.random.Generator, weighted: Weighted, num: int) -> np.ndarray:
    """Draws systematically by weight, and without order."""
    ends = np.cumsum(np.exp(weighted.log_weights))
    points = (random.uniform() + np.arange(num)) / num * ends[-1]
    chosen = np.minimum(np.searchsorted(ends, points), len(ends) - 1)
    return random.permutation(chosen)


def _state(spec: ModelSpec, points: Points, weighted: Weighted) -> dict[str, Any]:
    dtype = points.positions.dtype
    arrays = {
        "log_weights": weighted.log_weights.astype(dtype),
        "log_volume": weighted.log_volume.astype(dtype),
        "log_likelihood": points.log_likelihood,
        "log_likelihood_birth": points.log_likelihood_birth,
    }
    return jax.device_put(arrays | {"positions": _unravel(spec, points)})


def _unravel(spec: ModelSpec, points: Points) -> PyTree[np.ndarray]:
    """Splits flat points by site on the host, where any number of them is welcome."""
    shapes = jax.eval_shape(spec.model.draw_prior, jax.random.key(0))
    leaves, structure = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = np.split(np.asarray(points.positions), ends, axis=1)
    return jax.tree.unflatten(
        structure,
        [
            part.reshape(-1, *leaf.shape).astype(leaf.dtype)
            for part, leaf in zip(parts, leaves, strict=True)
        ],
    )


def _status(done: Climb, weighted: Weighted) -> MemberStatus:
    words = (
        f"{len(weighted.log_weights)} points, of which {weighted.ess:.0f} are "
        f"effective; {weighted.information:.1f} nats from the prior"
    )
    code = Status.OK if done.is_finished else Status.MAX_STEPS
    return MemberStatus(code, words)
