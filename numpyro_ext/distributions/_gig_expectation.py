r"""Members of the GIG and gamma families from their expectations.

For $x = s y$ with $s^2 = E[x]/E[1/x]$, the mean of $y$ and of $1/y$ is one number
$r > 1$, and a GIG law has two unknowns left. With $R_v = K_{v+1}(\omega)/K_v(\omega)$,
$$\log R_p R_{-p} = 2\log r, \qquad
  \partial_p \log K_p(\omega) + \tfrac12\log(R_{-p}/R_p) = E\log y.$$
In $\tau = \sinh^{-1}(p/\omega)$ and $\log\kappa$, $\kappa^2 = p^2 + \omega^2$, the two
nearly separate: the first is close to $1/\kappa$, and the second, divided by the square
of the first, is close to a function of $\tau$. At $\tau = \pm\infty$ are the gamma
edges; expectations beyond them have their closest member, in likelihood, at the edge.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import digamma, gammaln

from ..special import log_kv_moments, log_kv_ratio
from ._gig_normalizer import log_normalizer, root

MAX_STEPS = 100
LONGEST = 2.0
# Steps without a gain, after which a step as short as that is the last.
IDLE_STEPS, SHORT = 2, 1e-4
# Coefficients of k^-1, k^-2, k^-4, ... in log k - digamma(k): DLMF 5.11.2.
EVEN = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
SERIES_FROM = 16.0


def log_minus_digamma(k: Array) -> Array:
    """Log k - digamma(k) > 0, without cancellation for large k."""
    is_large = k > SERIES_FROM
    near, far = jnp.where(is_large, 1.0, k), jnp.where(is_large, k, SERIES_FROM)
    y = 1.0 / (far * far)
    series = jnp.zeros_like(y)
    for c in reversed(EVEN):
        series = series * y + c
    return jnp.where(is_large, 0.5 / far + y * series, jnp.log(near) - digamma(near))


@jax.custom_jvp
def gamma_shape(gap: Array) -> Array:
    """The k > 0 with log k - digamma(k) = gap > 0; NaN for other gaps.

    Newton's method for log k, whose start is off by at most 1.5 percent.
    Source of the start: Minka (2002), Estimating a Gamma distribution.
    """
    is_valid = gap > 0
    safe = jnp.where(is_valid, gap, 1.0)
    k = (3.0 - safe + jnp.sqrt(jnp.square(safe - 3.0) + 24.0 * safe)) / (12.0 * safe)
    for _ in range(6):
        value, slope = jax.jvp(log_minus_digamma, (k,), (jnp.ones_like(k),))
        # The log of the gap is close to linear in log k.
        k = k * jnp.exp(-jnp.log(value / safe) * value / (slope * k))
    return jnp.where(is_valid, k, jnp.nan)


@gamma_shape.defjvp
def _gamma_shape_jvp(primals, tangents):
    k = gamma_shape(*primals)
    slope = jax.jvp(log_minus_digamma, (k,), (jnp.ones_like(k),))[1]
    return k, tangents[0] / slope


def log_partition_gamma(k: Array, rate: Array) -> Array:
    """Log integral of x^(k - 1) exp(-rate x)."""
    return gammaln(k) - k * jnp.log(rate)


def log_partition_gig(theta: Array) -> Array:
    r"""Log integral of $x^{p-1}\exp(-(ax + b/x)/2)$ for (p - 1, -a/2, -b/2)."""
    p, a, b = theta[..., 0] + 1.0, -2.0 * theta[..., 1], -2.0 * theta[..., 2]
    # The derivatives of `log_normalizer` are those without the root already.
    return log_normalizer(p, a, b) - lax.stop_gradient(root(a) * root(b))


def _unknowns(tau: Array, log_kappa: Array) -> tuple[Array, Array]:
    kappa = jnp.exp(log_kappa)
    return kappa * jnp.tanh(tau), kappa / jnp.cosh(tau)


def _ratios(p: Array, omega: Array) -> tuple[Array, Array]:
    """Log of R_p and of R_-p for p >= 0."""
    lesser = log_kv_ratio(-p, omega)
    return jnp.log(2.0 * p / omega + jnp.exp(lesser)), lesser


def _means(p: Array, omega: Array) -> tuple[tuple[Array, Array], tuple]:
    """Log of R_p R_-p and E log y, and their derivatives in p and omega."""
    one = jnp.ones_like(p)
    off = jnp.zeros_like(p)
    (greater, lesser), slope = jax.linearize(_ratios, p, omega)
    by_p, by_omega = slope(one, off), slope(off, one)
    kv = log_kv_moments(p, omega)
    values = greater + lesser, kv.by_v + 0.5 * (lesser - greater)
    slopes = (
        (by_p[0] + by_p[1], by_omega[0] + by_omega[1]),
        (
            kv.by_vv + 0.5 * (by_p[1] - by_p[0]),
            kv.by_vz + 0.5 * (by_omega[1] - by_omega[0]),
        ),
    )
    return values, slopes


def _residuals(
    tau: Array, log_kappa: Array, spread: Array, centre: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array, Array, Array]]:
    """Two equations that are nearly linear, and their Jacobian row by row."""
    p, omega = _unknowns(tau, log_kappa)
    (first, second), (row1, row2) = _means(p, omega)
    sech = 1.0 / jnp.cosh(tau)
    # Derivatives of p and omega in tau; those in log kappa are p and omega.
    p_tau, omega_tau = omega * sech, -omega * jnp.tanh(tau)
    # (log first, second / first^2)
    weight = 1.0 / (first * first)
    f1 = jnp.log(first / spread)
    f2 = second * weight - centre
    d1 = row1[0] * p_tau + row1[1] * omega_tau, row1[0] * p + row1[1] * omega
    d2 = row2[0] * p_tau + row2[1] * omega_tau, row2[0] * p + row2[1] * omega
    d1 = d1[0] / first, d1[1] / first
    d2 = tuple(
        y * weight - 2.0 * second * weight * x for x, y in zip(d1, d2, strict=True)
    )
    return (f1, f2), (d1[0], d1[1], d2[0], d2[1])


def _solve(spread: Array, location: Array) -> tuple[Array, Array]:
    """The p >= 0 and omega with these 2 log r and E log y >= 0, scalars."""
    centre = location / (spread * spread)
    # r^2 - 1 = 1 / (k - 1) at the edge, and close to 1 / kappa everywhere.
    excess = jnp.expm1(jnp.minimum(spread, 600.0))
    log_kappa = -jnp.log(excess) + jnp.log1p(0.5 * excess / (1.0 + excess))
    edge = 1.0 / 6.0
    tau = jnp.arctanh(jnp.clip(centre / edge, 0.0, 0.95))
    tolerance = 4.0 * jnp.finfo(spread.dtype).eps

    def step(state):
        count, tau, log_kappa, least, best, fails, _ = state
        (f1, f2), (j11, j12, j21, j22) = _residuals(tau, log_kappa, spread, centre)
        size = jnp.abs(f1) + jnp.abs(f2)
        is_better = size < least
        least = jnp.where(is_better, size, least)
        best = tuple(
            jnp.where(is_better, x, y)
            for x, y in zip((tau, log_kappa), best, strict=True)
        )
        det = j11 * j22 - j12 * j21
        move1 = -(j22 * f1 - j12 * f2) / det
        move2 = -(j11 * f2 - j21 * f1) / det
        is_bad = ~(jnp.isfinite(move1) & jnp.isfinite(move2))
        move1, move2 = jnp.where(is_bad, 0.0, move1), jnp.where(is_bad, 0.0, move2)
        longest = jnp.maximum(jnp.abs(move1), jnp.abs(move2))
        cut = jnp.minimum(1.0, LONGEST / jnp.maximum(longest, 1e-30))
        fails = jnp.where(is_better, 0, fails + 1)
        size = longest / (1.0 + jnp.abs(log_kappa))
        # At the end rounding errors alone move the unknowns, forth and back.
        is_idle = (fails >= IDLE_STEPS) & (size <= SHORT)
        is_done = is_bad | (size <= tolerance) | is_idle
        tau = jnp.maximum(tau + cut * move1, 0.0)
        return count + 1, tau, log_kappa + cut * move2, least, best, fails, is_done

    def is_open(state):
        return (state[0] < MAX_STEPS) & ~state[6]

    big = jnp.full_like(spread, jnp.inf)
    start = (0, tau, log_kappa, big, (tau, log_kappa), 0, jnp.zeros((), bool))
    best = lax.while_loop(is_open, step, start)[4]
    return _unknowns(*best)


@jax.custom_jvp
def _natural(eta: Array) -> Array:
    """(p - 1, -a/2, -b/2) from E[log x, x, 1/x]; NaN outside E[x] E[1/x] > 1."""
    log_x, log_inverse = jnp.log(eta[1]), jnp.log(eta[2])
    spread = log_x + log_inverse
    log_s = 0.5 * (log_x - log_inverse)
    location = eta[0] - log_s
    is_valid = (spread > 0) & (jnp.abs(location) < 0.5 * spread)
    spread_safe = jnp.where(is_valid, spread, 1.0)
    size = jnp.where(is_valid, jnp.abs(location), 0.0)
    sign = jnp.where(location < 0, -1.0, 1.0)
    # The gamma law with the same r, and beyond it the one with E[x] and E[log x].
    k = 1.0 / -jnp.expm1(-spread_safe)
    is_edge = is_valid & (size >= 0.5 * spread_safe - log_minus_digamma(k))
    p, omega = _solve(spread_safe, jnp.where(is_edge, 0.0, size))
    greater, lesser = _ratios(p, omega)
    # log of the scale c of y, for which E[y] = E[1/y]
    log_c = sign * 0.5 * (lesser - greater) + log_s
    inside = jnp.stack(
        [
            sign * p - 1.0,
            -0.5 * omega * jnp.exp(-log_c),
            -0.5 * omega * jnp.exp(log_c),
        ]
    )
    shape = gamma_shape(jnp.where(is_edge, 0.5 * spread_safe - size, 1.0))
    rate = shape * jnp.exp(-jnp.where(sign > 0, log_x, log_inverse))
    none = jnp.zeros_like(rate)
    edge = jnp.stack(
        [
            sign * shape - 1.0,
            jnp.where(sign > 0, -rate, none),
            jnp.where(sign > 0, none, -rate),
        ]
    )
    return jnp.where(is_valid, jnp.where(is_edge, edge, inside), jnp.nan)


@_natural.defjvp
def _natural_jvp(primals, tangents):
    theta = _natural(*primals)
    information = jax.jacfwd(jax.jacfwd(log_partition_gig))(theta)
    return theta, jnp.linalg.solve(information, tangents[0])


gig_natural = jax.jit(jnp.vectorize(_natural, signature="(k)->(k)"))
