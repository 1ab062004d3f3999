"""Generates the reference values behind `tests/distributions/test_reference.py`.

Run `python tools/generate_law_reference.py`; it needs mpmath and some minutes.

Every density of the family is made of Z(p, a, b), the integral over v = log w of
exp(p v - (a e^v + b e^-v) / 2), and its gradient of the means of log w, w and 1/w. The
trapezoidal rule gives both to more than 40 digits; every `CHECK`-th integral is
compared with `mpmath.besselk`, and every `CHECK`-th gradient with a difference quotient
of the log density. The members are drawn by `law_reference_members.py`, and the tails
are integrated by `law_reference_tails.py`.

For each law the table has the inputs (parameters and value), the log density, its
gradient in every input, and the condition of each derivative: the sum over the inputs
of |d g / d input * input|, by differences. One unit in the last place of the inputs
moves the derivative g by that much times the machine epsilon.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import mpmath
import numpy as np
from law_reference_members import members
from law_reference_tails import tail_tables
from mpmath import mp, mpf

TARGET = Path(__file__).parents[1] / "tests" / "distributions" / "data" / "laws.npz"
CHECK = 40
NUDGE = mpf(10) ** -18
Row = tuple[mpf, list[mpf]]
count = {"integrals": 0, "rows": 0}


def kernel(p: mpf, a: mpf, b: mpf) -> tuple[mpf, mpf, mpf, mpf]:
    """log Z and the means of log w, w and 1/w."""
    if b == 0:
        inverse = a / 2 / (p - 1) if p > 1 else mp.inf
        log_z = mpmath.loggamma(p) - p * mpmath.log(a / 2)
        return log_z, mpmath.digamma(p) - mpmath.log(a / 2), 2 * p / a, inverse
    if a == 0:
        log_z, mean_log, mean, inverse = kernel(-p, b, a)
        return log_z, -mean_log, inverse, mean
    omega, ratio = mpmath.sqrt(a * b), mpmath.sqrt(b / a)
    kappa, mode = mpmath.hypot(p, omega), mpmath.asinh(p / omega)
    peak = p * mode - kappa
    step = min(mpf("0.09"), mpf("0.3") / mpmath.sqrt(kappa))
    factor, start = mpmath.exp(step), mpmath.exp(mode)
    sums = [mpf(0)] * 4
    for sign in (1, -1):
        j = 0 if sign == 1 else 1
        growth = start * factor ** (sign * j)
        while True:
            offset = sign * j * step
            exponent = p * (mode + offset) - omega * (growth + 1 / growth) / 2 - peak
            if exponent < -130:
                break
            w = mpmath.exp(exponent)
            powers = (1, offset, growth, 1 / growth)
            sums = [s + w * q for s, q in zip(sums, powers, strict=True)]
            j += 1
            growth = growth * factor if sign == 1 else growth / factor
    total, offset, mean, inverse = (s / sums[0] for s in sums)
    log_ratio = mpmath.log(ratio)
    log_z = mpmath.log(step * sums[0]) + peak + p * log_ratio
    check_integral(p, omega, log_z - p * log_ratio)
    return log_z, mode + offset + log_ratio, ratio * mean, inverse / ratio


def check_integral(p: mpf, omega: mpf, log_integral: mpf) -> None:
    count["integrals"] += 1
    if count["integrals"] % (10 * CHECK) == 0 and abs(p) < 50 and omega < 1e6:
        other = mpmath.log(2 * mpmath.besselk(p, omega))
        if abs(other - log_integral) > mpf(10) ** -35 * max(1, abs(other)):
            raise SystemExit(f"mpmath disagrees at order {p}, argument {omega}")


def gig(p: mpf, a: mpf, b: mpf, x: mpf) -> Row:
    log_z, mean_log, mean, inverse = kernel(p, a, b)
    value = (p - 1) * mpmath.log(x) - (a * x + b / x) / 2 - log_z
    by_x = (p - 1) / x - a / 2 + b / x**2 / 2
    by_p = mpmath.log(x) - mean_log
    return value, [by_p, (mean - x) / 2, (inverse - 1 / x) / 2, by_x]


def inverse_gaussian(m: mpf, c: mpf, x: mpf) -> Row:
    loss = (x - m) ** 2 / (2 * m**2 * x)
    value = mpmath.log(c / (2 * mp.pi * x**3)) / 2 - c * loss
    by_x = -3 / (2 * x) - c * (1 / m**2 - 1 / x**2) / 2
    return value, [c * (x - m) / m**3, 1 / (2 * c) - loss, by_x]


def gh(p: mpf, a: mpf, b: mpf, loc: mpf, scale: mpf, skew: mpf, x: mpf) -> Row:
    z, t = (x - loc) / scale, skew / scale
    log_z, mean_log, mean, inverse = kernel(p, a, b)
    given = kernel(p - mpf(1) / 2, a + t * t, b + z * z)
    value = t * z - mpmath.log(2 * mp.pi) / 2 - mpmath.log(scale) + given[0] - log_z
    by_z, by_t = t - z * given[3], z - t * given[2]
    by_scale = -(1 + z * by_z + t * by_t) / scale
    by_mixing = [given[1] - mean_log, (mean - given[2]) / 2, (inverse - given[3]) / 2]
    return value, [*by_mixing, -by_z / scale, by_scale, by_t / scale, by_z / scale]


def nig(a: mpf, b: mpf, *rest: mpf) -> Row:
    value, slopes = gh(mpf(-1) / 2, a, b, *rest)
    return value, slopes[1:]


def hyperbolic(a: mpf, b: mpf, *rest: mpf) -> Row:
    value, slopes = gh(mpf(1), a, b, *rest)
    return value, slopes[1:]


def variance_gamma(k: mpf, rate: mpf, *rest: mpf) -> Row:
    value, slopes = gh(k, 2 * rate, mpf(0), *rest)
    return value, [slopes[0], 2 * slopes[1], *slopes[3:]]


def skew_t(df: mpf, *rest: mpf) -> Row:
    value, slopes = gh(-df / 2, mpf(0), df, *rest)
    return value, [slopes[2] - slopes[0] / 2, *slopes[3:]]


def multivariate(p: mpf, a: mpf, b: mpf, *rest: mpf) -> Row:
    """loc and skew of 3, the 6 numbers of the triangle by rows, and the value."""
    loc, skew, x = (mpmath.matrix(rest[i : i + 3]) for i in (0, 3, 12))
    spots = [(i, j) for i in range(3) for j in range(i + 1)]
    tril = mpmath.matrix(3, 3)
    for spot, entry in zip(spots, rest[6:12], strict=True):
        tril[spot] = entry
    back = tril**-1
    z, t = back * (x - loc), back * skew
    log_z, mean_log, mean, inverse = kernel(p, a, b)
    z2, t2, cross = (z.T * z)[0], (t.T * t)[0], (t.T * z)[0]
    given = kernel(p - mpf(3) / 2, a + t2, b + z2)
    log_det = sum(mpmath.log(tril[i, i]) for i in range(3))
    value = cross - 3 * mpmath.log(2 * mp.pi) / 2 - log_det + given[0] - log_z
    by_z, by_t = back.T * (t - z * given[3]), back.T * (z - t * given[2])
    by_tril = [
        -by_z[i] * z[j] - by_t[i] * t[j] - (1 / tril[i, i] if i == j else 0)
        for i, j in spots
    ]
    by_mixing = [given[1] - mean_log, (mean - given[2]) / 2, (inverse - given[3]) / 2]
    return value, [*by_mixing, *(-by_z), *by_t, *by_tril, *by_z]


def multivariate_nig(a: mpf, b: mpf, *rest: mpf) -> Row:
    value, slopes = multivariate(mpf(-1) / 2, a, b, *rest)
    return value, slopes[1:]


LAWS: dict[str, Callable[..., Row]] = {
    "gig": gig,
    "inverse_gaussian": inverse_gaussian,
    "gh": gh,
    "nig": nig,
    "hyperbolic": hyperbolic,
    "variance_gamma": variance_gamma,
    "skew_t": skew_t,
    "multivariate_gh": multivariate,
    "multivariate_nig": multivariate_nig,
}


def row(law: Callable[..., Row], inputs: Sequence[float]) -> tuple[mpf, list, list]:
    """Log density, gradient, and the condition of each derivative."""
    exact = [mpf(float(x)) for x in inputs]
    value, slopes = law(*exact)
    condition = [mpf(0)] * len(slopes)
    count["rows"] += 1
    for i, x in enumerate(exact):
        if x == 0:
            continue
        moved = exact.copy()
        moved[i] = x * (1 + NUDGE)
        other, tilted = law(*moved)
        change = [abs(s - t) / NUDGE for s, t in zip(tilted, slopes, strict=True)]
        condition = [c + d for c, d in zip(condition, change, strict=True)]
        if count["rows"] % CHECK == 0:
            quotient = (other - value) / (moved[i] - x)
            bar = (abs(slopes[i]) + change[i] / abs(x)) * mpf(10) ** -10
            if abs(quotient - slopes[i]) > bar:
                raise SystemExit(f"derivative {i} of {law.__name__} at {inputs}")
    return value, slopes, condition


def main() -> None:
    mp.dps = 80
    out: dict[str, np.ndarray] = {}
    for name, inputs in members().items():
        rows = [row(LAWS[name], x) for x in inputs]
        out[f"{name}_inputs"] = inputs
        out[f"{name}_log_prob"] = np.array([float(v) for v, _, _ in rows])
        out[f"{name}_grad"] = np.array([[float(x) for x in g] for _, g, _ in rows])
        condition = [[float(x) for x in c] for _, _, c in rows]
        out[f"{name}_condition"] = np.array(condition).astype(np.float32)
        print(name, inputs.shape, flush=True)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, **out, **tail_tables())
    print(TARGET.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
