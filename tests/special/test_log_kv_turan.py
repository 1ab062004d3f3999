"""The ratio of ratios, against sums of the integral of K at 50 digits."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from numpyro_ext.special._log_kv_turan import log_kv_turan

POINTS = [
    (v, z)
    for v in (0.0, 0.5, -1.0, 3.7, -25.2, 300.0, -1e4)
    for z in (1e-6, 0.3, 4.0, 26.5, 900.0, 1e5)
]


def scaled_k(v, z):
    """K_v(z) up to a factor that depends on round(v) only, by the trapezoidal rule.

    The integrand of exp(v t - z cosh t) is entire and falls on both sides.
    """
    peak = mp.asinh(v / z)
    kappa = mp.sqrt(v * v + z * z)
    top = v * peak - z * mp.cosh(peak)
    # The fall by exp(-125): Gaussian, exponential to the left, or twice exponential.
    right = min(16 / mp.sqrt(kappa), mp.asinh(130 / z) + 2)
    left = min(25 / mp.sqrt(kappa) + 130 / kappa, 2 * peak + mp.asinh(130 / z) + 2)
    step = min(mp.mpf(1) / 12, 1 / (5 * mp.sqrt(kappa)))
    count = int(left / step), int(right / step)
    total = mp.fsum(
        mp.exp(v * t - z * mp.cosh(t) - top)
        for t in (peak + step * k for k in range(-count[0], count[1] + 1))
    )
    return mp.log(total * step) + top


@pytest.mark.parametrize(("v", "z"), POINTS)
def test_the_excess_over_one_keeps_its_digits(v, z):
    with mp.workdps(50):
        u, x = mp.mpf(abs(v)), mp.mpf(z)
        low, mid, high = (scaled_k(abs(u + k), x) for k in (-1, 0, 1))
        excess, below = float(mp.expm1(low + high - 2 * mid)), float(mid - low)
    ratio, turan = jax.jit(log_kv_turan)(jnp.asarray(v), jnp.asarray(z))
    np.testing.assert_allclose(jnp.expm1(turan), excess, rtol=1e-12)
    np.testing.assert_allclose(ratio, below, rtol=1e-13, atol=1e-14)
