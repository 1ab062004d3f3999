"""What the settings of an ensemble may be."""

import math
from typing import TYPE_CHECKING, Any

import optax

from .._checks import check_positive_int
from ._early_stopping import EarlyStopping
from ._model_spec import ModelSpec

if TYPE_CHECKING:
    from ._ensemble_map import EnsembleMAP

OWNER = "EnsembleMAP"


def check_settings(engine: "EnsembleMAP") -> None:
    """Raises ValueError for the first setting that makes no sense."""
    for name in ("num_members", "num_steps", "num_candidates"):
        check_positive_int(OWNER, name, getattr(engine, name))
    if engine.batch_size is not None:
        check_positive_int(OWNER, "batch_size", engine.batch_size)
    _check_number("prior_weight", engine.prior_weight, "a weight of 0 or more", 0.0)
    if engine.tolerance is not None:
        words = "a relative gradient above 0, or None"
        _check_number("tolerance", engine.tolerance, words, math.ulp(0.0))
    _check_layout(engine)
    if engine.init_strategy not in ("prior", "uniform"):
        _refuse("init_strategy", engine.init_strategy, '"prior" or "uniform"')
    stopping = engine.early_stopping
    if not (stopping is None or isinstance(stopping, EarlyStopping)):
        _refuse("early_stopping", stopping, "`EarlyStopping(patience=...)` or None")
    optimizer = engine.optimizer
    if not (optimizer is None or isinstance(optimizer, optax.GradientTransformation)):
        _refuse(
            "optimizer", optimizer, "an optax optimizer, such as `optax.adam(0.01)`"
        )


def check_batch(engine: "EnsembleMAP", spec: ModelSpec) -> None:
    """Raises ValueError if the spec has no rows to draw, or fewer than asked for."""
    if engine.batch_size is None:
        return
    num_rows = spec._require_batch().num_rows
    if engine.batch_size > num_rows:
        raise ValueError(
            f"`{OWNER}(batch_size={engine.batch_size})` is larger than the data, which "
            f"have {num_rows} rows. Leave `batch_size` out to use all rows."
        )


def _check_layout(engine: "EnsembleMAP") -> None:
    layout = engine.layout
    if layout in ("auto", "vmap", "map"):
        return
    if isinstance(layout, bool) or not isinstance(layout, int) or layout < 1:
        _refuse("layout", layout, '"auto", "vmap", "map" or a number of members')
    if engine.num_members % layout:
        raise ValueError(
            f"`{OWNER}(layout={layout})` does not divide `num_members="
            f"{engine.num_members}` into equal groups. Choose a divisor of it, or "
            '`layout="auto"`.'
        )


def _check_number(name: str, value: Any, words: str, minimum: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not minimum <= value < math.inf:
        _refuse(name, value, words)


def _refuse(name: str, value: Any, words: str) -> None:
    raise ValueError(f"`{OWNER}({name}={value!r:.60})`: `{name}` must be {words}.")
