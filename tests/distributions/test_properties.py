"""Identities of the generalized hyperbolic law over wide ranges of its parameters.

The factors are powers of 2 and the places multiples of 2^-10, so that both sides of an
identity see exactly the same law: what differs is ours alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from hypothesis import example, given, settings
from hypothesis import strategies as st

from numpyro_ext.distributions import GeneralizedHyperbolic

orders = st.floats(-20.0, 20.0)
rates = st.floats(-4.0, 4.0).map(lambda x: 10.0**x)
places = st.integers(-4096, 4096).map(lambda i: i / 1024)
scales = st.floats(-2.0, 2.0).map(lambda x: 10.0**x)
skews = st.one_of(st.just(0.0), st.floats(-10.0, 10.0, allow_subnormal=False))
powers = st.integers(-10, 10)
examples = settings(max_examples=60, deadline=None, derandomize=True, database=None)
law = {
    "p": orders,
    "a": rates,
    "b": rates,
    "loc": places,
    "scale": scales,
    "skew": skews,
    "x": places,
}


@jax.jit
def log_prob(p, a, b, loc, scale, skew, x):
    return GeneralizedHyperbolic(p, a, b, loc, scale, skew).log_prob(x)


gradient = jax.jit(jax.value_and_grad(log_prob, range(7)))


@jax.jit
def bayes(p, a, b, loc, scale, skew, x, w):
    law = GeneralizedHyperbolic(p, a, b, loc, scale, skew)
    normal = dist.Normal(loc + skew * w, scale * jnp.sqrt(w)).log_prob(x)
    mixing, posterior = law.mixing_law(), law.conditional_mixing(x)
    return normal, mixing.log_prob(w), posterior.log_prob(w), law.log_prob(x)


def close(one, other, scale=1.0):
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * scale)


@examples
@given(**law, power=powers)
def test_the_free_scale_of_the_mixing_law(p, a, b, loc, scale, skew, x, power):
    c, root = 4.0**power, 2.0**power
    same = log_prob(p, c * a, b / c, loc, scale * root, skew * c, x)
    close(same, log_prob(p, a, b, loc, scale, skew, x))


@examples
@given(**law, power=powers, shift=st.integers(-8, 8))
def test_an_affine_image_is_of_the_family(p, a, b, loc, scale, skew, x, power, shift):
    s = 2.0**power
    image = log_prob(p, a, b, s * loc + shift, s * scale, s * skew, s * x + shift)
    close(image + np.log(s), log_prob(p, a, b, loc, scale, skew, x))


@examples
@given(**law)
def test_the_mirror_image_has_the_opposite_skew(p, a, b, loc, scale, skew, x):
    one = log_prob(p, a, b, loc, scale, skew, x)
    close(one, log_prob(p, a, b, -loc, scale, -skew, -x))
    # Without skew, a law is its own mirror image.
    sides = [log_prob(p, a, b, 0.0, scale, 0.0, y) for y in (x, -x)]
    assert sides[0] == sides[1]


@examples
@given(**law, log_w=st.floats(-3.0, 3.0))
def test_the_mixing_law_given_x_is_bayes_rule(p, a, b, loc, scale, skew, x, log_w):
    terms = bayes(p, a, b, loc, scale, skew, x, 10.0**log_w)
    normal, prior, posterior, marginal = (float(y) for y in terms)
    size = max(1.0, abs(normal), abs(prior), abs(posterior))
    close(normal + prior - posterior, marginal, size)


wide = st.floats(-8.0, 8.0).map(lambda x: 10.0**x)
far = st.one_of(st.floats(-1e6, 1e6), places)


@examples
@example(p=0.5, a=1e8, b=1e8, loc=0.0, scale=1.0, skew=0.0, x=0.0)
@example(p=-0.5, a=1e-8, b=1e8, loc=0.0, scale=1e-2, skew=1e3, x=-1e6)
@example(p=100.0, a=1e-8, b=1e-8, loc=0.0, scale=1e2, skew=0.0, x=0.0)
@given(
    p=st.floats(-100.0, 100.0),
    a=wide,
    b=wide,
    loc=far,
    scale=scales,
    skew=st.one_of(skews, st.floats(-1e3, 1e3, allow_subnormal=False)),
    x=far,
)
def test_the_log_density_and_its_gradient_are_finite(p, a, b, loc, scale, skew, x):
    value, slopes = gradient(p, a, b, loc, scale, skew, x)
    assert np.isfinite(value)
    assert np.all(np.isfinite(slopes)), slopes
