"""Values and derivatives of the likelihoods against mpmath, at the edges too.

The bars are errors relative to max(1, |truth|). Wherever the truth is a number of the
format, so must be the result.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest

from numpyro_ext import distributions as distx

from ..slow import slow_beside
from . import likelihood_reference as reference

VALUE_BAR, GRADIENT_BAR, SINGLE_BAR = 1e-12, 1e-10, 1e-5
# All numbers here are exact in float32, so that one reference serves both formats.
ETA = [-700.0, -40.0, -3.0, -(2.0**-10), 0.0, 1.0, 12.0, 700.0]
POSITIVE = [2.0**-27, 2.0**-10, 0.25, 1.0, 8.0, 2.0**27]
CUTPOINTS = [-1.5, 0.25, 0.375, 4.0]
LINKS = ["logit", "probit", "cloglog", "loglog", "cauchit"]


def grid(*axes: list[float]) -> np.ndarray:
    return np.array(list(itertools.product(*axes)))


@dataclass
class Case:
    """A law of its parameters; the same in mpmath; and (value, parameters) rows."""

    law: Callable
    exact: Callable
    points: np.ndarray
    digits: int = reference.DIGITS


def binomial_points() -> np.ndarray:
    counts = [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (1, 2**20), (2**18, 2**20)]
    return np.array([(y, eta, n) for y, n in counts for eta in ETA], dtype=float)


CASES = {
    "poisson": Case(
        distx.PoissonLog,
        reference.poisson,
        grid([0, 1, 2, 30, 2**20], [*ETA, 13.875]),
    ),
    "negative-binomial": Case(
        distx.NegativeBinomialLog,
        reference.negative_binomial,
        grid([0, 1, 7, 2**20], ETA, POSITIVE),
    ),
    "negative-binomial-1": Case(
        distx.NegativeBinomial1Log,
        reference.negative_binomial_1,
        grid([0, 1, 7, 2**20], ETA, POSITIVE),
    ),
    "gamma": Case(
        distx.GammaLog, reference.gamma, grid([2.0**-16, 0.5, 3.0], ETA, POSITIVE)
    ),
    "inverse-gaussian": Case(
        distx.InverseGaussianLog,
        reference.inverse_gaussian,
        grid([2.0**-16, 0.5, 3.0], ETA, POSITIVE),
    ),
    "tweedie": Case(
        distx.TweedieLog,
        reference.tweedie,
        grid([0.0, 2.0**-10, 1.0, 50.0], [-3, 0, 2], [0.0625, 1, 16], [1.125, 1.5]),
        digits=60,
    ),
    "tweedie-near-gamma": Case(
        distx.TweedieLog,
        reference.tweedie,
        grid([1.0, 100.0], [0.0, 4.0], [0.3125, 4.0], [1.8125, 1.9375]),
        digits=60,
    ),
    **{
        f"bernoulli-{link}": Case(
            lambda eta, link=link: distx.BernoulliLink(eta, link),
            reference.bernoulli(link),
            grid([0, 1], [*ETA, -38.5, 8.25, 40.0]),
        )
        for link in LINKS
    },
    **{
        f"binomial-{link}": Case(
            lambda eta, n, link=link: distx.BinomialLink(eta, n, link),
            reference.binomial(link),
            binomial_points(),
        )
        for link in LINKS
    },
    **{
        f"beta-{link}": Case(
            lambda eta, precision, link=link: distx.BetaLink(eta, precision, link),
            reference.beta(link),
            grid([2.0**-16, 0.25, 1 - 2.0**-10], ETA, [2.0**-6, 1.0, 64.0]),
        )
        for link in LINKS
    },
    **{
        f"ordered-{link}": Case(
            lambda eta, link=link: distx.OrderedLink(
                eta, jnp.asarray(CUTPOINTS, eta.dtype), link
            ),
            reference.ordered(link, CUTPOINTS),
            grid([0, 1, 2, 4], ETA),
        )
        for link in LINKS
    },
    "zero-inflated-poisson": Case(
        lambda gate, eta: distx.ZeroInflated(distx.PoissonLog(eta), gate),
        reference.zero_inflated(reference.poisson),
        grid([0, 1, 30], [-700, -20, 0, 700], ETA),
    ),
    "hurdle-poisson": Case(
        lambda gate, eta: distx.Hurdle(distx.PoissonLog(eta), gate),
        reference.hurdle(reference.poisson),
        grid([0, 1, 30], [-700, -20, 0, 700], ETA),
    ),
    "hurdle-negative-binomial": Case(
        lambda gate, eta, alpha: distx.Hurdle(
            distx.NegativeBinomialLog(eta, alpha), gate
        ),
        reference.hurdle(reference.negative_binomial),
        grid([0, 1, 7], [0.5], ETA, POSITIVE),
    ),
}


# What has a relative among the others: another link, which compiles as long.
RELATED = {f"{law}-{link}" for law in ("beta", "ordered") for link in LINKS[2:]}
RELATED |= {f"binomial-{link}" for link in LINKS[1:]}


@cache
def truth(name: str) -> np.ndarray:
    case = CASES[name]
    return reference.evaluate(case.exact, case.points, case.digits)


def errors(name: str, dtype: type) -> np.ndarray:
    """Per column: of the value, then of the derivative in each parameter."""
    case = CASES[name]
    y, *parameters = (jnp.asarray(c, dtype) for c in case.points.T)

    @jax.jit
    def program(parameters, y):
        def total(parameters):
            value = case.law(*parameters).log_prob(y)
            return value.sum(), value

        (_, value), slopes = jax.value_and_grad(total, has_aux=True)(parameters)
        return [value, *slopes]

    columns = program(parameters, y)
    assert all(c.dtype == dtype for c in columns)
    got = np.stack(columns, axis=1).astype(float)
    want = truth(name)
    is_number = np.abs(want) < float(np.finfo(dtype).max)
    assert np.all(np.isfinite(got[is_number]))
    got, want = np.where(is_number, got, 0.0), np.where(is_number, want, 0.0)
    return np.max(np.abs(got - want) / np.maximum(1.0, np.abs(want)), axis=0)


@pytest.mark.parametrize("name", slow_beside(CASES.keys() - RELATED, CASES))
def test_float64_values_and_gradients_are_exact(name):
    value, *slopes = errors(name, np.float64)
    assert value < VALUE_BAR
    assert max(slopes) < GRADIENT_BAR


@pytest.mark.parametrize("name", slow_beside(CASES.keys() - RELATED, CASES))
def test_float32_values_and_gradients_are_exact(name):
    assert np.all(errors(name, np.float32) < SINGLE_BAR)


@pytest.mark.parametrize(
    ("law", "formula"),
    [
        (distx.NegativeBinomialLog, lambda y, mu: 0.5 * ((y - mu) ** 2 - y)),
        (distx.NegativeBinomial1Log, lambda y, mu: 0.5 * ((y - mu) ** 2 - y) / mu),
    ],
    ids=["NB2", "NB1"],
)
def test_negative_binomial_laws_are_continuous_at_alpha_0(law, formula):
    y, eta = (jnp.asarray(x) for x in grid([0.0, 1.0, 4.0, 300.0], [-3.0, 1.0, 5.0]).T)
    poisson = distx.PoissonLog(eta).log_prob(y)
    for alpha in (0.0, 1e-300, 1e-20):
        value, slope = jax.jvp(
            lambda a: law(eta, a).log_prob(y),
            (jnp.asarray(alpha),),
            (jnp.asarray(1.0),),
        )
        np.testing.assert_allclose(value, poisson, rtol=1e-13, atol=1e-13)
        # The Taylor coefficient of the log density in alpha.
        want = formula(y, jnp.exp(eta))
        np.testing.assert_allclose(slope, want, rtol=1e-11, atol=1e-11)


SECOND = {
    "poisson": ([3.0], [1.25]),
    "negative-binomial": ([3.0], [1.25, 0.5]),
    "negative-binomial-1": ([3.0], [1.25, 0.5]),
    "gamma": ([3.0], [1.25, 0.5]),
    "inverse-gaussian": ([3.0], [1.25, 0.5]),
    "tweedie": ([3.0], [1.25, 0.5, 1.375]),
    "bernoulli-probit": ([1.0], [-37.5]),
    "bernoulli-cloglog": ([1.0], [0.75]),
    "bernoulli-cauchit": ([0.0], [0.0]),
    "binomial-loglog": ([3.0], [0.5, 10.0]),
    "beta-logit": ([0.25], [0.5, 8.0]),
    "ordered-probit": ([1.0], [0.5]),
    "hurdle-negative-binomial": ([3.0], [0.5, 1.25, 0.5]),
}


@pytest.mark.parametrize(
    "name", slow_beside(SECOND.keys() - {"negative-binomial-1", "beta-logit"}, SECOND)
)
def test_second_derivatives_are_exact(name):
    case = CASES[name]
    (y,), parameters = SECOND[name]
    hessian = jax.jit(jax.hessian(lambda p: case.law(*p).log_prob(y)))
    got = hessian(jnp.asarray(parameters))
    count = len(parameters)

    def slopes(moved: np.ndarray) -> np.ndarray:
        rows = np.array([[y, *moved]])
        return reference.evaluate(case.exact, rows, case.digits)[0, 1:]

    want = np.empty((count, count))
    for i in range(count):
        # The reference's own gradients have all digits; their difference has six.
        step = 2.0**-12
        unit = step * np.eye(count)[i]
        base = np.asarray(parameters)
        once, twice = (
            (slopes(base + h * unit) - slopes(base - h * unit)) / (2 * h * step)
            for h in (1, 2)
        )
        want[i] = (4 * once - twice) / 3
    np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-8)


def test_the_tweedie_density_moves_with_the_value():
    y, *parameters = (
        jnp.asarray(c)
        for c in grid([0.25, 1.0, 50.0], [-1.0, 2.0], [0.0625, 4.0], [1.125, 1.75]).T
    )

    @jax.jit
    def density(y):
        return distx.TweedieLog(*parameters).log_prob(y)

    _, got = jax.jvp(density, (y,), (jnp.ones_like(y),))
    once, twice = (
        (density(y * (1 + h)) - density(y * (1 - h))) / (2 * h * y)
        for h in (2.0**-10, 2.0**-9)
    )
    np.testing.assert_allclose(got, (4 * once - twice) / 3, rtol=1e-7, atol=1e-7)


PAIR = [0.5, 0.75]


@pytest.mark.parametrize("y", [0.0, 3.0])
@pytest.mark.parametrize(
    "name", ["poisson", "negative-binomial", "negative-binomial-1", "binomial-probit"]
)
def test_scores_of_counts_move_with_the_count(name, y):
    """Derivatives of a fit in its data need them, for zeros too."""
    law = CASES[name].law
    p = jnp.asarray({"poisson": [0.5], "binomial-probit": [0.25, 8.0]}.get(name, PAIR))

    @jax.jit
    def score(y):
        return jax.grad(lambda p: law(*p).log_prob(y))(p)

    # Values between the integers are outside of the support.
    with numpyro.validation_enabled(is_validate=False):
        got = jax.jit(jax.jacfwd(score))(jnp.asarray(y))
        # On the side of larger counts, by a difference of fourth order.
        h = 1e-3
        at = [np.asarray(score(jnp.asarray(y + k * h))) for k in range(5)]
    want = (-25 * at[0] + 48 * at[1] - 36 * at[2] + 16 * at[3] - 3 * at[4]) / (12 * h)
    np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-7)


def test_bernoulli_and_binomial_gradients_are_right_at_zero():
    """Where `max(eta, 0)` and `abs(eta)` have kinks that cancel."""
    for y, want in ((0.0, -0.5), (1.0, 0.5)):
        slope = jax.grad(lambda eta, y=y: distx.BernoulliLink(eta).log_prob(y))(0.0)
        assert slope == want
    for y, want in ((3.0, -2.0), (7.0, 2.0)):
        slope = jax.grad(lambda eta, y=y: distx.BinomialLink(eta, 10).log_prob(y))(0.0)
        np.testing.assert_allclose(slope, want, rtol=1e-15)


def test_the_inverse_gaussian_law_is_a_member_of_the_generalized_family():
    y, eta, phi = (
        jnp.asarray(c) for c in grid([0.01, 0.7, 5.0], [-2.0, 0.5, 3.0], [0.05, 2.0]).T
    )
    ours = distx.InverseGaussianLog(eta, phi).log_prob(y)
    mean = jnp.exp(eta)
    gig = distx.GeneralizedInverseGaussian(-0.5, 1.0 / (phi * mean**2), 1.0 / phi)
    error = jnp.abs(ours - gig.log_prob(y)) / jnp.maximum(1.0, jnp.abs(ours))
    assert jnp.max(error) < 1e-12
