"""Generates the reference values behind `tests/special`, at 60 digits.

Run `python tools/generate_bessel_reference.py`; it needs mpmath and a few minutes.

log K_v(z) and its derivatives in v and z, to the second order, are the logarithm and
the moments of K_v(z) = (1/2) int exp(v u - z cosh u) du. The trapezoidal rule gives
them to more than 40 digits; every `CHECK`-th value is compared with `mpmath.besselk`.
"""

from pathlib import Path

import mpmath
import numpy as np
from mpmath import mp, mpf

TARGET = Path(__file__).parents[1] / "tests" / "special" / "data" / "log_kv.npz"
NAMES = ("value", "by_v", "by_z", "by_vv", "by_vz", "by_zz")
CHECK = 50
SEED = 20240607


def points(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Orders and arguments: the whole domain, and what is special in it."""
    wide = 4000
    v = [10 ** rng.uniform(-3, 3, wide), rng.uniform(0, 30, 3000)]
    z = [10 ** rng.uniform(-10, 6, wide), 10 ** rng.uniform(-3, 2, 3000)]
    # Large orders where log K is near 0: its terms cancel.
    v.append(10 ** rng.uniform(1, 3, 1000))
    z.append(v[-1] * rng.uniform(0.6, 0.72, 1000))
    # The borders of the regimes: z = 1, and kappa + a v = b in either format.
    v.append(rng.uniform(0, 21, 500))
    z.append(1 + rng.normal(0, 1e-3, 500))
    for radius, slope in ((26.0, 0.3), (10.0, 0.7)):
        order = rng.uniform(0, 0.99 * radius / (1 + slope), 500)
        v.append(order)
        z.append(np.sqrt((radius - slope * order) ** 2 - order**2))
        z[-1] = z[-1] * (1 + rng.normal(0, 1e-3, 500))
    # Integers and half-integers, exactly and nearly; orders near 0.
    order = rng.integers(0, 60, 1000) / 2
    nearly = order + np.where(rng.random(1000) < 0.5, 0.0, rng.normal(0, 1e-7, 1000))
    v.append(np.abs(nearly))
    z.append(10 ** rng.uniform(-10, 2, 1000))
    v.append(np.where(rng.random(500) < 0.1, 0.0, 10 ** rng.uniform(-12, -3, 500)))
    z.append(10 ** rng.uniform(-10, 6, 500))
    orders, arguments = np.concatenate(v), np.concatenate(z)
    orders = np.where(rng.random(orders.size) < 0.2, -orders, orders)
    # Every other point serves float32 too.
    orders[::2] = orders[::2].astype(np.float32)
    arguments[::2] = arguments[::2].astype(np.float32)
    return np.clip(orders, -1000.0, 1000.0), np.clip(arguments, 1e-10, 1e6)


def reference(order: float, argument: float) -> list[mpf]:
    """The six values of `NAMES`."""
    v, z = mpf(order), mpf(argument)
    kappa = mpmath.hypot(v, z)
    mode = mpmath.asinh(v / z)
    peak = v * mode - kappa
    step = min(mpf("0.09"), mpf("0.3") / mpmath.sqrt(kappa))
    factor, start = mpmath.exp(step), mpmath.exp(mode)
    sums = [mpf(0)] * 6
    for sign in (1, -1):
        j = 0 if sign == 1 else 1
        growth = start * factor ** (sign * j)
        while True:
            offset = sign * j * step
            cosh = (growth + 1 / growth) / 2
            exponent = v * (mode + offset) - z * cosh - peak
            if exponent < -120:
                break
            w = mpmath.exp(exponent)
            powers = (1, offset, cosh, offset**2, offset * cosh, cosh**2)
            sums = [s + w * p for s, p in zip(sums, powers, strict=True)]
            j += 1
            growth = growth * factor if sign == 1 else growth / factor
    total, *means = [s / sums[0] for s in sums]
    u, c, uu, uc, cc = means
    value = mpmath.log(step * sums[0] / 2) + peak
    out = [value, mode + u, -c, uu - u * u, u * c - uc, cc - c * c]
    # Odd in the order: without the rounding error.
    return [out[0], mpf(0), *out[2:4], mpf(0), out[5]] if v == 0 else out


def main() -> None:
    mp.dps = 60
    v, z = points(np.random.default_rng(SEED))
    rows = []
    for i, (order, argument) in enumerate(zip(v, z, strict=True)):
        rows.append(reference(float(order), float(argument)))
        if i % CHECK == 0 and abs(order) < 100:
            other = mpmath.log(mpmath.besselk(mpf(float(order)), mpf(float(argument))))
            if abs(other - rows[-1][0]) > mpf(10) ** -35 * max(1, abs(other)):
                raise SystemExit(f"mpmath disagrees at {order}, {argument}")
    columns = np.array([[float(x) for x in row] for row in rows]).T
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, v=v, z=z, **dict(zip(NAMES, columns, strict=True)))


if __name__ == "__main__":
    main()
