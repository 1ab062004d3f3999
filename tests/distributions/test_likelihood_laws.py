"""Distribution functions, moments and draws of the likelihoods."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.special
from numpyro.infer.util import log_density
from scipy import stats

from numpyro_ext import distributions as distx

from ..slow import slow_beside

ETA = jnp.asarray([-2.0, 0.3, 1.5, 4.0])
MU = np.exp(np.asarray(ETA))
PROBS = {
    "logit": scipy.special.expit,
    "probit": stats.norm.cdf,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
    "loglog": lambda eta: np.exp(-np.exp(-eta)),
    "cauchit": stats.cauchy.cdf,
}
CUTPOINTS = jnp.asarray([-1.0, 0.5, 2.0])


def nbinom(size, mean):
    return stats.nbinom(size, size / (size + mean))


# The law, and scipy's.
DISCRETE = {
    "poisson": (distx.PoissonLog(ETA), stats.poisson(MU)),
    "nb2": (distx.NegativeBinomialLog(ETA, 0.5), nbinom(2.0, MU)),
    "nb2-wide": (distx.NegativeBinomialLog(ETA, 20.0), nbinom(0.05, MU)),
    "nb2-narrow": (distx.NegativeBinomialLog(ETA, 1e-3), nbinom(1e3, MU)),
    "nb1": (distx.NegativeBinomial1Log(ETA, 0.5), nbinom(2.0 * MU, MU)),
    **{
        f"binomial-{link}": (
            distx.BinomialLink(ETA, 12, link),
            stats.binom(12, p(np.asarray(ETA))),
        )
        for link, p in PROBS.items()
    },
    "bernoulli": (
        distx.BernoulliLink(ETA, "probit"),
        stats.bernoulli(PROBS["probit"](np.asarray(ETA))),
    ),
}
CONTINUOUS = {
    "gamma": (distx.GammaLog(ETA, 0.4), stats.gamma(2.5, scale=0.4 * MU)),
    "inverse-gaussian": (
        distx.InverseGaussianLog(ETA, 0.4),
        stats.invgauss(0.4 * MU, scale=2.5),
    ),
    "beta": (
        # Mild, so that no quantile is below the smallest number.
        distx.BetaLink(0.4 * ETA, 40.0, "loglog"),
        stats.beta(
            40.0 * PROBS["loglog"](0.4 * np.asarray(ETA)),
            40.0 * (1.0 - PROBS["loglog"](0.4 * np.asarray(ETA))),
        ),
    ),
}
# With atoms or gates, which scipy has not.
OTHERS = {
    "ordered-logit": distx.OrderedLink(ETA, CUTPOINTS),
    "ordered-probit": distx.OrderedLink(ETA, CUTPOINTS, "probit"),
    "zero-inflated-poisson": distx.ZeroInflated(distx.PoissonLog(ETA), -0.5),
    "zero-inflated-gamma": distx.ZeroInflated(distx.GammaLog(ETA, 0.4), -0.5),
    "hurdle-poisson": distx.Hurdle(distx.PoissonLog(ETA), 0.5),
    "hurdle-nb2": distx.Hurdle(distx.NegativeBinomialLog(ETA, 0.5), -0.5),
    "hurdle-nb1": distx.Hurdle(distx.NegativeBinomial1Log(ETA, 2.0), -0.5),
    "hurdle-binomial": distx.Hurdle(distx.BinomialLink(ETA - 2.0, 5), 0.5),
    "hurdle-gamma": distx.Hurdle(distx.GammaLog(ETA, 0.4), 0.5),
    "tweedie": distx.TweedieLog(ETA, 0.8, 1.4),
}
ALL = {k: v[0] for k, v in (DISCRETE | CONTINUOUS).items()} | OTHERS
COUNTS = [k for k, law in ALL.items() if law.is_discrete]
# Counts beyond these have probability less than 1e-12, but for the heaviest tails.
LARGEST = {"nb2": 2000, "nb2-wide": 60000, "hurdle-nb2": 2000}
NUM_DRAWS = 20_000
# Laws that are told apart by more than a link or a parameter.
UNLIKE = (
    "poisson", "nb2", "binomial-logit", "gamma", "beta", "ordered-logit",
    "zero-inflated-poisson", "hurdle-poisson",
)  # fmt: skip


def some(names):
    """The laws that are unlike each other, and the others with the slow tests."""
    return slow_beside(UNLIKE, names)


@jax.jit
def cdf(law, x):
    return law.cdf(x)


@jax.jit
def log_prob(law, x):
    return law.log_prob(x)


@jax.jit
def log_sf(law, x):
    return law.log_sf(x)


@pytest.mark.parametrize("name", DISCRETE)
def test_distribution_functions_of_counts_are_scipys(name):
    law, reference = DISCRETE[name]
    x = np.asarray([-1.0, 0.0, 0.5, 1.0, 3.0, 8.0, 40.0])[:, None]
    np.testing.assert_allclose(cdf(law, x), reference.cdf(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_distribution_functions_and_densities_are_scipys(name):
    law, reference = CONTINUOUS[name]
    q = np.asarray([1e-6, 0.01, 0.3, 0.7, 0.999])[:, None]
    x = reference.ppf(q)
    np.testing.assert_allclose(cdf(law, x), np.broadcast_to(q, x.shape), rtol=1e-8)
    np.testing.assert_allclose(log_prob(law, x), reference.logpdf(x), rtol=1e-9)
    below = cdf(law, -np.ones(4))
    np.testing.assert_array_equal(below, 0.0)


@pytest.mark.parametrize("name", some(DISCRETE | CONTINUOUS))
def test_upper_tails_are_scipys(name):
    law, reference = (DISCRETE | CONTINUOUS)[name]
    with warnings.catch_warnings():
        # Scipy overflows on its way to far quantiles.
        warnings.simplefilter("ignore", RuntimeWarning)
        x = reference.isf(np.asarray([0.6, 0.1, 1e-6, 1e-20, 1e-60])[:, None])
        want = reference.logsf(x)
    # Not beyond what scipy gives, nor at the end of a bounded support.
    is_known = np.isfinite(want) & (want > -200.0)
    assert is_known.sum() >= 2
    got = np.asarray(log_sf(law, x))
    np.testing.assert_allclose(got[is_known], want[is_known], rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(log_sf(law, -np.ones(4)), 0.0)
    assert np.all(np.isnan(log_sf(law, np.full(4, np.nan))))


@pytest.mark.parametrize("name", some(COUNTS))
def test_upper_tails_of_counts_are_sums(name):
    law = ALL[name]
    p = np.exp(log_prob(law, np.arange(LARGEST.get(name, 400))[:, None]))
    above = np.cumsum(p[::-1], 0)[::-1][1:31]
    # What the sum leaves out is less than 1e-12.
    np.testing.assert_allclose(
        np.exp(log_sf(law, np.arange(30)[:, None])), above, rtol=1e-8, atol=1e-11
    )


@pytest.mark.parametrize("name", ["tweedie", "zero-inflated-gamma", "hurdle-gamma"])
@pytest.mark.parametrize("means", [0.0, 0.5, 3.0, 15.0])
def test_upper_tails_are_integrals_of_the_density(name, means):
    law = ALL[name]
    x, weights = np.polynomial.legendre.leggauss(400)
    low, high = np.sqrt(means * MU), np.sqrt((means + 30.0) * MU)
    root = low + 0.5 * (high - low) * (x[:, None] + 1.0)
    mass = weights[:, None] * (high - low) * root * np.exp(log_prob(law, root**2))
    above = np.exp(log_sf(law, low**2))
    np.testing.assert_allclose(above, mass.sum(0), rtol=1e-5)


@pytest.mark.parametrize("name", some(COUNTS))
def test_probabilities_of_counts_add_up(name):
    law = ALL[name]
    k = np.arange(LARGEST.get(name, 400))[:, None]
    p = np.exp(log_prob(law, k))
    np.testing.assert_allclose(p.sum(0), 1.0, rtol=1e-10)
    np.testing.assert_allclose(law.mean, (k * p).sum(0), rtol=1e-8)
    spread = (k - np.asarray(law.mean)) ** 2
    np.testing.assert_allclose(law.variance, (spread * p).sum(0), rtol=1e-7)
    few = k[:30]
    np.testing.assert_allclose(cdf(law, few), np.cumsum(p, 0)[:30], rtol=1e-9)
    np.testing.assert_allclose(np.exp(law.log_prob_zero()), p[0], rtol=1e-12)
    rest = np.exp(law.log_prob_positive())
    np.testing.assert_allclose(rest, p[1:].sum(0), rtol=1e-9)


@pytest.mark.parametrize("name", ["tweedie", "zero-inflated-gamma", "hurdle-gamma"])
def test_an_atom_and_a_density_add_up(name):
    law = ALL[name]
    x, weights = np.polynomial.legendre.leggauss(400)
    # Over (0, 40 means), in the square root, which tames the peak at 0.
    top = np.sqrt(40.0 * MU)
    root = 0.5 * top * (x[:, None] + 1.0)
    y = root**2
    mass = weights[:, None] * top * root * np.exp(log_prob(law, y))
    zero = np.exp(law.log_prob_zero())
    np.testing.assert_allclose(zero + mass.sum(0), 1.0, rtol=2e-6)
    np.testing.assert_allclose((y * mass).sum(0), law.mean, rtol=1e-6)
    spread = (y - np.asarray(law.mean)) ** 2 * mass
    square = spread.sum(0) + zero * np.asarray(law.mean) ** 2
    np.testing.assert_allclose(square, law.variance, rtol=1e-6)
    np.testing.assert_allclose(cdf(law, np.zeros(4)), zero, rtol=1e-12)
    middle = np.asarray(law.mean)
    slope = (cdf(law, middle * (1 + 1e-5)) - cdf(law, middle * (1 - 1e-5))) / (
        2e-5 * middle
    )
    np.testing.assert_allclose(slope, np.exp(log_prob(law, middle)), rtol=1e-6)


@jax.jit
def randomized_quantiles(law, truth, key):
    """Uniform for draws of the law itself (Dunn and Smyth 1996)."""
    draw_key, place_key = jax.random.split(key)
    y = truth.sample(draw_key, (NUM_DRAWS // 4,))
    upper = law.cdf(y)
    # The probability of y alone: 0 where the law has a density.
    has_atom = law.is_discrete | (y == 0)
    atom = jnp.where(has_atom, jnp.exp(law.log_prob(jnp.where(has_atom, y, 0))), 0.0)
    return upper - atom * jax.random.uniform(place_key, y.shape)


@pytest.mark.parametrize("name", some(ALL))
def test_randomized_quantiles_of_draws_are_uniform(name, key):
    law = ALL[name]
    u = np.asarray(randomized_quantiles(law, law, key)).ravel()
    assert stats.kstest(u, "uniform").pvalue > 1e-5


WRONG = {
    "overdispersed": (distx.PoissonLog(ETA), DISCRETE["nb2"][0]),
    "NB": (DISCRETE["nb2"][0], DISCRETE["nb1"][0]),
    "gamma": (distx.GammaLog(ETA, 0.4), distx.InverseGaussianLog(ETA, 0.4)),
    "zeros": (distx.PoissonLog(ETA), OTHERS["zero-inflated-poisson"]),
    "ordered": (OTHERS["ordered-logit"], OTHERS["ordered-probit"]),
    "tweedie": (distx.TweedieLog(ETA, 0.8, 1.7), OTHERS["tweedie"]),
}


@pytest.mark.parametrize("name", slow_beside(("overdispersed", "zeros"), WRONG))
def test_randomized_quantiles_of_a_wrong_law_are_not(name, key):
    law, truth = WRONG[name]
    u = np.asarray(randomized_quantiles(law, truth, key)).ravel()
    assert stats.kstest(u, "uniform").pvalue < 1e-6


@pytest.mark.parametrize("name", some(OTHERS))
def test_draws_have_the_mean_and_variance(name, key):
    law = ALL[name]
    x = np.asarray(jax.jit(lambda d, k: d.sample(k, (NUM_DRAWS,)))(law, key), float)
    sd = np.sqrt(np.asarray(law.variance))
    assert np.all(np.abs(x.mean(0) - law.mean) < 5 * sd / np.sqrt(NUM_DRAWS))
    square = (x - np.asarray(law.mean)) ** 2
    error = square.std(0) / np.sqrt(NUM_DRAWS)
    assert np.all(np.abs(square.mean(0) - law.variance) < 6 * error)


@pytest.mark.parametrize(
    "base",
    [
        distx.PoissonLog(-12.0),
        distx.NegativeBinomialLog(-12.0, 3.0),
        distx.BinomialLink(-15.0, 20),
    ],
    ids=["poisson", "nb2", "binomial"],
)
def test_positive_draws_of_rare_events_are_ones(base, key):
    """A rejection sampler would not end."""
    x = jax.jit(lambda k: distx.Hurdle(base, -30.0).sample(k, (1000,)))(key)
    assert jnp.all(x >= 1)
    assert jnp.mean(x == 1) > 0.98


@pytest.mark.slow
def test_draws_at_extreme_rates_are_numbers_in_the_support(key):
    eta = jnp.asarray([-700.0, 700.0])
    for law in (distx.PoissonLog(eta), distx.NegativeBinomialLog(eta, 1e-8)):
        x = law.sample(key, (10,))
        assert jnp.all(x[:, 0] == 0)
        assert jnp.all(x[:, 1] > 1e15)
    at_zero = distx.NegativeBinomialLog(jnp.asarray([1.0, 3.0]), 0.0)
    x = at_zero.sample(key, (NUM_DRAWS,))
    error = jnp.sqrt(jnp.exp(jnp.asarray([1.0, 3.0])) / NUM_DRAWS)
    assert jnp.all(jnp.abs(x.mean(0) - at_zero.mean) < 5 * error)
    np.testing.assert_allclose(at_zero.cdf(2), stats.poisson(at_zero.mean).cdf(2))


def test_ordered_probit_is_numpyros_ordered_logit_by_another_link():
    cuts = jnp.asarray([[-1.0, 0.5], [0.0, 3.0]])
    eta = jnp.asarray([[0.3], [1.0], [-2.0]])
    law = distx.OrderedLink(eta, cuts)
    assert law.batch_shape == (3, 2)
    k = jnp.arange(3)[:, None, None]
    theirs = dist.OrderedLogistic(
        jnp.broadcast_to(eta, (3, 2)), jnp.broadcast_to(cuts, (3, 2, 2))
    )
    np.testing.assert_allclose(law.log_prob(k), theirs.log_prob(k), rtol=1e-8)
    probit = distx.OrderedLink(eta, cuts, "probit")
    edges = np.asarray(cuts)[None] - np.asarray(eta)[..., None]
    upper = np.concatenate([stats.norm.cdf(edges), np.ones((3, 2, 1))], axis=-1)
    want = np.diff(upper, axis=-1, prepend=0.0)
    # The differences of the reference lose digits where they are small.
    np.testing.assert_allclose(
        jnp.exp(probit.log_probs()), want, rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("wrapper", [distx.ZeroInflated, distx.Hurdle])
def test_gates_take_laws_of_numpyro(wrapper):
    ours, theirs = wrapper(distx.PoissonLog(ETA), 0.3), wrapper(dist.Poisson(MU), 0.3)
    y = jnp.asarray([0, 1, 4, 9])[:, None]
    np.testing.assert_allclose(theirs.log_prob(y), ours.log_prob(y), rtol=1e-12)
    np.testing.assert_allclose(theirs.mean, ours.mean, rtol=1e-12)
    np.testing.assert_allclose(theirs.variance, ours.variance, rtol=1e-12)
    if wrapper is distx.ZeroInflated:
        zip_law = dist.ZeroInflatedPoisson(scipy.special.expit(0.3), rate=MU)
        np.testing.assert_allclose(ours.log_prob(y), zip_law.log_prob(y), rtol=1e-12)
    normal = wrapper(dist.LogNormal(ETA, 0.5), 0.3)
    value = normal.log_prob(jnp.asarray([0.0, 1.0, 2.0, 0.0]))
    gate = scipy.special.expit(0.3)
    density = stats.lognorm(0.5, scale=MU).logpdf([0.5, 1.0, 2.0, 0.5])
    want = np.where([1, 0, 0, 1], np.log(gate), np.log(1 - gate) + density)
    np.testing.assert_allclose(value, want, rtol=1e-12)


def test_a_hurdle_says_which_bases_it_cannot_draw_from(key):
    with pytest.raises(NotImplementedError, match="Poisson.*PoissonLog"):
        distx.Hurdle(dist.Poisson(2.0), 0.0).sample(key)


@pytest.mark.parametrize("name", some(ALL))
def test_a_likelihood_survives_the_tree_and_is_mapped_over(name):
    law = ALL[name]
    y = jnp.ones(4) * (0.5 if name == "beta" else 1.0)
    want = log_prob(law, y)
    leaves, structure = jax.tree.flatten(law)
    again = jax.tree.unflatten(structure, leaves)
    np.testing.assert_array_equal(log_prob(again, y), want)

    def shifted(shift):
        if hasattr(law, "base"):
            return type(law)(law.base, law.gate_logits + shift).log_prob(y)
        names = list(law.get_args())
        given = law.get_args() | {names[0]: law.get_args()[names[0]] + shift}
        link = {"link": law.link} if hasattr(law, "link") else {}
        return type(law)(**given, **link).log_prob(y)

    by_map = jax.jit(jax.vmap(shifted))(jnp.asarray([0.0, 0.25]))
    np.testing.assert_allclose(by_map[0], want, rtol=1e-12)
    np.testing.assert_allclose(by_map[1], jax.jit(shifted)(0.25), rtol=1e-12)


BAD = {
    "log rate": (lambda: distx.PoissonLog([0.0, np.inf]), ["PoissonLog", "index 1"]),
    "alpha": (
        lambda: distx.NegativeBinomialLog(0.0, [1.0, 2.0, -0.5]),
        ["NegativeBinomialLog", "`alpha` = -0.5", "index 2", "nonneg"],
    ),
    "dispersion": (
        lambda: distx.GammaLog(0.0, 0.0),
        ["GammaLog", "`dispersion` = 0.0", "positive"],
    ),
    "power": (
        lambda: distx.TweedieLog(0.0, 1.0, 2.5),
        ["TweedieLog", "`power` = 2.5", "lower_bound=1.0, upper_bound=2.0"],
    ),
    "precision": (lambda: distx.BetaLink(0.0, -1.0), ["BetaLink", "`precision` = -1"]),
    "trials": (
        lambda: distx.BinomialLink(0.0, [3.0, 2.5]),
        ["BinomialLink", "`total_count` = 2.5", "index 1"],
    ),
    "cutpoints": (
        lambda: distx.OrderedLink(0.0, [1.0, 0.5]),
        ["OrderedLink", "`cutpoints`", "[1.  0.5]", "ordered"],
    ),
    "no cutpoints": (lambda: distx.OrderedLink(0.0, 1.0), ["cutpoints", "shape ()"]),
    "gate": (
        lambda: distx.ZeroInflated(distx.PoissonLog(0.0), np.nan),
        ["ZeroInflated", "`gate_logits` = nan"],
    ),
    "a vector base": (
        lambda: distx.Hurdle(dist.Normal(0, 1).expand([3]).to_event(1), 0.0),
        ["Hurdle", "event shape (3,)"],
    ),
    "link": (
        lambda: distx.BernoulliLink(0.0, "logti"),
        ["BernoulliLink", "'logti'", "'logit', 'probit'"],
    ),
}


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(("build", "words"), BAD.values(), ids=BAD)
def test_bad_parameters_are_named_with_value_and_place(build, words):
    with numpyro.validation_enabled(), pytest.raises(ValueError) as caught:  # noqa: PT011
        build()
    message = str(caught.value).lower()
    assert all(word.lower() in message for word in words), message


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_types_are_named():
    with pytest.raises(TypeError, match="`log_rate` must be a number"):
        distx.PoissonLog(None)
    with pytest.raises(TypeError, match="log_probs"):
        distx.BinomialLink(0.0, 3, link=np.log)
    with pytest.raises(TypeError, match="base"):
        distx.ZeroInflated(1.0, 0.0)
    with pytest.raises(TypeError, match="Did you mean `log_mean`"):
        distx.GammaLog(log_man=1.0)


@pytest.mark.parametrize("name", some(ALL))
def test_nan_and_values_outside_have_no_probability(name):
    law = ALL[name]
    nan = log_prob(law, jnp.full(4, jnp.nan))
    below = log_prob(law, -jnp.ones(4))
    assert not jnp.any(jnp.isfinite(nan))
    assert jnp.all(below == -jnp.inf)


@pytest.mark.parametrize("name", ALL)
def test_nan_parameters_are_never_a_number(name):
    law = ALL[name]
    broken = jax.tree.map(
        lambda x: jnp.full_like(x, jnp.nan) if x.dtype == float else x, law
    )
    y = jnp.ones(4) * (0.5 if name == "beta" else 1.0)
    assert jnp.all(jnp.isnan(log_prob(broken, y)))


def test_likelihoods_serve_in_models():
    x = jnp.linspace(-1.0, 1.0, 30)

    def model(x, y):
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        alpha = numpyro.sample("alpha", dist.Exponential(1.0))
        with numpyro.plate("rows", len(x)):
            law = distx.NegativeBinomialLog(slope * x, alpha)
            numpyro.sample("y", distx.ZeroInflated(law, -1.0), obs=y)

    y = jnp.asarray(np.random.default_rng(0).poisson(1.0, 30))

    @jax.jit
    def density(slope, alpha):
        site = {"slope": slope, "alpha": alpha}
        return log_density(model, (x, y), {}, site)[0]

    at = density(0.3, 0.7)
    size, mean = 1 / 0.7, np.exp(0.3 * np.asarray(x))
    gate = scipy.special.expit(-1.0)
    p = (1 - gate) * nbinom(size, mean).pmf(np.asarray(y))
    p = np.where(np.asarray(y) == 0, p + gate, p)
    want = np.log(p).sum() + stats.norm.logpdf(0.3) + stats.expon.logpdf(0.7)
    np.testing.assert_allclose(at, want, rtol=1e-12)
    assert jnp.all(jnp.isfinite(jnp.stack(jax.grad(density, (0, 1))(0.3, 0.7))))
