"""Every foreign name that has moved between releases; nothing else touches those.

BlackJAX is imported when a kernel is built, not with the package.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class EuclideanMetric(NamedTuple):
    """What a Hamiltonian kernel asks of a metric.

    Attributes:
        sample_momentum: `(key, position) -> momentum`.
        kinetic_energy: `(momentum) -> energy`.
        check_turning: `(momentum_left, momentum_right, momentum_sum) -> bool`.
    """

    sample_momentum: Callable[..., Any]
    kinetic_energy: Callable[..., Any]
    check_turning: Callable[..., Any]


def nuts_transition(divergence_threshold: int) -> Callable[..., Any]:
    """Returns BlackJAX's NUTS transition on a state (position, log density, grad).

    It is called as `transition(key, state, log_density, step_size, metric,
    max_tree_depth)`, and returns the new state and BlackJAX's information.
    """
    from blackjax.mcmc import hmc, metrics, nuts

    kernel = nuts.build_kernel(divergence_threshold=divergence_threshold)

    def scale(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("NUTS never scales by the metric.")

    def transition(
        key: Any,
        state: tuple[Any, Any, Any],
        log_density: Callable[..., Any],
        step_size: Any,
        metric: EuclideanMetric,
        max_tree_depth: int,
    ) -> tuple[Any, Any]:
        full = metrics.Metric(*metric, scale)
        start = hmc.HMCState(*state)
        return kernel(key, start, log_density, step_size, full, max_tree_depth)

    return transition


def smooth_weights(log_ratios: Any) -> tuple[Any, Any]:
    """Returns BlackJAX's Pareto-smoothed log weights, and the shape k of their tail."""
    from blackjax.diagnostics import psis_weights

    return psis_weights(log_ratios)
