"""Where the seconds of a run went: tracing, compiling, running."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax

from ._replace import replace_fields

if TYPE_CHECKING:
    from ._fit import Fit

TRACE = "/jax/core/compile/jaxpr_trace_duration"
COMPILE = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
type Interval = tuple[float, float]


@contextlib.contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Yields a dictionary that is filled at the end with the seconds by phase.

    `total` is wall time. `trace` and `compile` are the parts of it in which JAX traced
    or compiled in any thread, as it reports them; `run` is what is left. Work that
    other threads give to JAX meanwhile is counted too.
    """
    traced: list[Interval] = []
    compiled: list[Interval] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        end = time.perf_counter()
        if event == TRACE:
            traced.append((end - duration_secs, end))
        elif event in COMPILE:
            compiled.append((end - duration_secs, end))

    timing: dict[str, float] = {}
    begin = time.perf_counter()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield timing
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
        total = time.perf_counter() - begin
        # A function traced inside another's trace is reported by both.
        compiling, busy = _covered(compiled), _covered(compiled + traced)
        timing |= {
            "total": total,
            "trace": busy - compiling,
            "compile": compiling,
            "run": max(total - busy, 0.0),
        }


def timed[**P](run: Callable[P, "Fit"]) -> Callable[P, "Fit"]:
    """Decorates the `run` of an engine: its fit tells where the seconds went."""

    @functools.wraps(run)
    def wrapped(*args: Any, **kwargs: Any) -> "Fit":
        with stopwatch() as timing:
            fit = run(*args, **kwargs)
        return replace_fields(fit, timing=timing)

    return wrapped


def _covered(intervals: list[Interval]) -> float:
    """Returns the length of the union of intervals."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        covered += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return covered
