"""Tails and quantiles over the domain: each against what it must add up to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

from numpyro_ext import distributions as distx
from numpyro_ext.distributions._gig_normalizer import log_normalizer
from numpyro_ext.distributions._gig_tail import log_tails as gig_tails
from numpyro_ext.distributions._kernel import peak
from numpyro_ext.distributions._mixture_quantile import quantile
from numpyro_ext.distributions._mixture_tail import log_tails, log_upper

NUM_ROWS = 2000


@pytest.fixture(scope="module")
def rows() -> dict[str, np.ndarray]:
    """Members of the whole family, edges included, with places of all their parts."""
    rng = np.random.default_rng(5)
    n = NUM_ROWS
    sign = rng.choice([-1.0, 1.0], n)
    p = np.where(rng.random(n) < 0.5, rng.normal(0, 1, n), sign)
    p = np.where(rng.random(n) < 0.3, sign * 10 ** rng.uniform(-3, 2.5, n), p)
    a, b = 10 ** rng.uniform(-8, 4, (2, n))
    kind = rng.random(n)
    p = np.where(kind < 0.15, -np.abs(p) - 0.05, p)
    p = np.where(kind > 0.85, np.abs(p) + 0.05, p)
    a, b = np.where(kind < 0.15, 0.0, a), np.where(kind > 0.85, 0.0, b)
    top = jax.jit(peak)(p, a, b)
    side = np.where(rng.random(n) < 0.5, top.left, top.right)
    v = top.mode + rng.normal(0, 1, n) * rng.choice([0.3, 1.0, 3.0], n) * side
    t = rng.choice([-1.0, 1.0], n) * 10 ** rng.uniform(-3, 1.5, n)
    t = np.where(rng.random(n) < 0.3, 0.0, t)
    w = np.exp(v)
    z = t * w + np.sqrt(w) * rng.normal(0, 1.5, n)
    return {"p": p, "a": a, "b": b, "v": np.asarray(v), "z": np.asarray(z), "t": t}


def worst(error: np.ndarray, rows: dict[str, np.ndarray], bar: float) -> None:
    error = np.where(np.isnan(error), np.inf, error)
    i = int(np.argmax(error))
    where = {k: float(x[i]) for k, x in rows.items()}
    assert error[i] < bar, f"{error[i]:.3g} at {where}"


def test_the_panels_hold_the_whole_kernel(rows):
    p, a, b = (rows[k] for k in "pab")

    def both(p, a, b):
        top = peak(p, a, b)
        height = p * top.mode - top.up - top.down
        reference = log_normalizer(p, a, b) - jnp.sqrt(a * b)
        size = jnp.abs(reference) + jnp.abs(p * top.mode)
        return jnp.log(top.left + top.right) + height, reference, size

    ours, reference, size = map(np.asarray, jax.jit(both)(p, a, b))
    error = np.abs(ours - reference) - 1e-14 * size
    worst(error, rows, 2e-12)


@pytest.mark.parametrize("name", ["gig", "mixture"])
def test_both_tails_add_to_one(name, rows):
    columns = "pabv" if name == "gig" else "pabzt"
    tails = jax.jit(gig_tails if name == "gig" else log_tails)
    lower, upper = tails(*(rows[k] for k in columns))
    worst(np.abs(np.exp(lower) + np.exp(upper) - 1.0), rows, 1e-11)


@pytest.mark.parametrize("df", [0.2, 1.0, 1.5])
def test_heavy_tails_are_those_of_student(df):
    x = np.asarray([-1e150, -1e20, -1e6, -30.0, -1.0, 0.0, 1e-3, 2.0, 1e3])
    law = distx.GeneralizedHyperbolicSkewT(df)
    np.testing.assert_allclose(law.log_cdf(x), st.t.logcdf(x, df), atol=1e-12)
    np.testing.assert_allclose(law.log_sf(x), st.t.logsf(x, df), atol=1e-12)


# (p, a, b, skew / scale)
MEMBERS = {
    "pole": (0.3, 2.0, 0.0, 0.0),
    "pole, skewed": (0.3, 2.0, 0.0, 0.5),
    "steep pole": (0.05, 2.0, 0.0, 0.5),
    "near pole": (1e-6, 1e-10, 1e-10, 0.0),
    "near pole, skewed": (1e-6, 1e-10, 1e-10, 1.0),
    "cauchy": (-0.5, 0.0, 1.0, 0.0),
    "cauchy, skewed": (-0.5, 0.0, 1.0, 0.3),
    "df = 0.2, skewed": (-0.1, 0.0, 0.2, 0.1),
    "long and skewed": (-0.5, 0.01, 1.0, 30.0),
    "nig": (-0.5, 1.0, 1.0, 0.5),
    "gh": (3.0, 1e-3, 2.0, -4.0),
    "normal": (1.0, 1e6, 1e6, 1.0),
}
LEVELS = [1e-200, 1e-100, 1e-20, 1e-8, 0.2, 0.4, 0.4999999, 0.5, 0.52, 0.7, 1 - 1e-9]


@pytest.mark.slow
def test_quantiles_invert_the_nearer_tail():
    parameters = np.repeat(np.asarray(list(MEMBERS.values())), len(LEVELS), axis=0)
    p, a, b, t = parameters.T
    q = np.tile(LEVELS, len(MEMBERS))
    z = jax.jit(quantile)(p, a, b, t, q)
    lower, upper = map(np.asarray, jax.jit(log_tails)(p, a, b, z, t))
    error = np.where(q > 0.5, upper - np.log1p(-q), lower - np.log(q))
    rows = {"p": p, "a": a, "b": b, "t": t, "q": q}
    worst(np.abs(error), rows, 1e-11)


def test_quantiles_of_the_cauchy_law_far_out():
    q = np.asarray([1e-200, 1e-100, 1e-3, 0.4, 0.7, 0.999])
    law = distx.GeneralizedHyperbolicSkewT(1.0)
    np.testing.assert_allclose(law.icdf(q), st.t.ppf(q, 1.0), rtol=1e-11)


def test_the_tail_far_beyond_the_floats_is_no_nan():
    args = [jnp.asarray([x]) for x in (0.05, 1.6e-5, 0.0, 8e31, 0.0)]
    upper = log_upper(*args)
    # The exponential tail exp(-sqrt(a) z).
    np.testing.assert_allclose(upper, -np.sqrt(1.6e-5) * 8e31, rtol=1e-8)
