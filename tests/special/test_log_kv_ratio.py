import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpyro_ext.special import log_kv_ratio

from . import reference

RATIO = reference.compiled(log_kv_ratio)
GRADIENT = reference.compiled(jax.vmap(jax.grad(log_kv_ratio, (0, 1))))
INF, NAN = np.inf, np.nan
BARS = {np.float64: 1e-14, np.float32: 5e-6}
EDGES = [  # v, z, the logarithm
    (1.3, 0.0, INF),
    (-0.2, 0.0, INF),
    (-0.5, 0.0, 0.0),
    (-1.3, 0.0, -INF),
    (1.3, INF, 0.0),
    (-1.3, INF, 0.0),
    (INF, 1.0, INF),
    (-INF, 1.0, -INF),
    (INF, INF, NAN),
    (1.3, -1.0, NAN),
    (1.3, NAN, NAN),
    (NAN, 1.0, NAN),
]
# Of either sign in each regime, and at their borders.
POINTS = [(-3.2, 0.4), (0.3, 4.0), (-0.7, 9.0), (40.0, 1e3)]
ORDERS = [-90.3, -20.5, -7.0, -1.3, -1.0, -0.8, -0.5, -0.2, 0.0, 0.3, 1.0, 4.5, 19.7]
ARGUMENTS = [1e-10, 1e-3, 0.99, 1.0, 7.0, 25.9, 300.0]
orders = st.floats(0.0, 1e5)
arguments = st.floats(-30.0, 8.0).map(lambda x: 10.0**x)


@pytest.mark.parametrize("dtype", BARS)
def test_agrees_with_mpmath_for_orders_of_either_sign(dtype):
    v, z = (x.ravel().astype(dtype) for x in np.meshgrid(ORDERS, ARGUMENTS))
    pairs = zip(v.tolist(), z.tolist(), strict=True)
    expected = np.array([reference.log_ratio(*pair) for pair in pairs])
    ours = np.asarray(RATIO(v, z), np.float64)
    scale = np.maximum(1.0, np.abs(expected))
    assert np.max(np.abs(ours - expected) / scale) < BARS[dtype]


@pytest.mark.parametrize("dtype", BARS)
def test_agrees_with_the_derivative_in_z(dtype):
    rows = reference.table(dtype)
    is_positive = rows["v"] >= 0.0
    v, z, by_z = (rows[name][is_positive] for name in ("v", "z", "by_z"))
    expected = np.log(v / z - by_z)
    ours = np.asarray(RATIO(v.astype(dtype), z.astype(dtype)), np.float64)
    error = np.abs(ours - expected) / np.maximum(1.0, np.abs(expected))
    assert np.max(error) < BARS[dtype]


def differences(points: list[tuple[float, float]], order: tuple[int, int]):
    """Derivatives of the ratio's logarithm by mpmath."""
    return np.array(
        [
            reference.derivative(v + 1.0, z, order) - reference.derivative(v, z, order)
            for v, z in points
        ]
    )


def test_derivatives_agree_with_mpmath():
    v, z = np.array(POINTS).T
    by_v, by_z = GRADIENT(v, z)
    np.testing.assert_allclose(by_v, differences(POINTS, (1, 0)), rtol=1e-12)
    np.testing.assert_allclose(by_z, differences(POINTS, (0, 1)), rtol=1e-12)


@pytest.mark.slow
def test_second_derivatives_agree_with_mpmath():
    v, z = np.array(POINTS).T

    def bend(v, z):
        along = jnp.ones_like(v), jnp.full_like(z, 2.0)

        def slope(v, z):
            return jax.jvp(log_kv_ratio, (v, z), along)[1]

        return jax.jvp(slope, (v, z), along)[1]

    by_vv, by_vz, by_zz = (differences(POINTS, o) for o in ((2, 0), (1, 1), (0, 2)))
    expected = by_vv + 4.0 * by_vz + 4.0 * by_zz
    np.testing.assert_allclose(jax.jit(bend)(v, z), expected, rtol=1e-9)


def test_derivatives_do_not_cancel_at_large_arguments():
    v, z = 0.3, 1e6
    by_v, by_z = GRADIENT(v, z)
    # log(K_{v+1}/K_v) = (v + 1/2)/z - (v + 1/2)/(2 z^2) + O(z^-3), DLMF 10.40.2.
    np.testing.assert_allclose(by_v, (1.0 - 0.5 / z) / z, rtol=1e-10)
    np.testing.assert_allclose(by_z, -0.8 * (1.0 - 1.0 / z) / z**2, rtol=1e-10)


@pytest.mark.parametrize(("v", "z", "expected"), EDGES)
@pytest.mark.parametrize("dtype", BARS)
def test_edges(dtype, v, z, expected):
    assert np.array_equal(RATIO(dtype(v), dtype(z)), expected, equal_nan=True)


@pytest.mark.usefixtures("strict_promotion")
def test_shapes_and_dtypes():
    z = jnp.ones((2, 3), jnp.float32)
    assert jax.eval_shape(log_kv_ratio, 1.3, z).dtype == jnp.float32
    assert jax.eval_shape(log_kv_ratio, np.ones((2, 1)), np.ones(3)).shape == (2, 3)
    assert jax.eval_shape(log_kv_ratio, 1, 2).dtype == jnp.float64


@settings(deadline=None)
@given(orders, arguments)
def test_the_recurrence_in_the_order_holds(v, z):
    # K_{v+1} = K_{v-1} + (2 v / z) K_v.
    expected = (
        np.logaddexp(np.log(2.0 * v) - np.log(z), -RATIO(v - 1.0, z))
        if v
        else (-RATIO(-1.0, z))
    )
    scale = max(1.0, abs(np.log(z)), np.log1p(v))
    assert abs(RATIO(v, z) - expected) < 4e-15 * scale


@settings(deadline=None)
@given(st.floats(-1e5, 1e5), arguments)
def test_the_gradient_is_finite_and_of_the_right_sign(v, z):
    by_v, by_z = GRADIENT(v, z)
    assert np.isfinite(by_v)
    assert np.isfinite(by_z)
    assert by_v > 0.0
