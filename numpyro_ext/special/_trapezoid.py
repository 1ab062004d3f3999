r"""log K_v(z) for z >= 1 and moderate kappa: the trapezoidal rule at fixed nodes.

$$K_v(z) = \int_0^\infty \cosh(vt)\,e^{-z\cosh t}\,dt \approx
  h\sum_{j \ge 0} \cosh(v t_j)\,e^{-z\cosh t_j}, \qquad t_j = (j + \tfrac12)h.$$
The integrand is entire and even, and decays doubly exponentially: the error is
$2|K_{v+2\pi i/h}(z)|$, at most 2e-15 K_v(z) in float64. As $e^{h}$ is a root of 2, the
exponentials at all nodes follow from a few by squaring, $e^{-ax} \to e^{-2ax}$, and a
sum over cosh(v t_j) is a polynomial in $e^{\pm vh}$. Derivatives are moments of t and
cosh t. Every term is positive, so that nothing cancels within a sum.
Source: Trefethen and Weideman (2014), SIAM Review 56, 385-458; DLMF 10.32.9.
"""

import math

import jax.numpy as jnp

from ._elementary import Order, Real, exp
from ._formats import Format, format_of


def _nodes(form: Format) -> list[float]:
    return [(j + 0.5) * form.step for j in range(form.num_nodes)]


def _squarings(base: list[Real], levels: int) -> list[list[Real]]:
    out = [base]
    for _ in range(levels - 1):
        out.append([x * x for x in out[-1]])
    return out


def _weights(z: Real, form: Format) -> list[Real]:
    """exp(-z cosh t_j) at every node."""
    per_level = form.steps_per_octave
    levels = -(-form.num_nodes // per_level)
    # Squaring doubles relative errors, so that the decaying factor, which is squared
    # from the far end, starts twice.
    first = [0.5 * math.exp(t) for t in _nodes(form)[:per_level]]
    rising = _squarings([exp(-c * z) for c in first], levels)
    half = [0.5 * math.exp(-t) for t in _nodes(form)[:per_level]]
    start = min(3, levels) - 1
    near = _squarings([exp(-c * 0.5**start * z) for c in half], start + 1)
    rest = levels - start - 1
    far = _squarings([exp(-c * 0.5 ** (levels - 1) * z) for c in half], rest)
    falling = near[::-1] + far[::-1]
    products = [
        a * b
        for up, down in zip(rising, falling, strict=True)
        for a, b in zip(up, down, strict=True)
    ]
    return products[: form.num_nodes]


def _even_sum(weights: list[Real], v: Real, form: Format) -> Real:
    """sum_j w_j cosh(v t_j), by Horner's rule in exp(v h) and exp(-v h)."""
    half = 0.5 * form.step
    up, down = exp(half * v), exp(-half * v)
    return 0.5 * (up * _horner(weights, up * up) + down * _horner(weights, down * down))


def _horner(weights: list[Real], ratio: Real) -> Real:
    total = weights[-1]
    for w in reversed(weights[:-1]):
        total = total * ratio + w
    return total


def _odd_sum(weights: list[Real], v: Real, form: Format) -> Real:
    """sum_j w_j sinh(v t_j), accurate relative to itself as v -> 0.

    Clenshaw's recurrence in Reinsch's form, all of whose terms are positive.
    """
    x = 0.5 * form.step * v
    root = _sinh(x)
    factor = 4.0 * root * root
    difference = total = weights[-1]
    for w in reversed(weights[:-1]):
        difference = difference + (factor * total + w)
        total = total + difference
    return root * (2.0 * total - difference)


def _sinh(x: Real) -> Real:
    """Sinh for 0 <= x <= 2, where a short series serves near 0."""
    square = x * x
    series = jnp.ones_like(x)
    for k in (11, 9, 7, 5, 3):
        series = 1.0 + series * square * (1.0 / (k * (k - 1)))
    return jnp.where(x < 0.3, x * series, 0.5 * (exp(x) - exp(-x)))


def sums(v: Real, z: Real, orders: frozenset[Order]) -> dict[Order, Real]:
    """The wanted moments sum_j t_j^a (cosh t_j)^b e^(-z cosh t_j) c(v t_j).

    Keyed by (a, b); c is cosh for even a, and sinh for odd a.
    """
    form = format_of(z.dtype)
    weights, out = _weights(z, form), {}
    for a, b in sorted(orders):
        scaled = [
            w if a == b == 0 else w * (t**a * math.cosh(t) ** b)
            for w, t in zip(weights, _nodes(form), strict=True)
        ]
        out[a, b] = (_odd_sum if a % 2 else _even_sum)(scaled, v, form)
    return out


# The moments that each derivative needs.
MOMENTS: dict[Order, frozenset[Order]] = {
    (0, 0): frozenset({(0, 0)}),
    (1, 0): frozenset({(0, 0), (1, 0)}),
    (0, 1): frozenset({(0, 0), (0, 1)}),
    (2, 0): frozenset({(0, 0), (1, 0), (2, 0)}),
    (1, 1): frozenset({(0, 0), (1, 0), (0, 1), (1, 1)}),
    (0, 2): frozenset({(0, 0), (0, 1)}),
}


def derivatives(
    v: Real, z: Real, moments: dict[Order, Real], wanted: frozenset[Order]
) -> dict[Order, Real]:
    """The wanted partial derivatives of log K, keyed by their orders in (v, z)."""
    mean = {k: m / moments[0, 0] for k, m in moments.items()}
    out = {}
    if (1, 0) in wanted:
        out[1, 0] = mean[1, 0]
    if (0, 1) in wanted:
        out[0, 1] = -mean[0, 1]
    if (2, 0) in wanted:
        out[2, 0] = mean[2, 0] - mean[1, 0] * mean[1, 0]
    if (1, 1) in wanted:
        out[1, 1] = mean[1, 0] * mean[0, 1] - mean[1, 1]
    if (0, 2) in wanted:
        # From Bessel's equation: 1 + v^2/z^2 - (d/dz)/z - (d/dz)^2.
        out[0, 2] = 1.0 + (v / z) ** 2 + mean[0, 1] / z - mean[0, 1] ** 2
    return out
