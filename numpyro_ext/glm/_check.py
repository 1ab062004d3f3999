"""`check`: residuals, influence and goodness of fit."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import betainc, erfc, gammaincc, ndtr, ndtri
from jaxtyping import Array, Float, Key

from .._checks import check_key
from ._counts import Poisson
from ._covariance import leverage
from ._fit import fit_data
from ._likelihood import deviance, pearson_chi2
from ._objective import weigh
from ._result import FittedGLM


class GofStats(eqx.Module):
    r"""Goodness of fit.

    Attributes:
        deviance: twice the log-likelihood lost to the saturated model, times the
            dispersion.
        pearson_chi2: the sum of squared Pearson residuals; for categories without
            order of $(1[y = k] - p_k)^2 / p_k$ over rows and categories.
        df_resid: observations less rank (and less nuisance parameters).
        dispersion: the dispersion of the fit.
        log_likelihood: with all constants.
        aic: $-2\ell + 2k$; k counts coefficients and nuisance parameters, but not the
            dispersion (as statsmodels does; R counts it).
        bic: $-2\ell + k \log n$.
        null_deviance: the deviance of a constant linear predictor plus the offset.
        null_log_likelihood: its log-likelihood, at the dispersion of the fit.
        pseudo_r2: McFadden's, $1 - \ell / \ell_0$.
        pseudo_r2_cs: Cox and Snell's, $1 - \exp(2(\ell_0 - \ell)/n)$.
        deviance_p: upper tail of chi-square at deviance over dispersion, with
            `df_resid` degrees of freedom, or $n (K - 1) - k$ for K categories without
            order.
        pearson_p: the same of Pearson's statistic.
        overdispersion: for Poisson families, Cameron and Trivedi's estimate of alpha in
            $\operatorname{Var} y = \mu + \alpha\mu^2$; else NaN.
        overdispersion_stat: its t statistic, standard normal without overdispersion.
        overdispersion_p: its one-sided p-value.
    """

    deviance: Float[Array, ""]
    pearson_chi2: Float[Array, ""]
    df_resid: Float[Array, ""]
    dispersion: Float[Array, ""]
    log_likelihood: Float[Array, ""]
    aic: Float[Array, ""]
    bic: Float[Array, ""]
    null_deviance: Float[Array, ""]
    null_log_likelihood: Float[Array, ""]
    pseudo_r2: Float[Array, ""]
    pseudo_r2_cs: Float[Array, ""]
    deviance_p: Float[Array, ""]
    pearson_p: Float[Array, ""]
    overdispersion: Float[Array, ""]
    overdispersion_stat: Float[Array, ""]
    overdispersion_p: Float[Array, ""]


class InfluenceStats(eqx.Module):
    r"""How much each row weighs in the fit.

    Attributes:
        leverage: the diagonal of the hat matrix, by the observed weights. With a link
            that is not canonical a row may have a negative one: its likelihood is
            convex there.
        cooks_distance: $r_i^2 h_i / (\phi k (1 - h_i)^2)$, r the Pearson residual.
        dffits: $r_i \sqrt{h_i} / (\sqrt\phi (1 - h_i))$, with
            $-\sqrt{|h_i|}$ for a negative leverage.
    """

    leverage: Float[Array, " n"]
    cooks_distance: Float[Array, " n"]
    dffits: Float[Array, " n"]

    @property
    def hat(self) -> Float[Array, " n"]:
        """The leverage."""
        return self.leverage

    @property
    def cooks_d(self) -> Float[Array, " n"]:
        """Cook's distance."""
        return self.cooks_distance


class Residuals(eqx.Module):
    r"""Residuals of each row.

    Attributes:
        response: $y - \mu$.
        pearson: $(y - \mu)\sqrt{w / V(\mu)}$.
        deviance: $\operatorname{sign}(y - \mu)\sqrt{w d}$, d the unit deviance.
        working: $(y - \mu)\,d\eta / d\mu$.
        quantile: $\Phi^{-1}(u)$ with u uniform between $F(y-)$ and $F(y)$: standard
            normal under the right model, for discrete responses too. Without a key, u
            is the middle.
    """

    response: Float[Array, " n"]
    pearson: Float[Array, " n"]
    deviance: Float[Array, " n"]
    working: Float[Array, " n"]
    quantile: Float[Array, " n"]


class Check(eqx.Module):
    """All diagnostics of a fit; the goodness of fit can be read from it directly."""

    gof: GofStats
    residuals: Residuals | None
    influence: InfluenceStats | None

    def __getattr__(self, name: str) -> Any:
        if name in GofStats.__dataclass_fields__:
            return getattr(self.gof, name)
        raise AttributeError(f"`Check` has no attribute `{name}`")


def check(
    fitted: FittedGLM, *, diagnostic: Any = None, key: Key[Array, ""] | None = None
) -> Any:
    """Returns residuals, influence and goodness of fit.

    Args:
        fitted: the fit.
        diagnostic: one diagnostic alone, by the names of glmax, such as
            `glm.PearsonResidual()`.
        key: random key of the quantile residuals of discrete responses; without one
            they are taken in the middle of each step, and are not normal.

    Returns:
        `check.gof`, `check.residuals` and `check.influence`; the latter two are None
        for categories without order.
    """
    if not isinstance(fitted, FittedGLM):
        raise TypeError(
            f"`check` takes what `glm.fit` returned, and got {type(fitted).__name__}."
        )
    if diagnostic is not None:
        return diagnostic.diagnose(fitted)
    gof = goodness_of_fit(fitted)
    if fitted.family.num_predictors > 1:
        return Check(gof, None, None)
    key = None if key is None else check_key("check", key)
    return Check(gof, residuals(fitted, key), influence(fitted))


def goodness_of_fit(fitted: FittedGLM) -> GofStats:
    """Returns the goodness of fit, with that of a constant fitted alongside."""
    fitted = fitted.bare
    data = fitted.data
    # Of the shape of X, with columns of zeros, so that nothing compiles again.
    constant = data._replace(X=jnp.zeros_like(data.X).at[:, 0].set(1.0))
    if data.l2 is not None:
        constant = constant._replace(l2=jnp.zeros_like(data.l2))
    null = fit_data(fitted, constant)
    if fitted.family.has_dispersion:
        null = eqx.tree_at(lambda f: f.params.disp, null, fitted.params.disp)
    return _goodness_of_fit(fitted, null)


@jax.jit
def _goodness_of_fit(fitted: FittedGLM, null: FittedGLM) -> GofStats:
    family, data, disp = fitted.family, fitted.data, jnp.asarray(fitted.params.disp)
    n, eta, aux = data.num_rows, fitted.eta, fitted.aux
    q = fitted.point.theta.size
    k = fitted.rank * family.num_predictors + q
    log_likelihood, base = fitted.log_likelihood, null.log_likelihood
    total = deviance(family, data, eta, aux)
    nan = jnp.full((), jnp.nan, eta.dtype)
    pearson = pearson_chi2(family, data, eta, aux)
    scale = disp if family.has_dispersion else jnp.ones_like(disp)
    # A row of categories has as many free frequencies as it has predictors.
    free = n * family.num_predictors - k
    extra = (nan, nan, nan)
    if isinstance(family, Poisson):
        extra = _overdispersion(fitted)
    return GofStats(
        deviance=total,
        pearson_chi2=pearson,
        df_resid=n - k,
        dispersion=disp,
        log_likelihood=log_likelihood,
        aic=-2.0 * log_likelihood + 2.0 * k,
        bic=-2.0 * log_likelihood + k * jnp.log(n),
        null_deviance=deviance(family, data, null.eta, null.aux),
        null_log_likelihood=base,
        pseudo_r2=1.0 - log_likelihood / base,
        pseudo_r2_cs=-jnp.expm1(2.0 * (base - log_likelihood) / n),
        deviance_p=_chi2_tail(total / scale, free),
        pearson_p=_chi2_tail(pearson / scale, free),
        overdispersion=extra[0],
        overdispersion_stat=extra[1],
        overdispersion_p=extra[2],
    )


def _chi2_tail(stat: Array, df: Array) -> Array:
    safe = jnp.where(df > 0, df, 1.0)
    tail = gammaincc(0.5 * safe, 0.5 * jnp.maximum(stat, 0.0))
    return jnp.where((df > 0) & ~jnp.isnan(stat), tail, jnp.nan)


def _overdispersion(fitted: FittedGLM) -> tuple[Array, Array, Array]:
    """Regresses ((y - mu)^2 - y) / mu on mu, without a constant.

    Source: Cameron and Trivedi (1990), J. Econometrics 46, 347-364.
    """
    mu, y = fitted.mu, fitted.y
    target = (jnp.square(y - mu) - y) / mu
    freq = fitted.data.freq_weights
    size = jnp.sum(weigh(freq, jnp.square(mu)))
    alpha = jnp.sum(weigh(freq, mu * target)) / size
    rest = jnp.sum(weigh(freq, jnp.square(target - alpha * mu)))
    stat = alpha / jnp.sqrt(rest / (fitted.data.num_rows - 1.0) / size)
    return alpha, stat, 0.5 * erfc(stat / jnp.sqrt(2.0))


def influence(fitted: FittedGLM) -> InfluenceStats:
    """Returns leverage and Cook's distance."""
    return _influence(fitted.bare)


@jax.jit
def _influence(fitted: FittedGLM) -> InfluenceStats:
    h = leverage(fitted)
    disp = jnp.asarray(fitted.params.disp)
    r = _pearson(fitted) / jnp.sqrt(disp)
    k = fitted.data.X.shape[1]
    return InfluenceStats(
        leverage=h,
        cooks_distance=jnp.square(r / (1.0 - h)) * h / k,
        dffits=r * jnp.sign(h) * jnp.sqrt(jnp.abs(h)) / (1.0 - h),
    )


def residuals(fitted: FittedGLM, key: Key[Array, ""] | None) -> Residuals:
    """Returns all residuals."""
    return _residuals(fitted.bare, key)


@jax.jit
def _residuals(fitted: FittedGLM, key: Key[Array, ""] | None) -> Residuals:
    family, data, eta, aux = fitted.family, fitted.data, fitted.eta, fitted.aux
    mean = lambda e: family.mean(e, aux, data.trials)  # noqa: E731
    mu, slope = jax.jvp(mean, (eta,), (jnp.ones_like(eta),))
    response = data.y - mu
    unit = family.unit_deviance(data.y, eta, aux, data.trials)
    unit = weigh(data.var_weights, jnp.maximum(unit, 0.0))
    return Residuals(
        response=response,
        pearson=_pearson(fitted),
        deviance=jnp.sign(response) * jnp.sqrt(unit),
        working=response / slope,
        quantile=_quantile_residual(fitted, key),
    )


def _pearson(fitted: FittedGLM) -> Float[Array, " n"]:
    family, data, eta, aux = fitted.family, fitted.data, fitted.eta, fitted.aux
    residual = data.y - family.mean(eta, aux, data.trials)
    variance = family.variance(eta, aux, data.trials)
    if data.var_weights is not None:
        variance = variance / data.var_weights
    return residual / jnp.sqrt(variance)


def _quantile_residual(fitted: FittedGLM, key: Key[Array, ""] | None) -> Array:
    family, data = fitted.family, fitted.data
    spread = {}
    if family.has_dispersion:
        disp = jnp.asarray(fitted.params.disp)
        if data.var_weights is not None:
            disp = disp / data.var_weights
        spread = {"dispersion": disp}
    law = family.law(fitted.eta, fitted.aux, data.trials, **spread)
    y = family.response(data.y)
    below, above = _tails(law, y)
    if family.is_discrete:
        is_zero = data.y <= 0
        less, more = _tails(law, jnp.where(is_zero, y, y - 1))
        less, more = jnp.where(is_zero, 0.0, less), jnp.where(is_zero, 1.0, more)
    elif family.has_atom:
        # An amount that may be exactly zero has a step there.
        less = jnp.where(data.y == 0, 0.0, below)
        more = jnp.where(data.y == 0, 1.0, above)
    else:
        less, more = below, above
    u = 0.5 if key is None else jax.random.uniform(key, below.shape, below.dtype)
    tiny = jnp.finfo(below.dtype).tiny
    # Each half from its own tail, which keeps its digits there.
    low = jnp.maximum(less + u * (below - less), tiny)
    high = jnp.maximum(more + u * (above - more), tiny)
    return jnp.where(low < 0.5, ndtri(low), -ndtri(high))


def _tails(law: Any, y: Array) -> tuple[Array, Array]:
    """Returns P(Y <= y) and P(Y > y), each with its own digits."""
    if isinstance(law, dist.Normal | dist.StudentT):
        z = (y - jnp.asarray(law.loc)) / jnp.asarray(law.scale)
        if isinstance(law, dist.Normal):
            return ndtr(z), ndtr(-z)
        df = jnp.asarray(law.df)
        tail = 0.5 * betainc(0.5 * df, 0.5, df / (df + jnp.square(z)))
        return jnp.where(z < 0, tail, 1.0 - tail), jnp.where(z < 0, 1.0 - tail, tail)
    below = law.cdf(y)
    return below, jnp.exp(law.log_sf(y)) if hasattr(law, "log_sf") else 1.0 - below
