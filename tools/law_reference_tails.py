"""Integrates both tails of the laws with mpmath, where double precision finds them.

A tail of the generalized inverse Gaussian law is an integral of its density over
log x, by Gauss-Legendre panels. One of a mixture is the mean over w of a normal tail,
by the trapezoidal rule in log w; its step is halved until 18 digits agree, and one
value of each side is compared with an integral of the density of x.
"""

import mpmath
import numpy as np
from mpmath import mp, mpf
from scipy.special import log_ndtr

# Logarithms of the tail probabilities: 1e-3, 1e-20, 1e-100, 1e-200 and beyond.
TARGETS = np.array([np.log(1e-3), *(-np.log(10) * np.array([20, 100, 200])), -1000.0])
GRID = 40_001
GIG = [
    (1.5, 1.0, 2.0),
    (-3.0, 0.5, 4.0),
    (20.0, 1e-2, 1e2),
    (-20.0, 30.0, 1e-3),
    (0.0, 1e-4, 1e-4),
    (0.5, 1e4, 1e4),
    (2.5, 3.0, 0.0),
    (-6.0, 0.0, 3.0),
    (100.0, 1.0, 1.0),
    (-0.5, 2.0, 0.3),
]
# (p, a, b, loc, scale, skew)
MIXTURES = {
    "gh": [
        (0.7, 0.9, 3.0, 0.2, 1.5, -0.4),
        (-3.0, 0.1, 5.0, 0.0, 1.0, 2.0),
        (-8.0, 1e-3, 40.0, 0.0, 2.0, 0.5),
        (0.5, 200.0, 300.0, 0.0, 1.0, -1.0),
    ],
    "nig": [
        (-0.5, 1.0, 2.0, 0.3, 2.0, 0.5),
        (-0.5, 1e-3, 1.0, 0.0, 1.0, 0.0),
        (-0.5, 1e4, 1e4, 0.0, 1.0, 0.3),
        (-0.5, 1e8, 1e8, 0.0, 1.0, 0.0),
        (-0.5, 0.5, 1e-2, 0.0, 1.0, -3.0),
    ],
    "variance_gamma": [(2.0, 3.0, 0.0, 0.5, 2.0, 0.7), (0.4, 2.0, 0.0, 0.0, 1.0, 0.0)],
    "skew_t": [(-5.5, 0.0, 11.0, 0.5, 2.0, 0.7), (-2.0, 0.0, 4.0, 0.0, 1.0, 0.0)],
}


def log_sum(terms: np.ndarray) -> float:
    top = terms.max()
    if top == -np.inf:
        return -np.inf
    return float(top + np.log(np.sum(np.exp(terms - top))))


def around(p: float, a: float, b: float, nats: float) -> np.ndarray:
    """A grid of log w on which the kernel falls by that much on both sides."""
    root = np.hypot(p, np.sqrt(a * b))
    mode = np.log((p + root) / a) if p > 0 else np.log(b / (root - p))
    exponent = lambda v: p * v - (a * np.exp(v) + b * np.exp(-v)) / 2  # noqa: E731
    ends = []
    for sign in (-1, 1):
        step = 1e-6
        with np.errstate(over="ignore"):
            while exponent(mode + sign * step) > exponent(mode) - nats:
                step *= 1.1
                if abs(mode + sign * step) > 400:
                    break
        ends.append(np.clip(mode + sign * step, -400.0, 400.0))
    return np.linspace(*ends, GRID)


def bisect(roughly, target: float, low: float, high: float) -> float | None:
    """Where the decreasing function is the target."""
    if not roughly(high) < target < roughly(low):
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if roughly(middle) > target else (low, middle)
    return low


def log_kernel(p: mpf, a: mpf, b: mpf) -> mpf:
    """Log of the integral of w^(p - 1) exp(-(a w + b / w) / 2)."""
    if b == 0:
        return mpmath.loggamma(p) - p * mpmath.log(a / 2)
    if a == 0:
        return mpmath.loggamma(-p) + p * mpmath.log(b / 2)
    bessel = mpmath.besselk(p, mpmath.sqrt(a * b))
    return mpmath.log(2 * bessel) + p * mpmath.log(b / a) / 2


def gig_tail(p: float, a: float, b: float, x: float, side: int) -> mpf:
    """Log of the probability above x (side 1) or below it (side -1)."""
    p, a, b = mpf(p), mpf(a), mpf(b)
    edge = mpmath.log(mpf(x))
    log_z = log_kernel(p, a, b)

    def exponent(v: mpf) -> mpf:
        return p * v - (a * mpmath.exp(v) + b * mpmath.exp(-v)) / 2

    def density(v: mpf) -> mpf:
        return mpmath.exp(exponent(v) - start)

    start = exponent(edge)
    slope = p - (a * mpmath.exp(edge) - b * mpmath.exp(-edge)) / 2
    width = 1 / mpmath.sqrt(mpmath.hypot(p, mpmath.sqrt(a * b)) + 1)
    width = min(width, 1 / abs(slope) if slope else width)
    total, left = mpf(0), mpf(0)
    while True:
        right = left + width
        part = mpmath.quad(
            lambda s: density(edge + side * s), [left, right], method="gauss-legendre"
        )
        total, left, width = total + part, right, width * mpf("1.5")
        if part < total * mpf(10) ** -25:
            return mpmath.log(total) + start - log_z


def mixture_tail(member: tuple, x: float, side: int, grid: np.ndarray) -> mpf:
    """Log of the mean of the normal tails, over the law of w."""
    p, a, b, loc, scale, skew = (mpf(float(y)) for y in member)
    z, t = (mpf(x) - loc) / scale * side, skew / scale * side

    def term(v: mpf) -> mpf:
        w = mpmath.exp(v)
        kernel = mpmath.exp(p * v - (a * w + b / w) / 2 - log_z)
        return kernel * mpmath.erfc((z - t * w) / mpmath.sqrt(2 * w)) / 2

    log_z = log_kernel(p, a, b)
    low, high = mpf(grid[0]), mpf(grid[-1])
    total, size, last = mpf(0), 64, None
    step = (high - low) / size
    points = [low + i * step for i in range(size)]
    while True:
        total += mpmath.fsum(term(v) for v in points)
        value = mpmath.log(total * step)
        if last is not None and abs(value - last) < mpf(10) ** -18:
            return value
        points = [low + (i + mpf(1) / 2) * step for i in range(size)]
        step, size, last = step / 2, size * 2, value


def student_tail(member: tuple, x: float) -> mpf:
    """Student's t, the skew t law without skew, in closed form."""
    _, _, df, loc, scale, _ = (mpf(float(y)) for y in member)
    below = df / (df + ((mpf(x) - loc) / scale) ** 2)
    return mpmath.log(mpmath.betainc(df / 2, mpf(1) / 2, 0, below, True) / 2)


def density_tail(member: tuple, x: float, side: int) -> mpf:
    """The same by the density of x, in panels outwards: slower, but of another kind."""
    p, a, b, loc, scale, skew = (mpf(float(y)) for y in member)
    z0, t = (mpf(x) - loc) / scale * side, skew / scale * side

    def log_density(z: mpf) -> mpf:
        return t * z + log_kernel(p - mpf(1) / 2, a + t * t, b + z * z)

    start = log_density(z0)
    constant = log_kernel(p, a, b) + mpmath.log(2 * mp.pi) / 2
    nudge = z0 * mpf(10) ** -15
    slope = abs(log_density(z0 + nudge) - start) / nudge
    width = 1 / (slope + 1 / (1 + abs(z0)))
    total, left = mpf(0), z0
    while True:
        part = mpmath.quad(
            lambda z: mpmath.exp(log_density(z) - start),
            [left, left + width],
            method="gauss-legendre",
        )
        total, left, width = total + part, left + width, width * mpf("1.5")
        if part < total * mpf(10) ** -20:
            return mpmath.log(total) + start - constant


def check_tail(member: tuple, x: float, side: int, value: mpf) -> None:
    other = density_tail(member, x, side)
    if abs(other - value) > mpf(10) ** -14:
        raise SystemExit(f"the density disagrees: {member}, {x}, {side}: {other}")


def gig_rows(p: float, a: float, b: float, side: int) -> list[tuple]:
    v = around(p, a, b, 1100.0)
    terms = p * v - (a * np.exp(v) + b * np.exp(-v)) / 2
    total = log_sum(terms)

    def roughly(s: float) -> float:
        beyond = side * (v - side * s) >= 0
        return log_sum(np.where(beyond, terms, -1e300)) - total

    low, high = sorted((side * v[2], side * v[-3]))
    rows = []
    for target in TARGETS:
        found = bisect(roughly, target, low, high)
        if found is not None:
            x = float(np.exp(side * found))
            rows.append((p, a, b, x, side, float(gig_tail(p, a, b, x, side))))
    return rows


def mixture_rows(member: tuple, side: int) -> list[tuple]:
    p, a, b, loc, scale, skew = member
    t, grid = side * skew / scale, around(p, a, b, 1100.0)
    w = np.exp(grid)
    weights = p * grid - (a * w + b / w) / 2
    total = log_sum(weights)

    def terms(z: float) -> np.ndarray:
        return weights + log_ndtr(t * np.sqrt(w) - z / np.sqrt(w))

    rows = []
    for target in TARGETS:
        found = bisect(lambda s: log_sum(terms(np.sinh(s))) - total, target, -20, 300)
        if found is None or abs(np.sinh(found)) > 1e100:
            continue
        z = np.sinh(found)
        x = float(loc + scale * side * z)
        # Far out on the heavy side w is all but known, and the normal tail a step: too
        # sharp for the trapezoidal rule.
        if a == 0 and t * np.sqrt(max(z, 0.0)) > 30.0:
            continue
        if a == 0 and t == 0:
            rows.append((*member, x, side, float(student_tail(member, x))))
            continue
        part = grid[terms(z) > terms(z).max() - 60.0]
        value = mixture_tail(member, x, side, part)
        if target == TARGETS[1] and a > 0 and b > 0:
            check_tail(member, x, side, value)
        rows.append((*member, x, side, float(value)))
    return rows


def tail_tables() -> dict[str, np.ndarray]:
    """Rows of parameters, value, side (1: above) and log probability, by law."""
    with mpmath.workdps(40):
        gigs = [row for x in GIG for side in (1, -1) for row in gig_rows(*x, side)]
        tables = {"gig_tails": np.array(gigs)}
        for name, members in MIXTURES.items():
            rows = [
                r for x in members for side in (1, -1) for r in mixture_rows(x, side)
            ]
            tables[f"{name}_tails"] = np.array(rows)
            print(name, tables[f"{name}_tails"].shape, flush=True)
    return tables


if __name__ == "__main__":
    mp.dps = 40
    tail_tables()
