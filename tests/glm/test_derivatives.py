"""Derivatives through a fit against finite differences of fits."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import numpyro_ext.glm as glm

from ..slow import slow_beside

RNG = np.random.default_rng(8)
N = 40
X = np.column_stack([np.ones(N), RNG.normal(size=N)])
MU = np.exp(X @ [0.6, 0.3])
COUNTS = RNG.poisson(MU * RNG.gamma(2.0, 0.5, size=N)).astype(float)
YES = (RNG.random(N) < 0.5).astype(float)
AMOUNTS = RNG.gamma(4.0, MU / 4.0)
SHARES = 0.05 + 0.9 * RNG.beta(3.0, 2.0, size=N)
REALS = X @ [0.6, 0.3] + RNG.standard_t(5.0, size=N)

CASES = {
    "gaussian": (glm.Gaussian(), REALS),
    "gaussian-log": (glm.Gaussian("log"), AMOUNTS),
    **{f"poisson-{k}": (glm.Poisson(k), COUNTS) for k in ("log", "identity", "sqrt")},
    **{
        f"bernoulli-{k}": (glm.Bernoulli(k), 0.1 + 0.8 * YES)
        for k in ("logit", "probit", "cloglog", "loglog", "cauchit")
    },
    **{f"gamma-{k}": (glm.Gamma(k), AMOUNTS) for k in ("inverse", "log", "identity")},
    **{
        f"ig-{k}": (glm.InverseGaussian(k), AMOUNTS)
        for k in ("inverse_squared", "log", "inverse")
    },
    "nb2": (glm.NegativeBinomial(), COUNTS),
    "nb1": (glm.NegativeBinomial(kind="nb1"), COUNTS),
    "tweedie": (glm.Tweedie(), np.where(YES > 0, AMOUNTS, 0.0)),
    "beta": (glm.Beta(), SHARES),
    "student": (glm.StudentT(df=4.0), REALS),
    "from-distribution": (
        glm.from_distribution(lambda eta, scale: dist.Logistic(eta, scale)),
        REALS,
    ),
}

# What compiles for longest.
SLOW = {
    "nb1", "nb2", "tweedie", "beta", "student", "from-distribution",
    "bernoulli-cloglog", "bernoulli-loglog", "bernoulli-cauchit", "bernoulli-probit",
    "ig-inverse", "ig-inverse_squared", "gamma-inverse", "gamma-identity",
    "poisson-identity", "gaussian-log", "gamma-log", "ig-log", "poisson-log",
}  # fmt: skip


@pytest.mark.parametrize("name", slow_beside(CASES.keys() - SLOW, CASES))
def test_the_gradient_is_that_of_finite_differences(name):
    family, y = CASES[name]
    direction = {
        "X": RNG.normal(size=X.shape) * [0.0, 1.0],
        "y": RNG.normal(size=N) * (y > 0.0),
        "offset": RNG.normal(size=N),
        "var_weights": RNG.normal(size=N),
        "l2": np.ones(2),
    }
    weights = RNG.uniform(0.5, 1.5, size=N)

    @jax.jit
    def outcome(which, t):
        data = {
            "X": jnp.asarray(X), "y": jnp.asarray(y), "offset": jnp.zeros(N),
            "var_weights": jnp.asarray(weights), "l2": jnp.full(2, 0.3),
        }  # fmt: skip
        data = {k: v + t * which[k] for k, v in data.items()}
        options = {k: data[k] for k in ("offset", "var_weights", "l2")}
        fitted = glm.fit(
            family, data["X"], data["y"], **options, solver=glm.Newton(tol=1e-22)
        )
        aux = jnp.zeros(()) if fitted.params.aux is None else fitted.params.aux
        return jnp.append(fitted.params.beta, jnp.stack([fitted.params.disp, aux]))

    forward = jax.jit(
        lambda which: jax.jvp(lambda t: outcome(which, t), (0.0,), (1.0,))[1]
    )
    reverse = jax.jit(lambda which: jax.grad(lambda t: jnp.sum(outcome(which, t)))(0.0))
    step = 1e-4
    for part in direction:
        which = {k: v * (k == part) for k, v in direction.items()}
        values = [outcome(which, k * step) for k in (-2.0, -1.0, 1.0, 2.0)]
        # The central difference of fourth order.
        expected = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / 12 / step
        found = forward(which)
        assert np.any(np.abs(expected) > 1e-4), part
        size = np.max(np.abs(expected))
        np.testing.assert_allclose(
            found, expected, rtol=1e-6, atol=1e-6 * size, err_msg=part
        )
        np.testing.assert_allclose(reverse(which), np.sum(found), rtol=1e-9, atol=1e-9)
