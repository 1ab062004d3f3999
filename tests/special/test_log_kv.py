import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpyro_ext.special import log_kv, log_kv_moments

from . import reference

LOG_KV = reference.compiled(log_kv)
MOMENTS = reference.compiled(log_kv_moments)
DERIVATIVES = jax.jit(
    jax.vmap(
        lambda v, z: (jax.grad(log_kv, (0, 1))(v, z), jax.hessian(log_kv, (0, 1))(v, z))
    )
)
BARS = {
    np.float64: {
        "value": 2e-14,
        "by_v": 1e-13,
        "by_z": 1e-13,
        "by_vv": 1e-10,
        "by_vz": 1e-10,
        "by_zz": 1e-10,
    },
    np.float32: {
        "value": 5e-6,
        "by_v": 2e-5,
        "by_z": 1e-5,
        "by_vv": 1e-3,
        "by_vz": 1e-3,
        "by_zz": 1e-3,
    },
}
INF, NAN = np.inf, np.nan
EDGES = [  # v, z, log K, d/dv, d/dz
    (0.0, 0.0, INF, 0.0, -INF),
    (1.3, 0.0, INF, INF, -INF),
    (-1.3, 0.0, INF, -INF, -INF),
    (INF, 0.0, INF, INF, -INF),
    (1.3, INF, -INF, 0.0, -1.0),
    (INF, 1.0, INF, INF, -INF),
    (-INF, 1.0, INF, -INF, -INF),
    (INF, INF, NAN, NAN, NAN),
    (1.3, -1.0, NAN, NAN, NAN),
    (INF, -1.0, NAN, NAN, NAN),
    (1.3, NAN, NAN, NAN, NAN),
    (NAN, 1.0, NAN, NAN, NAN),
    (NAN, 0.0, NAN, NAN, NAN),
    (NAN, INF, NAN, NAN, NAN),
]
# In each of the three regimes, and with an order of every kind.
POINTS = [(0.0, 0.3), (0.3, 0.7), (-2.5, 0.2), (7.0, 3.0), (-0.4, 5.0), (20.0, 30.0)]
orders = st.floats(-1e5, 1e5)
arguments = st.floats(-30.0, 8.0).map(lambda x: 10.0**x)


def extremes() -> tuple[np.ndarray, np.ndarray]:
    """The corners and borders of the domain in which nothing may be infinite."""
    v = [0.0, 1e-300, 1e-8, 0.5, 1.0, 1.5, 2.5, 19.5, 20.0, 25.0, 1e3, 66274.0, 1e5]
    z = [1e-30, 1e-10, 1e-3, 1.0 - 1e-16, 1.0, 2.0, 25.0, 26.0, 1e3, 1e6, 1e8]
    v, z = np.meshgrid([*v, *(-x for x in v)], z)
    return v.ravel(), z.ravel()


def above(found: dict[str, float], bars: dict[str, float]) -> dict[str, float]:
    return {name: error for name, error in found.items() if not error <= bars[name]}


@pytest.mark.parametrize("dtype", BARS)
def test_value_and_derivatives_agree_with_50_digits(dtype):
    rows = reference.table(dtype)
    assert rows["v"].size >= (10_000 if dtype is np.float64 else 5_000)
    moments = MOMENTS(rows["v"].astype(dtype), rows["z"].astype(dtype))
    found = reference.errors(moments, rows)
    assert above(found, BARS[dtype]) == {}


@pytest.mark.parametrize(("v", "z"), POINTS)
def test_value_and_derivatives_agree_with_mpmath(v, z):
    moments = MOMENTS(v, z)
    orders = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    for ours, order in zip(moments, orders, strict=True):
        expected = reference.derivative(v, z, order)
        np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-15)


@pytest.mark.slow
def test_automatic_derivatives_are_the_moments_and_finite():
    rows = reference.table()
    v, z = (
        np.concatenate([a, rows[x][::10]])
        for a, x in zip(extremes(), "vz", strict=True)
    )
    moments = MOMENTS(v, z)
    by, second = DERIVATIVES(v, z)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((moments, by, second)))
    np.testing.assert_array_equal(moments.value, LOG_KV(v, z))
    np.testing.assert_allclose(by, (moments.by_v, moments.by_z), rtol=1e-14)
    np.testing.assert_array_equal(second[0][1], second[1][0])
    expected = moments.by_vv, moments.by_vz, moments.by_zz
    ours = second[0][0], second[0][1], second[1][1]
    np.testing.assert_allclose(ours, expected, rtol=1e-14)


@pytest.mark.slow
def test_third_derivatives_agree_with_mpmath():
    v, z = np.array(POINTS).T
    along = np.ones_like(v), np.full_like(z, 2.0)
    ours = jax.jit(lambda *x: jax.jvp(log_kv_moments, x, along)[1][3:])(v, z)
    third = [
        np.array([reference.derivative(*point, (3 - k, k)) for point in POINTS])
        for k in range(4)
    ]
    for k in range(3):
        expected = third[k] + 2.0 * third[k + 1]
        np.testing.assert_allclose(ours[k], expected, rtol=1e-9, atol=1e-12)


def test_the_domain_of_the_docstring_is_closed():
    z = np.array([2.0**-1021, 2.0**1020])[:, None]
    v = np.array([0.0, 0.3, -0.5, 7.0, 1e5])
    assert np.all(np.isfinite(LOG_KV(v, z)))


@pytest.mark.parametrize(("v", "z", "value", "by_v", "by_z"), EDGES)
@pytest.mark.parametrize("dtype", BARS)
def test_edges(dtype, v, z, value, by_v, by_z):
    v, z = dtype(v), dtype(z)
    assert np.array_equal(LOG_KV(v, z), value, equal_nan=True)
    assert np.array_equal(MOMENTS(v, z)[:3], (value, by_v, by_z), equal_nan=True)


@pytest.mark.parametrize("dtype", BARS)
def test_parity_in_the_order_is_exact(dtype):
    rows = reference.table(dtype)
    v, z = rows["v"].astype(dtype), rows["z"].astype(dtype)
    signs = (1, -1, 1, 1, -1, 1)
    for a, b, sign in zip(MOMENTS(v, z), MOMENTS(-v, z), signs, strict=True):
        np.testing.assert_array_equal(a, np.asarray(b) * sign)
    np.testing.assert_array_equal(LOG_KV(v, z), LOG_KV(-v, z))


@pytest.mark.parametrize("v", [0.5, -0.5, 1.5, 4.5, -9.5])
@pytest.mark.parametrize("dtype", BARS)
def test_half_integer_orders_in_closed_form(dtype, v):
    z = np.concatenate([np.logspace(-30, 6, 200), [0.0, INF, -1.0, NAN]]).astype(dtype)
    static = jax.jit(jax.vmap(jax.value_and_grad(lambda z: log_kv(v, z))))
    (value, by_z), moments = static(z), MOMENTS(dtype(v), z)
    bars = BARS[dtype]
    scale = np.maximum(1.0, np.abs(moments.value[:200]))
    assert np.max(np.abs(value - moments.value)[:200] / scale) < bars["value"]
    np.testing.assert_allclose(by_z[:200], moments.by_z[:200], rtol=bars["by_z"])
    np.testing.assert_array_equal(value[200:], moments.value[200:])
    np.testing.assert_array_equal(value, jax.jit(lambda z: log_kv(-v, z))(z))
    assert value.dtype == dtype


def test_the_closed_form_is_shorter():
    z = jnp.ones(3)
    elementary = str(jax.make_jaxpr(lambda z: log_kv(0.5, z))(z))
    general = str(jax.make_jaxpr(lambda z: log_kv(0.6, z))(z))
    assert len(elementary) < 0.1 * len(general)


@pytest.mark.usefixtures("strict_promotion")
def test_shapes_and_dtypes():
    z = jnp.ones((2, 3), jnp.float32)
    assert jax.eval_shape(log_kv, 1.3, z).dtype == jnp.float32
    batch = jax.eval_shape(log_kv, jnp.full((4, 1, 1), 1.3, jnp.float32), z)
    assert (batch.shape, batch.dtype) == ((4, 2, 3), jnp.float32)
    assert jax.eval_shape(log_kv, jnp.float32(1.3), 2).dtype == jnp.float32
    assert jax.eval_shape(log_kv, 1.3, z.astype(jnp.float16)).dtype == jnp.float16
    assert jax.eval_shape(log_kv, 1, 2).dtype == jnp.float64


@pytest.mark.usefixtures("strict_promotion")
def test_every_moment_has_the_shape_of_both_arguments():
    moments = jax.eval_shape(log_kv_moments, jnp.ones((2, 1)), jnp.ones(3))
    assert {x.shape for x in moments} == {(2, 3)}
    moments = jax.eval_shape(log_kv_moments, 1.3, jnp.ones(3, jnp.float32))
    assert {(x.shape, x.dtype) for x in moments} == {((3,), jnp.dtype("float32"))}


@pytest.mark.usefixtures("float32")
def test_without_double_precision():
    rows = reference.table(np.float32)
    v, z = rows["v"][::20].astype(np.float32), rows["z"][::20].astype(np.float32)
    moments = jax.jit(log_kv_moments)(v, z)
    assert {x.dtype for x in moments} == {jnp.dtype(jnp.float32)}
    rows = {name: column[::20] for name, column in rows.items()}
    found = reference.errors(moments, rows)
    assert above(found, BARS[np.float32]) == {}


@settings(deadline=None)
@given(orders, arguments)
def test_log_kv_is_convex_decreasing_and_finite(v, z):
    moments = MOMENTS(v, z)
    assert all(np.isfinite(moments))
    assert moments.by_z <= -1.0 + 1e-15
    assert moments.by_vv > 0.0
    assert moments.by_v * v >= 0.0
    assert moments.by_vz * v <= 0.0


@settings(deadline=None)
@given(orders, arguments)
def test_bessels_equation_holds(v, z):
    moments = MOMENTS(v, z)
    # K'' + K'/z = (1 + v^2/z^2) K, by its largest term.
    terms = moments.by_zz, moments.by_z**2, moments.by_z / z, -1.0, -((v / z) ** 2)
    assert abs(sum(terms)) < 1e-14 * max(map(abs, terms))
