"""Newton's method with step halving, joint in coefficients and nuisances."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from .._checks import check_choice, check_positive_int
from ._data import linear_predictor
from ._geometry import (
    Geometry,
    beside_cutpoints,
    factorise,
    least_norm,
    solve_beta,
    solve_rows,
    span_of,
)
from ._nuisance import limits
from ._objective import (
    Point,
    Problem,
    Value,
    gram,
    is_finite,
    products,
    weigh,
)
from ._status import Status

# A converged step that still moves a row's predictor this far is on its way to
# infinity: a finite maximum would need a predictor with a standard error of 10^4.
_STILL_MOVING = 0.01
# The longest step in a log-scale nuisance, and in one without a scale.
_LONGEST = 3.0


class Newton(eqx.Module):
    r"""Settings of the fit.

    The fit stops when Newton's decrement $g^\top H^{-1} g$ (in units of the
    log-likelihood, so that no scale of the data matters) is below `tol`; one more step
    then squares the error. Where the likelihood is concave it stops a step earlier, if
    the last two decrements foretell that the step leaves less than `tol` squared.

    Attributes:
        max_iter: evaluations of the objective with its Hessian.
        tol: bound of the decrement; by default 1e-9 where the likelihood is concave and
            1e-12 elsewhere, in float32 1e-8.
        hessian: `observed`, with the expected one wherever it is not positive; or
            `expected`, which is Fisher scoring.
    """

    max_iter: int = eqx.field(default=200, static=True)
    tol: float | None = eqx.field(default=None, static=True)
    hessian: Literal["observed", "expected"] = eqx.field(
        default="observed", static=True
    )

    def __check_init__(self) -> None:
        check_positive_int("Newton", "max_iter", self.max_iter)
        check_choice("Newton", "hessian", self.hessian, ("observed", "expected"))
        if self.tol is not None and not self.tol > 0:
            raise ValueError(f"`Newton(tol={self.tol!r})`: `tol` must be positive.")


class Solution(eqx.Module):
    """Where the iteration ended."""

    point: Point
    geometry: Geometry
    status: Int[Array, ""]
    num_iters: Int[Array, ""]
    # The objective, its last change, and Newton's decrement.
    numbers: Float[Array, " 3"]


class _Numbers(NamedTuple):
    """What is known of a point, each a number (or 0 and 1)."""

    objective: Array
    delta: Array
    decrement: Array
    length: Array
    slope: Array
    noise: Array
    num_iters: Array
    is_done: Array
    has_converged: Array


class _State(eqx.Module):
    """What the loop carries; the numbers are one vector, which one kernel writes."""

    point: Point
    step: Point
    packed: Float[Array, " 9"]

    @property
    def numbers(self) -> _Numbers:
        return _Numbers(*self.packed)


def _pack(*numbers: Any, dtype: Any) -> Float[Array, " 9"]:
    return jnp.stack([jnp.asarray(x).astype(dtype) for x in _Numbers(*numbers)])


def solve(
    problem: Problem, start: Point, is_valid: Bool[Array, ""], settings: Newton
) -> Solution:
    """Minimises the objective; `start.beta` of NaN asks for a start from the data.

    The problem is best one `for_many_passes`.
    """
    geometry, first, second = _first_points(problem, start)
    is_valid = is_valid & jnp.all(jnp.isfinite(geometry.scale))
    dtype = problem.data.X.dtype
    inf = jnp.inf
    state = _State(
        point=first,
        step=jax.tree.map(jnp.zeros_like, first),
        packed=_pack(inf, inf, inf, 1.0, 0.0, 0.0, 0.0, ~is_valid, 0.0, dtype=dtype),
    )
    step = _stepper(problem, geometry, settings, second)

    def goes_on(state: _State) -> Bool[Array, ""]:
        now = state.numbers
        return (now.is_done == 0) & (now.num_iters < settings.max_iter)

    end = lax.while_loop(goes_on, step, state)
    found = end.numbers
    has_value = jnp.isfinite(found.objective) & jnp.isfinite(found.decrement)
    has_converged = found.has_converged > 0
    # The last step is free: its gradient and Hessian are known.
    last = jax.tree.map(lambda a, d: a + d, end.point, end.step)
    point = _where(has_converged & _all_finite(last), last, end.point)
    if geometry.is_shifted is None:
        point = Point(least_norm(geometry, point.beta), point.theta)
    point = jax.tree.map(lambda x: jnp.where(is_valid & has_value, x, jnp.nan), point)
    status = _status(problem, geometry, end, is_valid, has_value)
    return Solution(
        point=point,
        geometry=geometry,
        status=status,
        num_iters=found.num_iters.astype(jnp.int32),
        numbers=end.packed[:3],
    )


def _stepper(
    problem: Problem, geometry: Geometry, settings: Newton, second: Point
) -> Callable[[_State], _State]:
    """Returns one evaluation: it takes the candidate, or halves the step to it.

    If there is no value at the first point, it goes to the second.
    """
    dtype = problem.data.X.dtype
    eps = float(jnp.finfo(dtype).eps)
    bounds = jnp.asarray(limits(problem.family, dict(problem.shapes)), dtype)

    def step(state: _State) -> _State:
        old = state.numbers
        candidate = jax.tree.map(
            lambda a, d: a + old.length * d, state.point, state.step
        )
        candidate = Point(candidate.beta, jnp.clip(candidate.theta, -bounds, bounds))
        value = problem.value(candidate)
        noise = 64 * eps * value.magnitude
        enough = old.objective - 1e-4 * old.length * old.slope
        is_first = ~jnp.isfinite(old.objective)
        is_better = is_finite(value) & (is_first | (value.objective <= enough + noise))

        direction, decrement = _direction(
            problem, geometry, settings, bounds, candidate, value
        )
        # A step cut short in the nuisances gains less than its decrement.
        slope = -jnp.sum(direction.beta * value.beta)
        slope = slope - jnp.sum(direction.theta * value.theta)
        # No progress in what is beneath the rounding of the objective.
        is_stuck = (decrement <= noise) & (decrement >= 0.25 * old.decrement)
        is_over = is_stuck | _is_small(
            problem, settings, candidate, value, decrement, old
        )
        accepted = _pack(
            value.objective,
            value.objective - old.objective,
            decrement,
            1.0,
            slope,
            noise,
            old.num_iters + 1,
            is_over | ~jnp.isfinite(decrement),
            is_over,
            dtype=dtype,
        )
        rejected = _State(
            point=_where(is_first, second, state.point),
            step=state.step,
            packed=_halved(old, is_first, dtype),
        )
        return _where(is_better, _State(candidate, direction, accepted), rejected)

    return step


def _halved(old: _Numbers, is_first: Array, dtype: Any) -> Float[Array, " 9"]:
    """Returns the numbers after a candidate that was not taken."""
    shorter = 0.5 * old.length
    is_short = shorter < 1e-10
    return _pack(
        *old[:3],
        shorter,
        *old[4:6],
        old.num_iters + 1,
        jnp.where(is_first, old.num_iters > 0, is_short),
        # Nothing better nearby, and nothing more to gain: rounding.
        ~is_first & is_short & (old.decrement <= old.noise),
        dtype=dtype,
    )


def _is_small(
    problem: Problem,
    settings: Newton,
    point: Point,
    value: Value,
    decrement: Array,
    old: _Numbers,
) -> Bool[Array, ""]:
    """Returns whether one more step ends the fit."""
    eps = float(jnp.finfo(problem.data.X.dtype).eps)
    # Newton's last step squares the error; Fisher scoring only shortens it.
    squares = settings.hessian == "observed" and problem.family.is_log_concave
    tol = settings.tol
    if tol is None:
        tol = 1e-8 if eps > 1e-10 else 1e-9 if squares else 1e-12
    scale = jnp.ones_like(decrement)
    if problem.scaled:
        scale = value.pearson / problem.data.X.shape[0]
    is_small = decrement <= tol * scale
    if squares:
        # The error that is left is the square of this one, times a factor that the
        # step before has shown: what a decrement of `tol` might leave, foreseen.
        left = decrement * jnp.square(decrement / old.decrement)
        is_near = (decrement <= 1e-4 * scale) & (old.length == 1)
        is_small |= is_near & (left <= tol**2 * scale)
    if problem.scaled:
        # A perfect fit has no scale: then rounding of the predictor is the measure.
        size = jnp.sum(point.beta * _times(value.beta_beta, point.beta))
        is_small |= decrement <= 16 * eps**2 * size
    return is_small


def _direction(
    problem: Problem,
    geometry: Geometry,
    settings: Newton,
    bounds: Float[Array, " q"],
    point: Point,
    value: Value,
) -> tuple[Point, Float[Array, ""]]:
    """Returns Newton's step and its decrement, of a Hessian made positive."""
    hessian = value.beta_beta
    if settings.hessian == "expected" and problem.family.num_predictors == 1:
        hessian = problem.expected_hessian(point)
    factor = factorise(geometry, hessian)
    if not problem.family.is_log_concave and settings.hessian == "observed":
        factor = lax.cond(
            jnp.all(jnp.isfinite(factor)),
            lambda: factor,
            lambda: factorise(geometry, problem.expected_hessian(point)),
        )
    beta = -value.beta
    if point.theta.size == 0:
        step = solve_beta(geometry, factor, beta)
        return Point(step, point.theta), -jnp.sum(step * value.beta)
    # Block elimination: the nuisances see the Schur complement, whose negative
    # curvature is turned over.
    cross = jnp.moveaxis(value.beta_theta, 2, 0)
    lifted = jax.vmap(lambda c: solve_beta(geometry, factor, c))(cross)
    schur = value.theta_theta - jnp.einsum("kmp,qmp->kq", cross, lifted)
    plain = solve_beta(geometry, factor, beta)
    rest = -value.theta - jnp.einsum("qmp,mp->q", cross, plain)
    # A nuisance at its edge that would go on stays there.
    is_held = (jnp.abs(point.theta) >= bounds) & (rest * point.theta > 0)
    rest = jnp.where(is_held, 0.0, rest)
    eye = jnp.eye(rest.size, dtype=rest.dtype)
    schur = jnp.where(is_held[:, None] | is_held, eye, schur)
    theta = _solve_positive(schur, rest)
    # The first cutpoint is a location: it goes as far as the coefficients ask.
    limited = theta[1:] if problem.family.has_cutpoints else theta
    longest = jnp.max(jnp.abs(limited), initial=0.0)
    shrink = jnp.minimum(1.0, _LONGEST / jnp.maximum(longest, 1e-30))
    decrement = jnp.sum(theta * rest) + jnp.sum(plain * beta)
    theta = shrink * theta
    beta_step = plain - jnp.einsum("q,qmp->mp", theta, lifted)
    return Point(beta_step, theta), decrement


def _solve_positive(
    matrix: Float[Array, "q q"], right: Float[Array, " q"]
) -> Float[Array, " q"]:
    if right.size == 1:
        size = jnp.abs(matrix[0, 0])
        return right / jnp.where(size > 0, size, 1.0)
    values, vectors = jnp.linalg.eigh(0.5 * (matrix + matrix.T))
    sizes = jnp.abs(values)
    floor = jnp.finfo(matrix.dtype).eps * jnp.max(sizes)
    sizes = jnp.where(sizes > floor, sizes, jnp.where(floor > 0, floor, 1.0))
    return vectors @ ((vectors.T @ right) / sizes)


def solve_joint(geometry: Geometry, value: Value, right: Point) -> Point:
    """Solves with the observed Hessian of coefficients and nuisances."""
    factor = factorise(geometry, value.beta_beta)
    plain = solve_beta(geometry, factor, right.beta)
    if right.theta.size == 0:
        return Point(plain, right.theta)
    cross = jnp.moveaxis(value.beta_theta, 2, 0)
    lifted = jax.vmap(lambda c: solve_beta(geometry, factor, c))(cross)
    schur = value.theta_theta - jnp.einsum("kmp,qmp->kq", cross, lifted)
    rest = right.theta - jnp.einsum("qmp,mp->q", cross, plain)
    theta = jnp.linalg.solve(schur, rest)
    return Point(plain - jnp.einsum("q,qmp->mp", theta, lifted), theta)


def _times(hessian: Float[Array, "m p m p"], beta: Float[Array, "m p"]) -> Array:
    return jnp.einsum("mpkl,kl->mp", hessian, beta)


def _first_points(problem: Problem, start: Point) -> tuple[Geometry, Point, Point]:
    """Returns the geometry of X, the start, and another start.

    The start is given, or projects the link of the data onto the span of X, so that no
    step starts from a linear predictor that is none. The other projects a constant,
    and so stays in the domain of the link wherever X has an intercept.
    """
    family, data = problem.family, problem.data
    weights = jnp.ones_like(data.y) if data.weights is None else data.weights
    total = jnp.sum(weights)
    ybar = jnp.sum(weigh(weights, data.y)) / jnp.where(total > 0, total, 1.0)
    m, p = start.beta.shape
    aux = family.nuisance_start(data.y, ybar, weights, data.trials)
    level = _level(problem, ybar, weights)

    def body(block: Any) -> tuple[Array, Array]:
        eta = None
        if family.num_predictors == 1:
            eta = family.eta_start(block.y, ybar, block.trials)
        if eta is None:
            ones = weigh(block.weights, jnp.ones_like(block.y))
            return gram(block, ones[None, None]), jnp.zeros((2, p), ones.dtype)
        weight = jnp.ones_like(eta)
        if family.has_variance_function:
            weight = family.expected_weight(block.y, eta, aux, block.trials)
        is_usable = jnp.isfinite(weight) & jnp.isfinite(eta) & (weight > 0)
        weight = weigh(block.weights, jnp.where(is_usable, weight, 1e-6))
        targets = jnp.stack([jnp.where(is_usable, eta, 0.0), level + 0.0 * eta])
        targets = targets if block.offset is None else targets - block.offset
        return gram(block, weight[None, None]), products(block, weight * targets)

    hessian, right = problem.sum_over_rows(body)
    geometry = span_of(problem._with_l2(hessian)[0, :, 0])
    if family.has_cutpoints:
        geometry = beside_cutpoints(problem, geometry, hessian)
    hessian = problem._with_l2(hessian)
    factor = factorise(geometry, hessian)
    first, second = (
        jnp.broadcast_to(row, (m, p)) for row in solve_rows(geometry, factor, right)
    )
    given = start.beta - (start.beta / geometry.scale) @ geometry.null * geometry.scale
    given = given if family.has_cutpoints else start.beta
    first = jnp.where(jnp.isnan(start.beta), first, given)
    return geometry, Point(first, start.theta), Point(second, start.theta)


def _level(problem: Problem, ybar: Array, weights: Array) -> Array:
    """Returns the linear predictor of a row whose response is the mean of all."""
    family, trials = problem.family, problem.data.trials
    if family.num_predictors > 1:
        return jnp.zeros(())
    if trials is not None:
        trials = jnp.sum(weigh(weights, trials)) / jnp.sum(weights)
    eta = family.eta_start(ybar, ybar, trials)
    return jnp.zeros(()) if eta is None else eta


def _status(
    problem: Problem,
    geometry: Geometry,
    end: _State,
    is_valid: Array,
    has_value: Array,
) -> Int[Array, ""]:
    moves_beta, moves_theta = _is_moving(problem, end)
    edge = Status.SEPARATED if problem.family.is_classifier else Status.BOUNDARY
    code = jnp.where(
        (end.numbers.has_converged > 0),
        Status.CONVERGED.value,
        Status.MAX_ITERATIONS.value,
    )
    deficient = geometry.rank < geometry.scale.size
    code = jnp.where(
        (end.numbers.has_converged > 0) & deficient, Status.RANK_DEFICIENT.value, code
    )
    code = jnp.where(moves_theta, Status.BOUNDARY.value, code)
    code = jnp.where(moves_beta, edge.value, code)
    code = jnp.where(has_value, code, Status.NONFINITE.value)
    return jnp.where(is_valid, code, Status.INVALID_DATA.value).astype(jnp.int32)


def _is_moving(
    problem: Problem, end: _State
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Returns whether a predictor, and whether a nuisance, still runs at the end."""
    no_offset = problem.data._replace(offset=None)
    moved = jnp.max(jnp.abs(linear_predictor(no_offset, end.step.beta)))
    moves_beta = (end.numbers.has_converged > 0) & (moved > _STILL_MOVING)
    theta = end.point.theta
    if theta.size == 0:
        return moves_beta, jnp.zeros((), bool)
    far = limits(problem.family, dict(problem.shapes)) - 0.5
    runs = (jnp.abs(end.step.theta) > _STILL_MOVING) | (jnp.abs(theta) >= far)
    return moves_beta, (end.numbers.has_converged > 0) & jnp.any(runs)


def _all_finite(tree: Any) -> Bool[Array, ""]:
    leaves = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))


def _where(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
