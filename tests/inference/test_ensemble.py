"""The primitives: one step is one step of optax for each member, on any pytree."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from numpyro.infer.util import log_density

from numpyro_ext import ensemble_init, ensemble_loss, ensemble_predict, ensemble_step

RNG = np.random.default_rng(6)
X = jnp.asarray(RNG.uniform(-2.0, 2.0, size=30))
Y = jnp.sin(X) + 0.1 * RNG.normal(size=30)


def init_network(key):
    return eqx.nn.MLP(1, 1, 8, 1, activation=jax.nn.tanh, key=key)


def predict_network(network, x):
    return jax.vmap(network)(x[:, None]).squeeze(-1)


def network_log_joint(network, x, y):
    log_likelihood = -0.5 * jnp.sum((y - predict_network(network, x)) ** 2) / 0.1**2
    leaves = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    return log_likelihood, -0.5 * sum(jnp.sum(leaf**2) for leaf in leaves)


def init_line(key):
    return {"slope": jax.random.normal(key), "intercept": jnp.zeros(())}


def line_log_joint(params, x, y):
    residual = y - params["slope"] * x - params["intercept"]
    prior = -0.5 * (params["slope"] ** 2 + params["intercept"] ** 2)
    return -0.5 * jnp.sum(residual**2), prior


def test_init_stacks_arrays_and_shares_the_rest():
    optimizer = optax.adam(1e-2)
    seed = jax.random.PRNGKey(0)
    state = ensemble_init(init_network, optimizer, ensemble_size=3, seed=seed)
    assert state.params.layers[0].weight.shape == (3, 8, 1)
    assert state.params.activation is not None
    assert not np.array_equal(*state.params.layers[0].weight[:2])
    params, opt_state = state
    assert optax.tree.get(opt_state, "count").shape == (3,)


def test_an_integer_is_a_seed():
    states = [
        ensemble_init(init_line, optax.sgd(0.1), ensemble_size=2, seed=seed)
        for seed in (4, jax.random.key(4))
    ]
    np.testing.assert_array_equal(*(s.params["slope"] for s in states))


@pytest.mark.parametrize("layout", ["auto", "map", "vmap", 2])
def test_step_is_a_step_of_optax_for_each_member(layout):
    optimizer = optax.adam(1e-2)
    state = ensemble_init(init_line, optimizer, ensemble_size=4, seed=1)
    new, losses = ensemble_step(
        state,
        X,
        Y,
        log_joint=line_log_joint,
        optimizer=optimizer,
        prior_weight=0.5,
        scale=2.0,
        layout=layout,
    )

    def loss(params):
        log_likelihood, log_prior = line_log_joint(params, X, Y)
        return -(2.0 * log_likelihood + 0.5 * log_prior)

    for member in range(4):
        params = jax.tree.map(lambda leaf, i=member: leaf[i], state.params)
        value, grad = jax.value_and_grad(loss)(params)
        updates, _ = optimizer.update(grad, optimizer.init(params), params)
        expected = optax.apply_updates(params, updates)
        np.testing.assert_allclose(losses[member], value, rtol=1e-12)
        for name in params:
            np.testing.assert_allclose(
                new.params[name][member], expected[name], rtol=1e-12
            )


def test_loss_gives_value_and_gradient():
    params = {"slope": jnp.asarray(0.3), "intercept": jnp.asarray(-0.2)}
    value, grad = ensemble_loss(line_log_joint, prior_weight=0.5, scale=3.0)(
        params, X, Y
    )
    residual = Y - 0.3 * X + 0.2
    expected = 1.5 * np.sum(residual**2) + 0.25 * (0.3**2 + 0.2**2)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(
        grad["slope"], -3.0 * np.sum(residual * X) + 0.5 * 0.3, rtol=1e-12
    )


def test_a_weight_of_zero_leaves_an_infinite_prior_out():
    def log_joint(params, x):
        return -jnp.square(params - x), -jnp.inf * jnp.abs(params)

    value, grad = ensemble_loss(log_joint, prior_weight=0)(jnp.asarray(2.0), 1.0)
    assert (value, grad) == (1.0, 2.0)


def test_plain_loop_over_a_module_learns():
    optimizer = optax.adam(2e-2)
    state = ensemble_init(
        init_network, optimizer, ensemble_size=4, seed=jax.random.PRNGKey(0)
    )

    @eqx.filter_jit
    def step(state, x, y):
        return ensemble_step(
            state, x, y, log_joint=network_log_joint, optimizer=optimizer
        )

    for _ in range(300):
        state, losses = step(state, X, Y)
    assert losses.shape == (4,)
    predictions = ensemble_predict(state.params, predict_network, X)
    assert predictions.shape == (4, 30)
    assert np.sqrt(np.mean((predictions.mean(axis=0) - np.sin(X)) ** 2)) < 0.1


def test_loop_with_schedule_and_early_stop():
    schedule = optax.warmup_cosine_decay_schedule(1e-4, 5e-2, 20, 300, 1e-4)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.0)
    )
    state = ensemble_init(init_network, optimizer, ensemble_size=2, seed=0)
    best, plateau, num_steps = np.inf, 0, 0
    while plateau < 10 and num_steps < 300:
        state, losses = ensemble_step(
            state, X, Y, log_joint=network_log_joint, optimizer=optimizer
        )
        mean, num_steps = float(losses.mean()), num_steps + 1
        plateau = 0 if mean < best - 0.5 else plateau + 1
        best = min(best, mean)
    assert best < 100.0


def test_loop_over_a_numpyro_density_finds_least_squares():
    def model(x, y=None):
        slope = numpyro.sample("slope", dist.Normal(0.0, 1e6))
        intercept = numpyro.sample("intercept", dist.Normal(0.0, 1e6))
        numpyro.sample("y", dist.Normal(slope * x + intercept, 1.0), obs=y)

    def log_joint(params, x, y):
        return log_density(model, (x, y), {}, params)[0], jnp.zeros(())

    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 500))
    state = ensemble_init(init_line, optimizer, ensemble_size=3, seed=0)
    for _ in range(500):
        state, _ = ensemble_step(
            state, X, Y, log_joint=log_joint, optimizer=optimizer, prior_weight=0.0
        )
    expected = np.polyfit(X, Y, 1)
    np.testing.assert_allclose(state.params["slope"], [expected[0]] * 3, rtol=1e-4)
    np.testing.assert_allclose(state.params["intercept"], [expected[1]] * 3, rtol=1e-3)


def test_line_searches_work():
    optimizer = optax.lbfgs()
    state = ensemble_init(init_line, optimizer, ensemble_size=2, seed=0)
    for _ in range(10):
        state, _ = ensemble_step(
            state, X, Y, log_joint=line_log_joint, optimizer=optimizer
        )
    rows = np.vstack([np.column_stack([X, np.ones(30)]), np.eye(2)])
    expected = np.linalg.lstsq(rows, np.append(Y, [0.0, 0.0]), rcond=None)[0]
    np.testing.assert_allclose(state.params["slope"], [expected[0]] * 2, rtol=1e-6)


def test_ensemble_size_must_be_a_positive_integer():
    with pytest.raises(ValueError, match="ensemble_size=0"):
        ensemble_init(init_line, optax.sgd(0.1), ensemble_size=0, seed=0)
