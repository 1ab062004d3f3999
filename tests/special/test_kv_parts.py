"""The parts of K_v that the laws use, against mpmath."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from numpyro_ext.special._kv_parts import FAR, kv_parts

ORDERS = (0.0, 1e-9, 0.3, 0.5, 0.7, 1.0, 2.5, 7.25, 19.9, 60.0, 250.0)
ARGUMENTS = (1e-30, 1e-3, 0.99, 1.01, 8.0, 25.9, 27.0, 31.0, 1e3, 1e8, 1e16)


def exact(v, z):
    """The parts with 60 digits; the derivative in the order by differences."""
    with mpmath.workdps(60):
        v, z = mpmath.mpf(v), mpmath.mpf(z)
        step = mpmath.mpf(10) ** -12
        k, before = mpmath.besselk(v, z), mpmath.besselk(v - 1, z)
        above, below = (mpmath.log(mpmath.besselk(v + s, z)) for s in (step, -step))
        ratio = before / k
        balance = 1 + 2 * z - 2 * v - 2 * z * ratio
        scaled = mpmath.log(k) + z
        slope = (above - below) / (2 * step)
        return [float(x) for x in (scaled, slope, ratio, ratio - 1, balance)]


POINTS = [(v, z) for v in ORDERS for z in ARGUMENTS]
TRUTH = np.asarray([exact(v, z) for v, z in POINTS])
V, Z = np.asarray(POINTS).T


def test_parts_keep_their_digits():
    parts = np.column_stack(jax.jit(kv_parts)(jnp.asarray(V), jnp.asarray(Z)))
    scale = np.abs(TRUTH)
    scale[:, 0] = np.maximum(scale[:, 0], 1.0)
    # Next to their zeros: the slope at v = 0, the excess and the balance at v = 1/2.
    scale[:, 1] += 1e-14
    scale[:, 3] += 1e-3 / np.maximum(Z, 1.0)
    scale[:, 4] += 1.0 / Z
    error = np.abs(parts - TRUTH) / scale
    error[Z < FAR, 4] = 0.0
    assert error.max() < 2e-12


@pytest.mark.slow
def test_derivatives_are_those_of_the_parts():
    v, z = (jnp.asarray(x[(Z > 1e-4) & (Z < 1e5) & (V > 1e-3)]) for x in (V, Z))
    one, none = jnp.ones_like(v), jnp.zeros_like(v)

    @jax.jit
    def slopes(v, z):
        by_v = jax.jvp(kv_parts, (v, z), (one, none))[1]
        by_z = jax.jvp(kv_parts, (v, z), (none, one))[1]
        return by_v, by_z

    by_v, by_z = slopes(v, z)
    step = 1e-4
    parts = jax.jit(kv_parts)
    for slope, up, down, width in (
        (by_v, (v + step * v, z), (v - step * v, z), 2 * step * v),
        (by_z, (v, z + step * z), (v, z - step * z), 2 * step * z),
    ):
        above, below = parts(*up), parts(*down)
        for name in ("scaled", "by_v", "ratio", "excess"):
            got = getattr(slope, name)
            difference = (getattr(above, name) - getattr(below, name)) / width
            noise = 1e-11 * (1 + np.abs(getattr(above, name))) / width
            assert np.all(np.abs(got - difference) < 1e-5 * np.abs(got) + noise), name
