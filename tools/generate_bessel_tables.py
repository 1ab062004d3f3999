"""Generates the coefficient tables of `numpyro_ext.special`, at 50 digits.

Run `python tools/generate_bessel_tables.py` to write `numpyro_ext/special/_tables.py`,
and add `--check` to compare the file with what would be written instead.

Every table is a polynomial in one or two variables, fitted to a function that mpmath
evaluates to 40 digits or more: by Chebyshev interpolation on a rectangle, truncated
where the coefficients fall below a tolerance, or (for Debye's expansion, whose region
is no rectangle) by least squares on Chebyshev points. Both are within a small factor
of the minimax polynomial.
"""

import argparse
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
from mpmath import mp, mpf

TARGET = Path(__file__).parents[1] / "numpyro_ext" / "special" / "_tables.py"
HEADER = '''\
"""Coefficients of the polynomials behind `log_kv`, per floating-point format.

Written by `tools/generate_bessel_tables.py`, which explains each table: do not edit.
A table of two variables lists, for each power of the first, the coefficients of the
rising powers of the second.
"""

# fmt: off
'''

# The border of the asymptotic regime, kappa + slope v >= radius, with the number of
# terms in 1 / kappa and the degrees in (v / kappa)^2 that reach the format's precision.
OLVER = {
    "64": {
        "radius": 26,
        "slope": mpf("0.3"),
        "degrees": [min(k + 7, 14) for k in range(9)],
    },
    "32": {"radius": 10, "slope": mpf("0.7"), "degrees": [5, 6, 7, 8]},
}
# Chebyshev points per axis of the fit.
POINTS = {"64": 20, "32": 14}
TOLERANCE = {"64": mpf("2e-18"), "32": mpf("5e-9")}
# The square of the largest |(f - 1) / (f + 1)| with f in [sqrt(1/2), sqrt(2)].
ATANH_RANGE = (3 - 2 * 2**0.5) ** 2


def chebyshev_points(n: int, lower: mpf, upper: mpf) -> list[mpf]:
    cosines = [mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * n)) for i in range(n)]
    return [lower + (upper - lower) * (1 + c) / 2 for c in cosines]


def shifted_chebyshev(n: int, lower: mpf, upper: mpf) -> np.ndarray:
    """Row k holds the monomial coefficients of T_k mapped to [lower, upper]."""
    slope, shift = 2 / (upper - lower), -(upper + lower) / (upper - lower)
    rows = np.full((n, n), mpf(0), dtype=object)
    rows[0, 0] = mpf(1)
    if n > 1:
        rows[1, 0], rows[1, 1] = shift, slope
    for k in range(2, n):
        rows[k] = 2 * shift * rows[k - 1] - rows[k - 2]
        rows[k, 1:] += 2 * slope * rows[k - 1, :-1]
    return rows


def transform(n: int) -> np.ndarray:
    """Maps the values at `n` Chebyshev points to Chebyshev coefficients."""
    table = [
        [mpmath.cos(k * mpmath.pi * (2 * i + 1) / (2 * n)) for i in range(n)]
        for k in range(n)
    ]
    scale = [mpf(1 if k == 0 else 2) / n for k in range(n)]
    return np.array(
        [[s * t for t in row] for s, row in zip(scale, table, strict=True)],
        dtype=object,
    )


def fit(f: Callable, upper: mpf, tolerance: mpf, *, lower=0, n: int = 32) -> list:
    """Monomial coefficients of `f` on [lower, upper]."""
    lower, upper = mpf(lower), mpf(upper)
    values = np.array([f(x) for x in chebyshev_points(n, lower, upper)], dtype=object)
    coefficients = transform(n).dot(values)
    while abs(coefficients[-1]) < tolerance:
        coefficients = coefficients[:-1]
    n = len(coefficients)
    return list(coefficients.dot(shifted_chebyshev(n, lower, upper)))


def fit2(f: Callable, upper: tuple, tolerance: mpf, *, n: int = 16) -> list[list]:
    """Monomial coefficients of `f(x, y)` on [0, upper[0]] times [0, upper[1]]."""
    xs, ys = (chebyshev_points(n, mpf(0), mpf(u)) for u in upper)
    values = np.array([[f(x, y) for y in ys] for x in xs], dtype=object)
    coefficients = transform(n).dot(values).dot(transform(n).T)
    coefficients[np.abs(coefficients) < tolerance] = mpf(0)
    to_x, to_y = (shifted_chebyshev(n, mpf(0), mpf(u)) for u in upper)
    monomials = to_x.T.dot(coefficients).dot(to_y)
    return trimmed([list(row) for row in monomials])


def trimmed(rows: list[list]) -> list[list]:
    for row in rows:
        while row and row[-1] == 0:
            row.pop()
    while not rows[-1]:
        rows.pop()
    return rows


def debye_remainder(s: mpf, m: mpf) -> mpf:
    """Log K_v(z) - (v asinh(v/z) - kappa + log(pi/(2 kappa))/2), by quadrature.

    With u = asinh(v/z) + x in K_v(z) = (1/2) int exp(v u - z cosh u) du, kappa = 1/s
    and v = sqrt(m) kappa. The trapezoidal rule converges geometrically: a step of
    0.38/sqrt(kappa) leaves a relative error below 1e-50 for kappa >= 5.
    """
    kappa, p = 1 / s, mpmath.sqrt(m)
    step = mpmath.sqrt(s) * mpf("0.3")

    def integrand(x: mpf) -> mpf:
        return mpmath.exp(-kappa * (mpmath.cosh(x) - 1 + p * (mpmath.sinh(x) - x)))

    total = integrand(mpf(0))
    for sign in (1, -1):
        for j in range(1, 10_000):
            term = integrand(sign * j * step)
            total += term
            if term < mpf(10) ** -45:
                break
    return mpmath.log(step * total * mpmath.sqrt(kappa / (2 * mpmath.pi)))


def olver_table(radius: int, slope: mpf, degrees: list[int], n: int) -> list[list]:
    """Fits sum_k x^(k+1) sum_j c_kj m^j, with x = radius s, to `debye_remainder`.

    The sample fills 0 < s <= (1 + slope sqrt(m)) / radius, 0 <= m <= 1.
    """
    points = [
        (s, m)
        for m in chebyshev_points(n, mpf(0), mpf(1))
        for s in chebyshev_points(n, mpf(0), (1 + slope * mpmath.sqrt(m)) / radius)
    ]
    basis = [(k, j) for k, degree in enumerate(degrees) for j in range(degree + 1)]
    x = [[(s * radius) ** k for k in range(1, len(degrees) + 1)] for s, _ in points]
    y = [[m**j for j in range(max(degrees) + 1)] for _, m in points]
    rows = np.array(
        [[xs[k] * ys[j] for k, j in basis] for xs, ys in zip(x, y, strict=True)],
        dtype=object,
    )
    target = np.array([debye_remainder(s, m) for s, m in points], dtype=object)
    normal = mpmath.matrix(rows.T.dot(rows).tolist())
    right = mpmath.matrix(rows.T.dot(target).tolist())
    solution = iter(mpmath.cholesky_solve(normal, right))
    return [[next(solution) for _ in range(degree + 1)] for degree in degrees]


def debye_polynomials(count: int) -> list[list[Fraction]]:
    """D_k(m), k = 1..count: log sum_k (-s)^k U_k(p)/p^k = sum_k s^k D_k(p^2), exactly.

    U_{k+1}(p) = p^2 (1 - p^2) U_k'(p)/2 + (1/8) int_0^p (1 - 5 t^2) U_k(t) dt
    (DLMF 10.41.9). They check the fitted table independently: `check_debye`.
    """
    u = [{0: Fraction(1)}]
    for _ in range(count):
        new: dict[int, Fraction] = {}
        for i, c in u[-1].items():
            for power, factor in (
                (i + 1, Fraction(i, 2) + Fraction(1, 8 * (i + 1))),
                (i + 3, -Fraction(i, 2) - Fraction(5, 8 * (i + 3))),
            ):
                new[power] = new.get(power, Fraction(0)) + c * factor
        u.append(new)
    w = [
        [(-1) ** k * u[k].get(k + 2 * j, Fraction(0)) for j in range(k + 1)]
        for k in range(count + 1)
    ]
    logs = [[Fraction(0)]]
    for k in range(1, count + 1):
        row = [Fraction(c) for c in w[k]]
        for i in range(1, k):
            for a, left in enumerate(logs[i]):
                for b, right in enumerate(w[k - i]):
                    row[a + b] -= Fraction(i, k) * left * right
        logs.append(row)
    return logs[1:]


def check_debye(table: list[list[float]], radius: int, slope: float) -> float:
    """Largest gap between a fitted table and Debye's exact series, far enough out."""
    exact, worst = debye_polynomials(24), mpf(0)
    for m in (mpf(i) / 16 for i in range(17)):
        for fraction in ("0.02", "0.2", "0.5", "0.8"):
            s = mpf(fraction) * (1 + slope * mpmath.sqrt(m)) / radius
            series = sum(
                s ** (k + 1)
                * sum(
                    mpf(c.numerator) / c.denominator * m**j for j, c in enumerate(row)
                )
                for k, row in enumerate(exact)
            )
            fitted = sum(
                (s * radius) ** (k + 1) * sum(mpf(c) * m**j for j, c in enumerate(row))
                for k, row in enumerate(table)
            )
            worst = max(worst, abs(series - fitted))
    return float(worst)


def temme_part(parity: int, derivative: int) -> Callable:
    """Even (0) or odd (1) part in mu of sum_k y^k / (k! Gamma(k + 1 - mu)).

    As a function of (y, mu^2); the odd part is divided by mu. `derivative` counts
    derivatives in y.
    """

    def part(y: mpf, square: mpf) -> mpf:
        mu = mpmath.sqrt(square)

        def series(sign: int) -> mpf:
            return sum(
                y**k
                * mpmath.rgamma(k + 1 + derivative - sign * mu)
                / mpmath.factorial(k)
                for k in range(26)
            )

        if parity:
            return (series(1) - series(-1)) / (2 * mu)
        return (series(1) + series(-1)) / 2

    return part


def reflection(square: mpf) -> mpf:
    """log(pi mu / sin(pi mu)) / mu^2, a function of mu^2."""
    mu = mpmath.sqrt(square)
    return mpmath.log(mpmath.pi * mu / mpmath.sin(mpmath.pi * mu)) / square


def atanh_tail(square: mpf) -> mpf:
    """(atanh(r) - r) / r^3, a function of r^2."""
    r = mpmath.sqrt(square)
    return (mpmath.atanh(r) - r) / r**3


def tables(bits: str) -> dict:
    tolerance, olver = TOLERANCE[bits], OLVER[bits]
    quarter = (mpf(1) / 4, mpf(1) / 4)
    half_log2 = mpmath.log(2) / 2
    return {
        f"OLVER_RADIUS_{bits}": olver["radius"],
        f"OLVER_SLOPE_{bits}": float(olver["slope"]),
        f"OLVER_{bits}": olver_table(**olver, n=POINTS[bits]),
        f"EVEN_{bits}": fit2(temme_part(0, 0), quarter, tolerance),
        f"ODD_{bits}": fit2(temme_part(1, 0), quarter, tolerance),
        f"EVEN_Y_{bits}": fit2(temme_part(0, 1), quarter, tolerance),
        f"ODD_Y_{bits}": fit2(temme_part(1, 1), quarter, tolerance),
        f"REFLECTION_{bits}": fit(reflection, quarter[0], tolerance),
        f"EXP_{bits}": fit(mpmath.exp, half_log2, tolerance, lower=-half_log2),
        f"ATANH_{bits}": fit(atanh_tail, mpf(ATANH_RANGE), 3 * tolerance),
    }


def literal(value) -> str:
    if isinstance(value, list):
        return "(" + "".join(f"{literal(v)}, " for v in value).rstrip() + ")"
    return repr(value if isinstance(value, int) else float(value))


def wrapped(name: str, value) -> str:
    """One assignment, wrapped to 88 columns."""
    if not isinstance(value, list):
        return f"{name} = {literal(value)}\n"
    rows = value if isinstance(value[0], list) else [value]
    lines = [f"{name} = ("]
    for row in rows:
        line = "    (" if rows is value else "   "
        for number in row:
            item = f"{literal(number)},"
            if len(line) + len(item) + 2 > 88:
                lines.append(line.rstrip())
                line = "    "
            line += item if line.endswith("(") else f" {item}"
        lines.append(line.rstrip() + ("), " if rows is value else "").rstrip())
    return "\n".join([*lines, ")\n"])


def generate() -> str:
    mp.dps = 50
    text = HEADER
    for bits in ("64", "32"):
        for name, value in tables(bits).items():
            text += "\n" + wrapped(name, value)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    text = generate()
    if parser.parse_args().check:
        same = TARGET.read_text() == text
        print("the tables are as generated" if same else "the tables differ")
        for bits, options in OLVER.items():
            table = olver_table(**options, n=POINTS[bits])
            gap = check_debye(table, options["radius"], options["slope"])
            print(f"float{bits}: {gap:.1e} from Debye's series with exact coefficients")
        return 0 if same else 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
