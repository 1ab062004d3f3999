r"""log K_v(z) for large order or argument: Olver's uniform expansion, economized.

With $\kappa = \sqrt{v^2 + z^2}$, $s = 1/\kappa$, $m = v^2/\kappa^2$,
$$\log K_v(z) =
  v\,\mathrm{asinh}(v/z) - \kappa + \tfrac12\log\frac{\pi s}{2} + F(s, m).$$
$F$ has the asymptotic series $\sum_k s^k D_k(m)$ that follows from DLMF 10.41.4 and
10.41.9, with $D_k$ a polynomial of degree $k$. A least-squares fit of $F$ itself, of
the same triangular form, needs half the terms. It holds from Hankel's case $m = 0$ to
Stirling's $m = 1$, and its derivatives cost no more than the value.
Source: Olver (1954), Phil. Trans. R. Soc. A 247, 328-368; DLMF 10.41.
"""

import math

from ._elementary import Order, Pair, Real, polynomial, product_pair, two_sum
from ._formats import Table, format_of

HALF_LOG_HALF_PI = 0.5 * math.log(0.5 * math.pi)


def _weighted(table: Table, weight) -> Table:
    return tuple(
        tuple(weight(k, j) * c for j, c in enumerate(row))
        for k, row in enumerate(table, start=1)
    )


def _euler(table: Table) -> Table:
    """Coefficients of E F, with E = -(s d/ds + 2 m d/dm)."""
    return _weighted(table, lambda k, j: -float(k + 2 * j))


def _by_m(table: Table) -> Table:
    """Coefficients of dF/dm."""
    return tuple(row[1:] for row in _weighted(table, lambda k, j: float(j)))


def _sum(table: Table, x: Real, m: Real) -> Real:
    """The sum of x^k m^j over k = 1, 2, ... and j = 0, 1, ..."""
    total = polynomial(table[-1], m)
    for row in reversed(table[:-1]):
        total = total * x + polynomial(row, m)
    return total * x


def value(v: Real, kappa: Pair, growth: Pair) -> tuple[Real, Real]:
    """The parts v asinh(v/z) - kappa and F(s, m) of log K; log s and pi/2 are left out.

    The first part is rounded only once, because its terms cancel where K is near 1.
    `growth` is asinh(v/z).
    """
    form = format_of(kappa[0].dtype)
    high, low = product_pair(v, growth)
    total, error = two_sum(high, -kappa[0])
    p = v / kappa[0]
    f = _sum(form.olver, form.olver_radius / kappa[0], p * p)
    return total + (error + (low - kappa[1])), f


def slope(v: Real, z: Real, kappa: Real) -> Real:
    """The derivative in z without its leading term, -kappa / z."""
    form = format_of(z.dtype)
    p = v / kappa
    b = _sum(_euler(form.olver), form.olver_radius / kappa, p * p) - 0.5
    return b * (z / kappa) / kappa


def remainder(m: Real, kappa: Real) -> tuple[Real, Real]:
    """F, and E F which the derivatives share."""
    form = format_of(kappa.dtype)
    x = form.olver_radius / kappa
    return _sum(form.olver, x, m), _sum(_euler(form.olver), x, m)


def by_order(m: Real, kappa: Real, euler: Real) -> Real:
    """kappa^2 / v times the derivative in v, less asinh(v/z); `euler` is E F."""
    form = format_of(kappa.dtype)
    return euler - 0.5 + 2.0 * _sum(_by_m(form.olver), form.olver_radius / kappa, m)


def derivatives(
    v: Real, z: Real, kappa: Real, growth: Real | None, wanted: frozenset[Order]
) -> dict[Order, Real]:
    r"""The wanted partial derivatives of log K, keyed by their orders in (v, z).

    $\partial_v = s p\,(E + 2\partial_m)$ and $\partial_z = s c\,E$ act on
    $F + \frac12 \log s$, where $E = -(s\partial_s + 2m\partial_m)$, $p = v s$ and
    $c = z s$. A polynomial per operator needs no further arithmetic.
    """
    form = format_of(z.dtype)
    s, p, c = 1.0 / kappa, v / kappa, z / kappa
    m, n, x = p * p, c * c, form.olver_radius / kappa
    euler, by_m = _euler(form.olver), _by_m(form.olver)
    b = _sum(euler, x, m) - 0.5
    f_m = _sum(by_m, x, m)
    a = b + 2.0 * f_m
    out = {(0, 1): s * c * b - kappa / z}
    if growth is not None:
        out[1, 0] = s * p * a + growth
    if not wanted & {(2, 0), (1, 1), (0, 2)}:
        return out
    ee = _sum(_euler(euler), x, m)
    de = _sum(_by_m(euler), x, m)
    second = ee + 4.0 * (de + f_m + _sum(_by_m(by_m), x, m))
    out[2, 0] = s + s * s * ((1.0 - 2.0 * m) * a + m * second)
    out[1, 1] = s * s * p * c * (ee + 2.0 * de - 2.0 * b) - p / z
    out[0, 2] = s * s * ((1.0 - 2.0 * n) * b + n * ee) + p * (v / z) / z
    return out
