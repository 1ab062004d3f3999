"""`EnsembleMAP`: many climbs of one log density, each with its own verdict."""

import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key, PyTree

from .._checks import check_key
from ._constrain import constrain_draws
from ._convergence import judge
from ._descent import Descent
from ._early_stopping import EarlyStopping
from ._engine import AbstractEngine
from ._ensemble_checks import check_batch, check_settings
from ._fit import Fit
from ._init_values import InitLike, given_positions
from ._layout import Layout
from ._model_spec import ModelSpec
from ._shards import run_shards, shards
from ._starts import StartStrategy
from ._stopwatch import timed
from ._train import Program, Trained, train_program

PEAK_LEARNING_RATE = 2e-2
# Coordinates up to which the default optimizer is L-BFGS.
MAX_LBFGS = 1000


class EnsembleMAP(AbstractEngine):
    r"""Posterior modes from many starts, each member with its own verdict.

    Each member maximises, from its own start,
    $$\log p(y \mid \theta) + w \log p(\theta) + j \log|\det \partial T / \partial z|$$
    over the unconstrained coordinates $z$, $\theta = T(z)$, with $w$ the
    `prior_weight` and $j$ 1 for `jacobian=True`. The default $j = 0$ gives the mode of
    the density in the model's own parameters, whatever the transform; $j = 1$ that of
    the density which samplers see. Param sites are optimised with the latent ones.

    Data are arguments of one compiled program, so that a second run, with another key
    or with `spec.with_data` of the same shapes, compiles nothing. Optax optimizers are
    functions, told apart by identity: keep the engine, or at least the optimizer, to
    keep what was compiled.

    The `Fit` is of kind `points`, members as chains, each at its best point (with
    mini-batches, its last). Its `stats` are `lp` (the density that was climbed),
    `log_likelihood`, `log_prior`, `loss`, `gradient_norm`, `relative_gradient` and
    `num_steps`, all on all rows; `history["loss"]` is the loss before each step, NaN
    after a member stopped.

    Args:
        num_members: members of the ensemble.
        num_steps: the most updates of a member.
        optimizer: any optax optimizer; those with line searches get `value`, `grad`
            and `value_fn`. None is L-BFGS for up to 1000 coordinates, which ends at
            the mode. For more of them, and for mini-batches, it is Adam with a
            learning rate that falls from 0.02 to 0 by a half cosine over `num_steps`,
            in units of each coordinate's width under the prior: a network is then
            near a mode, and not overfitted.
        batch_size: rows of a mini-batch, drawn with replacement at each step, the same
            for all members, so that their losses can be compared; needs
            `ModelSpec(..., batch=...)`. None takes all rows.
        prior_weight: weight of the log prior; 0 is maximum likelihood.
        jacobian: whether log |Jacobian| counts.
        early_stopping: when a member stops by itself.
        layout: `map` trains one member after another, `vmap` all together, an integer
            so many together (it must divide `num_members`). `auto` chooses by what
            fits the cache, and never makes a member wait for the line search or the
            early stopping of another.
        init_strategy: `prior` or `uniform`, as in `ModelSpec.init`.
        num_candidates: each start is the best of so many draws.
        tolerance: a member has converged if its relative gradient,
            $\max_i |g_i| \max(|z_i|, s_i) / \max(|f|, 1)$ with $f$ the loss, $g$ its
            gradient and $s_i$ the prior width up to 1, is at most this. None asks for
            no verdict, as for networks that are stopped long before their mode.
        progress: whether to show a bar over members.

    Raises:
        ValueError: naming the setting and its value.
        InitializationError: if no finite start is found, or if all members fail.
    """

    num_members: int = 16
    num_steps: int = 1500
    optimizer: optax.GradientTransformation | None = None
    batch_size: int | None = None
    prior_weight: float | int = 1.0
    jacobian: bool = False
    early_stopping: EarlyStopping | None = None
    layout: Layout = "auto"
    init_strategy: StartStrategy = "prior"
    num_candidates: int = 1
    tolerance: float | None = 1e-4
    progress: bool = False

    def __check_init__(self) -> None:
        check_settings("EnsembleMAP", self)

    @timed
    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: InitLike = None
    ) -> Fit:
        """Trains all members.

        Args:
            spec: the model with its data.
            key: random key; the same key gives the same result.
            init: where to start: None for draws by `init_strategy`, values by site
                (one for all members, or a leading axis of members), or a `Fit`.

        Raises:
            ValueError: if `batch_size` does not fit the spec, or `init` the sites.
            InitializationError: if no start is finite, or if all members fail.
        """
        key = check_key("EnsembleMAP.run", key)
        check_batch("EnsembleMAP", self.batch_size, spec)
        starts = self._starts(spec, key, init)
        trained, losses = self._train(spec, jax.random.fold_in(key, 1), starts)
        status = judge(self, spec, trained)
        positions = jax.tree.map(lambda leaf: leaf[:, None], trained.position)
        draws = constrain_draws(spec, positions)
        return Fit(
            engine=self,
            spec=spec,
            key=key,
            kind="points",
            jacobian=self.jacobian,
            positions=positions,
            draws=draws,
            stats=_stats(trained),
            status=status,
            history={"loss": losses},
        )

    def _starts(
        self, spec: ModelSpec, key: Key[Array, ""], init: InitLike
    ) -> PyTree[Array]:
        if init is not None:
            return given_positions("EnsembleMAP", spec, init, self.num_members)
        return spec.init(
            jax.random.fold_in(key, 0),
            self.num_members,
            strategy=self.init_strategy,
            num_candidates=self.num_candidates,
        )

    def _train(
        self, spec: ModelSpec, key: Key[Array, ""], starts: PyTree[Array]
    ) -> tuple[Trained, Array]:
        num_coordinates = sum(x[0].size for x in jax.tree.leaves(starts))
        program = self._program(num_coordinates)
        call = train_program()
        parts = shards(self.num_members, self.layout, progress=self.progress)
        return run_shards(
            "EnsembleMAP",
            lambda group: call(program, spec, key, group),
            starts,
            parts,
            unit="member",
            progress=self.progress,
        )

    def _program(self, num_coordinates: int) -> Program:
        optimizer, in_widths = self.optimizer, False
        if optimizer is None:
            is_small = num_coordinates <= MAX_LBFGS and self.batch_size is None
            optimizer = default_lbfgs() if is_small else default_adam(self.num_steps)
            in_widths = not is_small
        descent = Descent(
            optimizer=optimizer,
            early_stopping=self.early_stopping,
            num_steps=self.num_steps,
            in_widths=in_widths,
        )
        # A weight is an argument of the program; 0 and 1 make it a shorter one.
        weight = float(self.prior_weight)
        is_plain = weight in (0.0, 1.0)
        return Program(
            descent=descent,
            prior_weight=weight if is_plain else jnp.asarray(weight),
            jacobian=self.jacobian,
            batch_size=self.batch_size,
            layout=self.layout,
        )


@functools.cache
def default_lbfgs() -> optax.GradientTransformation:
    """Returns L-BFGS, always the same object, since programs are cached by it."""
    return optax.lbfgs()


@functools.cache
def default_adam(num_steps: int) -> optax.GradientTransformation:
    """Returns Adam with a half-cosine schedule, one object for each `num_steps`."""
    return optax.adam(optax.cosine_decay_schedule(PEAK_LEARNING_RATE, num_steps))


def _stats(trained: Trained) -> dict[str, Array]:
    stats = {
        "lp": -trained.loss,
        "log_likelihood": trained.parts.log_likelihood,
        "log_prior": trained.parts.log_prior,
        "loss": trained.loss,
        "gradient_norm": trained.gradient_norm,
        "relative_gradient": trained.relative_gradient,
        "num_steps": trained.num_steps,
    }
    return {name: value[:, None] for name, value in stats.items()}
