"""Ensembles against hand-written JAX: each bar as a ratio, from one process.

Times are medians, variants interleaved: wall seconds, which users wait for, and CPU
seconds of this process. A step is the difference of a long and a short training, so
that starting and ending cancel.
"""

import functools
import operator
import os
import statistics
import time
import warnings
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jax.scipy.special import logsumexp
from numpyro.infer.util import log_density

from numpyro_ext import (
    EnsembleMAP,
    ModelSpec,
    ensemble_init,
    ensemble_predict,
    ensemble_step,
)
from numpyro_ext.inference._train import train_program

SIGMA = 0.1
HIDDEN = 32
MEMBERS = 16
STEPS = 1500
REPEATS = int(os.environ.get("REPEATS", "7"))
ADAM = optax.adam(5e-3)


# -- measuring ---------------------------------------------------------------------


class Seconds(NamedTuple):
    wall: float
    cpu: float


def seconds(function):
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(function())
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def medians(functions, repeats=REPEATS):
    """Median seconds of each function, run in turns after one warm-up."""
    for function in functions.values():
        jax.block_until_ready(function())
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {
        name: Seconds(*map(statistics.median, zip(*values, strict=True)))
        for name, values in times.items()
    }


def step_seconds(variants, short, long):
    """Median seconds of one step; a variant maps a number of steps to a call."""
    functions = {
        (name, steps): make(steps)
        for name, make in variants.items()
        for steps in (short, long)
    }
    times = medians(functions)
    return {
        name: Seconds(
            *(
                (many - few) / (long - short)
                for many, few in zip(times[name, long], times[name, short], strict=True)
            )
        )
        for name in variants
    }


def report_ratio(what, times, bar, *, unit=1e-3):
    """Reports ours over the other one, in wall and in CPU seconds."""
    (ours, mine), (theirs, other) = times.items()
    symbol = {1e-3: "ms", 1e-6: "us"}[unit]
    for clock, a, b in zip(Seconds._fields, mine, other, strict=True):
        detail = f"{ours} {a / unit:.4g} {symbol}, {theirs} {b / unit:.4g} {symbol}"
        report(f"{what}, {clock}", a / b, bar, detail=detail)


def report(what, value, bar, *, at_least=False, detail=""):
    ok = value >= bar if at_least else value <= bar
    sign = ">=" if at_least else "<="
    verdict = "ok  " if ok else "MISS"
    print(f"{verdict} {what}: {value:.3g} ({sign} {bar:g})  {detail}", flush=True)


@functools.cache
def compile_counter():
    events = []

    def listen(name, seconds, **_):
        if name.endswith("backend_compile_duration"):
            events.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return events


# -- models ------------------------------------------------------------------------


def sinc(x):
    return jnp.sinc(x / jnp.pi)


def sinc_data(num_rows):
    x_key, noise_key, test_key = jr.split(jr.PRNGKey(666), 3)
    x = jr.uniform(x_key, (num_rows,), minval=-10.0, maxval=10.0)
    return x, sinc(x) + SIGMA * jr.normal(noise_key, (num_rows,)), test_key


def network(x, y=None):
    shapes = {"W1": (1, HIDDEN), "b1": (HIDDEN,), "W2": (HIDDEN, HIDDEN)}
    shapes |= {"b2": (HIDDEN,), "W3": (HIDDEN, 1), "b3": (1,)}
    w = {
        name: numpyro.sample(name, dist.Normal(jnp.zeros(s), 1.0).to_event(len(s)))
        for name, s in shapes.items()
    }
    numpyro.sample("y", dist.Normal(predict_network(w, x), SIGMA), obs=y)


def predict_network(w, x):
    h = jnp.tanh(x[:, None] @ w["W1"] + w["b1"])
    h = jnp.tanh(h @ w["W2"] + w["b2"])
    return (h @ w["W3"] + w["b3"]).squeeze(-1)


def linear(X, y=None):
    w = numpyro.sample("w", dist.Normal(0.0, 1.0).expand([X.shape[1]]).to_event(1))
    numpyro.sample("y", dist.Normal(X @ w, 0.5), obs=y)


def linear_data(num_rows, num_columns):
    X = jr.normal(jr.key(0), (num_rows, num_columns))
    return X, X.sum(axis=1) + 0.5 * jr.normal(jr.key(1), (num_rows,))


# -- trainings ---------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("optimizer", "steps", "layout", "loss"))
def scan_by_hand(starts, data, *, loss, optimizer, steps, layout):
    """What one would write without us: a scan over steps, data as arguments."""

    def member(position):
        def step(carry, _):
            position, state = carry
            value, grad = jax.value_and_grad(loss)(position, *data)
            updates, state = optimizer.update(grad, state, position)
            return (optax.apply_updates(position, updates), state), value

        carry = position, optimizer.init(position)
        (position, _), losses = jax.lax.scan(step, carry, None, length=steps)
        return position, losses

    many = jax.vmap(member) if layout == "vmap" else lambda s: jax.lax.map(member, s)
    return many(starts)


def network_loss(w, x, y):
    prior = sum(jnp.sum(dist.Normal(0.0, 1.0).log_prob(leaf)) for leaf in w.values())
    return -jnp.sum(dist.Normal(predict_network(w, x), SIGMA).log_prob(y)) - prior


def linear_loss(position, X, y):
    w = position["w"]
    prior = jnp.sum(dist.Normal(0.0, 1.0).log_prob(w))
    return -jnp.sum(dist.Normal(X @ w, 0.5).log_prob(y)) - prior


def ours(spec, starts, steps, **options):
    """A training as `EnsembleMAP.run` does it, without its verdict and its draws."""
    engine = EnsembleMAP(
        num_members=jax.tree.leaves(starts)[0].shape[0],
        num_steps=steps,
        optimizer=ADAM,
        **options,
    )
    return functools.partial(engine._train, spec, jr.key(1), starts)


def temporary_megabytes(spec, starts):
    """Temporaries of the program that each thread runs for its share of members."""
    engine = EnsembleMAP(num_members=len(starts["b1"]), optimizer=ADAM)
    program = train_program()
    compiled = program.lower(engine._program(0), spec, jr.key(1), starts).compile()
    return compiled.compiled.memory_analysis().temp_size_in_bytes / 1e6


# -- bars --------------------------------------------------------------------------


def second_run():
    x, y, _ = sinc_data(80)
    spec = ModelSpec(network, x, y=y)
    starts = spec.init(jr.key(0), MEMBERS)
    engine = EnsembleMAP(
        num_members=MEMBERS, num_steps=STEPS, optimizer=ADAM, tolerance=None
    )
    engine.run(spec, jr.key(0))
    other = spec.with_data(np.asarray(x)[::-1].copy(), y=y)
    events = compile_counter()
    before = len(events)
    engine.run(spec, jr.key(1))
    engine.run(other, jr.key(2))
    report("recompilations in two more runs", len(events) - before, 0)
    by_hand = functools.partial(
        scan_by_hand,
        starts,
        (x, y),
        loss=network_loss,
        optimizer=ADAM,
        steps=STEPS,
    )
    times = medians(
        {
            "ours": lambda: engine.run(spec, jr.key(1)).positions,
            "vmap": lambda: by_hand(layout="vmap"),
            "map": lambda: by_hand(layout="map"),
        },
        repeats=2 * REPEATS + 1,
    )
    for layout in ("vmap", "map"):
        report_ratio(
            f"second run / {layout}ped scan by hand",
            {"ours": times["ours"], "by hand": times[layout]},
            1.05,
        )


def large_steps():
    for num_members, num_rows, short, long in ((64, 1000, 2, 12), (16, 10000, 2, 10)):
        x, y, _ = sinc_data(num_rows)
        spec = ModelSpec(network, x, y=y, batch=("x", "y"))
        starts = spec.init(jr.key(0), num_members)
        by_hand = functools.partial(
            scan_by_hand,
            starts,
            (x, y),
            loss=network_loss,
            optimizer=ADAM,
            layout="vmap",
        )
        variants = {
            "ours": functools.partial(ours, spec, starts),
            "vmap": lambda steps, by_hand=by_hand: functools.partial(
                by_hand, steps=steps
            ),
        }
        what = f"{num_members} members x {num_rows} rows"
        times = step_seconds(variants, short, long)
        report_ratio(f"{what}, step / vmapped step", times, 0.45)
        half = num_members // 2
        share = jax.tree.map(operator.itemgetter(slice(half)), starts)
        megabytes = temporary_megabytes(spec, share)
        report(f"{what}, MB of temporaries in a thread", megabytes, 1.5)


def tiny_model():
    X, y = linear_data(200, 5)
    spec = ModelSpec(linear, X, y=y)
    starts = spec.init(jr.key(0), 256)
    by_hand = functools.partial(
        scan_by_hand, starts, (X, y), loss=linear_loss, optimizer=ADAM, layout="vmap"
    )
    variants = {
        "ours": functools.partial(ours, spec, starts),
        "vmap": lambda steps: functools.partial(by_hand, steps=steps),
    }
    times = step_seconds(variants, 200, 2200)
    what = "tiny linear model, 256 members, step / vmapped step"
    report_ratio(what, times, 1.15, unit=1e-6)


def mini_batches():
    def variant(model, data, batch):
        spec = ModelSpec(model, *data[:1], y=data[1], batch=batch)
        starts = spec.init(jr.key(0), MEMBERS)
        return functools.partial(ours, spec, starts, batch_size=128)

    for name, model, data, batch, steps in (
        ("network", network, lambda n: sinc_data(n)[:2], ("x", "y"), (20, 520)),
        (
            "linear, 8 columns",
            linear,
            lambda n: linear_data(n, 8),
            ("X", "y"),
            (200, 5200),
        ),
    ):
        times = step_seconds(
            {
                f"N = {size:.0e}": variant(model, data(size), batch)
                for size in (1_000_000, 10_000)
            },
            *steps,
        )
        report_ratio(f"mini-batch of 128, {name}, step", times, 1.5, unit=1e-6)


def positive_site():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = 1.0 + 2.0 * x + 0.01 * rng.normal(size=50)

    def model(x, y=None):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        b = numpyro.sample("b", dist.Normal(0.0, 1.0))
        s = numpyro.sample("s", dist.HalfNormal(1.0))
        with numpyro.plate("rows", x.shape[0]):
            numpyro.sample("y", dist.Normal(a + b * x, s), obs=y)

    spec = ModelSpec(model, x, y=y)
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    mode = np.sqrt(np.mean(residual**2))
    adam = optax.adam(0.05)
    for name, options in (
        ("Adam 0.05, 3000 steps", {"num_steps": 3000, "optimizer": adam}),
        ("Adam 0.05, 10000 steps", {"num_steps": 10_000, "optimizer": adam}),
        ("default", {}),
    ):
        engine = EnsembleMAP(num_members=64, **options)
        fits = [engine.run(spec, jr.key(seed)) for seed in range(5)]
        scales = [np.asarray(fit.draws["s"])[:, 0] for fit in fits]
        at_mode = [int(np.sum(np.abs(s / mode - 1.0) < 0.05)) for s in scales]
        what = f"positive site, {name}"
        report(f"{what}, at the mode", np.median(at_mode), 60, at_least=True)
        report(f"{what}, outside", sum(int(np.sum(s <= 0)) for s in scales), 0)


# -- the tutorial's three patterns -------------------------------------------------


def scores(means, truth, observed):
    """RMSE of the mean, log score and 95 % coverage of a mixture of normals."""
    rmse = float(jnp.sqrt(jnp.mean((truth - means.mean(axis=0)) ** 2)))
    log_pdf = dist.Normal(means, SIGMA).log_prob(observed)
    nll = -float(jnp.mean(logsumexp(log_pdf, axis=0) - np.log(len(means))))
    index_key, noise_key = jr.split(jr.PRNGKey(987))
    chosen = jr.randint(index_key, (500,), 0, len(means))
    draws = means[chosen] + SIGMA * jr.normal(noise_key, (500, means.shape[1]))
    low, high = jnp.quantile(draws, jnp.asarray([0.025, 0.975]), axis=0)
    return rmse, nll, float(jnp.mean((observed >= low) & (observed <= high)))


def init_module(key):
    return eqx.nn.MLP(1, 1, HIDDEN, 2, activation=jax.nn.tanh, key=key)


def predict_module(mlp, x):
    return jax.vmap(mlp)(x[:, None]).squeeze(-1)


def module_log_joint(mlp, x, y):
    log_likelihood = -0.5 * jnp.sum((y - predict_module(mlp, x)) ** 2) / SIGMA**2
    leaves = jax.tree.leaves(eqx.filter(mlp, eqx.is_inexact_array))
    return log_likelihood, -0.5 * sum(jnp.sum(leaf**2) for leaf in leaves)


def init_dictionary(key):
    shapes = ((1, HIDDEN), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN,), (HIDDEN, 1), (1,))
    names = ("W1", "b1", "W2", "b2", "W3", "b3")
    keys = jr.split(key, 6)
    return {
        n: 0.5 * jr.normal(k, s) for n, k, s in zip(names, keys, shapes, strict=True)
    }


def numpyro_log_joint(params, x, y):
    return log_density(network, (x, y), {}, params)[0], jnp.zeros(())


def loop(init_fn, log_joint, optimizer, x, y, *, prior_weight=1.0, patience=None):
    """The tutorial's loop: one step at a time, with a stop on a plateau if asked."""
    state = ensemble_init(init_fn, optimizer, ensemble_size=MEMBERS, seed=jr.PRNGKey(0))

    @eqx.filter_jit
    def step(state, x, y):
        return ensemble_step(
            state,
            x,
            y,
            log_joint=log_joint,
            optimizer=optimizer,
            prior_weight=prior_weight,
        )

    best, plateau = np.inf, 0
    for _ in range(STEPS):
        state, losses = step(state, x, y)
        if patience is None:
            continue
        mean = float(losses.mean())
        plateau = 0 if mean < best - 0.5 else plateau + 1
        best = mean if plateau == 0 else best
        if plateau >= patience:
            break
    return state.params


def tutorial():
    x, y, test_key = sinc_data(80)
    x_test = jnp.linspace(-12.0, 12.0, 200)
    truth = sinc(x_test)
    observed = truth + SIGMA * jr.normal(test_key, x_test.shape)
    schedule = optax.warmup_cosine_decay_schedule(1e-4, 5e-3, 100, STEPS, 1e-4)
    clipped = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.0)
    )
    patterns = {
        "A plain loop": (
            lambda: loop(init_module, module_log_joint, ADAM, x, y),
            predict_module,
            (0.059, -0.79, 0.94),
        ),
        "B early stop": (
            lambda: loop(init_module, module_log_joint, clipped, x, y, patience=50),
            predict_module,
            (0.099, -0.50, 0.89),
        ),
        "C NumPyro density": (
            lambda: loop(
                init_dictionary, numpyro_log_joint, ADAM, x, y, prior_weight=0.0
            ),
            predict_network,
            (0.075, -0.76, 0.93),
        ),
    }
    for name, (run, predict, targets) in patterns.items():
        start = time.process_time()
        means = ensemble_predict(run(), predict, x_test)
        elapsed = time.process_time() - start
        found = scores(means, truth, observed)
        for what, value, target, spread in zip(
            ("RMSE", "NLL", "coverage"),
            found,
            targets,
            (0.007, 0.03, 0.03),
            strict=True,
        ):
            report(
                f"{name}, {what} off its target",
                abs(value - target),
                spread,
                detail=f"{value:.4f} for {target}, {elapsed:.1f} s",
            )


def main():
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore")
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    for bar in (
        second_run,
        large_steps,
        tiny_model,
        mini_batches,
        positive_site,
        tutorial,
    ):
        bar()
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
