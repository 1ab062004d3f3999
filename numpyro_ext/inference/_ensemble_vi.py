"""`EnsembleVI`: one variational fit for each member, all from one compiled program."""

import functools
import math
import warnings
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from .._checks import (
    OWN_FRAMES,
    ConvergenceWarning,
    InitializationError,
    check_choice,
    check_key,
    check_positive_int,
)
from ._check import bad_arguments, refuse_params
from ._displace import displace
from ._early_stopping import EarlyStopping
from ._engine import AbstractEngine
from ._ensemble_checks import (
    check_batch,
    check_layout,
    check_number,
    check_optimizer,
    check_stopping,
)
from ._fit import Fit
from ._guide import AbstractGuide
from ._independent import independent_fit, sd_ratio, weigh
from ._init_values import InitLike, given_positions
from ._layout import Layout
from ._model_spec import ModelSpec
from ._normal_guides import NORMAL_FORMS, NormalForm, NormalGuide
from ._shards import run_shards, shards
from ._starts import START_STRATEGIES, StartStrategy
from ._status import MemberStatus, Status
from ._stopwatch import timed
from ._vi_train import VIProgram, VITrained, train_guides

OWNER = "EnsembleVI"
PEAK_LEARNING_RATE = 0.05
# Of the steps, this share at the end without a finite one is a failure.
STUCK_SHARE = 0.1
MAX_NAMED = 8


class EnsembleVI(AbstractEngine):
    r"""Variational inference from many starts: the best law of a family, by the ELBO.

    Each member maximises, over the parameters of its guide $q$,
    $$E_q[\log p(y \mid z)] - w\,\mathrm{KL}(q(z) \,\|\, p(z)),$$
    with $w$ the `kl_weight` and $p(z)$ the prior of the unconstrained coordinates, its
    Jacobian included; $w = 1$ is the ELBO. Data are arguments of one compiled program,
    so that a second run, with another key or `spec.with_data` of the same shapes,
    compiles nothing. Optax optimizers and guides are told apart by identity: keep the
    engine to keep what was compiled.

    The `Fit` is of kind `independent`: members are chains, with `num_samples` draws of
    each member's guide. `history["elbo"]` is the estimate before each step, NaN behind
    the end. `diagnostics` weighs all members' draws against the posterior (with weight
    1, whatever `kl_weight` is). `sd_ratio` is the sd of the draws over the one that
    their weights give, in the unconstrained coordinate where it is furthest from 1:
    below 0.8 the guide is too narrow there. `pareto_k` is the shape of the tail of the
    weights: above 0.7 the posterior's tails are too heavy for them, which more draws
    see better; `pareto_k_member` is that of each member. By member there are `elbo`
    and its standard error `elbo_error`, from the `num_finite` draws of finite density.
    The ELBO is a lower bound of the log evidence, and not an estimate. `state` has the
    parameters of the guides.

    Args:
        guide: `mean_field`, `full_rank` or `low_rank`, normal laws of the unconstrained
            coordinates; or a NumPyro `AutoGuide`, as a class or an instance, or a
            guide function, called with the arguments of the model.
        num_members: members of the ensemble.
        num_steps: the most updates of a member.
        kl_weight: weight of the divergence from the prior.
        num_particles: draws of the guide at each step. Where the family does not hold
            the posterior, the noise of few keeps members from their optimum.
        optimizer: any optax optimizer. None is Adam with a learning rate that falls
            from 0.05 to 0 by a half cosine over `num_steps`. The parameters of a
            normal guide are in units of the law that it begins with.
        batch_size: rows of a mini-batch, drawn with replacement at each step, the same
            for all members; needs `ModelSpec(..., batch=...)`. None takes all rows.
        early_stopping: when a member stops by itself. The loss is minus the ELBO,
            averaged over the steps since the last check.
        num_samples: draws of each member.
        rank: columns of the factor of `low_rank`; None for about the square root of
            the number of coordinates.
        num_climb_steps: the most iterations of the path that leads from each start to
            where the guide begins: the law with the highest ELBO on it, as in
            `Pathfinder`. With mini-batches, the path sees one of them. 0 begins with a
            narrow law about the start.
        layout: how members share the machine, as in `EnsembleMAP`.
        init_strategy: `prior` or `uniform`, as in `ModelSpec.init`.
        progress: whether to show a bar over members.

    Raises:
        ValueError: naming the setting and its value.

    Source: Kucukelbir, Tran, Ranganath, Gelman and Blei (2017), JMLR 18(14), for
        normal guides of unconstrained coordinates; Roeder, Wu and Duvenaud (2017),
        arXiv:1703.09194, for their gradient.
    """

    guide: Any = "mean_field"
    num_members: int = 16
    num_steps: int = 2000
    kl_weight: float | int = 1.0
    num_particles: int = 4
    optimizer: optax.GradientTransformation | None = None
    batch_size: int | None = None
    early_stopping: EarlyStopping | None = None
    num_samples: int = 1000
    rank: int | None = None
    num_climb_steps: int = 50
    layout: Layout = "auto"
    init_strategy: StartStrategy = "prior"
    progress: bool = False

    def __check_init__(self) -> None:
        for name in ("num_members", "num_steps", "num_particles", "num_samples"):
            check_positive_int(OWNER, name, getattr(self, name))
        for name in ("batch_size", "rank"):
            if getattr(self, name) is not None:
                check_positive_int(OWNER, name, getattr(self, name))
        words = "a weight above 0"
        check_number(OWNER, "kl_weight", self.kl_weight, words, math.ulp(0.0))
        check_layout(OWNER, self.layout, self.num_members)
        check_choice(OWNER, "init_strategy", self.init_strategy, START_STRATEGIES)
        check_stopping(OWNER, self.early_stopping)
        check_optimizer(OWNER, self.optimizer)
        name = "num_climb_steps"
        check_positive_int(OWNER, name, self.num_climb_steps, minimum=0)
        _check_guide(self.guide)

    @timed
    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: InitLike = None
    ) -> Fit:
        """Fits all members.

        Args:
            spec: the model with its data.
            key: random key; the same key gives the same result.
            init: where to start: None for draws by `init_strategy`, values by site
                (one for all members, or a leading axis of members), or a `Fit`. A
                guide function begins where its own `numpyro.param` says.

        Raises:
            ValueError: if the guide or `batch_size` does not fit the spec, for param
                sites of the model, and for an `init` that does not fit its sites.
            InitializationError: if no start is finite, or if all members fail.
        """
        key = check_key(f"{OWNER}.run", key)
        refuse_params(OWNER, spec)
        check_batch(OWNER, self.batch_size, spec)
        program, train_key = self._program(), jax.random.fold_in(key, 1)
        starts = self._starts(spec, key, init)
        trained = run_shards(
            OWNER,
            lambda group: train_guides(program, spec, train_key, *group),
            (jnp.arange(self.num_members, dtype=jnp.uint32), starts),
            shards(self.num_members, self.layout, progress=self.progress),
            unit="member",
            progress=self.progress,
        )
        failed = _failed(trained)
        account = _weigh_members(
            trained.positions, trained.log_ratio, jnp.asarray(failed)
        )
        status = _judge(spec, trained, account, failed)
        return independent_fit(
            self,
            spec,
            key,
            trained.positions,
            status,
            log_density=trained.log_density,
            history={"elbo": trained.elbos},
            state=trained.params,
            diagnostics=account._asdict(),
        )

    def _starts(
        self, spec: ModelSpec, key: Key[Array, ""], init: InitLike
    ) -> PyTree[Array]:
        start_key = jax.random.fold_in(key, 0)
        if init is not None:
            given = given_positions(OWNER, spec, init, self.num_members)
            return displace(spec, start_key, given) if self.num_climb_steps else given
        return spec.init(start_key, self.num_members, strategy=self.init_strategy)

    def _program(self) -> VIProgram:
        optimizer = self.optimizer
        if optimizer is None:
            optimizer = default_optimizer(self.num_steps)
        return VIProgram(
            guide=make_guide(self.guide, self.rank),
            optimizer=optimizer,
            kl_weight=jnp.asarray(float(self.kl_weight)),
            early_stopping=self.early_stopping,
            num_steps=self.num_steps,
            num_particles=self.num_particles,
            batch_size=self.batch_size,
            num_samples=self.num_samples,
            layout=self.layout,
            num_climb_steps=self.num_climb_steps,
        )


class Account(NamedTuple):
    """What the draws of the guides say of their error.

    Attributes:
        sd_ratio: sd of all draws over that by their weights, where furthest from 1.
        pareto_k: shape of the tail of all members' weights against the posterior.
        pareto_k_member: the same of each member.
        elbo: mean log ratio of each member, over the draws where it is finite.
        elbo_error: its standard error.
        num_finite: how many draws these are.
    """

    sd_ratio: Float[Array, ""]
    pareto_k: Float[Array, ""]
    pareto_k_member: Float[Array, " members"]
    elbo: Float[Array, " members"]
    elbo_error: Float[Array, " members"]
    num_finite: Int[Array, " members"]


@functools.cache
def default_optimizer(num_steps: int) -> optax.GradientTransformation:
    """Returns Adam with a half-cosine schedule, one object for each `num_steps`."""
    return optax.adam(optax.cosine_decay_schedule(PEAK_LEARNING_RATE, num_steps))


def make_guide(guide: Any, rank: int | None) -> AbstractGuide:
    """Returns the guide that a setting names."""
    if isinstance(guide, str):
        return NormalGuide(cast(NormalForm, guide), rank)
    from ._numpyro_guide import NumPyroGuide

    return NumPyroGuide(guide)


def _check_guide(guide: Any) -> None:
    if isinstance(guide, str):
        check_choice(OWNER, "guide", guide, NORMAL_FORMS)
    elif not callable(guide):
        raise ValueError(
            f"`{OWNER}(guide={guide!r:.60})`: `guide` must be one of {NORMAL_FORMS}, "
            "an `AutoGuide` of NumPyro, or a guide function."
        )


@eqx.filter_jit
def _weigh_members(
    positions: PyTree[Array],
    log_ratio: Float[Array, "members draws"],
    failed: Bool[Array, " members"],
) -> Account:
    """Weighs the draws of all members that did not fail, and of each."""
    pooled = weigh(jnp.where(failed[:, None], -jnp.inf, log_ratio))
    each = jax.lax.map(weigh, log_ratio)
    is_finite = jnp.isfinite(log_ratio)
    num_finite = jnp.sum(is_finite, axis=1)
    spread = jnp.std(log_ratio, axis=1, where=is_finite)
    return Account(
        sd_ratio=sd_ratio(positions, pooled.log_weights),
        pareto_k=pooled.pareto_k,
        pareto_k_member=each.pareto_k,
        elbo=jnp.mean(log_ratio, axis=1, where=is_finite),
        elbo_error=spread / jnp.sqrt(num_finite),
        num_finite=num_finite,
    )


def _failed(trained: VITrained) -> np.ndarray:
    """Marks the members whose guide has no finite density, or stopped having one."""
    has_density = np.isfinite(trained.log_ratio).any(axis=1)
    stuck = np.asarray(trained.num_steps) - np.asarray(trained.last_finite)
    return ~has_density | (stuck > STUCK_SHARE * np.asarray(trained.num_steps))


def _judge(
    spec: ModelSpec, trained: VITrained, account: Account, failed: np.ndarray
) -> tuple[MemberStatus, ...]:
    """Returns the status of each member; warns of those that failed.

    Raises:
        InitializationError: if all members failed.
    """
    columns = jax.device_get(
        (
            trained.num_steps,
            trained.num_left_out,
            trained.last_finite,
            trained.is_stopped,
            account.elbo,
            account.elbo_error,
            account.pareto_k_member,
            trained.log_ratio.shape[1] - account.num_finite,
        )
    )
    status = tuple(
        _status(bool(bad), *(x.item() for x in row))
        for bad, *row in zip(failed, *columns, strict=True)
    )
    bad = [i for i, s in enumerate(status) if not s.code.is_usable]
    if not bad:
        return status
    named = ", ".join(map(str, bad[:MAX_NAMED]))
    named += ", ..." if len(bad) > MAX_NAMED else ""
    words = [
        f"{len(bad)} of {len(status)} members failed: {named}. Member {bad[0]}: "
        f"{status[bad[0]].message}.",
        *bad_arguments(spec),
        "A guide that draws points without a finite density is the usual cause. Look "
        "at `spec.check(key)`, begin elsewhere with `run(spec, key, init=...)`, or "
        "lower the learning rate.",
    ]
    if len(bad) == len(status):
        raise InitializationError(" ".join(words))
    warnings.warn(" ".join(words), ConvergenceWarning, skip_file_prefixes=OWN_FRAMES)
    return status


def _status(
    failed: bool,
    num_steps: int,
    num_left_out: int,
    last_finite: int,
    is_stopped: bool,
    elbo: float,
    elbo_error: float,
    pareto_k: float,
    num_bad_draws: int,
) -> MemberStatus:
    if failed:
        words = (
            f"the ELBO or its gradient was nan or inf at {num_left_out} of {num_steps} "
            f"steps, last finite at step {last_finite}"
        )
        return MemberStatus(Status.NONFINITE_VALUE, words)
    words = (
        f"ELBO {elbo:.2f} (standard error {elbo_error:.2g}), Pareto k {pareto_k:.2f}"
    )
    if num_bad_draws:
        words += f"; {num_bad_draws} draws without a finite density are not counted"
    if num_left_out:
        words += f"; {num_left_out} steps left out, since they were not finite"
    if is_stopped:
        return MemberStatus(
            Status.STOPPED_EARLY, f"stopped early after {num_steps} steps; {words}"
        )
    return MemberStatus(Status.OK, f"{num_steps} steps; {words}")
