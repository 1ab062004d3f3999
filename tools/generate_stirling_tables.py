"""Writes numpyro_ext/special/_stirling_tables.py: what Stirling's formulas leave.

For x >= 1 the functions (x + 1) S(x) and x^2 P(x) of `numpyro_ext.special._stirling`
are smooth in s = (x - 3) / (x + 1), which covers [-1, 1) and has s = 1 at infinity.
They are interpolated at Chebyshev points, cut where the coefficients fall below the
format's precision, and written as polynomials in s: the coefficients fall by a factor
of 8 a degree, so that the powers lose nothing.

Run: python tools/generate_stirling_tables.py
"""

from collections.abc import Callable
from pathlib import Path

import mpmath as mp

NODES = 80
SMALLEST = {"32": 1e-10, "64": 2e-18}
TARGET = Path(__file__).parents[1] / "numpyro_ext" / "special" / "_stirling_tables.py"
HEAD = '''"""Polynomials in (x - 3) / (x + 1) behind the Stirling remainders for x >= 1.

Written by `tools/generate_stirling_tables.py`, which explains them: do not edit.
"""

# fmt: off
'''


def log_gamma_part(x: mp.mpf) -> mp.mpf:
    """(x + 1) S(x)."""
    rest = mp.loggamma(x + 1) - (x + mp.mpf(1) / 2) * mp.log(x)
    return (x + 1) * (rest + x - mp.log(2 * mp.pi) / 2)


def digamma_part(x: mp.mpf) -> mp.mpf:
    """x^2 P(x)."""
    return x * x * (mp.log(x) - 1 / (2 * x) - mp.digamma(x))


def polynomial(function: Callable[[mp.mpf], mp.mpf], smallest: float) -> list[float]:
    angles = [mp.pi * (i + mp.mpf(1) / 2) / NODES for i in range(NODES)]
    points = [mp.cos(a) for a in angles]
    values = [function((3 + s) / (1 - s)) for s in points]
    chebyshev = []
    for j in range(40):
        total = mp.fsum(v * mp.cos(j * a) for v, a in zip(values, angles, strict=True))
        chebyshev.append(total / NODES * (1 if j == 0 else 2))
    degree = max(j for j, c in enumerate(chebyshev) if abs(c) > smallest)
    # T_0 = 1, T_1 = s, T_{j+1} = 2 s T_j - T_{j-1}, as rows of powers.
    before, now = [mp.mpf(1)], [mp.mpf(0), mp.mpf(1)]
    powers = [mp.mpf(0)] * (degree + 1)
    for c in chebyshev[: degree + 1]:
        for k, b in enumerate(before):
            powers[k] += c * b
        after = [mp.mpf(0), *(2 * b for b in now)]
        for k, b in enumerate(before):
            after[k] -= b
        before, now = now, after
    return [float(p) for p in powers]


def main() -> None:
    mp.mp.dps = 60
    text = HEAD
    for name, function in (("LOG_GAMMA", log_gamma_part), ("DIGAMMA", digamma_part)):
        for width, smallest in SMALLEST.items():
            row = polynomial(function, smallest)
            text += f"\n{name}_{width} = (\n"
            for i in range(0, len(row), 3):
                text += "    " + " ".join(f"{c!r}," for c in row[i : i + 3]) + "\n"
            text += ")\n"
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
