r"""Entropy of a normal variance-mean mixture in any dimension: one radial integral.

At z the density is $e^{t\cdot z}\,\zeta(|z|)$. Its logarithm therefore depends on the
radius r and on $t\cdot z$, over whose directions `log_directions` has integrated. What
is left is an integral over $u = \log r$ of a smooth, positive integrand, taken by
Gauss-Legendre on panels. They end where the mixing law and the normal law given it
leave less than $e^{-40}$, and are cut around the bulk and where the Bessel function
changes its behaviour.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from ._gig_normalizer import Order
from ._kernel import DROP, legendre, log_mode, reach, times_exp
from ._mixture_density import Inner, mixture_log_prob
from ._sphere import log_directions

NUM_NODES = 16
# Standard deviations of a normal law that leave less than exp(-DROP).
FAR = 9.2
BULK = (1.5, 3.5, 6.0, 10.0, 16.0, 26.0)
FEATURE = (-4.5, -1.5, 0.0, 1.5, 3.0, 4.0)
NUM_EQUAL = 16


def _breaks(p: Array, a: Array, b: Array, tilt2: Array, dim: int) -> Array:
    """Ends of the panels of log r, in order, on a new last axis."""
    mode = log_mode(p, a, b)
    up, down = 0.5 * times_exp(a, mode), 0.5 * times_exp(b, -mode)
    rest, drop = jnp.zeros_like(mode), jnp.full_like(mode, DROP)
    first, last = mode - reach(rest, down, up, drop), mode + reach(rest, up, down, drop)
    tilt = jnp.sqrt(tilt2)
    # r = |t w + sqrt(w) n|: its log from the larger summand, free of overflow.
    log_tilt = jnp.log(jnp.maximum(tilt, jnp.finfo(tilt.dtype).tiny))
    high = jnp.logaddexp(log_tilt + last, 0.5 * last + jnp.log(FAR + dim**0.5))
    low = 0.5 * first - DROP / dim
    ahead = tilt * jnp.exp(0.5 * first) - FAR
    low = jnp.where(
        ahead > 0.0, 0.5 * first + jnp.log(jnp.where(ahead > 0.0, ahead, 1.0)), low
    )
    centre = 0.5 * jnp.logaddexp(2.0 * (log_tilt + mode), mode + jnp.log(1.0 * dim))
    kappa = jnp.hypot(p, jnp.sqrt(a) * jnp.sqrt(b))
    spread = jnp.exp(mode - 2.0 * centre) + 1.0 / (1.0 + kappa)
    width = jnp.minimum(jnp.sqrt(spread), 1.0)
    points = [low + (high - low) * (k / NUM_EQUAL) for k in range(NUM_EQUAL + 1)]
    points += [centre, *(centre + s * k * width for k in BULK for s in (-1.0, 1.0))]
    tiny = jnp.finfo(b.dtype).tiny
    for scale in (0.5 * jnp.log(b + tiny), -0.5 * jnp.log(a + tilt2), -log_tilt):
        points += [scale + shift for shift in FEATURE]
    # Neither r^2 nor |t|^2 r^2 may overflow or vanish.
    info = jnp.finfo(b.dtype)
    low = jnp.maximum(low, 0.5 * jnp.log(info.tiny) + 1.0)
    top = 0.5 * jnp.log(info.max) - 2.0
    largest = jnp.maximum(0.5 * jnp.log1p(a + tilt2), 0.0)
    high = jnp.minimum(high, top - largest)
    inside = [jnp.clip(x, low, high) for x in points]
    return jnp.sort(jnp.stack(inside, axis=-1), axis=-1)


def entropy(p: Order, a: Array, b: Array, tilt2: Array, dim: int) -> Array:
    r"""Entropy of z, for $|t|^2$ = `tilt2`; that of x adds the log of the scale.

    Accuracy: 1e-9 in float64, relative or absolute, whichever is larger, for orders
    that leave a density (concentration above 0.05 of a variance gamma law).
    """
    # A number stays one: the Bessel function of a fixed order costs less.
    program = _of_fixed_order if isinstance(p, float) else _of_any_order
    return program(p, a, b, tilt2, dim)


def _entropy(p: Order, a: Array, b: Array, tilt2: Array, dim: int) -> Array:
    shape = jnp.broadcast_shapes(jnp.shape(p), a.shape, b.shape, tilt2.shape)
    order, a, b, tilt2 = (
        jnp.broadcast_to(jnp.asarray(x, a.dtype), shape) for x in (p, a, b, tilt2)
    )
    ends = lax.stop_gradient(_breaks(order, a, b, tilt2, dim))
    nodes, weights = legendre(NUM_NODES, a.dtype)
    width = jnp.diff(ends, axis=-1)[..., None]
    u = (ends[..., :-1, None] + width * nodes).reshape((*shape, -1))
    weight = (width * weights).reshape(u.shape)
    order, a, b, tilt2 = (x[..., None] for x in (order, a, b, tilt2))
    p = p if isinstance(p, float) else order
    z2 = jnp.exp(2.0 * u)
    square = tilt2 * z2
    # Along t. The derivative of the cross term is in `log_directions`.
    cross = jnp.sqrt(lax.stop_gradient(square))
    off = jnp.zeros_like(cross)
    inner = Inner(tilt2, z2, cross, off)
    along = mixture_log_prob(p, a, b, inner, dim, edges=True)
    directions, gap = log_directions(square, dim)
    density = weight * jnp.exp(along + directions + dim * u)
    return jnp.sum(density * (gap - along), axis=-1)


_of_fixed_order = partial(jax.jit, static_argnames=("p", "dim"))(_entropy)
_of_any_order = partial(jax.jit, static_argnames="dim")(_entropy)
