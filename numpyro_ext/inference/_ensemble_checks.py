"""What the settings of an ensemble may be."""

import math
from typing import TYPE_CHECKING, Any, NoReturn

import optax

from .._checks import check_positive_int
from ._early_stopping import EarlyStopping
from ._model_spec import ModelSpec

if TYPE_CHECKING:
    from ._ensemble_map import EnsembleMAP


def check_settings(owner: str, engine: "EnsembleMAP") -> None:
    """Raises ValueError for the first setting that makes no sense."""
    for name in ("num_members", "num_steps", "num_candidates"):
        check_positive_int(owner, name, getattr(engine, name))
    if engine.batch_size is not None:
        check_positive_int(owner, "batch_size", engine.batch_size)
    words = "a weight of 0 or more"
    check_number(owner, "prior_weight", engine.prior_weight, words, 0.0)
    if engine.tolerance is not None:
        words = "a relative gradient above 0, or None"
        check_number(owner, "tolerance", engine.tolerance, words, math.ulp(0.0))
    check_layout(owner, engine.layout, engine.num_members)
    if engine.init_strategy not in ("prior", "uniform"):
        _refuse(owner, "init_strategy", engine.init_strategy, '"prior" or "uniform"')
    check_stopping(owner, engine.early_stopping)
    check_optimizer(owner, engine.optimizer)


def check_batch(owner: str, batch_size: int | None, spec: ModelSpec) -> None:
    """Raises ValueError if the spec has no rows to draw, or fewer than asked for."""
    if batch_size is None:
        return
    num_rows = spec._require_batch().num_rows
    if batch_size > num_rows:
        raise ValueError(
            f"`{owner}(batch_size={batch_size})` is larger than the data, which "
            f"have {num_rows} rows. Leave `batch_size` out to use all rows."
        )


def check_layout(owner: str, layout: Any, num_members: int) -> None:
    """Raises ValueError unless groups of members can be laid out so."""
    if isinstance(layout, str) and layout in ("auto", "vmap", "map"):
        return
    if not isinstance(layout, int) or isinstance(layout, bool) or layout < 1:
        _refuse(owner, "layout", layout, '"auto", "vmap", "map" or a number of members')
    if num_members % layout:
        raise ValueError(
            f"`{owner}(layout={layout})` does not divide `num_members="
            f"{num_members}` into equal groups. Choose a divisor of it, or "
            '`layout="auto"`.'
        )


def check_stopping(owner: str, stopping: Any) -> None:
    """Raises ValueError unless it is `EarlyStopping` or None."""
    if not (stopping is None or isinstance(stopping, EarlyStopping)):
        words = "`EarlyStopping(patience=...)` or None"
        _refuse(owner, "early_stopping", stopping, words)


def check_optimizer(owner: str, optimizer: Any) -> None:
    """Raises ValueError unless it is an optax optimizer or None."""
    if not (optimizer is None or isinstance(optimizer, optax.GradientTransformation)):
        words = "an optax optimizer, such as `optax.adam(0.01)`"
        _refuse(owner, "optimizer", optimizer, words)


def check_number(owner: str, name: str, value: Any, words: str, minimum: float) -> None:
    """Raises ValueError unless the value is a finite number of at least `minimum`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not minimum <= value < math.inf:
        _refuse(owner, name, value, words)


def _refuse(owner: str, name: str, value: Any, words: str) -> NoReturn:
    raise ValueError(f"`{owner}({name}={value!r:.60})`: `{name}` must be {words}.")
