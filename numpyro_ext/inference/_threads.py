"""Working off queues of compiled calls with a thread for each core."""

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import jax


def num_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# JAX's context managers hold for the thread that entered them.
SETTINGS = {
    "jax_enable_x64": jax.enable_x64,
    "jax_numpy_dtype_promotion": jax.numpy_dtype_promotion,
    "jax_numpy_rank_promotion": jax.numpy_rank_promotion,
    "jax_default_matmul_precision": jax.default_matmul_precision,
    "jax_default_device": jax.default_device,
    "jax_default_prng_impl": jax.default_prng_impl,
    "jax_debug_nans": jax.debug_nans,
    "jax_debug_infs": jax.debug_infs,
    "jax_disable_jit": jax.disable_jit,
}


def work_off(queues: list[list[Callable[[], bool]]], num_workers: int) -> bool:
    """Works off each queue with its own threads, jobs in turn; true on Ctrl-C.

    A call does the next piece of its job and says whether there are more. The job then
    goes back to the end of its queue, so that all jobs are equally far when a run is
    interrupted. On Ctrl-C the pieces that run are finished.
    """
    stop = threading.Event()
    settings = {name: getattr(jax.config, name) for name in SETTINGS}

    def worker(queue: deque[Callable[[], bool]]) -> None:
        with ExitStack() as stack:
            for name, value in settings.items():
                stack.enter_context(SETTINGS[name](value))
            while queue and not stop.is_set():
                try:
                    advance = queue.popleft()
                except IndexError:  # another thread took the last one
                    return
                if advance():
                    queue.append(advance)

    shared = [deque(queue) for queue in queues]
    num_threads = [min(num_workers, len(queue)) for queue in queues]
    with ThreadPoolExecutor(sum(num_threads)) as pool:
        futures = [
            pool.submit(worker, queue)
            for queue, num in zip(shared, num_threads, strict=True)
            for _ in range(num)
        ]
        try:
            for future in futures:
                future.result()
        except KeyboardInterrupt:
            stop.set()
        except BaseException:
            stop.set()
            raise
    return stop.is_set()
