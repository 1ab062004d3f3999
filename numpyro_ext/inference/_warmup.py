r"""Warm-up of a Hamiltonian sampler: dual averaging and Stan's windows.

The step size follows Hoffman and Gelman (2014), section 3.2, with their constants.
The metric is estimated in windows that double, by Welford's recurrence, and shrunk as
Stan does: for $n$ draws with covariance $S$,
$$\hat\Sigma = \frac{n}{n + 5} S + 10^{-3} \frac{5}{n + 5} I.$$
Its factor is computed when a window ends and at no other step. A metric of low rank
is estimated from the window's draws and gradients at once.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._low_rank_metric import low_rank_metric
from ._metric import LowRankMetric, Metric, host, metric_state
from ._pool import median_of_chains, pool_spread

# Hoffman and Gelman (2014), section 3.2.1: shrinkage, stabiliser, and forgetting rate.
GAMMA, T0, KAPPA = 0.05, 10.0, 0.75
# Stan's reference manual, "Automatic parameter tuning".
INITIAL_BUFFER, FIRST_WINDOW, FINAL_BUFFER = 75, 25, 50
# Hoffman, Radul and Sountsov (2021), section 3: Adam's rate and decay.
LENGTH_RATE, LENGTH_DECAY = 0.025, 0.95
# A covariance of d x d from fewer draws than this times d is noise off its diagonal.
DENSE_DRAWS_PER_DIMENSION = 2


class StepSizeState(NamedTuple):
    """Dual averaging: the current and averaged log step sizes and their history."""

    log_step: Float[Array, ""]
    log_average: Float[Array, ""]
    error: Float[Array, ""]
    num_steps: Float[Array, ""]
    centre: Float[Array, ""]


class WindowState(NamedTuple):
    """Welford's running moments of the draws of one window."""

    num_draws: Float[Array, ""]
    mean: Float[Array, " n"]
    spread: Float[Array, " n"] | Float[Array, "n n"]


class History(NamedTuple):
    """The draws of one window with their gradients, which a low rank metric needs.

    It passes by the branches of a step, which would copy it.
    """

    draws: Float[Array, "rows n"]
    grads: Float[Array, "rows n"]

    def record(
        self,
        row: Int[Array, ""],
        position: Float[Array, " n"],
        grad: Float[Array, " n"],
    ) -> "History":
        return History(self.draws.at[row].set(position), self.grads.at[row].set(grad))


class LengthState(NamedTuple):
    """The length of trajectories, its average, and the size of its derivatives."""

    log_length: Float[Array, ""]
    log_average: Float[Array, ""]
    square: Float[Array, ""]
    num_steps: Float[Array, ""]


class WarmupState(NamedTuple):
    """All that warm-up adapts."""

    step_size: StepSizeState
    window: WindowState | None
    metric: Metric
    length: LengthState | None = None


class Stage(NamedTuple):
    """What each step of a run does, by step."""

    is_warmup: Bool[np.ndarray, " steps"]
    is_slow: Bool[np.ndarray, " steps"]
    is_window_end: Bool[np.ndarray, " steps"]
    # In its window; 0 outside of windows, where nothing is read.
    row: Int[np.ndarray, " steps"]


def stages(num_warmup: int, num_steps: int) -> Stage:
    """Returns Stan's schedule: a fast buffer, doubling slow windows, a fast buffer."""
    step = np.arange(num_steps)
    is_slow, is_end = np.zeros(num_steps, bool), np.zeros(num_steps, bool)
    row = np.zeros(num_steps, np.int32)
    initial, final, size = INITIAL_BUFFER, FINAL_BUFFER, FIRST_WINDOW
    if num_warmup < initial + size + final:
        initial, final = int(0.15 * num_warmup), int(0.1 * num_warmup)
        size = num_warmup - initial - final
    start, stop = initial, num_warmup - final
    if num_warmup >= 20:
        is_slow[start:stop] = True
        while start < stop:
            # A window that leaves no room for the next one takes what is left.
            size = size if start + 3 * size <= stop else stop - start
            row[start : start + size] = np.arange(size)
            start, size = start + size, 2 * size
            is_end[start - 1] = True
    return Stage(step < num_warmup, is_slow, is_end, row)


def start_warmup(
    step_size: Any, metric: Metric, *, length: float | None = None
) -> WarmupState:
    """Returns the state before the first step, on the host.

    Args:
        step_size: the first step size.
        metric: the first metric.
        length: the first length of trajectories, if it is to be found.
    """
    zero, log_step = host.zeros_like(step_size), host.log(step_size)
    # Without warm-up, the averaged step size is the one that was given.
    averaging = StepSizeState(
        log_step,
        log_step,
        zero,
        zero,
        (host.log(10.0) + log_step).astype(log_step.dtype),
    )
    if isinstance(metric, LowRankMetric):
        return WarmupState(averaging, None, metric)
    spread = host.zeros_like(metric.inverse_mass)
    mean = host.zeros_like(spread[0] if spread.ndim == 2 else spread)
    window = WindowState(zero, mean, spread)
    if length is None:
        return WarmupState(averaging, window, metric)
    log_length = host.log(length).astype(log_step.dtype)
    lengths = LengthState(log_length, log_length, zero, zero)
    return WarmupState(averaging, window, metric, lengths)


def start_history(metric: Metric, num_warmup: int) -> History | None:
    """Returns an empty history, as long as the longest window, on the host."""
    if not isinstance(metric, LowRankMetric):
        return None
    num_rows = 1 + int(stages(num_warmup, num_warmup).row.max(initial=0))
    rows = host.zeros((num_rows, metric.scale.shape[-1]), metric.scale.dtype)
    return History(rows, rows)


def update_warmup(
    state: WarmupState,
    history: History | None,
    position: Float[Array, " n"],
    grad: Float[Array, " n"],
    acceptance_rate: Float[Array, ""],
    *,
    target_accept: Float[Array, ""],
    is_slow: Bool[Array, ""],
    is_window_end: Bool[Array, ""],
    row: Int[Array, ""],
    score: Float[Array, ""] | None = None,
    pools: bool = False,
) -> WarmupState:
    """Adapts to one step; the history lacks it still.

    With `pools`, all chains adapt to what they tell together.
    """
    if pools:
        acceptance_rate = median_of_chains(acceptance_rate)
    length = _lengthen(state.length, score)
    step_size = _average(state.step_size, target_accept - acceptance_rate)
    window = jax.lax.cond(
        is_slow, lambda: _add(state.window, position), lambda: state.window
    )

    def estimate() -> Metric:
        if window is not None:
            moments = window.num_draws, window.spread
            if pools:
                moments = pool_spread(*moments)
            return metric_state(_covariance(*moments))
        assert history is not None
        assert isinstance(state.metric, LowRankMetric)
        rows = history.record(row, position, grad)
        return low_rank_metric(*rows, row + 1, rank=len(state.metric.values))

    def close() -> WarmupState:
        empty = jax.tree.map(jnp.zeros_like, window)
        restarted = _start_averaging(jnp.exp(step_size.log_average))
        metric = estimate()
        rescaled = _rescale(length, state.metric, metric)
        return WarmupState(restarted, empty, metric, rescaled)

    def go_on() -> WarmupState:
        return WarmupState(step_size, window, state.metric, length)

    return jax.lax.cond(is_window_end, close, go_on)


def _start_averaging(step_size: Array) -> StepSizeState:
    log_step, zero = jnp.log(step_size), jnp.zeros_like(step_size)
    centre = math.log(10.0) + log_step
    return StepSizeState(log_step, log_step, zero, zero, centre)


def _average(state: StepSizeState, error: Float[Array, ""]) -> StepSizeState:
    count = state.num_steps + 1.0
    weight = 1.0 / (count + T0)
    mean_error = (1.0 - weight) * state.error + weight * error
    log_step = state.centre - jnp.sqrt(count) / GAMMA * mean_error
    forget = count**-KAPPA
    log_average = forget * log_step + (1.0 - forget) * state.log_average
    return StepSizeState(log_step, log_average, mean_error, count, state.centre)


def _lengthen(
    state: LengthState | None, score: Float[Array, ""] | None
) -> LengthState | None:
    """Climbs by Adam without momentum, whose steps do not know the score's unit."""
    if state is None or score is None:
        return state
    score = jnp.where(jnp.isfinite(score), score, 0.0)
    count = state.num_steps + 1.0
    square = LENGTH_DECAY * state.square + (1.0 - LENGTH_DECAY) * jnp.square(score)
    size = jnp.sqrt(square / (1.0 - LENGTH_DECAY**count))
    change = LENGTH_RATE * score / jnp.where(size > 0.0, size, 1.0)
    log_length = state.log_length + change
    forget = count**-KAPPA
    log_average = forget * log_length + (1.0 - forget) * state.log_average
    return LengthState(log_length, log_average, square, count)


def _rescale(
    state: LengthState | None, before: Metric, after: Metric
) -> LengthState | None:
    """Tells the length in the units of another metric, and averages anew."""
    if state is None:
        return None
    widest = jnp.max(after.variances() / before.variances())
    log_length = state.log_length - 0.5 * jnp.log(widest)
    zero = jnp.zeros_like(log_length)
    return LengthState(log_length, log_length, zero, zero)


def _add(state: WindowState | None, position: Float[Array, " n"]) -> WindowState | None:
    if state is None:
        return None
    count = state.num_draws + 1.0
    before = position - state.mean
    mean = state.mean + before / count
    after = position - mean
    is_dense = state.spread.ndim == 2
    product = jnp.outer(after, before) if is_dense else before * after
    return WindowState(count, mean, state.spread + product)


def _covariance(count: Float[Array, ""], spread: Array) -> Array:
    covariance = spread / (count - 1.0)
    shrunk, target = count / (count + 5.0) * covariance, 1e-3 * 5.0 / (count + 5.0)
    if covariance.ndim == 1:
        return shrunk + target
    identity = jnp.eye(len(covariance), dtype=covariance.dtype)
    is_enough = count >= DENSE_DRAWS_PER_DIMENSION * len(covariance)
    return jnp.where(is_enough, shrunk, shrunk * identity) + target * identity
