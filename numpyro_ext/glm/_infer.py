"""`infer`: standard errors, tests and intervals of a fit, without refitting it."""

from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, erfc, ndtri
from jaxtyping import Array, ArrayLike, Float
from numpyro.distributions import biject_to

from .._checks import check_choice, check_open_interval
from ._covariance import (
    COVARIANCES,
    Covariance,
    covariance,
    default_covariance,
    scaled_inverse,
)
from ._geometry import diagonal_of
from ._objective import Problem
from ._profile import likelihood_ratios, profile_intervals, scores_of_restricted
from ._result import FittedGLM, Params, assemble, known_inference


class Inference(eqx.Module):
    """Standard errors, tests and intervals.

    Attributes:
        params: the estimates.
        se: standard errors, of the shape of `params.beta`; NaN for coefficients that
            the data do not determine.
        tests: statistic, p-value and both ends of the interval of each coefficient.
        covariance: of all coefficients (in the order of `beta.T`, flattened), followed
            by nuisances on their unconstrained scale.
        aux_se: standard errors of the nuisances by name, on their own scale.
        df: degrees of freedom of Student's t, or infinity.
    """

    params: Params
    se: Float[Array, "p ..."]
    tests: Float[Array, "p ... 4"]
    covariance: Float[Array, "d d"]
    aux_se: dict[str, Array]
    df: Float[Array, ""]
    cov: str = eqx.field(static=True)
    test: str = eqx.field(static=True)
    ci: str = eqx.field(static=True)
    level: float = eqx.field(static=True)

    @property
    def stat(self) -> Float[Array, "p ..."]:
        """The statistic of each coefficient being zero.

        An estimate over its standard error (`wald`), or a chi-square with one degree of
        freedom.
        """
        return self.tests[..., 0]

    @property
    def p(self) -> Float[Array, "p ..."]:
        """The two-sided p-value of each statistic."""
        return self.tests[..., 1]

    @property
    def low(self) -> Float[Array, "p ..."]:
        """The lower ends of the intervals."""
        return self.tests[..., 2]

    @property
    def high(self) -> Float[Array, "p ..."]:
        """The upper ends of the intervals."""
        return self.tests[..., 3]

    @property
    def cov_beta(self) -> Float[Array, "k k"]:
        """The covariance of the coefficients."""
        k = self.params.beta.size
        return self.covariance[:k, :k]


_DEFAULTS: dict[str, Any] = {
    "cov": "auto",
    "test": "wald",
    "ci": "wald",
    "level": 0.95,
}
# What they are for a fit whose expected information is known.
_BY_EXPECTED = {**_DEFAULTS, "cov": "fisher"}


def infer(
    fitted: FittedGLM,
    inferrer: Any = None,
    stderr: Any = None,
    *,
    cov: Covariance = "auto",
    test: Literal["wald", "lr", "score"] = "wald",
    ci: Literal["wald", "profile"] = "wald",
    level: float = 0.95,
    clusters: ArrayLike | None = None,
) -> Inference:
    r"""Returns standard errors, tests and confidence intervals of a fit.

    Covariances, with $H$ the Hessian of the negative log-likelihood and $s_i$ the score
    of row $i$ (nuisance parameters included in both):

    - `fisher`: $\phi$ times the inverse expected Hessian;
    - `observed`: $\phi H^{-1}$;
    - `opg`: $(\sum_i s_i s_i^\top)^{-1}$;
    - `HC0`: $H^{-1} (\sum_i s_i s_i^\top) H^{-1}$; `HC1` times $n / (n - k)$;
      `HC2` with $s_i / \sqrt{1 - h_i}$ and `HC3` with $s_i / (1 - h_i)$, $h_i$ the
      leverage;
    - `cluster`: scores are summed by cluster first; times
      $\frac{g}{g - 1} \frac{n - 1}{n - k}$ for $g$ clusters;
    - `auto`: `fisher` where it is known, as R and statsmodels do; else `observed`.

    Tests of each coefficient being zero: `wald`, with Student's t for a Gaussian family
    of estimated dispersion; `lr`, twice the loss of log-likelihood without the column;
    `score`, from the fit without the column. The dispersion is that of the full fit.

    Args:
        fitted: the fit.
        inferrer: the test, by the names of glmax: `glm.WaldTest()`, `glm.ScoreTest()`.
        stderr: the covariance, by the names of glmax: `glm.FisherInfoError()`,
            `glm.HuberError()`.
        cov: the covariance.
        test: the test.
        ci: `wald` intervals, or those of the profile likelihood.
        level: of the intervals.
        clusters: labels (n,) for `cov="cluster"`.

    Raises:
        ValueError: for an unknown choice; for `fisher` of a family whose expected
            information is not known; for missing clusters.
    """
    cov = cov if stderr is None else stderr.cov
    test = test if inferrer is None else inferrer.test
    check_choice("infer", "cov", cov, COVARIANCES)
    check_choice("infer", "test", test, ("wald", "lr", "score"))
    check_choice("infer", "ci", ci, ("wald", "profile"))
    check_open_interval("infer", "level", level, 0.0, 1.0)
    if fitted.family.num_predictors > 1 and (test != "wald" or ci != "wald"):
        raise ValueError(
            f"`infer(test={test!r}, ci={ci!r})`: {fitted.family.name} has several "
            "coefficients for each column, and only Wald tests and intervals."
        )
    if (cov, test, ci, level) == tuple(_DEFAULTS.values()):
        found = known_inference(fitted)
        if found is not None:
            return found
    codes, count = None, 0
    if cov == "cluster" and clusters is not None:
        labels, codes = np.unique(np.asarray(clusters), return_inverse=True)
        count = labels.size
    return _infer(
        fitted.bare, codes, cov=cov, test=test, ci=ci, level=level, num_clusters=count
    )


def default_arrays(fitted: FittedGLM, problem: Problem) -> dict[str, Any]:
    """Returns what `infer` says by default of a fit by expected information.

    `fitted` has no names, and is of this problem. The parameters are left out.
    """
    matrix = scaled_inverse(fitted, problem, "fisher")
    found = vars(_read(fitted, matrix, **_BY_EXPECTED))
    left_out = {"params", *_BY_EXPECTED}
    return {name: value for name, value in found.items() if name not in left_out}


def read_back(params: Params, arrays: dict[str, Any]) -> Inference:
    """Returns the inference of which `default_arrays` are the numbers."""
    return assemble(Inference, {"params": params, **arrays, **_BY_EXPECTED})


@partial(jax.jit, static_argnames=("cov", "test", "ci", "level", "num_clusters"))
def _infer(
    fitted: FittedGLM,
    clusters: Array | None,
    *,
    cov: Covariance,
    test: str,
    ci: str,
    level: float,
    num_clusters: int,
) -> Inference:
    kind = default_covariance(fitted) if cov == "auto" else cov
    matrix = covariance(fitted, kind, clusters, num_clusters)
    return _read(fitted, matrix, cov=kind, test=test, ci=ci, level=level)


def _read(
    fitted: FittedGLM,
    matrix: Float[Array, "d d"],
    *,
    cov: str,
    test: str,
    ci: str,
    level: float,
) -> Inference:
    """Returns errors, tests and intervals by the covariance."""
    beta = fitted.params.beta
    m, p = fitted.point.beta.shape
    variance = diagonal_of(matrix)[: m * p].reshape(m, p)
    se = jnp.sqrt(variance[0] if beta.ndim == 1 else variance.T)
    df = jnp.full((), jnp.inf, se.dtype)
    if fitted.family.uses_t and fitted.dispersion != "known":
        df = fitted.data.num_rows - fitted.rank
    if test == "wald":
        stat = beta / se
        p_value = _two_sided(stat, df)
    else:
        column_test = likelihood_ratios if test == "lr" else scores_of_restricted
        stat = column_test(fitted)
        p_value = erfc(jnp.sqrt(0.5 * jnp.maximum(stat, 0.0)))
    reach = _quantile(0.5 + 0.5 * level, df)
    low, high = beta - reach * se, beta + reach * se
    if ci == "profile":
        low, high = profile_intervals(fitted, se, reach)
    return Inference(
        params=fitted.params,
        se=se,
        tests=jnp.stack([stat, p_value, low, high], axis=-1),
        covariance=matrix,
        aux_se=_aux_errors(fitted, matrix[m * p :, m * p :]),
        df=df,
        cov=cov,
        test=test,
        ci=ci,
        level=level,
    )


def _two_sided(stat: Array, df: Array) -> Array:
    normal = erfc(jnp.abs(stat) / jnp.sqrt(2.0))
    safe = jnp.where(jnp.isfinite(df), df, 1.0)
    student = betainc(0.5 * safe, 0.5, safe / (safe + jnp.square(stat)))
    return jnp.where(jnp.isfinite(df), student, normal)


def _quantile(probability: float, df: Array) -> Array:
    """Returns the quantile of Student's t, of the normal law for infinite `df`."""
    start = ndtri(jnp.asarray(probability, df.dtype))
    safe = jnp.where(jnp.isfinite(df), df, 1.0)
    target = 2.0 * (1.0 - probability)

    def bisect(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        is_below = _two_sided(jnp.exp(middle), safe) > target
        return jnp.where(is_below, middle, low), jnp.where(is_below, high, middle)

    # On a logarithmic scale, up to the largest quantile of one degree of freedom.
    ends = (jnp.log(jnp.abs(start) + 1e-30), jnp.asarray(40.0, df.dtype))
    low, high = jax.lax.fori_loop(0, 60, bisect, ends)
    return jnp.where(jnp.isfinite(df), jnp.exp(0.5 * (low + high)), start)


def _aux_errors(fitted: FittedGLM, matrix: Float[Array, "q q"]) -> dict[str, Array]:
    """Carries the covariance of the nuisances to their own scale, to first order."""
    found, start = {}, 0
    theta = fitted.point.theta
    for name, constraint in fitted.family.nuisance.items():
        shape = dict(fitted.shapes)[name]
        size = int(np.prod(shape))
        part = slice(start, start + size)
        slopes = jax.jacfwd(
            lambda t, c=constraint, s=shape: jnp.ravel(biject_to(c)(t.reshape(s)))
        )(theta[part])
        variance = diagonal_of(slopes @ matrix[part, part] @ slopes.T)
        found[name] = jnp.sqrt(variance).reshape(shape)
        start += size
    return found
