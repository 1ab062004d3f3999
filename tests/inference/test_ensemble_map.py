"""Ensemble MAP: closed-form modes, verdicts by member, nothing compiled twice."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from numpyro.contrib.module import eqx_module

from numpyro_ext._checks import ConvergenceWarning, InitializationError
from numpyro_ext.inference import (
    EarlyStopping,
    EnsembleMAP,
    ModelSpec,
    Status,
    ensemble_predict,
)
from numpyro_ext.inference import _shards as shards_module
from numpyro_ext.inference import _train as train_module

RNG = np.random.default_rng(3)
X = RNG.normal(size=(40, 3))
NOISE = 0.3
Y = X @ np.array([1.0, -0.5, 0.2]) + NOISE * RNG.normal(size=40)
# The mode of a normal prior of sd 1 under normal noise: least squares with extra rows.
RIDGE = np.linalg.lstsq(
    np.vstack([X, NOISE * np.eye(3)]), np.append(Y, np.zeros(3)), rcond=None
)[0]
LEAST_SQUARES = np.linalg.lstsq(X, Y, rcond=None)[0]
ADAM = optax.adam(optax.cosine_decay_schedule(0.05, 800))
LAYOUTS = ("map", "vmap", 2)


def ridge_model(X, y=None):
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    mean = numpyro.deterministic("mean", X @ weights)
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Normal(mean, NOISE), obs=y)


def scale_model(y=None):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(0.0, scale).expand([40]).to_event(1), obs=y)


def ridge_spec(**options):
    return ModelSpec(ridge_model, X, y=Y, **options)


def weights_of(fit):
    return np.asarray(fit.draws["weights"])[:, 0]


def codes(fit):
    return [status.code for status in fit.status]


@pytest.fixture
def num_compiled():
    """Counts the compilations of the program that trains."""

    def count():
        return train_module.train_program()._cached._cache_size()

    return count


# -- the answer ----------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("optimizer", [None, ADAM], ids=["lbfgs", "adam"])
def test_mode_is_the_ridge_solution(key, layout, optimizer):
    engine = EnsembleMAP(
        num_members=4, num_steps=800, optimizer=optimizer, layout=layout
    )
    fit = engine.run(ridge_spec(), key)
    np.testing.assert_allclose(weights_of(fit), [RIDGE] * 4, rtol=1e-5)
    assert codes(fit) == [Status.CONVERGED] * 4


def test_a_prior_weight_of_zero_is_maximum_likelihood(key):
    fit = EnsembleMAP(num_members=2, prior_weight=0).run(ridge_spec(), key)
    np.testing.assert_allclose(weights_of(fit), [LEAST_SQUARES] * 2, rtol=1e-6)


def test_prior_weight_acts_on_the_prior_alone(key):
    fit = EnsembleMAP(num_members=2, prior_weight=4.0).run(ridge_spec(), key)
    rows = np.vstack([X, 2 * NOISE * np.eye(3)])
    expected = np.linalg.lstsq(rows, np.append(Y, np.zeros(3)), rcond=None)[0]
    np.testing.assert_allclose(weights_of(fit), [expected] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("law", "jacobian", "mode"),
    [
        (dist.Gamma(2.0, 1.0), False, 1.0),
        (dist.Gamma(2.0, 1.0), True, 2.0),
        (dist.Exponential(1.0), True, 1.0),
    ],
)
def test_mode_depends_on_the_jacobian(key, law, jacobian, mode):
    spec = ModelSpec(lambda: numpyro.sample("x", law), observed=())
    fit = EnsembleMAP(num_members=2, jacobian=jacobian).run(spec, key)
    np.testing.assert_allclose(fit.draws["x"], mode, rtol=1e-6)
    assert fit.jacobian is jacobian


def test_mode_at_the_boundary_is_approached(key):
    spec = ModelSpec(lambda: numpyro.sample("x", dist.Exponential(1.0)), observed=())
    fit = EnsembleMAP(num_members=2).run(spec, key)
    assert np.all(np.asarray(fit.draws["x"]) < 1e-3)


def test_tempering_leaves_the_jacobian_alone(key):
    # Gamma(2, 1) squared is Gamma(3, 2), whose mode in log x is 3 / 2.
    spec = ModelSpec(lambda: numpyro.sample("x", dist.Gamma(2.0, 1.0)), observed=())
    fit = EnsembleMAP(num_members=2, jacobian=True, prior_weight=2.0).run(spec, key)
    np.testing.assert_allclose(fit.draws["x"], 1.5, rtol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.lbfgs(memory_size=3),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(40)),
        optax.chain(
            optax.sgd(1.0), optax.scale_by_backtracking_linesearch(40, store_grad=True)
        ),
        optax.polyak_sgd(max_learning_rate=0.01, f_min=0.0),
    ],
    ids=["lbfgs", "backtracking", "backtracking-grad", "polyak"],
)
@pytest.mark.filterwarnings("ignore::numpyro_ext._checks.ConvergenceWarning")
def test_optimizers_that_look_at_the_loss(key, optimizer):
    engine = EnsembleMAP(num_members=2, num_steps=300, optimizer=optimizer)
    fit = engine.run(ridge_spec(batch=("X", "y")), key)
    np.testing.assert_allclose(weights_of(fit), [RIDGE] * 2, atol=0.05)


def test_params_of_a_module_are_optimised(key):
    def model(X, y=None):
        layer = eqx_module("layer", eqx.nn.Linear(3, 1, use_bias=False, key=key))
        numpyro.sample("y", dist.Normal(jax.vmap(layer)(X)[:, 0], NOISE), obs=y)

    spec = ModelSpec(model, X, y=Y)
    fit = EnsembleMAP(num_members=2).run(spec, key)
    (weight,) = jax.tree.leaves(fit.draws["layer$params"])
    np.testing.assert_allclose(weight[:, 0, 0], [LEAST_SQUARES] * 2, rtol=1e-6)


@pytest.mark.slow
def test_a_plain_function_of_a_network(key):
    def log_joint(network, X, y):
        residual = jax.vmap(network)(X) - y
        leaves = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
        prior = -0.5 * sum(jnp.sum(jnp.square(leaf)) for leaf in leaves)
        return -0.5 * jnp.sum(jnp.square(residual)) / NOISE**2, prior

    def init_fn(key):
        return eqx.nn.MLP(3, "scalar", 4, 1, activation=jnp.tanh, key=key)

    spec = ModelSpec.from_log_density(log_joint, init_fn, X, Y)
    fit = EnsembleMAP(num_members=3).run(spec, key)
    mean = ensemble_predict(
        fit.params(), lambda net, x: jax.vmap(net)(x), jnp.asarray(X)
    )
    assert mean.shape == (3, 40)
    assert np.all(np.std(mean - Y, axis=1) < 1.2 * NOISE)


# -- what a fit holds ----------------------------------------------------------


def test_fit_holds_points_with_members_as_chains(key):
    fit = EnsembleMAP(num_members=4, num_steps=50, optimizer=ADAM, tolerance=None).run(
        ridge_spec(), key
    )
    assert fit.kind == "points"
    assert fit.draws["weights"].shape == (4, 1, 3)
    assert fit.draws["mean"].shape == (4, 1, 40)
    assert fit.positions["weights"].shape == (4, 1, 3)
    assert fit.history["loss"].shape == (4, 50)
    assert {leaf.shape for leaf in fit.stats.values()} == {(4, 1)}
    total = fit.stats["log_likelihood"] + fit.stats["log_prior"]
    np.testing.assert_allclose(fit.stats["lp"], total, rtol=1e-12)
    np.testing.assert_allclose(fit.stats["loss"], -total, rtol=1e-12)
    assert set(fit.timing) == {"total", "trace", "compile", "run"}


@pytest.mark.slow
def test_gradient_norm_and_losses_are_those_of_the_density(key):
    spec = ridge_spec()
    engine = EnsembleMAP(num_members=2, num_steps=7, optimizer=ADAM, tolerance=None)
    fit = engine.run(spec, key)
    start = spec.init(jax.random.fold_in(key, 0), 2)
    loss = jax.vmap(lambda z: -spec.log_density(z, jacobian=False))
    np.testing.assert_allclose(fit.history["loss"][:, 0], loss(start), rtol=1e-12)
    position = jax.tree.map(lambda leaf: leaf[:, 0], fit.positions)
    gradient = jax.vmap(jax.grad(spec.log_density))(position)["weights"]
    norm = np.linalg.norm(gradient, axis=1)
    np.testing.assert_allclose(fit.stats["gradient_norm"][:, 0], norm, rtol=1e-10)


def test_best_point_is_kept_when_the_loss_rises_again(key):
    # Momentum carries far over the mode.
    optimizer = optax.sgd(2e-3, momentum=0.99)
    engine = EnsembleMAP(num_members=3, num_steps=60, optimizer=optimizer)
    with pytest.warns(ConvergenceWarning):
        fit = engine.run(ridge_spec(), key)
    lowest = np.min(fit.history["loss"], axis=1)
    assert np.any(lowest < fit.history["loss"][:, -1] - 1e-3)
    np.testing.assert_allclose(fit.stats["loss"][:, 0], lowest, rtol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_agree(key, layout):
    options = {"num_members": 4, "num_steps": 40, "optimizer": ADAM, "tolerance": None}
    fit = EnsembleMAP(layout=layout, **options).run(ridge_spec(), key)
    alone = EnsembleMAP(layout="map", **options).run(ridge_spec(), key)
    np.testing.assert_allclose(fit.history["loss"], alone.history["loss"], rtol=1e-9)


@pytest.mark.slow
def test_rows_are_summed_by_blocks_without_a_trace_in_the_result(key, monkeypatch):
    options = {"num_members": 2, "num_steps": 30, "tolerance": None}
    whole = EnsembleMAP(optimizer=optax.adam(0.1), **options).run(ridge_spec(), key)
    for rows in (20, 16):  # 40 rows: with and without a remainder
        monkeypatch.setattr(train_module, "rows_per_block", lambda *_, r=rows: r)
        engine = EnsembleMAP(optimizer=optax.adam(0.1), **options)
        fit = engine.run(ridge_spec(batch=("X", "y")), key)
        np.testing.assert_allclose(
            fit.history["loss"], whole.history["loss"], rtol=1e-12
        )
        for name in ("lp", "log_likelihood", "log_prior", "gradient_norm"):
            np.testing.assert_allclose(
                fit.stats[name], whole.stats[name], rtol=1e-9, err_msg=name
            )


def test_progress_shows_and_changes_nothing(key, capsys):
    options = {"num_members": 4, "num_steps": 20, "optimizer": ADAM, "tolerance": None}
    quiet = EnsembleMAP(**options).run(ridge_spec(), key)
    fit = EnsembleMAP(progress=True, **options).run(ridge_spec(), key)
    np.testing.assert_allclose(fit.history["loss"], quiet.history["loss"], rtol=1e-9)
    assert "EnsembleMAP" in capsys.readouterr().err


@pytest.mark.slow
def test_the_number_of_threads_changes_nothing(key, monkeypatch):
    engine = EnsembleMAP(num_members=6, num_steps=20, optimizer=ADAM, layout="map")
    fits = {}
    for cores in (1, 2, 4):
        monkeypatch.setattr(shards_module, "num_cores", lambda n=cores: n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fits[cores] = engine.run(ridge_spec(), key)
    for cores in (2, 4):
        np.testing.assert_array_equal(weights_of(fits[cores]), weights_of(fits[1]))
        for name, value in fits[1].stats.items():
            np.testing.assert_array_equal(fits[cores].stats[name], value)


# -- compilation ---------------------------------------------------------------


def test_a_second_run_compiles_nothing(key, num_compiled):
    engine = EnsembleMAP(num_members=2, prior_weight=0.7)
    spec = ridge_spec()
    engine.run(spec, key)
    before = num_compiled()
    assert before > 0
    engine.run(spec, jax.random.fold_in(key, 1))
    engine.run(spec.with_data(X[::-1], y=Y + 1.0), key)
    EnsembleMAP(num_members=2, prior_weight=0.3, tolerance=1e-3).run(spec, key)
    assert num_compiled() == before


def test_the_same_key_gives_the_same_fit(key):
    engine = EnsembleMAP(num_members=2, num_steps=50, batch_size=8, tolerance=None)
    first, second = (engine.run(ridge_spec(batch=("X", "y")), key) for _ in range(2))
    np.testing.assert_array_equal(weights_of(first), weights_of(second))


# -- mini-batches --------------------------------------------------------------


def test_mini_batches_find_the_mode(key):
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 3000))
    engine = EnsembleMAP(
        num_members=4, num_steps=3000, optimizer=optimizer, batch_size=10
    )
    fit = engine.run(ridge_spec(batch=("X", "y")), key)
    sd = NOISE / np.sqrt(40)
    np.testing.assert_allclose(weights_of(fit), [RIDGE] * 4, atol=0.5 * sd)


def test_mini_batch_losses_are_unbiased_and_on_the_same_rows_for_all(key):
    spec = ridge_spec(batch=("X", "y"))
    engine = EnsembleMAP(
        num_members=2, num_steps=4000, optimizer=optax.sgd(0.0), batch_size=5
    )
    start = {"weights": np.array([0.5, 0.5, 0.5])}
    losses = np.asarray(engine.run(spec, key, init=start).history["loss"])
    full = -float(spec.log_density({"weights": jnp.asarray(start["weights"])}))
    error = np.std(losses, axis=1) / np.sqrt(losses.shape[1])
    assert np.all(np.abs(np.mean(losses, axis=1) - full) < 4 * error)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)


def test_statistics_of_a_mini_batch_fit_are_on_all_rows(key):
    spec = ridge_spec(batch=("X", "y"))
    fit = EnsembleMAP(num_members=2, num_steps=20, batch_size=5).run(spec, key)
    position = jax.tree.map(lambda leaf: leaf[:, 0], fit.positions)
    expected = jax.vmap(lambda z: spec.log_density(z, jacobian=False))(position)
    np.testing.assert_allclose(fit.stats["lp"][:, 0], expected, rtol=1e-12)


# -- early stopping ------------------------------------------------------------


def test_early_stopping_stops_each_member_and_restores_its_best(key):
    engine = EnsembleMAP(
        num_members=3,
        num_steps=2000,
        optimizer=optax.sgd(2e-3, momentum=0.99),
        early_stopping=EarlyStopping(patience=30),
    )
    fit = engine.run(ridge_spec(), key)
    assert set(codes(fit)) <= {Status.STOPPED_EARLY, Status.CONVERGED}
    lowest = np.nanmin(fit.history["loss"], axis=1)
    np.testing.assert_allclose(fit.stats["loss"][:, 0], lowest, rtol=1e-12)
    num_steps = np.asarray(fit.stats["num_steps"])[:, 0]
    for loss, steps in zip(np.asarray(fit.history["loss"]), num_steps, strict=True):
        assert steps == np.nanargmin(loss) + 30
        assert np.isnan(loss[steps + 1 :]).all()
        assert np.isfinite(loss[: steps + 1]).all()


@pytest.mark.slow
def test_held_out_loss_decides(key):
    rng = np.random.default_rng(5)
    X_new = rng.normal(size=(60, 3))
    held_out = ridge_spec().with_data(X_new, y=X_new @ np.array([0.7, -0.3, 0.1]))
    stopping = EarlyStopping(patience=40, check_every=4, held_out=held_out)
    engine = EnsembleMAP(
        num_members=2,
        num_steps=1000,
        optimizer=optax.sgd(1e-5),
        early_stopping=stopping,
    )
    start = {"weights": np.zeros(3)}
    fit = engine.run(ridge_spec(), key, init=start)
    assert codes(fit) == [Status.STOPPED_EARLY] * 2

    def held_out_loss(weights):
        return -held_out.parts({"weights": jnp.asarray(weights)}).log_likelihood

    # Gradient descent by hand, and the step of the lowest held-out loss on it.
    gradient = jax.jit(jax.grad(ridge_spec().log_density))
    position, path = {"weights": jnp.zeros(3)}, []
    for _ in range(400):
        path.append(position["weights"])
        slope = gradient(position)["weights"]
        position = {"weights": position["weights"] + 1e-5 * slope}
    best = 4 * int(np.argmin([held_out_loss(w) for w in path[::4]]))
    assert 0 < best < 396
    np.testing.assert_allclose(weights_of(fit), [path[best]] * 2, rtol=1e-9)


def test_without_restore_best_the_last_point_is_returned(key):
    stopping = EarlyStopping(patience=10, restore_best=False)
    engine = EnsembleMAP(
        num_members=2,
        num_steps=500,
        optimizer=optax.sgd(2e-3, momentum=0.99),
        early_stopping=stopping,
    )
    fit = engine.run(ridge_spec(), key)
    last = [loss[~np.isnan(loss)][-1] for loss in np.asarray(fit.history["loss"])]
    np.testing.assert_allclose(fit.stats["loss"][:, 0], last, rtol=1e-12)


# -- verdicts ------------------------------------------------------------------


def fragile_model(y=None):
    """NaN above x = 1, and a mode at the mean of the data below."""
    x = numpyro.sample("x", dist.Normal(0.0, 10.0))
    numpyro.factor("edge", 1e-3 * jnp.log(1.0 - x))
    numpyro.sample("y", dist.Normal(x, 1.0), obs=y)


@pytest.mark.parametrize("layout", ["map", "vmap"])
def test_a_member_that_meets_nan_stops_alone(key, layout):
    spec = ModelSpec(fragile_model, y=np.array(-2.0))
    engine = EnsembleMAP(
        num_members=4, num_steps=300, optimizer=ADAM, layout=layout, tolerance=None
    )
    good = np.array([-1.0, -3.0, -0.5, -4.0])
    healthy = engine.run(spec, key, init={"x": good})
    bad = good.copy()
    bad[2] = 2.0
    with pytest.warns(ConvergenceWarning, match="1 of 4 members"):
        fit = engine.run(spec, key, init={"x": bad})
    assert fit.status[2].code is Status.NONFINITE_VALUE
    assert "start" in fit.status[2].message
    others = [0, 1, 3]
    assert all(fit.status[i].code.is_usable for i in others)
    for one, two in zip(
        jax.tree.leaves((fit.positions, fit.history["loss"])),
        jax.tree.leaves((healthy.positions, healthy.history["loss"])),
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(one)[others], np.asarray(two)[others])


@pytest.mark.parametrize("layout", ["map", "vmap"])
def test_nan_on_the_way_leaves_the_best_point_before_it(key, layout):
    spec = ModelSpec(fragile_model, y=np.array(3.0))  # its mode is beyond the edge
    engine = EnsembleMAP(
        num_members=2, num_steps=300, optimizer=optax.sgd(0.1), layout=layout
    )
    with pytest.warns(ConvergenceWarning, match="nan or inf at step"):
        fit = engine.run(spec, key, init={"x": np.array([-1.0, -2.0])})
    assert codes(fit) == [Status.NONFINITE_VALUE] * 2
    assert np.all(np.asarray(fit.draws["x"]) < 1.0)
    assert np.all(np.asarray(fit.draws["x"]) > 0.5)
    assert np.isfinite(fit.stats["lp"]).all()


def test_gradient_that_is_not_finite_has_its_own_status(key):
    def model():
        x = numpyro.sample("x", dist.Normal(0.0, 1.0))
        numpyro.factor("root", -jnp.sqrt(jnp.abs(x - 1.0)))

    spec = ModelSpec(model, observed=())
    engine = EnsembleMAP(num_members=2, num_steps=3, optimizer=optax.sgd(1e-3))
    with pytest.warns(ConvergenceWarning):
        fit = engine.run(spec, key, init={"x": np.array([1.0, 0.3])})
    assert codes(fit) == [Status.NONFINITE_GRADIENT, Status.MAX_STEPS]


def test_a_huge_learning_rate_is_a_verdict(key):
    engine = EnsembleMAP(num_members=3, num_steps=50, optimizer=optax.adam(1e6))
    with pytest.warns(ConvergenceWarning, match="learning rate"):
        fit = engine.run(ridge_spec(), key)
    assert codes(fit) == [Status.AT_START] * 3


def test_too_few_steps_warn_with_members_norm_and_tolerance(key):
    engine = EnsembleMAP(num_members=3, num_steps=5, optimizer=ADAM)
    with pytest.warns(ConvergenceWarning) as caught:
        fit = engine.run(ridge_spec(), key)
    assert codes(fit) == [Status.MAX_STEPS] * 3
    message = str(caught[0].message)
    for words in (
        "members not converged: 0, 1, 2",
        "gradient norm",
        "tolerance 0.0001",
    ):
        assert words in message
    assert len(caught) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 5},
        {"early_stopping": EarlyStopping(patience=100)},
        {"tolerance": None},
    ],
    ids=["mini-batch", "early-stopping", "no-tolerance"],
)
def test_no_warning_where_the_mode_is_not_the_aim(key, options):
    engine = EnsembleMAP(num_members=2, num_steps=10, optimizer=ADAM, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        fit = engine.run(ridge_spec(batch=("X", "y")), key)
    assert all(status.code.is_usable for status in fit.status)


def test_an_unbounded_density_names_the_site(key):
    def funnel():
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        numpyro.sample("x", dist.Normal(0.0, scale).expand([5]).to_event(1))

    spec = ModelSpec(funnel, observed=())
    with pytest.warns(
        ConvergenceWarning, match="`scale` is running to the boundary.*unb"
    ):
        EnsembleMAP(num_members=4).run(spec, key)


def test_all_members_failing_raises_with_the_cause(key):
    spec = ModelSpec(fragile_model, y=np.array(-2.0))
    with pytest.raises(InitializationError, match="All 2 members failed.*nan or inf"):
        EnsembleMAP(num_members=2).run(spec, key, init={"x": np.array([2.0, 3.0])})


# -- starts --------------------------------------------------------------------


def test_starts_from_values_and_from_a_fit(key):
    engine = EnsembleMAP(num_members=2, num_steps=1, optimizer=optax.sgd(1e-12))
    values = np.arange(6.0).reshape(2, 3)
    with pytest.warns(ConvergenceWarning):
        fit = engine.run(ridge_spec(), key, init={"weights": values})
    np.testing.assert_allclose(weights_of(fit), values, atol=1e-6)
    with pytest.warns(ConvergenceWarning):
        again = engine.run(ridge_spec(), key, init=fit)
    # The better member comes first.
    np.testing.assert_allclose(weights_of(again), values, atol=1e-6)


def test_a_start_at_the_mode_has_converged(key):
    fit = EnsembleMAP(num_members=2, num_steps=20).run(ridge_spec(), key)
    again = EnsembleMAP(num_members=2, num_steps=20).run(ridge_spec(), key, init=fit)
    assert codes(again) == [Status.CONVERGED] * 2


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"scale": -1.0}, "-1.0 at site `scale`.*positive"),
        ({"skale": 1.0}, "`skale`.*did you mean `scale`"),
    ],
)
def test_bad_starts_are_refused(key, init, message):
    spec = ModelSpec(scale_model, y=Y)
    with pytest.raises(ValueError, match=message):
        EnsembleMAP(num_members=2).run(spec, key, init=init)


# -- bad settings --------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_members": 0}, r"num_members=0"),
        ({"num_members": -1}, r"num_members=-1"),
        ({"num_members": 2.5}, r"num_members=2\.5"),
        ({"num_steps": 0}, r"num_steps=0"),
        ({"num_candidates": 0}, r"num_candidates=0"),
        ({"batch_size": 0}, r"batch_size=0"),
        ({"prior_weight": -1.0}, r"prior_weight=-1\.0"),
        ({"prior_weight": float("nan")}, r"prior_weight=nan"),
        ({"tolerance": 0.0}, r"tolerance=0\.0"),
        ({"layout": "loop"}, r"layout='loop'"),
        ({"layout": 3}, r"layout=3.*num_members=16"),
        ({"init_strategy": "zero"}, r"init_strategy='zero'"),
        ({"optimizer": 0.1}, r"optimizer=0\.1"),
        ({"early_stopping": True}, r"early_stopping=True"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_bad_settings_are_named_with_their_value(options, message):
    with pytest.raises(ValueError, match=message):
        EnsembleMAP(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience=0"),
        ({"patience": 5, "check_every": 10}, "patience=5"),
        ({"min_delta": -0.1}, r"min_delta=-0\.1"),
        ({"check_every": 0}, "check_every=0"),
        ({"held_out": 0.1}, r"held_out=0\.1"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_bad_early_stopping_is_named_with_its_value(options, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**options)


def test_a_batch_needs_rows(key):
    with pytest.raises(ValueError, match=r"batch_size=100.*40 rows"):
        EnsembleMAP(batch_size=100).run(ridge_spec(batch=("X", "y")), key)
    with pytest.raises(ValueError, match="does not say which arguments hold rows"):
        EnsembleMAP(batch_size=10).run(ridge_spec(), key)
