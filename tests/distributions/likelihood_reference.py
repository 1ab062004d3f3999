"""The likelihoods by their textbook formulas, in mpmath, at enough digits."""

from collections.abc import Callable

import mpmath as mp
import numpy as np

# exp(700) has 304 digits before the point.
DIGITS = 350
Real = mp.mpf


def log_probs(link: str, eta: Real) -> tuple[Real, Real]:
    """(log p, log(1 - p)) of a link."""
    if link == "logit":
        return -mp.log1p(mp.exp(-eta)), -mp.log1p(mp.exp(eta))
    if link == "probit":
        return log_normal_cdf(eta), log_normal_cdf(-eta)
    if link == "cloglog":
        return mp.log(-mp.expm1(-mp.exp(eta))), -mp.exp(eta)
    if link == "loglog":
        return -mp.exp(-eta), mp.log(-mp.expm1(-mp.exp(-eta)))
    return log_cauchy_cdf(eta), log_cauchy_cdf(-eta)


def log_normal_cdf(x: Real) -> Real:
    if x > 0:
        return mp.log1p(-mp.erfc(x / mp.sqrt(2)) / 2)
    return mp.log(mp.erfc(-x / mp.sqrt(2)) / 2)


def log_cauchy_cdf(x: Real) -> Real:
    if x > 0:
        return mp.log1p(-mp.atan2(1, x) / mp.pi)
    return mp.log(mp.atan2(1, -x) / mp.pi)


def poisson(y: Real, eta: Real) -> Real:
    return y * eta - mp.exp(eta) - mp.loggamma(y + 1)


def bernoulli(link: str) -> Callable[..., Real]:
    def log_prob(y: Real, eta: Real) -> Real:
        return log_probs(link, eta)[0 if y == 1 else 1]

    return log_prob


def binomial(link: str) -> Callable[..., Real]:
    def log_prob(y: Real, eta: Real, n: Real) -> Real:
        one, zero = log_probs(link, eta)
        choose = mp.loggamma(n + 1) - mp.loggamma(y + 1) - mp.loggamma(n - y + 1)
        return choose + y * one + (n - y) * zero

    return log_prob


def negative_binomial(y: Real, eta: Real, alpha: Real) -> Real:
    if alpha == 0:
        return poisson(y, eta)
    size, m = 1 / alpha, alpha * mp.exp(eta)
    rise = mp.loggamma(y + size) - mp.loggamma(size) - mp.loggamma(y + 1)
    return rise + y * (mp.log(alpha) + eta) - (y + size) * mp.log1p(m)


def negative_binomial_1(y: Real, eta: Real, alpha: Real) -> Real:
    return negative_binomial(y, eta, alpha * mp.exp(-eta))


def gamma(y: Real, eta: Real, dispersion: Real) -> Real:
    k = 1 / dispersion
    scaled = k * mp.log(k * y) - k * eta - k * y * mp.exp(-eta)
    return scaled - mp.loggamma(k) - mp.log(y)


def inverse_gaussian(y: Real, eta: Real, dispersion: Real) -> Real:
    mu = mp.exp(eta)
    distance = (y - mu) ** 2 / (dispersion * mu**2 * y)
    return -(mp.log(2 * mp.pi * dispersion * y**3) + distance) / 2


def tweedie(y: Real, eta: Real, dispersion: Real, power: Real) -> Real:
    """The series of Dunn and Smyth (2005), summed until its terms are negligible."""
    rest = 2 - power
    by_zero = mp.exp(rest * eta) / (dispersion * rest)
    if y == 0:
        return -by_zero
    a = rest / (power - 1)
    log_z = a * mp.log(y / (power - 1)) - (1 + a) * mp.log(dispersion) - mp.log(rest)
    centre = max(1, int(mp.floor(y**rest / (dispersion * rest))))

    def log_term(j: int) -> Real:
        return j * log_z - mp.loggamma(j + 1) - mp.loggamma(j * a)

    largest, total = log_term(centre), mp.mpf(0)
    for step in (1, -1):
        j = centre if step == 1 else centre - 1
        while j >= 1:
            term = mp.exp(log_term(j) - largest)
            total += term
            if term < mp.mpf(10) ** -30:
                break
            j += step
    tilt = y * mp.exp(-(power - 1) * eta) / (dispersion * (1 - power))
    return largest + mp.log(total) - mp.log(y) + tilt - by_zero


def beta(link: str) -> Callable[..., Real]:
    def log_prob(y: Real, eta: Real, precision: Real) -> Real:
        one, zero = log_probs(link, eta)
        a, b = precision * mp.exp(one), precision * mp.exp(zero)
        norm = mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)
        return norm + (a - 1) * mp.log(y) + (b - 1) * mp.log1p(-y)

    return log_prob


def ordered(link: str, cutpoints: list[float]) -> Callable[..., Real]:
    def log_prob(k: Real, eta: Real) -> Real:
        k = int(k)
        cuts = [mp.mpf(c) - eta for c in cutpoints]
        if k == 0:
            return log_probs(link, cuts[0])[0]
        if k == len(cuts):
            return log_probs(link, cuts[-1])[1]
        # In the tail where the difference does not cancel.
        tail = 0 if cuts[k] < 0 else 1
        a, b = (mp.exp(log_probs(link, x)[tail]) for x in (cuts[k - 1], cuts[k]))
        return mp.log(abs(a - b))

    return log_prob


def zero_inflated(base: Callable[..., Real]) -> Callable[..., Real]:
    def log_prob(y: Real, gate: Real, *rest: Real) -> Real:
        log_gate, log_rest = log_probs("logit", gate)
        at = log_rest + base(y, *rest)
        if y != 0:
            return at
        return mp.log(mp.exp(log_gate) + mp.exp(at))

    return log_prob


def hurdle(base: Callable[..., Real]) -> Callable[..., Real]:
    def log_prob(y: Real, gate: Real, *rest: Real) -> Real:
        log_gate, log_rest = log_probs("logit", gate)
        if y == 0:
            return log_gate
        cut = mp.log(-mp.expm1(base(mp.mpf(0), *rest)))
        return log_rest + base(y, *rest) - cut

    return log_prob


def evaluate(
    function: Callable[..., Real], points: np.ndarray, digits: int = DIGITS
) -> np.ndarray:
    """The value and the derivative in each argument but the first, at each row."""
    rows = []
    with mp.workdps(digits):
        for point in points:
            x = [mp.mpf(float(v)) for v in point]
            row = [function(*x)]
            for i in range(1, len(x)):
                h = max(abs(x[i]), mp.mpf(10) ** -10) * mp.mpf(10) ** -20

                def moved(step: Real, i: int = i, x: list = x) -> Real:
                    return function(*x[:i], x[i] + step, *x[i + 1 :])

                if x[i] == 0 and i > 1:
                    # The edge of a domain: a one-sided difference of second order.
                    slope = (4 * moved(h) - moved(2 * h) - 3 * row[0]) / (2 * h)
                else:
                    slope = (moved(h) - moved(-h)) / (2 * h)
                row.append(slope)
            rows.append([float(mp.re(v)) for v in row])
    return np.asarray(rows)
