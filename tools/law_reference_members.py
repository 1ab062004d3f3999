"""Draws the members and the values at which the laws are compared with mpmath."""

import numpy as np

SEED = 20240811
Rng = np.random.Generator

# (p, a, b): the corners of the domain.
MIXING = [
    (100.0, 1.0, 1.0),
    (-100.0, 1.0, 1.0),
    (100.0, 1e-8, 1e-4),
    (-100.0, 1e4, 1e-6),
    (0.0, 1e-4, 1e-4),
    (0.5, 1e8, 1e8),
    (-0.5, 1e8, 1e8),
    (3.0, 1e12, 1e4),
    (-20.0, 1e4, 1e12),
    (0.0, 1e-8, 1.0),
    (1e-3, 1.0, 1e-12),
    (-1e-3, 1e-12, 1.0),
    (20.0, 1e4, 1e4),
    (-20.0, 1e-4, 1e-4),
    (1.0, 1e-10, 1e10),
    (2.5, 3.0, 0.0),
    (0.3, 3.0, 0.0),
    (20.0, 1e-3, 0.0),
    (0.01, 1.0, 0.0),
    (100.0, 50.0, 0.0),
    (-2.5, 0.0, 3.0),
    (-0.8, 0.0, 3.0),
    (-20.0, 0.0, 1e3),
    (-100.0, 0.0, 1e-3),
    (5.0, 1.0, 1e-20),
    (-5.0, 1e-20, 1.0),
]
# (a, b) where the normal-inverse Gaussian law is nearly normal, or nearly Cauchy.
NORMAL = [(1e16, 1.0), (1e8, 1e8), (1e16, 1e16), (1e-8, 1.0), (1e-8, 1e-8)]


def rates(rng: Rng, size: int) -> np.ndarray:
    return 10.0 ** rng.uniform(-4, 4, size)


def typical(p: float, a: float, b: float) -> float:
    """About where w is: the mode of log w."""
    if a == 0:
        return b / (2 * abs(p))
    root = np.hypot(p, np.sqrt(a * b))
    return (p + root) / a if p > 0 else b / (root - p)


def spread(p: float, a: float, b: float) -> float:
    """About the standard deviation of log w."""
    return 1 / np.sqrt(np.hypot(p, np.sqrt(a * b)) + 0.05)


def mixing(rng: Rng, size: int) -> list[tuple[float, ...]]:
    order = rng.uniform(-20, 20, size)
    order[::4] = rng.integers(-6, 7, order[::4].size) / 2
    columns = order, rates(rng, size), rates(rng, size)
    return [tuple(x) for x in np.transpose(columns)]


def single(rows: list, start: int = 0) -> np.ndarray:
    """Every other member has inputs that float32 represents too."""
    out = np.array(rows)
    with np.errstate(over="ignore"):
        short = out.astype(np.float32).astype(np.float64)
    # Three values of each member follow each other.
    chosen = (np.arange(len(out)) // 3) % 2 == 0
    return np.where(chosen[:, None] & np.isfinite(short), short, out)


def gig_rows(rng: Rng) -> np.ndarray:
    rows = []
    for p, a, b in MIXING + mixing(rng, 90):
        centre, width = typical(p, a, b), spread(p, a, b)
        far = 10.0 ** rng.uniform(-4, 4)
        for x in (
            centre * np.exp(width * rng.normal()),
            centre * np.exp(width * rng.normal()),
            centre * far,
        ):
            rows.append((p, a, b, x))
    return single(rows)


def inverse_gaussian_rows(rng: Rng) -> np.ndarray:
    rows = []
    for m, c in zip(rates(rng, 25), rates(rng, 25), strict=True):
        sd = np.sqrt(m / c)
        near = m * np.exp(rng.normal(size=2) * min(sd, 3.0))
        for x in (*near, m * 10.0 ** rng.uniform(-2, 4)):
            rows.append((m, c, x))
    return single(rows)


def place(rng: Rng, index: int) -> tuple[float, float, float]:
    """loc, scale and skew / scale: none, tiny, ordinary and large skew."""
    scale = 10.0 ** rng.uniform(-2, 2)
    loc = 0.0 if index % 3 == 0 else rng.normal() * scale
    tilt = rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(-2, 1)
    if index % 5 == 0:
        tilt = 0.0
    if index % 5 == 1:
        tilt = rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(-12, -3)
    if index % 10 == 2:
        tilt = rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(1, 3)
    return loc, scale, tilt


def values(rng: Rng, mixing: tuple, loc: float, scale: float, tilt: float) -> list:
    """One typical value, one at the centre, one in a tail."""
    w = typical(*mixing) * np.exp(spread(*mixing) * rng.normal())
    sd = np.sqrt(w)
    ordinary = loc + scale * (tilt * w + sd * rng.normal())
    centre = loc + scale * sd * rng.normal() * 10.0 ** rng.uniform(-6, 0)
    side = rng.choice([-1.0, 1.0])
    far = loc + scale * side * 10.0 ** rng.uniform(0, 4) * (sd + abs(tilt) * w * 0.1)
    return [ordinary, centre, far]


def mixture_rows(rng: Rng, triples: list, own: list) -> np.ndarray:
    rows = []
    for i, (triple, parameters) in enumerate(zip(triples, own, strict=True)):
        loc, scale, tilt = place(rng, i)
        for x in values(rng, triple, loc, scale, tilt):
            rows.append((*parameters, loc, scale, tilt * scale, x))
    return single(rows)


def gh_rows(rng: Rng) -> np.ndarray:
    triples = MIXING + mixing(rng, 110)
    # a far below skew^2 / scale^2.
    for _ in range(12):
        p = rng.uniform(-6, 6)
        triples.append((p, 10.0 ** rng.uniform(-12, -4), 10.0 ** rng.uniform(-2, 2)))
    return mixture_rows(rng, triples, triples)


def pairs_rows(rng: Rng, order: float) -> np.ndarray:
    pairs = [*NORMAL, *zip(rates(rng, 45), rates(rng, 45), strict=True)]
    return mixture_rows(rng, [(order, *x) for x in pairs], pairs)


def variance_gamma_rows(rng: Rng) -> np.ndarray:
    k = [*(10.0 ** rng.uniform(-2, 2, 30)), 0.5, 1.0, 1.5, 3.0, 100.0]
    pairs = list(zip(k, rates(rng, len(k)), strict=True))
    return mixture_rows(rng, [(x, 2 * r, 0.0) for x, r in pairs], pairs)


def skew_t_rows(rng: Rng) -> np.ndarray:
    df = [*(10.0 ** rng.uniform(-1, 3, 30)), 1.0, 2.0, 4.0, 5.0, 1e6]
    return mixture_rows(rng, [(-x / 2, 0.0, x) for x in df], [(x,) for x in df])


def multivariate_rows(rng: Rng, order: float | None) -> np.ndarray:
    rows = []
    for i in range(8):
        p = rng.uniform(-8, 8) if order is None else order
        a, b = 10.0 ** rng.uniform(-2, 2, 2)
        loc, tilt = rng.normal(size=3), rng.normal(size=3) * (i > 1)
        tril = np.tril(rng.normal(size=(3, 3)), -1) * 0.5
        tril = tril + np.diag(10.0 ** rng.uniform(-1, 1, 3))
        own = (a, b) if order is not None else (p, a, b)
        for distance in (1.0, 0.01, 100.0):
            w = typical(p, a, b)
            noise = np.sqrt(w) * rng.normal(size=3) * distance
            x = loc + tril @ (tilt * w + noise)
            packed = tril[np.tril_indices(3)]
            rows.append((*own, *loc, *(tril @ tilt), *packed, *x))
    return single(rows)


def members() -> dict[str, np.ndarray]:
    """Rows of parameters and value, by law."""
    rng = np.random.default_rng(SEED)
    return {
        "gig": gig_rows(rng),
        "inverse_gaussian": inverse_gaussian_rows(rng),
        "gh": gh_rows(rng),
        "nig": pairs_rows(rng, -0.5),
        "hyperbolic": pairs_rows(rng, 1.0),
        "variance_gamma": variance_gamma_rows(rng),
        "skew_t": skew_t_rows(rng),
        "multivariate_gh": multivariate_rows(rng, None),
        "multivariate_nig": multivariate_rows(rng, -0.5),
    }
