"""Links: inverses, derivatives, tails and names."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from statsmodels.genmod.families import links as peers

from numpyro_ext import glm

PROBABILITY = {
    "logit": peers.Logit(),
    "probit": peers.Probit(),
    "cloglog": peers.CLogLog(),
    "loglog": peers.LogLog(),
    "cauchit": peers.Cauchy(),
}
POSITIVE = {
    "identity": peers.Identity(),
    "log": peers.Log(),
    "inverse": peers.InversePower(),
    "inverse_squared": peers.InverseSquared(),
    "sqrt": peers.Sqrt(),
}
P = np.asarray([0.01, 0.2, 0.5, 0.7, 0.99])
MU = np.asarray([0.05, 0.5, 1.0, 3.0, 40.0])
CASES = [
    *[(glm.get_link(k), peer, P) for k, peer in PROBABILITY.items()],
    *[(glm.get_link(k), peer, MU) for k, peer in POSITIVE.items()],
    (glm.Power(1.5), peers.Power(1.5), MU),
    (glm.Power(-3), peers.Power(-3.0), MU),
]
IDS = [*PROBABILITY, *POSITIVE, "power-1.5", "power--3"]
every_link = pytest.mark.parametrize(("link", "peer", "mu"), CASES, ids=IDS)


@every_link
def test_links_are_those_of_statsmodels(link, peer, mu):
    eta = peer(mu)
    np.testing.assert_allclose(link(mu), eta, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(link.inverse(eta), mu, rtol=1e-10)
    np.testing.assert_allclose(link.log_inverse(eta), np.log(mu), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(link.derivative(mu), peer.deriv(mu), rtol=1e-8)


@every_link
def test_derivatives_are_those_of_the_link_and_of_its_inverse(link, peer, mu):
    del peer
    slope = jax.vmap(jax.grad(link))(jnp.asarray(mu))
    np.testing.assert_allclose(link.derivative(mu), slope, rtol=1e-9)
    back = jax.vmap(jax.grad(link.inverse))(link(mu))
    np.testing.assert_allclose(back * slope, 1.0, rtol=1e-9)


@every_link
def test_links_are_static_and_know_their_domain(link, peer, mu):
    del peer
    assert jax.tree.leaves(link) == []
    assert hash(link) == hash(type(link)(**vars(link)))
    assert jnp.all(link.domain(link(mu)))


@pytest.mark.parametrize("name", PROBABILITY)
def test_log_probabilities_lose_nothing_in_the_tails(name):
    link = glm.get_link(name)
    exact = {
        "logit": lambda x: -mp.log1p(mp.exp(-x)),
        "probit": lambda x: mp.log(mp.erfc(-x / mp.sqrt(2)) / 2),
        "cloglog": lambda x: mp.log(-mp.expm1(-mp.exp(x))),
        "loglog": lambda x: -mp.exp(-x),
        "cauchit": lambda x: mp.log(mp.atan2(1, -x) / mp.pi),
    }[name]
    for eta in (-700.0, -30.0, -1.0, 0.0, 0.5, 3.0):
        with mp.workdps(400):
            value = float(exact(mp.mpf(eta)))
            slope = float(mp.diff(exact, mp.mpf(eta), h=mp.mpf(10) ** -20))
        got = jax.value_and_grad(lambda x: link.log_probs(x)[0])(eta)
        np.testing.assert_allclose(got, [value, slope], rtol=1e-12)


@pytest.mark.parametrize("name", PROBABILITY)
def test_the_two_probabilities_have_the_sum_1(name):
    eta = jnp.linspace(-30.0, 30.0, 61)
    one, zero = glm.get_link(name).log_probs(eta)
    np.testing.assert_allclose(jnp.exp(one) + jnp.exp(zero), 1.0, rtol=1e-14)


def test_names_are_resolved_and_wrong_ones_refused():
    assert glm.get_link("probit") == glm.Probit()
    assert glm.get_link(glm.Power(2)) == glm.Power(2.0)
    with pytest.raises(ValueError, match="'logti'.*Did you mean 'logit'"):
        glm.get_link("logti")
    with pytest.raises(TypeError, match="log"):
        glm.get_link(np.log)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="Log"):
        glm.Power(0)
