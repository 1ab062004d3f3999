r"""log K_v(z) for z < 1 and moderate order: Temme's series and the recurrence.

Let $v = n + \mu$ with $|\mu| \le 1/2$, $L = \log(2/z)$, $y = z^2/4$, $m = \mu^2$, and
$$\sum_k \frac{y^k}{k!\,\Gamma(k + 1 - \mu)} = E(y, m) + \mu O(y, m), \qquad
  C = \frac{\pi\mu}{\sin \pi\mu}, \qquad S = \frac{\sinh \mu L}{\mu L}.$$
Then $K_\mu = C\,(E L S + O \cosh \mu L)$, in which nothing is singular, and
$$k_1 = \tfrac12 (E + \mu O) - y e^{-\mu L} (E_y L S + O_y \cosh \mu L), \qquad
  k_{j+1} = (\mu + j)\,k_j + y\,k_{j-1},$$
where $K_{\mu+j} = C (2/z)^{\mu+j} k_j$; $k_1$ at $-\mu$ gives $K_{1-\mu}$. The factor
$C$ and the powers of $2/z$ stay out of the sums, so that the derivatives in the order
are exact at every scale of $z$. For $n = 0$ they are taken in $m$, of which $K_\mu$ is
a function, so that those that vanish with $v$ are accurate relative to themselves.
Source: Temme (1975), J. Comput. Phys. 19, 324-337; DLMF 10.27.4, 10.29.1.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp

from ._elementary import Mask, Order, Real, exp, log_ratio, polynomial
from ._formats import Format, Row, Table, format_of

# The value and its derivatives, to as many orders as are wanted.
Jet = list[Real]


class Series(NamedTuple):
    """What log K and its derivatives are made of, all orders at once.

    Attributes:
        is_first: Whether n = 0.
        mu: The remainder of the order.
        growth: log(2/z).
        reflection: Jet in m of log C.
        first: Jet in m of K_mu / C; serves n = 0.
        slope: Jet in m of z K_mu' / C; serves n = 0.
        last: Jet in mu of k_n; serves n > 0.
        before: Jet in mu of y k_{n-1}; serves n > 0.
        mirror: k_1 at -mu; serves n = 0.
    """

    is_first: Mask
    mu: Real
    growth: Real
    reflection: Jet
    first: Jet
    slope: Jet
    last: Jet
    before: Jet
    mirror: Real


def _differentiated(row: Row) -> Row:
    return tuple(k * c for k, c in enumerate(row))[1:] or (0.0,)


def _polynomial_jet(row: Row, x: Real, order: int) -> Jet:
    out = []
    for _ in range(order + 1):
        out.append(polynomial(row, x))
        row = _differentiated(row)
    return out


def _table_jet(table: Table, y: Real, m: Real, order: int) -> Jet:
    """The sum of y^k m^j, and its derivatives in m."""
    out = []
    for _ in range(order + 1):
        total = polynomial(table[-1], m)
        for row in reversed(table[:-1]):
            total = total * y + polynomial(row, m)
        out.append(total)
        table = tuple(_differentiated(row) for row in table)
    return out


def _hyperbolic(x: Real, order: int, form: Format) -> tuple[Real, Jet]:
    """cosh(x), and the jet of sinh(x)/x as a function of x^2."""
    square = x * x
    is_small = square < 2.0
    # Away from 0 by recurrence upwards, near 0 by series and the recurrence downwards:
    # each is stable where it is used.
    far = jnp.where(is_small, 1.5, x)
    up, down = exp(far), exp(-far)
    cosh = 0.5 * (up + down)
    large = [0.5 * (up - down) / far]
    half = 0.5 / (far * far)
    if order > 0:
        large.append((cosh - large[0]) * half)
    if order > 1:
        large.append((0.5 * large[0] - 3.0 * large[1]) * half)
    near = jnp.where(is_small, square, 1.0)
    terms = 12 if form.mantissa > 23 else 7
    row = tuple(1.0 / math.factorial(2 * k + 1) for k in range(terms))
    small = _polynomial_jet(row, near, max(order, 1))
    small_cosh = small[0] + 2.0 * near * small[1]
    jet = [jnp.where(is_small, a, b) for a, b in zip(small, large, strict=False)]
    return jnp.where(is_small, small_cosh, cosh), jet[: order + 1]


def _in_mu(jet: Jet, mu: Real) -> Jet:
    """The jet in mu of a function of m = mu^2."""
    out = [jet[0]]
    if len(jet) > 1:
        out.append(2.0 * mu * jet[1])
    if len(jet) > 2:
        out.append(2.0 * jet[1] + 4.0 * mu * mu * jet[2])
    return out


def _times(a: Jet, b: Jet) -> Jet:
    """The jet of a product, by Leibniz's rule."""
    return [
        sum((math.comb(i, j) * a[j] * b[i - j] for j in range(1, i + 1)), a[0] * b[i])
        for i in range(len(a))
    ]


def _plus(a: Jet, b: Jet) -> Jet:
    return [x + y for x, y in zip(a, b, strict=True)]


def _scaled(factor: Real | float, jet: Jet) -> Jet:
    return [factor * x for x in jet]


def _damped(x: Real, y: Real, growth: Real, cosh: Real, ratio: Jet) -> tuple[Jet, Jet]:
    """Jets in mu of y e^(-mu L) times L S and times cosh(mu L)."""
    u = y * exp(-x)
    a, b = [growth * u * ratio[0]], [u * cosh]
    if len(ratio) > 1:
        u = u * growth
        a.append(growth * u * (2.0 * x * ratio[1] - ratio[0]))
        b.append(u * (x * ratio[0] - cosh))
    if len(ratio) > 2:
        u = u * growth
        bend = ratio[1] + 2.0 * x * (x * ratio[2] - ratio[1])
        a.append(growth * u * (ratio[0] + 2.0 * bend))
        b.append(2.0 * u * (cosh - x * ratio[0]))
    return a, b


def _recurrence(
    n: Real, mu: Real, y: Real, last: Jet, before: Jet, form: Format
) -> tuple[Jet, Jet]:
    """The jets of k_n and y k_{n-1} from those of k_1 and y k_0, for n >= 1."""
    k, p = last, before
    for j in range(1, math.ceil(form.max_order)):
        k, p = _plus(_times_linear(mu + float(j), k), p), _scaled(y, k)
        is_due = n > float(j)
        last = [jnp.where(is_due, a, b) for a, b in zip(k, last, strict=True)]
        before = [jnp.where(is_due, a, b) for a, b in zip(p, before, strict=True)]
    return last, before


def _times_linear(factor: Real, jet: Jet) -> Jet:
    """The jet of a product with a function of slope 1."""
    return [factor * jet[0]] + [
        factor * jet[i] + float(i) * jet[i - 1] for i in range(1, len(jet))
    ]


def series(v: Real, z: Real, order: int) -> Series:
    """Evaluates the series; `order` is that of the derivatives in v."""
    form = format_of(z.dtype)
    n = jnp.round(v)
    mu, y = v - n, 0.25 * z * z
    m = mu * mu
    growth = log_ratio(jnp.full_like(z, 2.0), z)
    x = mu * growth
    cosh, ratio = _hyperbolic(x, order, form)
    even, odd, even_y, odd_y = (
        _table_jet(table, y, m, order)
        for table in (form.even, form.odd, form.even_y, form.odd_y)
    )
    square = growth * growth
    # Jets in m of L S and cosh(mu L).
    powers = [growth, growth * square, growth * square * square]
    sinh_m = [a * b for a, b in zip(powers, ratio, strict=False)]
    cosh_m = [cosh, *(0.5 * growth * a for a in sinh_m)][: order + 1]
    if order > 1:
        cosh_m[2] = 0.5 * square * square * ratio[1]
    first = _plus(_times(even, sinh_m), _times(odd, cosh_m))
    by_y = _plus(_times(even_y, sinh_m), _times(odd_y, cosh_m))
    by_growth = _plus(_times(even, cosh_m), _times_linear(m, _times(odd, sinh_m)))
    slope = _plus(_scaled(2.0 * y, by_y), _scaled(-1.0, by_growth))
    a, b = _damped(x, y, growth, cosh, ratio)
    grown = y * exp(x)
    mirror = 0.5 * (even[0] - mu * odd[0]) - grown * (
        even_y[0] * (growth * ratio[0]) + odd_y[0] * cosh
    )
    even, odd, even_y, odd_y = (_in_mu(j, mu) for j in (even, odd, even_y, odd_y))
    total = _plus(even, _times_linear(mu, odd))
    last = _plus(
        _scaled(0.5, total),
        _scaled(-1.0, _plus(_times(even_y, a), _times(odd_y, b))),
    )
    before = _plus(_times(even, a), _times(odd, b))
    last, before = _recurrence(n, mu, y, last, before, form)
    reflection = _times_linear(m, _polynomial_jet(form.reflection, m, order))
    return Series(n < 0.5, mu, growth, reflection, first, slope, last, before, mirror)


def value(v: Real, parts: Series) -> tuple[Real, Real]:
    """An addend of log K, and the argument of the logarithm that completes it."""
    rest = jnp.where(parts.is_first, 0.0, v * parts.growth)
    argument = jnp.where(parts.is_first, parts.first[0], parts.last[0])
    return parts.reflection[0] + rest, argument


def derivatives(
    v: Real, z: Real, parts: Series, wanted: frozenset[Order]
) -> dict[Order, Real]:
    """The wanted partial derivatives of log K, keyed by their orders in (v, z)."""
    is_first, mu = parts.is_first, parts.mu
    first = [a / parts.first[0] for a in parts.first]
    slope = [a / parts.first[0] for a in parts.slope]
    last = [a / parts.last[0] for a in parts.last]
    before = [a / parts.last[0] for a in parts.before]
    reflection = _in_mu(parts.reflection, mu)
    # K_{v-1} / K_v times z.
    step = jnp.where(is_first, -slope[0] - v, 2.0 * before[0])
    out = {}
    if (1, 0) in wanted:
        rest = jnp.where(is_first, 2.0 * mu * first[1], last[1] + parts.growth)
        out[1, 0] = reflection[1] + rest
    if (0, 1) in wanted:
        out[0, 1] = jnp.where(is_first, slope[0], -(v + step)) / z
    if (2, 0) in wanted:
        bend = 2.0 * first[1] + 4.0 * mu * mu * (first[2] - first[1] * first[1])
        rest = jnp.where(is_first, bend, last[2] - last[1] * last[1])
        out[2, 0] = reflection[2] + rest
    if (1, 1) in wanted:
        first_part = 2.0 * mu * (slope[1] - slope[0] * first[1])
        later_part = 1.0 + 2.0 * (before[1] - before[0] * last[1])
        out[1, 1] = jnp.where(is_first, first_part, -later_part) / z
    if (0, 2) in wanted:
        # From Bessel's equation.
        out[0, 2] = 1.0 + (v + step * (1.0 - 2.0 * v - step)) / z / z
    return out
