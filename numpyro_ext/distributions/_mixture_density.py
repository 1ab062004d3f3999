r"""Log density of normal variance-mean mixtures, and its score, free of cancellation.

With $A = a + |t|^2$ and $B = b + |z|^2$ the score is made of differences of moments of
w before and after x is seen, and of x and its prediction. Where $\sqrt{AB}$ is large,
in the normal limit or far along the skew, they agree in all but their last digits. The
forms here take the leading terms away by hand: with $m = \sqrt{B/A}$,
$m_0 = \sqrt{b/a}$ and $r$ for excesses of ratios of Bessel functions over 1,
$$E[w|x] - E[w] = \frac{a|z|^2 - b|t|^2}{aA(m + m_0)} + m r - m_0 r_0, \qquad
  z - t E[w|x] = \frac{a z^2 - b t^2}{A z + t\sqrt{AB}} - t m r,$$
and so on.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..special._kv_parts import FAR
from ._gig_normalizer import (
    Inside,
    Order,
    edge_moments,
    edge_value,
    inside,
    split_order,
)

TINY = 1e-37
LOG_2PI = math.log(2.0 * math.pi)


class Inner(NamedTuple):
    """|t|^2, |z|^2, t.z and |t|^2 |z|^2 - (t.z)^2 of a datum."""

    tilt2: Array
    z2: Array
    cross: Array
    off: Array


class Side(NamedTuple):
    """The law of w, before or after x is seen.

    Attributes:
        law: Its parts, which count where `is_inside`.
        is_inside: Whether neither a nor b is 0.
        value: The log normaliser plus sqrt(ab), edges included.
        mean: E[w], edges included.
        mean_inverse: E[1/w], edges included.
        mean_log: E[log w], edges included; None where p is a number.
    """

    law: Inside
    is_inside: Array
    value: Array
    mean: Array
    mean_inverse: Array
    mean_log: Array | None


class Score(NamedTuple):
    """The log density and its derivatives in (p, a, b); None where p is a number."""

    value: Array
    by_p: Array | None
    by_a: Array
    by_b: Array


def exponent(a: Array, b: Array, inner: Inner) -> Array:
    r"""Returns $\sqrt{AB} - \sqrt{ab} - t\cdot z \ge 0$ without cancellation.

    Where $t\cdot z$ is positive the three terms nearly cancel, and the difference is
    $(|\sqrt a z - \sqrt b t|^2 + off) / (\sqrt{AB} + \sqrt{ab} + t\cdot z)$; elsewhere
    the conjugate of the first two suffices.
    """
    tilt2, z2, c, off = inner
    o, s = jnp.sqrt(a) * jnp.sqrt(b), jnp.sqrt(a + tilt2) * jnp.sqrt(b + z2)
    qa, qb = a * z2, b * tilt2
    # |sqrt(a) z - sqrt(b) t|^2, where |t||z| - t.z is what the angle adds.
    gap = jnp.square(jnp.sqrt(qa) - jnp.sqrt(qb))
    product = jnp.sqrt(jnp.square(c) + off)
    angle = jnp.where(
        c + product > 0, off / jnp.where(c + product > 0, c + product, 1.0), 0.0
    )
    with_plus = (gap + 2.0 * o * angle + off) / jnp.maximum(s + o + c, TINY)
    apart = (qa + qb + z2 * tilt2) / jnp.maximum(s + o, TINY) - c
    return jnp.where(c > 0, with_plus, apart)


def _side(p: Order, a: Array, b: Array, law: Inside, *, edges: bool) -> Side:
    is_number = isinstance(p, float | int)
    mean_log = law.mean_log + law.log_middle
    is_inside = (a > 0) & (b > 0)
    if not edges:
        own = None if is_number else mean_log
        return Side(law, is_inside, law.value, law.mean, law.mean_inverse, own)
    mean, inverse = edge_moments(p, a, b)
    q = jnp.broadcast_to(jnp.asarray(p, law.value.dtype), law.value.shape)
    one = jnp.ones_like(q)
    value, at_edge = jax.jvp(lambda q: edge_value(q, a, b), (q,), (one,))
    return Side(
        law,
        is_inside,
        jnp.where(is_inside, law.value, value),
        jnp.where(is_inside, law.mean, mean),
        jnp.where(is_inside, law.mean_inverse, inverse),
        None if is_number else jnp.where(is_inside, mean_log, at_edge),
    )


def _laws(arguments: tuple[tuple[Order, Array, Array], ...]) -> list[Inside]:
    """`inside` of two triples; in one program where their orders are arrays.

    One program for both takes half the time to compile.
    """
    if isinstance(arguments[0][0], float | int):
        return [inside(*triple) for triple in arguments]
    full = [jnp.broadcast_arrays(*triple) for triple in arguments]
    shape, size = full[0][0].shape, full[0][0].size
    joined = inside(
        *(jnp.concatenate([x.ravel(), y.ravel()]) for x, y in zip(*full, strict=True))
    )
    return [
        Inside(*(x[:size].reshape(shape) for x in joined)),
        Inside(*(x[size:].reshape(full[1][0].shape) for x in joined)),
    ]


def _sides(
    p: Order, a: Array, b: Array, inner: Inner, dim: int, edges: bool
) -> tuple[Side, Side]:
    """The law of w before and after x is seen."""
    triples = ((p, a, b), (p - 0.5 * dim, a + inner.tilt2, b + inner.z2))
    safe = triples
    if edges:
        inside_only = [(x > 0) & (y > 0) for _, x, y in triples]
        safe = tuple(
            (q, jnp.where(ok, x, 1.0), jnp.where(ok, y, 1.0))
            for ok, (q, x, y) in zip(inside_only, triples, strict=True)
        )
    prior, data = (
        _side(*triple, law, edges=edges)
        for triple, law in zip(triples, _laws(safe), strict=True)
    )
    return prior, data


def _value(p: Order, a: Array, b: Array, inner: Inner, dim: int, edges: bool) -> Array:
    prior, data = _sides(p, a, b, inner, dim, edges)
    loss = exponent(a, b, inner)
    return data.value - prior.value - loss - 0.5 * dim * LOG_2PI


def _score(
    a: Array, b: Array, inner: Inner, dim: int, prior: Side, data: Side
) -> Score:
    a_data = a + inner.tilt2
    both = prior.is_inside & data.is_inside
    before, after = prior.law, data.law
    # The numerator of every difference of middles.
    gap = a * inner.z2 - b * inner.tilt2
    safe_a, safe_b = jnp.where(both, a, 1.0), jnp.where(both, b, 1.0)
    moved = gap / jnp.where(both, a_data, 1.0)
    apart = moved / safe_a / (after.middle + before.middle)
    up = apart + after.middle * after.up_excess - before.middle * before.up_excess
    down = after.down_excess / after.middle - before.down_excess / before.middle
    down = down - apart / (after.middle * before.middle)
    largest = jnp.maximum(
        jnp.maximum(after.up_excess, after.down_excess),
        jnp.maximum(before.up_excess, before.down_excess),
    )
    is_close = both & (largest < 1.0)
    by_a = -0.5 * jnp.where(is_close, up, data.mean - prior.mean)
    by_b = -0.5 * jnp.where(is_close, down, data.mean_inverse - prior.mean_inverse)
    by_p = None
    if data.mean_log is not None and prior.mean_log is not None:
        ratio = moved / safe_b
        is_small = both & (jnp.abs(ratio) < 0.5)
        shift = 0.5 * jnp.log1p(jnp.where(is_small, ratio, 0.0))
        shift = shift + after.mean_log - before.mean_log
        by_p = jnp.where(is_small, shift, data.mean_log - prior.mean_log)
    value = data.value - prior.value - exponent(a, b, inner) - 0.5 * dim * LOG_2PI
    return Score(value, by_p, by_a, by_b)


def _own(score: Score, tangents) -> Array:
    """What the tangents of (p, a, b) give."""
    out = score.by_a * tangents[1] + score.by_b * tangents[2]
    return out if score.by_p is None else out + score.by_p * tangents[0]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _of_inner(number, dim, edges, p, a, b, inner):
    return _value(p if number is None else number, a, b, inner, dim, edges)


@_of_inner.defjvp
def _of_inner_jvp(number, dim, edges, primals, tangents):
    p, a, b, inner = primals
    order = p if number is None else number
    prior, data = _sides(order, a, b, inner, dim, edges)
    score = _score(a, b, inner, dim, prior, data)
    dots = tangents[3]
    moved = -0.5 * (data.mean * dots.tilt2 + data.mean_inverse * dots.z2)
    return score.value, _own(score, tangents) + moved + dots.cross


def mixture_log_prob(
    p: Order, a: Array, b: Array, inner: Inner, dim: int, *, edges: bool
) -> Array:
    """Log density of the mixture, less the log determinant of its scale."""
    number, p = split_order(p)
    return _of_inner(number, dim, edges, p, a, b, inner)


def _line(t: Array, z: Array) -> Inner:
    return Inner(t * t, z * z, t * z, jnp.zeros_like(t * z))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _univariate(number, edges, p, a, b, loc, scale, skew, x):
    order = p if number is None else number
    inner = _line(skew / scale, (x - loc) / scale)
    return _value(order, a, b, inner, 1, edges) - jnp.log(scale)


@_univariate.defjvp
def _univariate_jvp(number, edges, primals, tangents):
    p, a, b, loc, scale, skew, x = primals
    order = p if number is None else number
    t, z = skew / scale, (x - loc) / scale
    inner = _line(t, z)
    prior, data = _sides(order, a, b, inner, 1, edges)
    score = _score(a, b, inner, 1, prior, data)
    by_t, by_z, spread = _slopes(order, a, b, t, z, data)
    dots = tangents[3:]
    moved = by_z * (dots[3] - dots[0]) + by_t * dots[2] - spread * dots[1]
    return score.value - jnp.log(scale), _own(score, tangents) + moved / scale


def _slopes(
    p: Order, a: Array, b: Array, t: Array, z: Array, side: Side
) -> tuple[Array, Array, Array]:
    """Derivatives in t and z, and 1 + t (that in t) + z (that in z)."""
    data, cross = side.law, t * z
    tilt2, z2 = t * t, z * z
    # A mean that is infinite does not count where there is no skew.
    tilted = jnp.where(t == 0, 0.0, t * jnp.where(t == 0, 1.0, side.mean))
    plain_t, plain_z = z - tilted, t - z * side.mean_inverse
    plain = 1.0 + 2.0 * cross - z2 * side.mean_inverse - t * tilted
    is_far = side.is_inside & (data.omega > FAR) & (cross > 0)
    gap, total = a * z2 - b * tilt2, a * z2 + b * tilt2
    a_data, b_data, omega = a + tilt2, b + z2, jnp.where(is_far, data.omega, 1.0)
    below_t = jnp.where(is_far, a_data * z + t * omega, 1.0)
    below_z = jnp.where(is_far, b_data * t + z * omega, 1.0)
    far_t = gap / below_t - t * data.middle * data.up_excess
    far_z = -gap / below_z - z / data.middle * data.down_excess
    weight = jnp.where(is_far, omega + cross, 1.0)
    rest = 2.0 * a * b * (cross / weight) - total * ((a * b + total) / weight / weight)
    far = data.balance + a * data.middle * data.up_excess + rest / omega
    far = far + b * data.down_excess / data.middle
    # 1 - 2 |p - 1/2| without rounding.
    corner = jnp.where(p < 0.5, 2.0 * p, 2.0 - 2.0 * p)
    lesser = jnp.minimum(data.up, data.down)
    near = corner + 2.0 * cross - 2.0 * data.omega * lesser
    near = near + a * data.mean + b * data.mean_inverse
    is_near = side.is_inside & (data.omega <= FAR)
    return (
        jnp.where(is_far, far_t, plain_t),
        jnp.where(is_far, far_z, plain_z),
        jnp.where(is_far, far, jnp.where(is_near, near, plain)),
    )


def univariate_log_prob(
    p: Order,
    a: Array,
    b: Array,
    loc: Array,
    scale: Array,
    skew: Array,
    x: Array,
    *,
    edges: bool,
) -> Array:
    """Log density of a univariate mixture."""
    number, p = split_order(p)
    return _univariate(number, edges, p, a, b, loc, scale, skew, x)
