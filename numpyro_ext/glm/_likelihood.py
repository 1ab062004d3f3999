"""Log-likelihood, deviance and dispersion of a fit."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ._continuous import Gaussian
from ._data import Data, linear_predictor
from ._family import AbstractFamily, Aux
from ._links import Identity
from ._objective import Point, weigh

type DispersionMethod = str


def row_log_likelihood(
    family: AbstractFamily, data: Data, eta: Array, aux: Aux, disp: Array
) -> Float[Array, " n"]:
    """Returns the log-likelihood of each row, frequency weights left out.

    A variance weight divides the row's dispersion; a family without one takes it as a
    factor of the log-likelihood.
    """
    y, weights = family.response(data.y), data.var_weights
    if family.has_dispersion:
        spread = disp if weights is None else disp / weights
        law = family.law(eta, aux, data.trials, dispersion=spread)
        return jnp.asarray(law.log_prob(y))
    rows = jnp.asarray(family.law(eta, aux, data.trials).log_prob(y))
    return rows if weights is None else weigh(weights, rows)


@eqx.filter_jit
def log_likelihood(fitted: Any) -> Float[Array, ""]:
    """Returns the log-likelihood of a fit.

    For a Gaussian fit with identity link and an estimated dispersion it is taken at the
    maximum-likelihood dispersion, as R and statsmodels do.
    """
    family, data, eta = fitted.family, fitted.data, fitted.eta
    disp = fitted.params.disp
    is_linear = isinstance(family, Gaussian) and isinstance(family.link, Identity)
    if is_linear and fitted.dispersion != "known":
        disp = deviance(family, data, eta, fitted.aux) / data.num_rows
    rows = row_log_likelihood(family, data, eta, fitted.aux, disp)
    return jnp.sum(weigh(data.freq_weights, rows))


def deviance(
    family: AbstractFamily, data: Data, eta: Array, aux: Aux
) -> Float[Array, ""]:
    """Returns the deviance, at dispersion 1."""
    rows = family.unit_deviance(data.y, eta, aux, data.trials)
    return jnp.sum(weigh(data.weights, rows))


def pearson_chi2(
    family: AbstractFamily, data: Data, eta: Array, aux: Aux
) -> Float[Array, ""]:
    """Returns Pearson's statistic, at dispersion 1.

    For categories without order the sum over them of (1[y = k] - p_k)^2 / p_k, which is
    1 / p_y - 1.
    """
    if eta.ndim > 1:
        law = family.law(eta, aux, data.trials)
        rows = jnp.expm1(-jnp.asarray(law.log_prob(family.response(data.y))))
        return jnp.sum(weigh(data.weights, rows))
    residual = data.y - family.mean(eta, aux, data.trials)
    variance = family.variance(eta, aux, data.trials)
    return jnp.sum(weigh(data.weights, jnp.square(residual) / variance))


def estimate_dispersion(
    family: AbstractFamily,
    data: Data,
    point: Point,
    aux: Aux,
    rank: Array,
    method: DispersionMethod,
) -> Float[Array, ""]:
    """Returns the dispersion by the named method."""
    dtype = data.X.dtype
    if method == "auto":
        method = "pearson" if family.has_dispersion else "one"
    if method == "one":
        return jnp.ones((), dtype)
    eta = linear_predictor(data, point.beta)
    free = family.num_predictors * (data.num_rows - rank)
    # Without a residual degree of freedom there is nothing to estimate it from.
    free = jnp.where(free > 0, free, jnp.nan)
    if method == "pearson":
        return pearson_chi2(family, data, eta, aux) / free
    total = deviance(family, data, eta, aux)
    if method == "deviance":
        return total / free
    return _most_likely(family, data, eta, aux, total / data.num_rows)


def _most_likely(
    family: AbstractFamily, data: Data, eta: Array, aux: Aux, start: Array
) -> Float[Array, ""]:
    """Maximises the log-likelihood over the dispersion, by Newton on its logarithm."""

    def slope(log_disp: Array, eta: Array, data: Data) -> Array:
        def total(u: Array) -> Array:
            rows = row_log_likelihood(family, data, eta, aux, jnp.exp(u))
            return jnp.sum(weigh(data.freq_weights, rows))

        return jax.grad(total)(log_disp)

    stop = lax.stop_gradient
    fixed_eta, fixed_data = stop(eta), jax.tree.map(stop, data)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        u, _, count = state
        g, h = jax.jvp(
            lambda v: slope(v, fixed_eta, fixed_data), (u,), (jnp.ones_like(u),)
        )
        # Far from the maximum the curvature may have the wrong sign.
        move = jnp.clip(g / jnp.maximum(jnp.abs(h), 1e-30), -1.0, 1.0)
        return u + move, jnp.abs(move), count + 1

    tol = 4 * jnp.finfo(start.dtype).eps
    u, _, _ = lax.while_loop(
        lambda s: (s[1] > tol) & (s[2] < 100),
        step,
        (jnp.log(stop(start)), jnp.ones_like(start), jnp.zeros((), jnp.int32)),
    )
    # One differentiable step from the root has the derivative of the root.
    h = jax.grad(lambda v: slope(v, fixed_eta, fixed_data))(u)
    return jnp.exp(u - (slope(u, eta, data) / h))
