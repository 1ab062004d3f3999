"""What every NumPyro distribution promises, asked of every law.

Shapes are checked on abstract values, which costs no compilation; the rest shares one
compiled program for each law.
"""

import copy
import pickle
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from numpyro.distributions.batch_util import promote_batch_shape, vmap_over
from numpyro.distributions.gof import (
    auto_goodness_of_fit,
    multinomial_goodness_of_fit,
)

from numpyro_ext import distributions as distx

from ..slow import slow_beside

TRIL = jnp.asarray([[0.8, 0.0], [0.3, 1.2]])
FACTOR, DIAG = jnp.asarray([[0.8], [0.5]]), jnp.asarray([0.3, 0.6])
LOC, SKEW = jnp.asarray([0.1, -0.2]), jnp.asarray([0.3, 0.4])
BATCH = jnp.asarray([0.5, 1.0, 1.7])
COUNTS = jnp.asarray([8, 12])


def vectors(law: Callable, *own: float) -> Callable[[], dist.Distribution]:
    return lambda: law(*own, LOC, SKEW, TRIL)


LAWS: dict[str, Callable[[], dist.Distribution]] = {
    "gig": lambda: distx.GeneralizedInverseGaussian(1.5, 1.0, 2.0),
    "gig-batch": lambda: distx.GeneralizedInverseGaussian(BATCH - 1.0, BATCH, 2.0),
    "gig-gamma": lambda: distx.GeneralizedInverseGaussian(2.5, 3.0, 0.0),
    "gig-inverse-gamma": lambda: distx.GeneralizedInverseGaussian(-6.0, 0.0, 3.0),
    "inverse-gaussian": lambda: distx.InverseGaussian(2.0, 3.0 * BATCH),
    "gamma": lambda: distx.Gamma(2.0, 3.0 * BATCH),
    "inverse-gamma": lambda: distx.InverseGamma(6.0, 3.0 * BATCH),
    "gh": lambda: distx.GeneralizedHyperbolic(0.7, 0.9, 3.0, 0.2, 1.5, -0.4),
    "gh-batch": lambda: distx.GeneralizedHyperbolic(
        BATCH[:2, None], 0.9, BATCH, 0.2, 1.5, -0.4
    ),
    "nig": lambda: distx.NormalInverseGaussian(1.0, 2.0 * BATCH, 0.3, 2.0, 0.5),
    "hyperbolic": lambda: distx.Hyperbolic(1.0, 2.0, BATCH, 2.0, 0.5),
    "variance-gamma": lambda: distx.VarianceGamma(2.0, 1.5, 0.5, 2.0 * BATCH, 0.7),
    "skew-t": lambda: distx.GeneralizedHyperbolicSkewT(11.0, 0.5, 2.0, 0.7 * BATCH),
    "gamma-log": lambda: distx.GammaLog(BATCH, 0.5),
    "inverse-gaussian-log": lambda: distx.InverseGaussianLog(BATCH, 0.5),
    "beta-link": lambda: distx.BetaLink(0.3 * BATCH, 4.0, "cloglog"),
    "poisson-log": lambda: distx.PoissonLog(BATCH),
    "bernoulli-link": lambda: distx.BernoulliLink(BATCH - 1.0, "probit"),
    "binomial-link": lambda: distx.BinomialLink(BATCH, COUNTS[:, None], "loglog"),
    "negative-binomial-log": lambda: distx.NegativeBinomialLog(BATCH, 0.5),
    "negative-binomial-1-log": lambda: distx.NegativeBinomial1Log(1.0, BATCH),
    "ordered-link": lambda: distx.OrderedLink(BATCH, jnp.asarray([-1.0, 0.3, 2.0])),
    "multivariate-normal": lambda: distx.MultivariateNormal(LOC, scale_tril=TRIL),
    "multivariate-gh": vectors(distx.MultivariateGeneralizedHyperbolic, 0.7, 0.9, 3.0),
    "multivariate-nig": vectors(distx.MultivariateNormalInverseGaussian, 1.0, 2.0),
    "multivariate-nig-factor": lambda: distx.MultivariateNormalInverseGaussian(
        1.0, 2.0, LOC, SKEW, cov_factor=FACTOR, cov_diag=DIAG
    ),
    "multivariate-nig-batch": lambda: distx.MultivariateNormalInverseGaussian(
        BATCH, 2.0, LOC + BATCH[:, None], SKEW, TRIL * BATCH[:, None, None]
    ),
    "multivariate-hyperbolic": vectors(distx.MultivariateHyperbolic, 1.0, 2.0),
    "multivariate-vg": vectors(distx.MultivariateVarianceGamma, 2.0, 1.5),
    "multivariate-skew-t": vectors(distx.MultivariateGeneralizedHyperbolicSkewT, 11.0),
    "joint": lambda: distx.JointNormalMixture(0.7, 0.9, 3.0, LOC, SKEW, TRIL),
}
UNIVARIATE = [k for k in LAWS if not k.startswith(("multivariate", "joint"))]
DISCRETE = [
    "poisson-log",
    "bernoulli-link",
    "binomial-link",
    "negative-binomial-log",
    "negative-binomial-1-log",
    "ordered-link",
]
# The edges a = 0 and b = 0 have derivatives on one side only.
WITH_GRADIENT = [k for k in LAWS if k not in ("gig-gamma", "gig-inverse-gamma")]
WITH_SUPPORT = ["bernoulli-link", "ordered-link"]
WITH_MOVING_DRAWS = [k for k in WITH_GRADIENT if k not in DISCRETE]
# NumPyro's own beta law has quantiles by TensorFlow Probability alone.
WITH_QUANTILES = [k for k in UNIVARIATE if k not in (*DISCRETE, "beta-link")]
# What compiles does so for these in `make test`, for the others in `make test-slow`.
FAST = ("gig", "gamma", "nig", "multivariate-nig", "negative-binomial-log")


def mostly_slow(names) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", slow_beside(FAST, names))


# NumPyro's test of fit asks for more than 1000 a dimension.
NUM_DRAWS = 4000
# The joint law of x and w has expectations, but no `mean` and `variance`.
WITHOUT_MOMENTS = ("joint",)
every_law = pytest.mark.parametrize("name", LAWS)
every_law_compiled = mostly_slow(LAWS)


@cache
def law_of(name: str) -> dist.Distribution:
    return LAWS[name]()


def shape_of(function: Callable, *args) -> tuple[int, ...]:
    return jax.eval_shape(function, *args).shape


def parameters(law: dist.Distribution) -> dict[str, jax.Array]:
    given = {k: x for k, x in law.get_args().items() if x is not None}
    if isinstance(law, dist.MultivariateNormal):
        # NumPyro's law lists the forms of its matrix that were asked for since.
        return {k: given[k] for k in ("loc", "scale_tril")}
    return given


def rebuild(law: dist.Distribution, given: dict) -> dist.Distribution:
    link = {"link": law.link} if hasattr(law, "link") else {}
    return type(law)(**given, **link, validate_args=False)


@jax.jit
def log_prob(law: dist.Distribution, x: jax.Array) -> jax.Array:
    return law.log_prob(x)


def gradients(law: dist.Distribution, x: jax.Array):
    """Of the summed log density, in the parameters by name and in the value."""

    def total(given, x):
        return rebuild(law, given).log_prob(x).sum()

    if law.is_discrete:
        return jax.grad(total)(parameters(law), x), None
    return jax.grad(total, (0, 1))(parameters(law), x)


@cache
def compiled(name: str) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Draws, their log densities, and the law's own mean and variance."""
    law = law_of(name)

    def program(law, key):
        x = law.sample(key, (NUM_DRAWS,))
        if name in WITHOUT_MOMENTS:
            return x, law.log_prob(x), x.mean(0), x.var(0)
        return x, law.log_prob(x), law.mean, law.variance

    return jax.jit(program)(law, jax.random.key(7))


@every_law_compiled
def test_shapes(name, key):
    law = law_of(name)
    whole = law.batch_shape + law.event_shape
    for extra in ((), (3, 2)):
        # A law that is called draws.
        draw = lambda k, extra=extra: law(rng_key=k, sample_shape=extra)  # noqa: E731
        assert shape_of(draw, key) == extra + whole
        x = jnp.ones(extra + whole)
        assert shape_of(law.log_prob, x) == extra + law.batch_shape
    x, intermediates = jax.eval_shape(
        lambda k: law(rng_key=k, sample_intermediates=True), key
    )
    assert x.shape == whole
    # NumPyro's inverse gamma law is a transformed one, which has some.
    assert intermediates == [] or name == "inverse-gamma"
    if name not in WITHOUT_MOMENTS:
        assert law.mean.shape == law.variance.shape == whole
    assert law.has_rsample == (name not in DISCRETE)
    assert law.is_discrete == (name in DISCRETE)
    assert law.event_dim == law.support.event_dim == len(law.event_shape)


@every_law_compiled
def test_a_zero_size_draw_is_empty(name, key):
    law = law_of(name)
    draw = lambda k: law.sample(k, (0,))  # noqa: E731
    shape = shape_of(draw, key)
    assert shape == (0,) + law.batch_shape + law.event_shape
    # NumPyro 0.22: `constraints.real_vector` of no vectors raises ZeroDivisionError,
    # and so does `dist.InverseGamma.log_prob` of no numbers.
    if not law.event_dim and name != "inverse-gamma":
        assert shape_of(law.log_prob, jnp.ones(shape)) == (0,) + law.batch_shape


@every_law_compiled
def test_expanded_masked_and_independent_laws_keep_their_shapes(name, key):
    law = law_of(name)
    once = law.expand((4, *law.batch_shape))
    for expanded in (once, once.expand((5, 4, *law.batch_shape))):
        whole = expanded.batch_shape + law.event_shape
        assert shape_of(lambda k, d=expanded: d.sample(k, (2,)), key) == (2, *whole)
        assert shape_of(expanded.log_prob, jnp.ones(whole)) == expanded.batch_shape
        assert shape_of(lambda d=expanded: d.mean) == whole
    inner = once.to_event(1)
    assert inner.batch_shape == once.batch_shape[:-1]
    assert inner.event_shape == once.batch_shape[-1:] + law.event_shape
    x = jnp.ones(once.batch_shape + law.event_shape)
    assert shape_of(inner.log_prob, x) == inner.batch_shape
    assert shape_of(law.mask(False).log_prob, x) == once.batch_shape
    with pytest.raises(ValueError, match="broadcast|expand|ompatible"):
        law.expand((7, 5)).expand((3, 2))


@every_law
def test_shapes_are_inferred(name):
    law = law_of(name)
    shapes = {k: x.shape for k, x in parameters(law).items()}
    if law.event_dim and name != "multivariate-normal":
        # As for every law of vectors that NumPyro has no rule for.
        with pytest.raises(NotImplementedError):
            type(law).infer_shapes(**shapes)
    else:
        assert type(law).infer_shapes(**shapes) == (law.batch_shape, law.event_shape)


@every_law_compiled
def test_draws_are_in_the_support_and_fit_the_density(name):
    law = law_of(name)
    x, value, _, _ = compiled(name)
    assert jnp.all(law.support(x))
    assert jnp.all(jnp.isfinite(value))
    spots = [(), (0,) * len(law.batch_shape)][: 1 + bool(law.batch_shape)]
    column = (slice(None), *spots[-1])
    if name in DISCRETE:
        found, first, counts = np.unique(
            x[column], return_index=True, return_counts=True
        )
        probs = np.exp(np.asarray(value[column]))[first]
        assert len(found) > 1
        # Cells too rare for the test count as one.
        common = probs * NUM_DRAWS > 10
        probs = np.append(probs[common], 1.0 - probs[common].sum())
        counts = np.append(counts[common], counts[~common].sum())
        if probs[-1] * NUM_DRAWS < 1:
            probs, counts = probs[:-1], counts[:-1]
        fit = multinomial_goodness_of_fit(probs, counts, total_count=NUM_DRAWS)
    else:
        fit = auto_goodness_of_fit(x[column], jnp.exp(value[column]))
    # NumPyro's own bar. For vectors the statistic is approximate: over 30 keys the
    # least of NumPyro's normal law is 3e-4, and its median 0.1.
    assert fit > 2e-5


@mostly_slow([k for k in LAWS if k not in WITHOUT_MOMENTS])
def test_the_mean_and_variance_are_those_of_the_draws(name):
    x, _, mean, variance = (np.asarray(y) for y in compiled(name))
    sd = np.sqrt(variance)
    assert np.all(np.abs(x.mean(0) - mean) < 5 * sd / np.sqrt(len(x)))
    # The standard error of a variance, by the draws' own fourth moment.
    square = (x - mean) ** 2
    error = square.std(0) / np.sqrt(len(x))
    assert np.all(np.abs(square.mean(0) - variance) < 6 * error)


@mostly_slow(WITH_GRADIENT)
def test_the_gradient_is_a_difference_quotient(name):
    law = law_of(name)
    x = compiled(name)[0][3]
    own, by_value = jax.jit(gradients)(law, x)
    inputs = parameters(law)
    # Counts do not move, nor do numbers of trials.
    own.pop("total_count", None)
    if name not in DISCRETE:
        own["value"], inputs["value"] = by_value, x

    def total(inputs):
        law_now = rebuild(law, {k: v for k, v in inputs.items() if k != "value"})
        return float(log_prob(law_now, inputs.get("value", x)).sum())

    for field, exact in own.items():
        base = np.asarray(inputs[field])
        # The upper triangle of `scale_tril` is no parameter.
        free = np.tril(np.ones(base.shape[-2:])) if field == "scale_tril" else 1.0
        direction = free * (1.0 + 0.3 * np.arange(base.size).reshape(base.shape))
        step = 1e-5
        high, low = (
            total(inputs | {field: jnp.asarray(base + s * step * direction)})
            for s in (1, -1)
        )
        slope = float(np.sum(direction * np.asarray(exact)))
        np.testing.assert_allclose(
            (high - low) / (2 * step), slope, rtol=1e-6, atol=1e-7, err_msg=field
        )


@every_law_compiled
def test_a_law_survives_the_tree_a_copy_and_a_pickle(name):
    law = law_of(name)
    leaves, structure = jax.tree.flatten(law)
    x, value = compiled(name)[0][:2], compiled(name)[1][:2]
    for again in (
        jax.tree.unflatten(structure, leaves),
        copy.deepcopy(law),
        pickle.loads(pickle.dumps(law)),
    ):
        assert jax.tree.structure(again) == structure
        assert again.batch_shape == law.batch_shape
        np.testing.assert_allclose(log_prob(again, x), value, rtol=1e-12)


def stacked(law: dist.Distribution) -> tuple[dist.Distribution, list]:
    """Three laws as one of batch shape (3, ...), and the three."""
    given = parameters(law)
    factors = (1.0, 1.1, 1.25)
    each = [rebuild(law, {k: f * x for k, x in given.items()}) for f in factors]
    axes = {k: jnp.stack([parameters(d)[k] for d in each]) for k in given}
    return axes, each


@every_law_compiled
def test_laws_are_mapped_over(name):
    law = law_of(name)
    axes, each = stacked(law)
    x = compiled(name)[0][0]
    want = jnp.stack([log_prob(d, x) for d in each])
    # The law is built inside, and leaves the map as one of a larger batch.
    mapped = jax.vmap(lambda given: rebuild(law, given))(axes)
    whole = promote_batch_shape(mapped)
    assert whole.batch_shape == (3, *law.batch_shape)
    by_axis = vmap_over(mapped, **dict.fromkeys(axes, 0))
    for spec in (0, by_axis):
        inside = jax.jit(
            jax.vmap(lambda d, y: d.log_prob(y), in_axes=(spec, None), axis_size=3)
        )
        np.testing.assert_allclose(inside(mapped, x), want, rtol=1e-12)


# NumPyro's inverse gamma law computes with the gamma law inside it, which a parameter
# that is set afterwards does not reach.
@mostly_slow([k for k in LAWS if k != "inverse-gamma"])
def test_only_one_parameter_is_mapped_over(name):
    law = law_of(name)
    axes, _ = stacked(law)
    field = "scale_tril" if "scale_tril" in axes else next(iter(axes))
    partly = rebuild(law, parameters(law))
    setattr(partly, field, axes[field])
    spec = vmap_over(partly, **{field: 0})
    x = compiled(name)[0][0]
    got = jax.vmap(lambda d: d.log_prob(x), in_axes=(spec,))(partly)
    for i in range(3):
        one = rebuild(law, parameters(law) | {field: axes[field][i]})
        np.testing.assert_allclose(got[i], log_prob(one, x), rtol=1e-12)


@every_law_compiled
def test_bijections_reach_the_domain(name, key):
    law = law_of(name)
    domains = {k: law.arg_constraints[k] for k in parameters(law)}
    for field, domain in domains.items():
        if domain in (constraints.nonnegative, constraints.nonnegative_integer):
            # NumPyro has no bijection onto a closed half-line, or onto the integers.
            continue
        transform = dist.biject_to(domain)
        value = getattr(law, field)
        free = transform.inv(value)
        np.testing.assert_allclose(transform(free), value, rtol=1e-9)
        moved = transform(free + 0.3)
        assert jnp.all(domain(moved)), field
    if name in DISCRETE:
        return
    transform = dist.biject_to(law.support)
    x = compiled(name)[0][:5]
    np.testing.assert_allclose(transform(transform.inv(x)), x, rtol=1e-9)


def bad_values(domain: constraints.Constraint, value: jax.Array) -> list[jax.Array]:
    bad = [jnp.full_like(value, jnp.nan)]
    if domain in (constraints.positive, constraints.nonnegative):
        bad.append(-value - 1.0)
    if domain is constraints.positive:
        bad.append(jnp.zeros_like(value))
    if domain is constraints.lower_cholesky:
        bad += [-value, jnp.ones_like(value)]
    return bad


@every_law
def test_parameters_outside_their_domain_are_refused_by_name(name):
    law = law_of(name)
    given = parameters(law)
    for field, value in given.items():
        for bad in bad_values(law.arg_constraints[field], value):
            with pytest.raises(ValueError, match=field):
                type(law)(**given | {field: bad}, validate_args=True)


@every_law_compiled
def test_values_outside_the_support_have_no_density(name):
    law = law_of(name)
    checked = type(law)(**parameters(law), validate_args=True)
    x = jnp.full(law.batch_shape + law.event_shape, jnp.nan)
    with pytest.warns(UserWarning, match="Out-of-support"):
        value = checked.log_prob(x)
    assert not jnp.any(jnp.isfinite(value))
    if law.support is constraints.positive:
        with pytest.warns(UserWarning, match="Out-of-support"):
            value = checked.log_prob(-jnp.ones(law.batch_shape))
        assert jnp.all(value == -jnp.inf)


@pytest.mark.parametrize("name", [k for k in LAWS if k not in WITH_SUPPORT])
def test_no_other_law_has_a_support_to_enumerate(name):
    law = law_of(name)
    with pytest.raises(NotImplementedError):
        law.enumerate_support()


@pytest.mark.parametrize("name", WITH_SUPPORT)
def test_a_support_is_enumerated(name):
    law = law_of(name)
    values = law.enumerate_support()
    assert values.shape[1:] == law.batch_shape
    shared = law.enumerate_support(expand=False)
    assert shared.shape == (len(values), *[1] * len(law.batch_shape))
    assert jnp.all(law.support(values))
    np.testing.assert_allclose(jnp.exp(law.log_prob(values)).sum(0), 1.0, rtol=1e-12)


@every_law_compiled
def test_a_mask_and_an_expansion_change_no_density(name):
    law = law_of(name)
    x, value = compiled(name)[0][:4], compiled(name)[1][:4]
    expanded = law.expand((4, *law.batch_shape))
    summed = expanded.to_event(1 + len(law.batch_shape))
    keep = jnp.asarray([True, False, True, False])
    keep = keep.reshape(-1, *[1] * len(law.batch_shape))

    @jax.jit
    def program(expanded, x):
        masked = expanded.mask(keep)
        return expanded.log_prob(x), summed.log_prob(x), masked.log_prob(x)

    whole, total, masked = program(expanded, x)
    np.testing.assert_allclose(whole, value, rtol=1e-12)
    np.testing.assert_allclose(total, value.sum(), rtol=1e-12)
    np.testing.assert_allclose(masked, jnp.where(keep, value, 0.0), rtol=1e-12)


WITH_DIVERGENCE = [
    "gig",
    "gig-batch",
    "gig-gamma",
    "inverse-gaussian",
    "gamma",
    "inverse-gamma",
    "multivariate-normal",
    "joint",
]


@mostly_slow(WITH_DIVERGENCE)
def test_the_divergence_is_the_mean_log_ratio(name):
    law = law_of(name)
    _, each = stacked(law)
    other = each[1]
    x, value, _, _ = compiled(name)
    ratio = value - log_prob(other, x)
    error = 5 * ratio.std(0) / np.sqrt(len(x))
    exact = dist.kl_divergence(law, other)
    assert exact.shape == law.batch_shape
    assert jnp.all(jnp.abs(exact - ratio.mean(0)) < error)
    np.testing.assert_allclose(dist.kl_divergence(law, law), 0.0, atol=1e-12)
    twice = [d.expand((2, *law.batch_shape)).to_event(1) for d in (law, other)]
    want = 2 * exact if exact.ndim == 0 else jnp.full(2, exact.sum())
    np.testing.assert_allclose(dist.kl_divergence(*twice), want, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_QUANTILES)
def test_quantiles_invert_the_distribution_function(name):
    law = law_of(name)
    q = jnp.asarray([1e-9, 1e-3, 0.2, 0.5, 0.8, 0.999])
    q = q.reshape(-1, *[1] * len(law.batch_shape))

    @jax.jit
    def program(law, q):
        x = law.icdf(q)
        return x, law.cdf(x)

    x, back = program(law, q)
    assert x.shape == q.shape[:1] + law.batch_shape
    assert jnp.all(jnp.diff(x, axis=0) > 0)
    np.testing.assert_allclose(back, jnp.broadcast_to(q, back.shape), rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_MOVING_DRAWS)
def test_draws_move_with_the_parameters_as_the_mean_does(name, key):
    law = law_of(name)
    given = parameters(law)

    def of_draws(given, key):
        return rebuild(law, given).sample(key, (200,)).mean(0).sum()

    def exact(given):
        return rebuild(law, given).mean.sum()

    @jax.jit
    def program(given, keys):
        return jax.lax.map(lambda k: jax.grad(of_draws)(given, k), keys), jax.grad(
            exact
        )(given)

    moved, want = program(given, jax.random.split(key, 200))
    for field, blocks in moved.items():
        error = np.asarray(blocks.std(0) / np.sqrt(len(blocks)))
        gap = np.abs(np.asarray(blocks.mean(0) - want[field]))
        assert np.all(gap < 5 * error + 1e-10), field
