"""`Laplace`: the Gaussian law of the curvature at each mode."""

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from .._checks import (
    OWN_FRAMES,
    ConvergenceWarning,
    InitializationError,
    check_choice,
    check_key,
    check_positive_int,
    nearest,
)
from ._check import refuse_params
from ._curvature import (
    Space,
    Spectrum,
    diagonal_spectrum,
    full_spectrum,
    ggn_spectrum,
    low_rank_spectrum,
)
from ._engine import AbstractEngine
from ._ensemble_checks import check_number
from ._ensemble_map import EnsembleMAP
from ._fit import Fit
from ._flat import unravel_position
from ._gaussian import Gaussian
from ._independent import (
    MAX_PARETO_K,
    independent_fit,
    log_densities,
    sd_ratio,
    weigh,
)
from ._init_values import InitLike
from ._model_spec import ModelSpec
from ._refine import Mode, refine
from ._replace import replace_fields
from ._site_covariance import coordinate_labels, law_state
from ._status import MemberStatus, Status
from ._stopwatch import timed

STRUCTURES = ("full", "diag", "low_rank", "ggn")
# Two ends of Newton's method within this many sds of each other are one mode.
SAME_MODE = 0.1
# Draws whose weight against the posterior tells how good the law is.
MIN_WEIGHED = 100
MAX_NAMED = 4


class Laplace(AbstractEngine):
    r"""Gaussian approximation at the mode, in the unconstrained space.

    With $\hat z$ a maximum of $\log\pi(z)$ (Jacobian included) and $H$ the Hessian of
    $-\log\pi$ there,
    $$z \sim N(\hat z, H^{-1}),\qquad \log p(y) \approx \log\pi(\hat z)
      + \tfrac{n}{2}\log 2\pi - \tfrac{1}{2}\log\det H.$$
    Several modes give a mixture, each weighed by its evidence. Both formulas are exact
    for a Gaussian posterior.

    Whatever start is given, Newton's method first climbs to the mode of this density:
    a MAP in the model's own parameters is another point. The fit says how far that
    went, in nats, and whether the Hessian is positive. At a saddle or in a flat
    direction the curvature is repaired (|eigenvalue|, at least what rounding can
    tell), never left at zero spread, and a warning names the sites.

    The `Fit` is of kind `independent` with one chain. `diagnostics` has `pareto_k` (how
    far the law is from the posterior), `sd_ratio` (sd of the draws over that by their
    weights, in the coordinate where it is furthest from 1), `newton_decrement` in nats
    (the worst mode), `num_modes`, `num_negative` and `num_flat`; `history` has one
    entry for each mode: `mode_positions`, `mode_log_density`, `mode_log_evidence`,
    `mode_weight`; and `site_covariance` reads the covariance.

    Args:
        structure: `full`, the whole Hessian; `diag`, its diagonal; `low_rank`, the
            prior's diagonal and the `rank` directions that differ most from it;
            `ggn`, the generalised Gauss-Newton matrix of the likelihood, which is
            positive everywhere, with the prior's Hessian.
        num_samples: draws.
        rank: directions of `low_rank`.
        sites: the sites that get a law, such as the last layer of a network; the rest
            stay at the mode, and there is no evidence then. None is all of them.
        num_starts: climbs from different starts, if none are given.
        num_steps: the most steps of L-BFGS before Newton's method.
        tolerance: the Newton decrement, in nats, up to which a point counts as the
            mode.

    Raises:
        ValueError: naming the setting and its value.

    Source: Tierney and Kadane (1986), JASA 81, 82-86; Martens (2020), JMLR 21, 1-76,
        for the Gauss-Newton matrix.
    """

    structure: str = "full"
    num_samples: int = 1000
    _: dataclasses.KW_ONLY
    rank: int = 20
    sites: tuple[str, ...] | None = None
    num_starts: int = 4
    num_steps: int = 1000
    tolerance: float = 1e-3

    def __check_init__(self) -> None:
        check_choice("Laplace", "structure", self.structure, STRUCTURES)
        for name in ("num_samples", "rank", "num_starts", "num_steps"):
            check_positive_int("Laplace", name, getattr(self, name))
        words = "a Newton decrement in nats above 0, such as 1e-3"
        check_number("Laplace", "tolerance", self.tolerance, words, math.ulp(0.0))

    @timed
    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: InitLike = None
    ) -> Fit:
        """Finds the modes and draws from the law of their curvature.

        Args:
            spec: the model with its data.
            key: random key; the same key gives the same draws.
            init: None for `num_starts` draws of the prior, values by site, or a `Fit`;
                each usable member of an ensemble is a start.

        Raises:
            InitializationError: if no climb ends at a finite density.
            ValueError: naming a site of `sites` that is no latent site, or one whose
                likelihood `ggn` cannot read; for param sites.
        """
        key = check_key("Laplace.run", key)
        refuse_params("Laplace", spec)
        index = self._free_index(spec)
        starts = self._climb(spec, jax.random.fold_in(key, 0), init)
        found = [
            refine(
                Space(spec, start, index),
                start if index is None else start[index],
                self._curve(jax.random.fold_in(key, 1)),
                self.tolerance,
            )
            for start in starts
        ]
        modes = _distinct(found, list(starts))
        fit = self._fit(spec, jax.random.fold_in(key, 2), modes, index)
        _warn(fit)
        return replace_fields(fit, key=key)

    def _climb(
        self, spec: ModelSpec, key: Key[Array, ""], init: InitLike
    ) -> Float[Array, "starts n"]:
        num = self.num_starts
        if isinstance(init, Fit) and init.kind == "points":
            num = max(sum(s.code.is_usable for s in init.status), 1)
        engine = EnsembleMAP(
            num_members=num, num_steps=self.num_steps, jacobian=True, tolerance=None
        )
        starts = engine._starts(spec, key, init)
        climbed, _ = engine._train(spec, key, starts)
        is_finite = np.isfinite(np.asarray(climbed.loss))
        if not is_finite.any():
            raise InitializationError(
                "No climb to a mode ended at a finite log density. Look at "
                "`spec.check(key)`, or give starts with `run(spec, key, init=...)`."
            )
        flat = jax.vmap(lambda z: ravel_pytree(z)[0])(climbed.position)
        return flat[np.flatnonzero(is_finite)]

    def _curve(
        self, key: Key[Array, ""]
    ) -> Callable[[Space, Float[Array, " n"]], Spectrum]:
        if self.structure == "low_rank":
            return functools.partial(low_rank_spectrum, key=key, rank=self.rank)
        return {
            "full": full_spectrum,
            "diag": diagonal_spectrum,
            "ggn": ggn_spectrum,
        }[self.structure]

    def _free_index(self, spec: ModelSpec) -> Array | None:
        if self.sites is None:
            return None
        labels = coordinate_labels(spec)
        known = {site for site, _ in labels}
        for name in self.sites:
            if name not in known:
                raise ValueError(
                    f"`Laplace(sites=...)` names `{name}`, which is no latent site; "
                    + nearest(name, known)
                )
        chosen = [i for i, (site, _) in enumerate(labels) if site in self.sites]
        return jnp.asarray(chosen)

    def _fit(
        self,
        spec: ModelSpec,
        key: Key[Array, ""],
        modes: list[tuple[Mode, Array]],
        index: Array | None,
    ) -> Fit:
        evidence = jnp.stack([_log_evidence(mode) for mode, _ in modes])
        log_weight = jax.nn.log_softmax(evidence)
        laws = [(mode.gaussian, held) for mode, held in modes]
        flat, log_law = _draw(key, laws, log_weight, index, self.num_samples)
        positions = jax.vmap(unravel_position(spec))(flat)
        positions = jax.tree.map(lambda leaf: leaf[None], positions)
        lp = log_densities(spec, positions)
        diagnostics = {
            "newton_decrement": jnp.asarray(max(m.decrement for m, _ in modes)),
            "num_modes": jnp.asarray(len(modes)),
            "num_negative": jnp.asarray(max(_signs(m)[0] for m, _ in modes)),
            "num_flat": jnp.asarray(max(_signs(m)[1] for m, _ in modes)),
        }
        if self.num_samples >= MIN_WEIGHED:
            weighed = weigh(lp - log_law[None])
            diagnostics["pareto_k"] = weighed.pareto_k
            diagnostics["sd_ratio"] = sd_ratio(positions, weighed.log_weights)
        status = self._status(spec, modes, index)
        is_sound = status.code is Status.CONVERGED and index is None
        is_proper = all(site.distribution != "ImproperUniform" for site in spec.sites)
        return independent_fit(
            self,
            spec,
            key,
            positions,
            (status,),
            log_density=lp,
            stats={"log_law": log_law[None]},
            history={
                "mode_positions": jnp.stack([_whole(m, h, index) for m, h in modes]),
                "mode_log_density": jnp.asarray([m.log_density for m, _ in modes]),
                "mode_log_evidence": evidence,
                "mode_weight": jnp.exp(log_weight),
            },
            state=law_state(modes[0][0].gaussian, index),
            diagnostics=diagnostics,
            log_evidence=(
                jax.nn.logsumexp(evidence) if is_sound and is_proper else None
            ),
        )

    def _status(
        self,
        spec: ModelSpec,
        modes: list[tuple[Mode, Array]],
        index: Array | None,
    ) -> MemberStatus:
        """Judges the worst of the modes."""
        labels = coordinate_labels(spec)
        if index is not None:
            labels = [labels[i] for i in np.asarray(index)]
        for number, (mode, _) in enumerate(modes):
            negative, flat = _signs(mode)
            where = f"mode {number}: " if len(modes) > 1 else ""
            if negative:
                named = _name_directions(mode, labels, negative=True)
                words = f"{where}{negative} directions of negative curvature, {named}"
                return MemberStatus(Status.SADDLE, words)
            if flat:
                named = _name_directions(mode, labels, negative=False)
                words = f"{where}{flat} directions without curvature, {named}"
                return MemberStatus(Status.FLAT, words)
            if not mode.decrement <= self.tolerance:
                words = (
                    f"{where}the Newton decrement is {mode.decrement:.3g} nats after "
                    f"{mode.num_steps} steps (tolerance {self.tolerance:g})"
                )
                return MemberStatus(Status.NOT_AT_MODE, words)
        worst = max(mode.decrement for mode, _ in modes)
        words = f"{len(modes)} modes" if len(modes) > 1 else "one mode"
        return MemberStatus(
            Status.CONVERGED, f"{words}, Newton decrement {worst:.2g} nats"
        )


def _log_evidence(mode: Mode) -> Float[Array, ""]:
    n = mode.point.size
    return (
        mode.log_density + 0.5 * n * math.log(2 * math.pi) - 0.5 * mode.gaussian.log_det
    )


def _signs(mode: Mode) -> tuple[int, int]:
    """Counts the negative and the vanishing eigenvalues."""
    values = np.asarray(mode.spectrum.eigenvalues)
    threshold = float(mode.spectrum.threshold())
    return int(np.sum(values < -threshold)), int(np.sum(np.abs(values) <= threshold))


def _name_directions(
    mode: Mode, labels: list[tuple[str, str]], *, negative: bool
) -> str:
    """Names the coordinate that has the largest part in each bad direction."""
    values = np.asarray(mode.spectrum.eigenvalues)
    threshold = float(mode.spectrum.threshold())
    bad = values < -threshold if negative else np.abs(values) <= threshold
    directions = np.asarray(mode.spectrum.vectors)[:, bad]
    directions = directions / np.asarray(mode.spectrum.root)[:, None]
    places = dict.fromkeys(np.argmax(np.abs(directions), axis=0).tolist())
    named = [f"`{site}`{entry}" for site, entry in (labels[i] for i in places)]
    more = ", ..." if len(named) > MAX_NAMED else ""
    return "mostly along " + ", ".join(named[:MAX_NAMED]) + more


def _distinct(found: list[Mode], held: list[Array]) -> list[tuple[Mode, Array]]:
    """Keeps one of those that ended at the same place, the highest first."""
    order = sorted(range(len(found)), key=lambda i: -found[i].log_density)
    kept: list[tuple[Mode, Array]] = []
    for i in order:
        if not math.isfinite(found[i].log_density):
            continue
        distances = [float(m.gaussian.distance(found[i].point)) for m, _ in kept]
        if not any(d < SAME_MODE for d in distances):
            kept.append((found[i], held[i]))
    return kept


def _whole(mode: Mode, held: Array, index: Array | None) -> Float[Array, " m"]:
    return mode.point if index is None else held.at[index].set(mode.point)


@eqx.filter_jit
def _draw(
    key: Key[Array, ""],
    laws: list[tuple[Gaussian, Array]],
    log_weight: Float[Array, " modes"],
    index: Array | None,
    num: int,
) -> tuple[Float[Array, "{num} m"], Float[Array, " {num}"]]:
    """Draws from the mixture; returns the draws, and their log density under it."""
    choice_key, key = jax.random.split(key)
    which = jax.random.categorical(choice_key, log_weight, shape=(num,))
    drawn = [
        law.sample(jax.random.fold_in(key, number), num)
        for number, (law, _) in enumerate(laws)
    ]
    each = jnp.arange(num)
    point = jnp.stack(drawn)[which, each]
    flat = point
    if index is not None:
        held = jnp.stack([held for _, held in laws])[which]
        flat = held.at[:, index].set(point)
    parts = [
        weight + law.log_prob(point)
        for weight, (law, _) in zip(log_weight, laws, strict=True)
    ]
    return flat, jax.nn.logsumexp(jnp.stack(parts), axis=0)


def _warn(fit: Fit) -> None:
    code, message = fit.status[0]
    advice = {
        Status.SADDLE: "A posterior with no mode there, or a climb that stopped at a "
        'saddle: try more `num_starts`, `structure="ggn"`, or NUTS.',
        Status.FLAT: "The data and the priors leave these undetermined: give them "
        "tighter priors.",
        Status.NOT_AT_MODE: "More `num_steps`, another start, or tighter priors help "
        "most often; a scale that runs to zero has no mode.",
    }.get(code)
    if advice is not None:
        warnings.warn(
            f"The Laplace approximation is not at a mode: {message}. Its draws are no "
            f"posterior. {advice}",
            ConvergenceWarning,
            skip_file_prefixes=OWN_FRAMES,
        )
        return
    pareto_k = float(fit.diagnostics.get("pareto_k", 0.0))
    if not pareto_k <= MAX_PARETO_K:
        warnings.warn(
            f"The Laplace approximation is far from the posterior: Pareto k is "
            f"{pareto_k:.2f} (above {MAX_PARETO_K}). Draw with NUTS, "
            "`NUTS().run(spec, key, init=fit)`, and compare.",
            ConvergenceWarning,
            skip_file_prefixes=OWN_FRAMES,
        )
