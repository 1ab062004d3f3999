"""Writes numpyro_ext/special/_erfcx_tables.py: Chebyshev series of the error function.

With t = (z - 3) / (z + 3), which maps z >= 0 to [-1, 1), the functions
(1 + 2 z) erfcx(z) and (1 + 2 z^2) (1 - sqrt(pi) z erfcx(z)) are smooth up to t = 1.
The map is that of Shepherd and Laframboise (1981), Math. Comp. 36, 249-253.

Run: python tools/generate_erfcx_tables.py
"""

from collections.abc import Callable
from pathlib import Path

import mpmath as mp

CENTRE = 3
NODES = 200
SMALLEST = 1e-18
TARGET = Path(__file__).parents[1] / "numpyro_ext" / "special" / "_erfcx_tables.py"
HEAD = '''"""Chebyshev coefficients behind `erfcx`, in (z - 3) / (z + 3).

Written by `tools/generate_erfcx_tables.py`, which explains them: do not edit.
"""

# fmt: off
'''


def scaled(z: mp.mpf) -> mp.mpf:
    """exp(z^2) erfc(z), by the continued fraction where the product would cancel."""
    if z < 20:
        with mp.workdps(60 + int(z * z)):
            return mp.exp(z * z) * mp.erfc(z)
    tail = mp.mpf(0)
    for k in range(400, 0, -1):
        tail = (mp.mpf(k) / 2) / (z + tail)
    return 1 / ((z + tail) * mp.sqrt(mp.pi))


def defect(z: mp.mpf) -> mp.mpf:
    """1 - sqrt(pi) z erfcx(z)."""
    with mp.workdps(90):
        return 1 - mp.sqrt(mp.pi) * z * scaled(z)


def series(function: Callable[[mp.mpf], mp.mpf]) -> list[float]:
    angles = [mp.pi * (i + mp.mpf(1) / 2) / NODES for i in range(NODES)]
    points = [mp.cos(a) for a in angles]
    values = [function(CENTRE * (1 + t) / (1 - t)) for t in points]
    out = []
    for j in range(60):
        total = mp.fsum(v * mp.cos(j * a) for v, a in zip(values, angles, strict=True))
        out.append(total / NODES * (1 if j == 0 else 2))
    last = max(j for j, c in enumerate(out) if abs(c) > SMALLEST)
    return [float(c) for c in out[: last + 1]]


def main() -> None:
    mp.mp.dps = 60
    tables = {
        "ERFCX": series(lambda z: (1 + 2 * z) * scaled(z)),
        "DEFECT": series(lambda z: (1 + 2 * z * z) * defect(z)),
    }
    text = HEAD
    for name, row in tables.items():
        text += f"\n{name} = (\n"
        for i in range(0, len(row), 3):
            text += "    " + " ".join(f"{c!r}," for c in row[i : i + 3]) + "\n"
        text += ")\n"
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
