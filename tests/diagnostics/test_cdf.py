"""Distribution functions of observed sites against SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from numpyro_ext import distributions as distx
from numpyro_ext.diagnostics._cdf import NoCDF, cdf

X = np.linspace(-2.5, 4.0, 14)
POSITIVE = np.linspace(0.05, 6.0, 12)
UNIT = np.linspace(0.02, 0.98, 9)
COUNTS = np.arange(12)
MIX = np.array([0.3, 0.7])


def mixed(weights, *laws):
    return lambda y: sum(w * law.cdf(y) for w, law in zip(weights, laws, strict=True))


CONTINUOUS = {  # id: (ours, an independent reference, where)
    "normal": (dist.Normal(0.3, 1.4), stats.norm(0.3, 1.4).cdf, X),
    "student": (dist.StudentT(3.0, 0.3, 1.4), stats.t(3.0, 0.3, 1.4).cdf, X),
    "log-normal": (
        dist.LogNormal(0.3, 0.7),
        stats.lognorm(0.7, scale=np.exp(0.3)).cdf,
        POSITIVE,
    ),
    "falling": (
        dist.TransformedDistribution(
            dist.Gamma(2.0, 1.0), dist.transforms.AffineTransform(1.0, -2.0)
        ),
        lambda y: stats.gamma(2.0).sf((1.0 - y) / 2.0),
        X - 4.0,
    ),
    "gamma": (dist.Gamma(2.5, 1.5), stats.gamma(2.5, scale=1 / 1.5).cdf, POSITIVE),
    "beta": (dist.Beta(2.0, 3.5), stats.beta(2.0, 3.5).cdf, UNIT),
    "weibull": (
        dist.Weibull(2.0, 1.5),
        stats.weibull_min(1.5, scale=2.0).cdf,
        POSITIVE,
    ),
    "truncated": (
        dist.TruncatedNormal(0.5, 1.2, low=-1.0, high=2.0),
        stats.truncnorm(-1.25, 1.25, 0.5, 1.2).cdf,
        np.linspace(-0.9, 1.9, 7),
    ),
    "mixture": (
        dist.MixtureSameFamily(
            dist.Categorical(MIX), dist.Normal(jnp.array([-1.0, 2.0]), 0.8)
        ),
        mixed(MIX, stats.norm(-1.0, 0.8), stats.norm(2.0, 0.8)),
        X,
    ),
    "general-mixture": (
        dist.MixtureGeneral(
            dist.Categorical(MIX), [dist.Normal(-1.0, 1.0), dist.StudentT(4.0, 1.0)]
        ),
        mixed(MIX, stats.norm(-1.0), stats.t(4.0, 1.0)),
        X,
    ),
    "hurdle": (
        dist.HurdleProbs(dist.Gamma(2.0, 1.0), 0.3),
        lambda y: 0.3 + 0.7 * stats.gamma(2.0).cdf(y),
        POSITIVE,
    ),
    "gamma-link": (
        distx.GammaLog(0.4, 0.5),
        stats.gamma(2.0, scale=np.exp(0.4) / 2.0).cdf,
        POSITIVE,
    ),
}
HURDLE = stats.poisson(1.7)
DISCRETE = {
    "bernoulli-probs": (dist.Bernoulli(0.3), stats.bernoulli(0.3).cdf, np.arange(2)),
    "bernoulli-logits": (
        dist.Bernoulli(logits=-1.2),
        stats.bernoulli(1 / (1 + np.exp(1.2))).cdf,
        np.arange(2),
    ),
    "binomial-probs": (dist.Binomial(11, 0.3), stats.binom(11, 0.3).cdf, COUNTS),
    "binomial-logits": (
        dist.Binomial(11, logits=1.2),
        stats.binom(11, 1 / (1 + np.exp(-1.2))).cdf,
        COUNTS,
    ),
    "binomial-certain": (dist.Binomial(11, 1.0), stats.binom(11, 1.0).cdf, COUNTS[-1:]),
    "poisson": (dist.Poisson(2.7), stats.poisson(2.7).cdf, COUNTS),
    "negative-binomial": (
        dist.NegativeBinomial2(2.7, 1.3),
        stats.nbinom(1.3, 1.3 / 4.0).cdf,
        COUNTS,
    ),
    "geometric": (dist.Geometric(0.3), lambda y: stats.geom(0.3).cdf(y + 1), COUNTS),
    "geometric-logits": (
        dist.Geometric(logits=0.4),
        lambda y: stats.geom(1 / (1 + np.exp(-0.4))).cdf(y + 1),
        COUNTS,
    ),
    "zero-inflated": (
        dist.ZeroInflatedPoisson(0.2, 1.7),
        lambda y: 0.2 * (y >= 0) + 0.8 * stats.poisson(1.7).cdf(y),
        COUNTS,
    ),
    "zero-inflated-binomial": (
        dist.ZeroInflatedDistribution(dist.Binomial(11, 0.3), gate=0.2),
        lambda y: 0.2 * (y >= 0) + 0.8 * stats.binom(11, 0.3).cdf(y),
        COUNTS,
    ),
    "hurdle": (
        dist.HurdleProbs(dist.Poisson(1.7), 0.3),
        lambda y: np.where(
            y >= 0,
            0.3 + 0.7 * (HURDLE.cdf(y) - HURDLE.pmf(0)) / HURDLE.sf(0),
            0.0,
        ),
        COUNTS,
    ),
    "categorical": (
        dist.Categorical(jnp.array([0.2, 0.5, 0.3])),
        lambda y: np.array([0.0, 0.2, 0.7, 1.0])[y + 1],
        np.arange(3),
    ),
    "ordered": (
        dist.OrderedLogistic(0.4, jnp.array([-1.0, 0.5, 2.0])),
        lambda y: stats.logistic.cdf(np.array([-np.inf, -1.0, 0.5, 2.0, np.inf]) - 0.4)[
            y + 1
        ],
        np.arange(4),
    ),
    "poisson-link": (distx.PoissonLog(1.0), stats.poisson(np.exp(1.0)).cdf, COUNTS),
    "binomial-link": (
        distx.BinomialLink(0.4, 11),
        stats.binom(11, 1 / (1 + np.exp(-0.4))).cdf,
        COUNTS,
    ),
}


@pytest.mark.parametrize(("law", "reference", "y"), CONTINUOUS.values(), ids=CONTINUOUS)
def test_continuous_laws_have_the_reference_function(law, reference, y):
    at, below = cdf(law, y)
    np.testing.assert_allclose(at, reference(y), rtol=1e-10, atol=1e-14)
    np.testing.assert_array_equal(below, at)


@pytest.mark.parametrize(("law", "reference", "y"), DISCRETE.values(), ids=DISCRETE)
def test_discrete_laws_have_it_on_both_sides(law, reference, y):
    at, below = cdf(law, y)
    np.testing.assert_allclose(at, reference(y), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(below, reference(y - 1), rtol=1e-9, atol=1e-12)


def test_a_law_without_a_closed_form_is_summed_up():
    y = np.array([[0, 3, 11], [1, 2, 10]])
    at, below = jax.jit(lambda y: cdf(dist.BetaBinomial(2.0, 3.5, 11), y))(y)
    reference = stats.betabinom(11, 2.0, 3.5)
    # As exact as the `log_prob` of NumPyro.
    np.testing.assert_allclose(at, reference.cdf(y), rtol=1e-6)
    np.testing.assert_allclose(below, reference.cdf(y - 1), rtol=1e-6)


def test_wrappers_do_not_change_it():
    y = np.array([[0.5, 1.0, 2.0], [-1.0, 0.0, 3.0]])
    loc = jnp.array([0.0, 1.0, 2.0])
    expected = stats.norm(loc).cdf(y)
    for law in (
        dist.Normal(loc).to_event(1).expand([2]),
        dist.Normal(loc).expand([2, 3]),
        dist.Normal(loc).expand([2, 3]).to_event(2),
        dist.Independent(dist.Normal(loc).expand([2, 3]), 1),
    ):
        np.testing.assert_allclose(cdf(law, y).at, expected, rtol=1e-12)
    mask = jnp.array([True, False])
    at = cdf(dist.Normal(loc).to_event(1).expand([2]).mask(mask), y).at
    np.testing.assert_allclose(at[0], expected[0], rtol=1e-12)
    assert np.isnan(at[1]).all()


def test_an_atom_at_zero_is_seen_from_below():
    at, below = cdf(dist.HurdleProbs(dist.Gamma(2.0, 1.0), 0.3), np.array([0.0, 1.0]))
    np.testing.assert_allclose(at[0], 0.3)
    np.testing.assert_allclose(below, [0.0, at[1]])
    at, below = cdf(distx.TweedieLog(0.2, 1.0, 1.5), np.array([0.0, 1.0]))
    zero = np.exp(distx.TweedieLog(0.2, 1.0, 1.5).log_prob(0.0))
    np.testing.assert_allclose(at[0], zero, rtol=1e-10)
    np.testing.assert_allclose(below, [0.0, at[1]], atol=1e-15)


def test_censored_data_have_the_interval_that_they_may_be_in():
    censored, y = jnp.array([True, False]), np.array([1.0, 1.0])
    inside = stats.expon.cdf(1.0)
    at, below = cdf(dist.RightCensoredDistribution(dist.Exponential(1.0), censored), y)
    np.testing.assert_allclose(at, [1.0, inside], rtol=1e-12)
    np.testing.assert_allclose(below, [inside, inside], rtol=1e-12)
    at, below = cdf(dist.LeftCensoredDistribution(dist.Exponential(1.0), censored), y)
    np.testing.assert_allclose(at, [inside, inside], rtol=1e-12)
    np.testing.assert_allclose(below, [0.0, inside], rtol=1e-12)


@pytest.mark.parametrize(
    "law",
    [
        dist.VonMises(0.0, 1.0),
        dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)),
        dist.Multinomial(3, jnp.array([0.5, 0.5])),
        dist.FoldedDistribution(dist.Normal(0.0, 1.0)),
    ],
    ids=lambda law: type(law).__name__,
)
def test_laws_without_one_say_so(law):
    with pytest.raises(NoCDF, match="`"):
        cdf(law, jnp.asarray(law.sample(jax.random.key(0))))


def test_it_compiles_and_keeps_float32(float32):
    y = jnp.arange(5)
    values = jax.jit(lambda p: cdf(dist.Binomial(5, p), y))(jnp.float32(0.4))
    assert values.at.dtype == jnp.float32
    np.testing.assert_allclose(values.at, stats.binom(5, 0.4).cdf(y), rtol=2e-6)
