"""The one log density equals NumPyro's, in value and gradient, over the zoo."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.flatten_util import ravel_pytree
from numpyro.infer.util import potential_energy

from numpyro_ext.inference import ModelSpec

from ..slow import slow_beside
from .zoo import IGNORED_WARNINGS, ZOO, X, Y, linear, with_factor

pytestmark = pytest.mark.filterwarnings(IGNORED_WARNINGS)


@functools.cache
def spec_of(name):
    entry = ZOO[name]
    return ModelSpec(entry.model, *entry.args, **entry.kwargs)


@functools.cache
def start_of(name):
    starts = spec_of(name).init(jax.random.key(1), 1, strategy="uniform")
    return jax.tree.map(lambda leaf: leaf[0], starts)


def numpyro_log_density(name, position):
    entry = ZOO[name]
    # NumPyro passes params through; these have real constraints, so nothing differs.
    args = jax.tree.map(jnp.asarray, entry.args)
    return -potential_energy(entry.model, args, entry.kwargs, position)


RELATED = {
    "lkj", "simplex", "imputation", "circular", "crossed-plates", "reparametrised",
    "eight-schools", "linear",
}  # fmt: skip


@pytest.mark.parametrize("name", slow_beside(ZOO.keys() - RELATED, ZOO))
def test_parts_add_up_to_numpyro_value_and_gradient(name):
    spec, position = spec_of(name), start_of(name)
    ours = jax.jit(jax.value_and_grad(lambda z: sum(spec.parts(z))))(position)
    theirs = jax.jit(jax.value_and_grad(functools.partial(numpyro_log_density, name)))(
        position
    )
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12)
    grad, reference = ravel_pytree(ours[1])[0], ravel_pytree(theirs[1])[0]
    np.testing.assert_allclose(grad, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", slow_beside(ZOO.keys() - RELATED, ZOO))
def test_unconstrain_inverts_constrain(name):
    spec, position = spec_of(name), start_of(name)
    values = eqx.filter_jit(spec.constrain)(position)
    back = eqx.filter_jit(spec.unconstrain)(values)
    for ours, reference in zip(
        jax.tree.leaves(back), jax.tree.leaves(position), strict=True
    ):
        np.testing.assert_allclose(ours, reference, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    "name",
    slow_beside(
        ("mask", "scan", "module-params"),
        ["linear", "lkj", "mask", "scan", "module-params"],
    ),
)
def test_starts_from_the_prior_are_finite_in_value_and_gradient(name, key):
    spec = spec_of(name)
    starts = spec.init(key, 8)
    value, grad = jax.jit(jax.vmap(jax.value_and_grad(spec.log_density)))(starts)
    assert np.isfinite(value).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))
    assert len(np.unique(np.asarray(value))) == 8


def test_buckets_hold_likelihood_prior_and_jacobian_apart():
    spec = spec_of("linear")
    position = {"weights": jnp.array([0.3, -1.0, 2.0]), "noise": jnp.array(0.4)}
    parts = spec.parts(position)
    noise = np.exp(0.4)
    mean = X @ np.array([0.3, -1.0, 2.0])
    likelihood = dist.Normal(mean, noise).log_prob(Y).sum()
    prior = dist.Normal().log_prob(position["weights"]).sum()
    prior += dist.HalfNormal().log_prob(noise)
    np.testing.assert_allclose(parts.log_likelihood, likelihood, rtol=1e-12)
    np.testing.assert_allclose(parts.log_prior, prior, rtol=1e-12)
    np.testing.assert_allclose(parts.log_det, 0.4, rtol=1e-12)


def test_weights_leave_the_jacobian_alone():
    spec, position = spec_of("linear"), start_of("linear")
    parts = spec.parts(position)
    tempered = spec.log_density(position, likelihood_weight=0.3, prior_weight=2.0)
    expected = 0.3 * parts.log_likelihood + 2.0 * parts.log_prior + parts.log_det
    np.testing.assert_allclose(tempered, expected, rtol=1e-12)
    likelihood = spec.log_density(position, jacobian=False, prior_weight=0)
    np.testing.assert_allclose(likelihood, parts.log_likelihood, rtol=1e-12)


def test_factor_is_prior_unless_it_is_declared_as_likelihood():
    position = {"a": jnp.array(0.3)}
    soft = -0.5 * (0.3 - 1.0) ** 2
    as_prior = ModelSpec(with_factor, Y).parts(position)
    as_likelihood = ModelSpec(with_factor, Y, observed=("y", "soft")).parts(position)
    prior = dist.Normal().log_prob(0.3)
    np.testing.assert_allclose(as_prior.log_prior, prior + soft, rtol=1e-12)
    np.testing.assert_allclose(as_likelihood.log_prior, prior, rtol=1e-12)
    np.testing.assert_allclose(
        as_likelihood.log_likelihood, as_prior.log_likelihood + soft, rtol=1e-12
    )


def test_data_of_the_same_shape_compile_nothing_again():
    traces = []

    @eqx.filter_jit
    def density(spec, position):
        traces.append(1)
        return spec.log_density(position)

    spec, position = ModelSpec(linear, X, y=Y), start_of("linear")
    first = density(spec, position)
    second = density(spec.with_data(2.0 * X, y=Y), position)
    third = density(spec.with_data(y=Y + 1.0), position)
    assert len(traces) == 1
    assert len({float(first), float(second), float(third)}) == 3
    density(spec.with_data(X[:20], y=Y[:20]), position)
    assert len(traces) == 2


def test_pointwise_log_likelihood_adds_up_and_marks_masked_data():
    spec, position = spec_of("linear"), start_of("linear")
    pointwise = spec.pointwise_log_likelihood(position)["y"]
    assert pointwise.shape == (30,)
    total = spec.parts(position).log_likelihood
    np.testing.assert_allclose(pointwise.sum(), total, rtol=1e-12)
    masked = spec_of("mask").pointwise_log_likelihood(start_of("mask"))["y"]
    np.testing.assert_array_equal(np.isnan(masked), np.arange(30) % 3 == 0)


def test_minibatches_are_unbiased_and_scale_only_what_follows_the_rows():
    spec = ModelSpec(linear, X, y=Y, batch=("X", "y"))
    position = start_of("linear")
    full = spec.parts(position)
    rows = np.arange(30).reshape(6, 5)
    batches = [spec.minibatch(jnp.asarray(r)).parts(position) for r in rows]
    mean = np.mean([b.log_likelihood for b in batches])
    np.testing.assert_allclose(mean, full.log_likelihood, rtol=1e-12)
    for batch in batches:
        np.testing.assert_allclose(batch.log_prior, full.log_prior, rtol=1e-12)
        np.testing.assert_allclose(batch.log_det, full.log_det, rtol=1e-12)


def test_minibatch_does_not_scale_another_likelihood():
    def model(x, y, extra):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", x.shape[0]):
            numpyro.sample("y", dist.Normal(a * x, 1.0), obs=y)
        numpyro.sample("extra", dist.Normal(a, 0.1), obs=extra)

    spec = ModelSpec(model, X[:, 0], Y, np.array([0.2, 0.4]), batch=("x", "y"))
    assert spec.batch.sites == ("y",)
    position = {"a": jnp.array(0.5)}
    batch = spec.minibatch(jnp.arange(10)).parts(position).log_likelihood
    rows = dist.Normal(0.5 * X[:10, 0], 1.0).log_prob(Y[:10]).sum()
    extra = dist.Normal(0.5, 0.1).log_prob(np.array([0.2, 0.4])).sum()
    np.testing.assert_allclose(batch, 3.0 * rows + extra, rtol=1e-12)


def test_from_log_density_takes_an_equinox_module(key):
    def init_fn(key):
        return eqx.nn.MLP(3, "scalar", 4, 1, activation=jnp.tanh, key=key)

    def log_joint(net, x, y):
        log_likelihood = dist.Normal(jax.vmap(net)(x), 0.5).log_prob(y).sum()
        weights = jax.tree.leaves(eqx.filter(net, eqx.is_inexact_array))
        return log_likelihood, -0.5 * sum(jnp.sum(w**2) for w in weights)

    spec = ModelSpec.from_log_density(log_joint, init_fn, X, Y, batch=("x", "y"))
    position = jax.tree.map(lambda leaf: leaf[0], spec.init(key, 1))
    net = spec.model.params(position)
    parts = spec.parts(position)
    np.testing.assert_allclose(
        (parts.log_likelihood, parts.log_prior), log_joint(net, X, Y), rtol=1e-12
    )
    half = spec.minibatch(jnp.arange(15)).parts(position)
    expected = 2.0 * log_joint(net, X[:15], Y[:15])[0]
    np.testing.assert_allclose(half.log_likelihood, expected, rtol=1e-12)


def test_predictive_follows_the_law_at_new_arguments(key):
    spec = spec_of("linear")
    num = 4000
    draws = {
        "weights": jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0]), (2, num, 3)),
        "noise": jnp.full((2, num), 0.5),
    }
    new = np.eye(3)[:2]
    drawn = spec.predictive(key, draws, new)
    assert drawn["y"].shape == (2, num, 2)
    np.testing.assert_allclose(drawn["mean"][0, 0], [1.0, 2.0], rtol=1e-12)
    error = 5 * 0.5 / np.sqrt(2 * num)
    np.testing.assert_allclose(drawn["y"].mean((0, 1)), [1.0, 2.0], atol=error)
    np.testing.assert_allclose(drawn["y"].std((0, 1)), 0.5, rtol=0.05)


def test_prior_predictive_draws_the_prior(key):
    drawn = spec_of("linear").prior_predictive(key, 2000)
    assert drawn["y"].shape == (2000, 30)
    np.testing.assert_allclose(drawn["weights"].std(0), 1.0, rtol=0.1)


def test_float32_data_give_a_float32_density(key):
    with jax.enable_x64(False):
        spec = ModelSpec(linear, X, y=Y)
        position = jax.tree.map(lambda leaf: leaf[0], spec.init(key, 1))
        value = spec.log_density(position)
    assert value.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(position))
