"""Messages for wrong keywords, wrong matrices and edges: what they must say."""

import copy
import pickle

import jax.numpy as jnp
import numpy as np
import numpyro
import pytest

from numpyro_ext import distributions as distx

NIG, GH = distx.NormalInverseGaussian, distx.GeneralizedHyperbolic
MNIG = distx.MultivariateNormalInverseGaussian
GIG = distx.GeneralizedInverseGaussian
ZERO = jnp.zeros(2)
INDEFINITE = jnp.asarray([[1.0, 2.0], [2.0, 1.0]])

KEYWORDS = {
    "a slip": (lambda: NIG(1.0, 1.0, skw=1.0), ["`skw`", "mean `skew`", "(a, b, loc"]),
    "another book": (
        lambda: NIG(1.0, 1.0, delta=2.0),
        ["`delta`", "mean `scale`", "NormalInverseGaussian.from_alpha_beta(alpha"],
    ),
    "McNeil's": (
        lambda: GH(1.0, chi=1.0, psi=2.0),
        ["`b` for `chi`", "`a` for `psi`", "(p, a, b, loc"],
    ),
    "a complete other set": (
        lambda: NIG(alpha=1.0, beta=0.5, delta=1.0),
        ["`alpha`", "NormalInverseGaussian.from_alpha_beta(alpha, beta"],
    ),
    "through another constructor": (
        lambda: NIG.standardized(0.0, 1.0, a=1.0, b=1.0, foo=1.0),
        ["`foo`", "(a, b, loc"],
    ),
    "a law of positive numbers": (lambda: GIG(1.0, chi=1.0, psi=1.0), ["`a` for"]),
    "a covariance": (
        lambda: MNIG(1.0, 1.0, covariance_matrix=INDEFINITE),
        ["`covariance_matrix`", "mean `scale_tril`"],
    ),
}
TWO_SETS = {
    "keywords": lambda: NIG(alpha=1.0, beta=0.5, a=1.0, skew=0.0),
    "positions": lambda: NIG(1.0, 1.0, alpha=2.0, beta=0.0),
    "alpha_bar": lambda: NIG(a=1.0, b=1.0, alpha_bar=1.0),
}


@pytest.mark.parametrize(("build", "words"), KEYWORDS.values(), ids=KEYWORDS)
def test_an_unknown_keyword_is_named_with_the_accepted_ones(build, words):
    with pytest.raises(TypeError) as caught:
        build()
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("build", TWO_SETS.values(), ids=TWO_SETS)
def test_two_parametrizations_at_once_are_refused(build):
    with pytest.raises(ValueError, match="two parametrizations") as caught:
        build()
    words = ["`alpha", "`NormalInverseGaussian.from_alpha", "`a`", "(a, b, loc, scale"]
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("tril", "words"),
    [
        (INDEFINITE, ["symmetric", "smallest eigenvalue -1", "not positive definite"]),
        (jnp.linalg.cholesky(INDEFINITE), ["not finite", "eigvalsh"]),
        (jnp.asarray([[1.0, 0.0], [2.0, -0.5]]), ["smallest eigenvalue", "-0.5"]),
        (jnp.asarray([[2.0, 0.5], [0.5, 1.0]]), ["0.792893", "linalg.cholesky"]),
        (jnp.asarray([[2.0, 0.5], [0.1, 1.0]]), ["entry (0, 1) is 0.5"]),
        (jnp.stack([jnp.eye(2), -jnp.eye(2)]), ["index (1,)", "eigenvalue", "-1"]),
    ],
)
def test_a_wrong_scale_says_what_is_wrong_with_it(tril, words):
    with (
        numpyro.validation_enabled(),
        pytest.raises(ValueError, match="scale_tril") as caught,
    ):
        MNIG(1.0, 1.0, ZERO, ZERO, tril)
    assert all(w in str(caught.value) for w in ["`scale_tril`", *words]), caught.value


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (GIG(2.0, 1.0, 0.0), ["b = 0", "Gamma(p, a / 2)"]),
        (GIG(-2.0, 0.0, 1.0), ["a = 0", "InverseGamma(-p, b / 2)"]),
        (
            distx.JointNormalMixture(2.0, 1.0, 0.0, ZERO, ZERO, jnp.eye(2)),
            ["b = 0", "Gamma(p, a / 2)"],
        ),
    ],
)
def test_the_information_at_an_edge_is_refused(law, words):
    with pytest.raises(ValueError, match="not defined") as caught:
        law.fisher_information  # noqa: B018
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_expectations_at_an_edge_may_be_infinite():
    # E[1/x] of Gamma(k, r) is r / (k - 1) for k > 1 only.
    assert GIG(0.5, 1.0, 0.0).expectation_params[2] == jnp.inf
    np.testing.assert_allclose(GIG(2.5, 3.0, 0.0).expectation_params[2], 1.0)


def test_copies_need_no_arguments():
    law = NIG(1.0, 2.0)
    for again in (copy.deepcopy(law), pickle.loads(pickle.dumps(law))):
        assert again.log_prob(0.5) == law.log_prob(0.5)
