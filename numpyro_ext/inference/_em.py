"""`EM`: latents are integrated out, and the rest climbs."""

import dataclasses
import math
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._checks import (
    OWN_FRAMES,
    ConvergenceWarning,
    InitializationError,
    check_choice,
    check_key,
    check_positive_int,
)
from ..distributions import MonotonicityError
from ._check import refuse_params
from ._completion_mixture import MixtureCompletion
from ._completions import complete, warn_collapsed
from ._constrain import constrain_draws
from ._em_curvature import Curvature, curvature
from ._em_loop import BROKEN, CONVERGED, DECREASED, Climb, climb
from ._engine import AbstractEngine
from ._ensemble_checks import check_number
from ._fit import Fit
from ._init_values import InitLike, starting_positions
from ._model_spec import ModelSpec
from ._site_covariance import coordinate_labels, law_state
from ._status import MemberStatus, Status
from ._stopwatch import timed


def _names(value: tuple[str, ...] | list[str] | str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


class EM(AbstractEngine):
    r"""Expectation-maximisation on the model's own log density.

    With $z$ the latents that are integrated out and $\theta$ all other coordinates, it
    maximises
    $$\log \int p(y, z \mid \theta)\,dz + w \log p(\theta)$$
    by turns: the law of $z$ given $\theta$, and a maximum of the expected log density
    over $\theta$. The law of $z$ is read from derivatives of the model's log density,
    and is exact for

    - positive latents that are generalized inverse Gaussian given the rest, such as
      scales and precisions with gamma, inverse gamma or GIG priors;
    - real latents that are normal given the rest, as in linear mixed models;
    - the components of `MixtureSameFamily` and `MixtureGeneral` observed sites;
    - the scales behind observed sites of the generalized hyperbolic family and of
      Student's t, which are added to the model for the purpose.

    There the objective never falls. For other real latents Laplace's approximation
    stands in, and the status says so.

    The `Fit` is of kind `points`, one chain for each start, as of `EnsembleMAP`: `lp`
    is the objective, `history["lp"]` its trace, and `site_covariance` the covariance
    of $\theta$ by the observed information, the Hessian of the objective (Louis'
    identity), for the best start. Named latents are at their conditional centre:
    E[z] or exp E[log z].

    Args:
        latent: the sites that are integrated out, or one. `()` leaves that to observed
            sites that are mixtures, of either kind.
        num_starts: starts, of which modes are found; one after the other.
        max_iterations: M steps of one start.
        tol: the iteration ends when so many nats are left to gain, by the last gains.
        acceleration: `squarem` or `none`.
        prior_weight: weight of the log prior of $\theta$; 0 is maximum likelihood.
        jacobian: whether the log |Jacobian| of $\theta$ counts, as in `EnsembleMAP`.

    Raises:
        ValueError: naming the setting and its value.

    Source: Dempster, Laird and Rubin (1977), J. R. Statist. Soc. B 39, 1-38; Louis
        (1982), J. R. Statist. Soc. B 44, 226-233; Varadhan and Roland (2008), Scand.
        J. Statist. 35, 335-353.
    """

    latent: tuple[str, ...] = eqx.field(converter=_names, default=())
    num_starts: int = 4
    max_iterations: int = 1000
    _: dataclasses.KW_ONLY
    tol: float = 1e-8
    acceleration: str = "squarem"
    prior_weight: float | int = 1.0
    jacobian: bool = False

    def __check_init__(self) -> None:
        check_positive_int("EM", "num_starts", self.num_starts)
        check_positive_int("EM", "max_iterations", self.max_iterations)
        check_choice("EM", "acceleration", self.acceleration, ("squarem", "none"))
        words = "nats above 0, such as 1e-8"
        check_number("EM", "tol", self.tol, words, math.ulp(0.0))
        words = "a weight of 0 or more"
        check_number("EM", "prior_weight", self.prior_weight, words, 0.0)

    @timed
    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: InitLike = None
    ) -> Fit:
        """Climbs from each start.

        Args:
            spec: the model with its data.
            key: random key; the same key gives the same result.
            init: None for draws of the prior, values by site, or a `Fit`.

        Raises:
            ValueError: naming a site whose conditional law is of no kind that EM knows,
                or a model without latents to integrate out.
            InitializationError: if no start has a finite log density.
            MonotonicityError: if the objective falls where it cannot, naming the
                iteration and the amount.
        """
        key = check_key("EM.run", key)
        refuse_params("EM", spec)
        starts = starting_positions(self, spec, key, init, self.num_starts)
        stay = {n: z for n, z in starts.items() if n not in self.latent}
        if not stay:
            raise ValueError(
                "`EM(latent=...)` names every site, and none is left to maximise over. "
                "Leave at least one out; for the law of all of them use `NUTS`."
            )
        completion, is_exact = complete(
            spec,
            self.latent,
            _member(starts, 0),
            prior_weight=self.prior_weight,
            jacobian=self.jacobian,
        )
        tol = jnp.asarray(self.tol)
        ends, theta, whole = climb(
            completion, stay, tol, self.max_iterations, self.acceleration
        )
        ends = jax.device_get(ends)
        best = int(np.argmax(np.where(np.isfinite(ends.value), ends.value, -np.inf)))
        _raise_failures(ends, is_exact)
        found = curvature(completion, _member(theta, best))
        status = self._status(ends, is_exact)
        if isinstance(completion, MixtureCompletion):
            warn_collapsed(completion, _member(theta, best))
        positions = jax.tree.map(lambda z: z[:, None], whole)
        fit = Fit(
            engine=self,
            spec=spec,
            key=key,
            kind="points",
            jacobian=self.jacobian,
            positions=positions,
            draws=constrain_draws(spec, positions),
            stats={
                "lp": jnp.asarray(ends.value)[:, None],
                "num_steps": jnp.asarray(ends.num_iterations)[:, None],
            },
            status=status,
            history={"lp": jnp.asarray(ends.trace)},
            state=law_state(found.law, _kept(spec, self.latent)),
            diagnostics={"newton_decrement": found.decrement},
        )
        _warn(fit, found)
        return fit

    def _status(self, ends: Climb, is_exact: bool) -> tuple[MemberStatus, ...]:
        how = "" if is_exact else ", by Laplace's approximation of the latents"
        status = []
        for code, count, value in zip(
            ends.status, ends.num_iterations, ends.value, strict=True
        ):
            if code == CONVERGED:
                words = f"at a maximum of {value:.6g} after {count} iterations{how}"
                status.append(MemberStatus(Status.CONVERGED, words))
            elif code == BROKEN:
                words = f"the objective is not finite at iteration {count}"
                status.append(MemberStatus(Status.NONFINITE_VALUE, words))
            elif code == DECREASED:
                words = f"the approximate objective fell at iteration {count}"
                status.append(MemberStatus(Status.STOPPED_EARLY, words))
            else:
                words = f"stopped after {count} iterations; raise `max_iterations`"
                status.append(MemberStatus(Status.MAX_STEPS, words))
        return tuple(status)


def _kept(spec: ModelSpec, latent: tuple[str, ...]) -> Array:
    labels = coordinate_labels(spec)
    return jnp.asarray([i for i, (site, _) in enumerate(labels) if site not in latent])


def _member(values: PyTree[Array], index: int) -> PyTree[Array]:
    return jax.tree.map(lambda z: z[index], values)


def _raise_failures(ends: Climb, is_exact: bool) -> None:
    if (ends.status == BROKEN).all():
        raise InitializationError(
            f"All {len(ends.status)} starts of EM ended at a log density that is not "
            "finite. Look at `spec.check(key)`, or give starts with `run(spec, key, "
            "init=...)`."
        )
    fallen = np.flatnonzero(ends.status == DECREASED)
    if is_exact and fallen.size:
        one = fallen[0]
        raise MonotonicityError(
            f"The objective of EM fell by {float(ends.drop[one]):.3g} at iteration "
            f"{int(ends.num_iterations[one])} of start {one}, which it cannot do. Data "
            "of a very large scale in single precision are the usual cause: switch "
            '`jax.config.update("jax_enable_x64", True)` on, or standardise the data.'
        )


def _warn(fit: Fit, found: Curvature) -> None:
    unfinished = [s for s in fit.status if s.code is Status.MAX_STEPS]
    if unfinished:
        warnings.warn(
            f"{len(unfinished)} of {len(fit.status)} starts of EM did not converge: "
            f"{unfinished[0].message}.",
            ConvergenceWarning,
            skip_file_prefixes=OWN_FRAMES,
        )
    if int(found.num_bad):
        warnings.warn(
            f"The observed information of the best start has {int(found.num_bad)} "
            "directions without curvature or with the wrong sign, so that "
            "`site_covariance` is not to be trusted there. Parameters that the data do "
            "not tell apart are the usual cause; give them priors, or use `NUTS`.",
            ConvergenceWarning,
            skip_file_prefixes=OWN_FRAMES,
        )
