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
    from blackjax.mcmc import nuts

    return _hamiltonian(nuts.build_kernel(divergence_threshold=divergence_threshold))


def hmc_transition(divergence_threshold: int) -> Callable[..., Any]:
    """Returns BlackJAX's HMC transition on a state (position, log density, grad).

    It is called as `transition(key, state, log_density, step_size, metric,
    num_integration_steps)`, and returns the new state and BlackJAX's information.
    """
    from blackjax.mcmc import hmc

    return _hamiltonian(hmc.build_kernel(divergence_threshold=divergence_threshold))


def microcanonical_transition(divergence_threshold: int) -> Callable[..., Any]:
    """Returns BlackJAX's adjusted microcanonical transition on a plain state.

    It is called as `transition(key, (position, log density, grad), log_density,
    step_size, num_integration_steps)`, in coordinates of unit scale.
    """
    from blackjax.mcmc import adjusted_mclmc, hmc, integrators

    kernel = adjusted_mclmc.build_kernel(
        integrators.isokinetic_velocity_verlet, divergence_threshold
    )

    def transition(
        key: Any,
        state: tuple[Any, Any, Any],
        log_density: Callable[..., Any],
        step_size: Any,
        length: Any,
    ) -> tuple[Any, Any]:
        return kernel(key, hmc.HMCState(*state), log_density, step_size, (length,))

    return transition


def _hamiltonian(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a Hamiltonian kernel take a plain state and our metric."""
    from blackjax.mcmc import hmc, metrics

    def scale(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("A Hamiltonian kernel never scales by the metric.")

    def transition(
        key: Any,
        state: tuple[Any, Any, Any],
        log_density: Callable[..., Any],
        step_size: Any,
        metric: EuclideanMetric,
        length: Any,
    ) -> tuple[Any, Any]:
        full = metrics.Metric(*metric, scale)
        start = hmc.HMCState(*state)
        return kernel(key, start, log_density, step_size, full, length)

    return transition


def resample_systematically(key: Any, weights: Any, num: int) -> Any:
    """Returns BlackJAX's systematic resampling: `num` indices by weights of sum 1."""
    from blackjax.smc.resampling import systematic

    return systematic(key, weights, num)


def largest_increment(is_enough: Callable[..., Any], largest: Any) -> Any:
    """Returns the root of a falling function on (0, largest), or `largest`.

    BlackJAX's bisection for the next temperature; the function is positive at 0.
    """
    from blackjax.smc.solver import dichotomy

    return dichotomy(is_enough, 0.0, largest)


class NestedSlices(NamedTuple):
    """BlackJAX's nested slice sampling.

    Attributes:
        init: `(positions) -> state` of live points.
        step: `(key, state) -> (state, info)`, which replaces the worst of them;
            `info.update_info` holds the indices of the survivors that new points
            began at, and BlackJAX's information on the slices.
    """

    init: Callable[..., Any]
    step: Callable[..., Any]


def nested_slices(
    log_parts: Callable[..., tuple[Any, Any]],
    factor: Callable[[Any], Any],
    *,
    num_inner_steps: int,
    num_delete: int,
) -> NestedSlices:
    """Returns BlackJAX's nested slice sampling, along directions of two kinds in turn.

    Half of the slices go along directions of the covariance of the live points, and
    half along the line through two of them. Where live points are in several modes,
    their covariance knows only the distance between these; two points of one mode know
    how wide it is.

    Args:
        log_parts: position -> (log prior, log likelihood), from one trace.
        factor: live positions -> the lower factor of the covariance of directions.
        num_inner_steps: slices for each new point.
        num_delete: how many points a step replaces.
    """
    import jax
    import jax.numpy as jnp
    from blackjax.ns import adaptive, nss
    from blackjax.ns.base import StateWithLogLikelihood

    def make_point(
        position: Any, loglikelihood_birth: Any = jnp.nan
    ) -> StateWithLogLikelihood:
        log_prior, log_likelihood = log_parts(position)
        birth = jnp.full_like(log_likelihood, loglikelihood_birth)
        return StateWithLogLikelihood(position, log_prior, log_likelihood, birth)

    def directions(key: Any, state: Any, info: Any, params: Any) -> dict[str, Any]:
        del key, info, params
        points = state.particles.position
        return {"covariance_factor": factor(points), "points": points}

    def slice_line(
        make_point: Any, contour: Any, covariance_factor: Any, points: Any
    ) -> Callable[..., Any]:
        def propose(key: Any, position: Any, log_density: Any) -> Callable[..., Any]:
            del log_density  # the contour alone decides
            kind_key, normal_key, first_key, second_key = jax.random.split(key, 4)
            along: Any = nss.sample_direction_from_covariance_factor(
                normal_key, position, covariance_factor
            )
            num = len(points)
            first = jax.random.randint(first_key, (), 0, num)
            second = first + jax.random.randint(second_key, (), 1, num)
            across = points[first] - points[second % num]
            direction = jnp.where(jax.random.bernoulli(kind_key), along, across)

            def at(t: Any) -> tuple[Any, Any]:
                point = make_point(position + t * direction, contour)
                return point, point.loglikelihood > contour

            return at

        return propose

    def init(positions: Any) -> Any:
        return adaptive.init(positions, jax.vmap(make_point), jnp.nan, directions)

    def from_survivors(move: Any, num_moves: int, num_new: int) -> Callable[..., Any]:
        """As BlackJAX's own strategy, which does not tell where chains began."""

        def update(key: Any, state: Any, contour: Any, **params: Any) -> Any:
            choice_key, move_key = jax.random.split(key)
            points = state.particles
            is_above = points.loglikelihood > contour
            # On a plateau there are no survivors; any point does as well.
            is_above = is_above | ~jnp.any(is_above)
            index = jax.random.choice(
                choice_key, len(is_above), (num_new,), p=is_above / jnp.sum(is_above)
            )

            def chain(key: Any, point: Any) -> Any:
                keys = jax.random.split(key, num_moves)
                return jax.lax.scan(
                    lambda point, key: move(key, point, contour, **params), point, keys
                )

            starts = jax.tree.map(lambda leaf: leaf[index], points)
            new, info = jax.vmap(chain)(jax.random.split(move_key, num_new), starts)
            births = jnp.full_like(new.loglikelihood_birth, contour)
            return new._replace(loglikelihood_birth=births), (index, info)

        return update

    step = nss.build_kernel(
        make_point,
        num_inner_steps,
        num_delete,
        proposal=slice_line,
        inner_kernel_params=directions,
        update_strategy=from_survivors,
    )
    return NestedSlices(init, step)


def smooth_weights(log_ratios: Any) -> tuple[Any, Any]:
    """Returns BlackJAX's Pareto-smoothed log weights, and the shape k of their tail."""
    from blackjax.diagnostics import psis_weights

    return psis_weights(log_ratios)
