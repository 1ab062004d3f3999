r"""Log probabilities of negative binomial counts, with their derivatives.

With size r, mean mu and alpha = 1 / r, the log probability of y > 0 is
$$-D + S(y + r) - S(y) - S(r) - \tfrac12\log(2\pi y) - \tfrac12\log(1 + \alpha y),$$
where S is the remainder of Stirling's formula and D >= 0 is half the deviance, in
$t = \log(\mu / y)$ and $\kappa = \alpha y / (1 + \alpha y)$
$$D = y \Psi(t, \kappa) = r \Psi(-t, 1 - \kappa), \qquad
\Psi(t, \kappa) = \log(1 + \kappa (e^t - 1)) / \kappa - t.$$
No term cancels another, for any alpha: the Poisson law is the limit alpha = 0. The
derivatives have digamma differences in the same form. Loader (2000), Fast and accurate
computation of binomial probabilities, has the idea, for the binomial law.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma

from ...special._elementary import exp, expm1, log, log1p
from ...special._exponentials import log1p_minus, log1p_minus_near, log1p_ratio
from ...special._log_gap import log_gap, ratio, relative_residual, residual
from ...special._one_argument import weighted_tangents
from ...special._stirling import (
    digamma_error,
    digamma_error_scaled,
    digamma_error_scaled_from_one,
    log_gamma_defect,
    stirling_error_from_one,
)

LOG_2PI = math.log(2.0 * math.pi)
# The log of a size beyond which the law is Poisson's, in either format.
LARGEST_LOG_SIZE = 80.0
Args = tuple[Array, Array, Array]


def _log1p_large(x: Array, log_x: Array) -> Array:
    """log(1 + x) for x >= 0, by log x where x may overflow."""
    is_small = x <= 1.0
    lesser = jnp.where(is_small, x, 1.0 / jnp.where(is_small, 1.0, x))
    return log1p(lesser) + jnp.where(is_small, 0.0, log_x)


def _log_prob(
    y: Array,
    eta: Array,
    alpha_y: Array,
    log_alpha_y: Array,
    m: Array,
    log_m: Array,
    log_size: Array,
) -> Array:
    """The log probability of y >= 0, by what is exact in each parametrization.

    Args:
        y: The count.
        eta: log mu.
        alpha_y: y / r, which may overflow; of y = 1 for y = 0, as its log.
        log_alpha_y: Its log.
        m: mu / r.
        log_m: Its log.
        log_size: log r.
    """
    is_zero, safe = _safe(y)
    is_few = is_zero | (y == 1)
    t = -log_gap(safe, eta)
    size = exp(log_size)
    total = safe + size
    # Of the two forms of D, that whose kappa is at most 1/2.
    is_small = alpha_y <= 1.0
    lesser = jnp.where(is_small, alpha_y, 1.0 / alpha_y)
    log1p_lesser = log1p(lesser)
    kappa = lesser / (1.0 + lesser)
    t = jnp.where(is_small, t, -t)
    weight = jnp.where(is_small, safe, size)
    # Where exp(t) may overflow, or kappa underflow, their product by its logarithm.
    log_product = jnp.where(is_small, log_m, -log_m) - log1p_lesser
    log_product = jnp.where(is_few, log_m, log_product)
    is_huge, is_over = log_product > 40.0, t > 80.0
    x = expm1(t)
    product = jnp.where(is_over, exp(jnp.minimum(log_product, 50.0)), kappa * x)
    product = jnp.where(is_few, m, product)
    linear = jnp.where(is_over & ~is_small, total * product, weight * x)
    linear = jnp.where(is_few, exp(eta), linear)
    # log p(0) is -r log(1 + m), of the same form.
    slope = log1p_ratio(jnp.where(is_huge, 1.0, product))
    far = jnp.where(
        is_huge, jnp.where(is_few, size, total) * log_product, linear * slope
    )
    # log p(1) - log p(0) = log mu - log(1 + m): where mu underflows, exactly log mu.
    rise = jnp.where(is_huge, log_size, eta - product * slope)
    few = jnp.where(is_zero, 0.0, rise) - far
    near = log1p_minus_near(x) - kappa * log1p_minus_near(kappa * x)
    near = weight * (x * x) * near
    half_deviance = jnp.where(jnp.abs(t) < 0.3, near, far - weight * t)
    rest = stirling_error_from_one(total) - stirling_error_from_one(safe)
    rest = rest - 0.5 * (LOG_2PI + log(safe))
    # S(r) and log(1 + alpha y) have one finite sum where r underflows.
    log_total = log_size + log1p_lesser + jnp.where(is_small, 0.0, log_alpha_y)
    rest = rest + log_gamma_defect(log_size) - 0.5 * log_total
    return jnp.where(is_few, few, rest - half_deviance)


def _log_size(log_mean: Array, log_alpha: Array) -> Array:
    """Log r, finite at alpha = 0."""
    bound = 86.0 if log_alpha.dtype == jnp.float32 else 700.0
    return jnp.minimum(log_mean - log_alpha, bound)


def _safe(y: Array) -> tuple[Array, Array]:
    is_zero = y == 0
    return is_zero, jnp.where(is_zero, 1.0, y)


def _log1p_mean(eta: Array, alpha: Array) -> tuple[Array, Array, Array]:
    """Whether m = alpha exp(eta) <= 1, the lesser of m and 1 / m, and log(1 + m)."""
    m = alpha * exp(eta)
    is_small = m <= 1.0
    lesser = jnp.where(is_small, m, 1.0 / jnp.where(is_small, 1.0, m))
    log_alpha = jnp.log(jnp.maximum(alpha, math.exp(-LARGEST_LOG_SIZE)))
    log_m = jnp.where(is_small, 0.0, eta + log_alpha)
    return is_small, lesser, log1p(lesser) + log_m


@jax.custom_jvp
def nb2_log_prob(y: Array, eta: Array, alpha: Array) -> Array:
    """Log p(y) for variance mu + alpha mu^2; y >= 0, alpha >= 0."""
    _, safe = _safe(y)
    log_alpha = jnp.log(alpha)
    log_alpha_y = log_alpha + log(safe)
    m, log_m = alpha * exp(eta), log_alpha + eta
    log_size = jnp.minimum(-log_alpha, LARGEST_LOG_SIZE)
    return _log_prob(y, eta, alpha * safe, log_alpha_y, m, log_m, log_size)


def nb2_log_prob_zero(eta: Array, alpha: Array) -> Array:
    """-log(1 + alpha mu) / alpha, which is -mu at alpha = 0."""
    is_small, lesser, log1p_m = _log1p_mean(eta, alpha)
    far = log1p_m / jnp.where(is_small, 1.0, alpha)
    near = exp(jnp.where(is_small, eta, 0.0)) * log1p_ratio(
        jnp.where(is_small, lesser, 0.0)
    )
    return -jnp.where(is_small, near, far)


def nb2_score(y: Array, eta: Array, alpha: Array) -> Array:
    """D log p / d eta = (y - mu) / (1 + alpha mu)."""
    is_small, lesser, _ = _log1p_mean(eta, alpha)
    # alpha mu may overflow; far from there y / mu may.
    near = residual(y, jnp.where(is_small, eta, 0.0))
    far = relative_residual(y, jnp.where(is_small, 0.0, eta))
    far = far / jnp.where(is_small, 1.0, alpha)
    return jnp.where(is_small, near, far) / (1.0 + lesser)


def nb2_alpha_score(y: Array, eta: Array, alpha: Array) -> Array:
    """D log p / d alpha; (y - mu)^2 / 2 - y / 2 at alpha = 0."""
    score = nb2_score(y, eta, alpha)
    w = alpha * score
    _, _, log1p_m = _log1p_mean(eta, alpha)
    is_near = jnp.abs(w) < 0.4
    _, safe = _safe(y)
    log_alpha = jnp.log(jnp.maximum(alpha, math.exp(-LARGEST_LOG_SIZE)))
    log1p_y = _log1p_large(alpha * y, log_alpha + log(safe))
    safe = jnp.where(is_near, 1.0, alpha)
    near = score * score * log1p_minus_near(jnp.where(is_near, w, 0.0))
    first = jnp.where(is_near, near, (w - log1p_y + log1p_m) / safe / safe)
    share = 1.0 / (1.0 + alpha * y)
    size = 1.0 / jnp.maximum(alpha, math.exp(-LARGEST_LOG_SIZE))
    return first - 0.5 * y * share + _size_shift(y, share, size)


@jax.custom_jvp
def _size_shift(y: Array, share: Array, size: Array) -> Array:
    """(r / n)^2 T(n) - T(r), with T(x) = x^2 P(x), n = y + r and `share` = r / n."""
    is_zero, safe = _safe(y)
    shifted = share * share * digamma_error_scaled_from_one(safe + size)
    return jnp.where(is_zero, 0.0, shifted - digamma_error_scaled(size))


@_size_shift.defjvp
def _size_shift_jvp(primals: Args, tangents: Args) -> tuple[Array, Array]:
    def general(y: Array, share: Array, size: Array) -> Array:
        shifted = share * share * digamma_error_scaled(y + size)
        return shifted - digamma_error_scaled(size)

    return _size_shift(*primals), jax.jvp(general, primals, tangents)[1]


def _count_derivative(y: Array, eta: Array, total: Array, logs: Array) -> Array:
    """D log p / d y: digamma(y + r) - digamma(y + 1) + log(mu / (r + mu))."""
    return eta + logs - (0.5 + digamma_error(total)) / total - digamma(y + 1.0)


def _nb2_jvp(primals: Args, tangents: tuple[Any, Any, Any]) -> tuple[Array, Array]:
    y, eta, alpha = primals
    value = nb2_log_prob(y, eta, alpha)

    def by_count() -> Array:
        size = 1.0 / jnp.maximum(alpha, math.exp(-LARGEST_LOG_SIZE))
        logs = log1p(alpha * y) - _log1p_mean(eta, alpha)[2]
        return _count_derivative(y, eta, y + size, logs)

    return value, weighted_tangents(
        value,
        (by_count, tangents[0]),
        (lambda: nb2_score(y, eta, alpha), tangents[1]),
        (lambda: nb2_alpha_score(y, eta, alpha), tangents[2]),
    )


nb2_log_prob.defjvp(_nb2_jvp, symbolic_zeros=True)


@jax.custom_jvp
def nb1_log_prob(y: Array, eta: Array, alpha: Array) -> Array:
    """Log p(y) for variance mu (1 + alpha); y >= 0, alpha >= 0."""
    _, safe = _safe(y)
    gap, log_alpha = log_gap(safe, eta), jnp.log(alpha)
    alpha_y, log_alpha_y = alpha * exp(gap), log_alpha + gap
    log_size = _log_size(eta, log_alpha)
    return _log_prob(y, eta, alpha_y, log_alpha_y, alpha, log_alpha, log_size)


def nb1_log_prob_zero(eta: Array, alpha: Array) -> Array:
    """-mu log(1 + alpha) / alpha, which is -mu at alpha = 0."""
    return -exp(eta) * log1p_ratio(alpha)


def _nb1_parts(y: Array, eta: Array, alpha: Array) -> tuple[Array, ...]:
    """r; alpha y / mu; b, its change; r b; and r log(1 + b)."""
    _, safe = _safe(y)
    size = exp(_log_size(eta, jnp.log(alpha)))
    alpha_y = alpha * ratio(y, eta)
    b = (alpha_y - alpha) / (1.0 + alpha)
    excess = residual(y, eta) / (1.0 + alpha)
    log_alpha_y = jnp.log(alpha) + log_gap(safe, eta)
    is_near = jnp.abs(b) < 0.4
    near = excess * log1p_ratio(jnp.where(is_near, b, 0.0))
    far = size * (_log1p_large(alpha_y, log_alpha_y) - log1p(alpha))
    return size, alpha_y, b, excess, jnp.where(is_near, near, far)


def nb1_score(y: Array, eta: Array, alpha: Array) -> Array:
    """D log p / d eta = r (digamma(y + r) - digamma(r) - log(1 + alpha))."""
    size, alpha_y, _, _, first = _nb1_parts(y, eta, alpha)
    share = 1.0 / (1.0 + alpha_y)
    rest = digamma_error(size) - share * digamma_error(y + size)
    return first + 0.5 * (1.0 - share) + rest


def nb1_alpha_score(y: Array, eta: Array, alpha: Array) -> Array:
    """D log p / d alpha, at a given mean."""
    size, alpha_y, b, excess, first = _nb1_parts(y, eta, alpha)
    mean = exp(eta)
    total = y + size
    # That of p(0), and the sum of j / (mu + alpha j) - 1 / (1 + alpha) over j < y: the
    # sum by digamma, which does not cancel for few counts or a small size.
    is_large = alpha > 1.0
    small_slope = 1.0 / (1.0 + alpha) - log1p_minus(alpha)
    large_slope = log1p_ratio(alpha) - 1.0 / (1.0 + alpha)
    large_slope = large_slope / jnp.where(is_large, alpha, 1.0)
    at_zero = mean * jnp.where(is_large, large_slope, small_slope)
    is_few = (y == 1) | ((size < 1.0) & (y > 0))
    safe = jnp.where(is_few & (alpha > 0), alpha, 1.0)
    next_size = 1.0 + size
    rise = log(total / next_size) + (0.5 + digamma_error(next_size)) / next_size
    rise = rise - (0.5 + digamma_error(total)) / total
    few = at_zero - y / (1.0 + alpha) + ((y - 1.0) - size * rise) / safe
    # Otherwise all of it at once, by what is left of digamma.
    is_near = jnp.abs(b) < 0.4
    near = excess * (excess / mean) * log1p_minus(jnp.where(is_near, b, 0.0))
    far = (excess - first) / jnp.where(is_near, 1.0, alpha)
    share = 1.0 / (1.0 + alpha_y)
    shift = digamma_error_scaled(size) - share * share * digamma_error_scaled(total)
    many = jnp.where(is_near, near, far) - 0.5 * y / (mean + alpha * y) - shift / mean
    return jnp.where(is_few, few, many)


def _nb1_jvp(primals: Args, tangents: tuple[Any, Any, Any]) -> tuple[Array, Array]:
    y, eta, alpha = primals
    value = nb1_log_prob(y, eta, alpha)

    def by_count() -> Array:
        _, safe = _safe(y)
        size = exp(_log_size(eta, jnp.log(alpha)))
        log_alpha_y = jnp.log(alpha) + log_gap(safe, eta)
        logs = _log1p_large(alpha * ratio(y, eta), log_alpha_y) - log1p(alpha)
        return _count_derivative(y, eta, y + size, logs)

    return value, weighted_tangents(
        value,
        (by_count, tangents[0]),
        (lambda: nb1_score(y, eta, alpha), tangents[1]),
        (lambda: nb1_alpha_score(y, eta, alpha), tangents[2]),
    )


nb1_log_prob.defjvp(_nb1_jvp, symbolic_zeros=True)
