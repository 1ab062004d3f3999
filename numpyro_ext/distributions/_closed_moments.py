"""Moments of the mixing laws that have them in closed form.

Each function returns the mean and the second to fourth central moments, infinite where
they are.
Source: Johnson, Kotz and Balakrishnan (1994), Continuous Univariate Distributions,
chapters 15 and 17.
"""

import jax.numpy as jnp
from jax import Array

Moments = tuple[Array, Array, Array, Array]


def broadcast_moments(moments: Moments, shape: tuple[int, ...]) -> Moments:
    """Gives the moments a batch shape."""
    first, two, three, four = (jnp.broadcast_to(x, shape) for x in moments)
    return first, two, three, four


def inverse_gaussian_moments(a: Array, b: Array) -> Moments:
    """Of GIG(-1/2, a, b), a > 0: mean sqrt(b / a), shape b."""
    first = jnp.sqrt(b / a)
    two = first / a
    return first, two, 3.0 * two / a, 3.0 * two * two + 15.0 * two / (a * a)


def gamma_moments(concentration: Array, rate: Array) -> Moments:
    """Of Gamma(concentration, rate)."""
    first = concentration / rate
    two = first / rate
    three = 2.0 * two / rate
    return first, two, three, 3.0 * two * two + 3.0 * three / rate


def inverse_gamma_moments(concentration: Array, rate: Array) -> Moments:
    """Of InverseGamma(concentration, rate); the k-th needs concentration > k."""

    def exists(k: int, moment: Array) -> Array:
        return jnp.where(concentration > k, moment, jnp.inf)

    # Where a moment is infinite, its formula is taken at a point where it is not.
    c1, c2, c3, c4 = (
        jnp.where(concentration > k, concentration, k + 1.0) for k in (1, 2, 3, 4)
    )
    first = rate / (c1 - 1.0)
    two = jnp.square(rate / (c2 - 1.0)) / (c2 - 2.0)
    three = 4.0 * (rate / (c3 - 1.0)) ** 3 / ((c3 - 2.0) * (c3 - 3.0))
    square = jnp.square(jnp.square(rate / (c4 - 1.0)) / (c4 - 2.0))
    excess = 6.0 * (5.0 * c4 - 11.0) / ((c4 - 3.0) * (c4 - 4.0))
    return (
        exists(1, first),
        exists(2, two),
        exists(3, three),
        exists(4, square * (3.0 + excess)),
    )


def times(factor: Array, moment: Array) -> Array:
    """Factor * moment, 0 where the factor is 0 even if the moment is infinite."""
    is_zero = factor == 0
    return jnp.where(is_zero, 0.0, factor * jnp.where(is_zero, 1.0, moment))


def cumulants(g: Array, s2: Array, of_w: Moments) -> Moments:
    r"""Of $x = \gamma w + \sigma\sqrt w\,n$.

    From $\log E e^{sx} = K_w(\gamma s + \sigma^2 s^2/2)$ with the cumulants K of w.

    Args:
        g: The skew.
        s2: The square of the scale.
        of_w: Mean and central moments of w.
    """
    first, two, three, four = of_w
    # A symmetric law does not ask for moments of w that may not exist.
    g1, g2 = times(g, two), times(g * g, two)
    g2_three, g3_three = times(g * g, three), times(g**3, three)
    g4 = times(g**4, four - 3.0 * two * two)
    return (
        times(g, first),
        s2 * first + g2,
        3.0 * s2 * g1 + g3_three,
        3.0 * s2 * s2 * two + 6.0 * s2 * g2_three + g4,
    )
