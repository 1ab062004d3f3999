"""Models of statsmodels on the data sets that it bundles, to compare with."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import statsmodels.api as sm

import numpyro_ext.glm as glm

LINKS = sm.families.links


class Case(NamedTuple):
    """One model: our family, the data, keyword arguments, and their results."""

    family: glm.AbstractFamily
    X: np.ndarray
    y: np.ndarray
    options: dict[str, Any]
    result: Any


def _load(name: str) -> Any:
    return getattr(sm.datasets, name).load()


def _fit(y: Any, X: Any, family: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        # The canonical links of positive laws warn of their domain.
        warnings.simplefilter("ignore")
        return sm.GLM(y, X, family=family, **options).fit(tol=1e-14, maxiter=200)


def _case(ours: Any, X: Any, y: Any, theirs: Any, **options: Any) -> Case:
    X, y = np.asarray(X, float), np.asarray(y, float)
    return Case(ours, X, y, options, _fit(y, X, theirs, **options))


def scotland(ours: Any, theirs: Any) -> Case:
    data = _load("scotland")
    return _case(ours, sm.add_constant(data.exog), data.endog, theirs)


def star98() -> Case:
    data = _load("star98")
    X = np.asarray(sm.add_constant(data.exog))
    counts = np.asarray(data.endog)
    result = _fit(counts, X, sm.families.Binomial())
    trials = counts.sum(axis=1)
    return Case(glm.Binomial(), X, counts[:, 0], {"trials": trials}, result)


def cpunish(ours: Any, theirs: Any) -> Case:
    data = _load("cpunish")
    X = np.asarray(data.exog, float).copy()
    X[:, 3] = np.log(X[:, 3])
    return _case(ours, sm.add_constant(X), data.endog, theirs)


def fair(ours: Any, theirs: Any) -> Case:
    data = _load("fair")
    y = np.asarray(data.endog) > 0
    return _case(ours, sm.add_constant(data.exog), y, theirs)


def spector(ours: Any, theirs: Any) -> Case:
    data = _load("spector")
    return _case(ours, sm.add_constant(data.exog), data.endog, theirs)


def randhie(ours: Any, theirs: Any) -> Case:
    data = _load("randhie")
    return _case(ours, sm.add_constant(data.exog), data.endog, theirs)


def cancer(ours: Any, theirs: Any) -> Case:
    table = _load("cancer").data
    X = np.column_stack([np.ones(len(table)), np.log(table["population"])])
    offset = np.log(np.asarray(table["population"], float))
    return _case(ours, X, table["cancer"], theirs, offset=offset)


def engel(ours: Any, theirs: Any) -> Case:
    table = _load("engel").data
    X = sm.add_constant(np.asarray(table["income"]) / 1000.0)
    return _case(ours, X, np.asarray(table["foodexp"]) / 1000.0, theirs)


def stackloss(ours: Any, theirs: Any) -> Case:
    data = _load("stackloss")
    return _case(ours, sm.add_constant(data.exog), data.endog, theirs)


def committee(ours: Any, theirs: Any) -> Case:
    data = _load("committee")
    X = np.asarray(data.exog, float).copy()
    X[:, 2] = np.log(X[:, 2])
    X = np.column_stack([X, X[:, 1] * X[:, 2]])
    return _case(ours, sm.add_constant(X), data.endog, theirs)


F = sm.families
CASES: dict[str, Callable[[], Case]] = {
    "scotland-gamma": lambda: scotland(glm.Gamma(), F.Gamma()),
    "scotland-gamma-log": lambda: scotland(glm.Gamma("log"), F.Gamma(LINKS.Log())),
    "scotland-gaussian": lambda: scotland(glm.Gaussian(), F.Gaussian()),
    "star98-binomial": star98,
    "cpunish-poisson": lambda: cpunish(glm.Poisson(), F.Poisson()),
    "cpunish-nb2": lambda: cpunish(
        glm.NegativeBinomial(alpha=0.5), F.NegativeBinomial(alpha=0.5)
    ),
    "fair-logit": lambda: fair(glm.Bernoulli(), F.Binomial()),
    "fair-probit": lambda: fair(glm.Bernoulli("probit"), F.Binomial(LINKS.Probit())),
    "spector-logit": lambda: spector(glm.Bernoulli(), F.Binomial()),
    "spector-cloglog": lambda: spector(
        glm.Bernoulli("cloglog"), F.Binomial(LINKS.CLogLog())
    ),
    "spector-cauchit": lambda: spector(
        glm.Bernoulli("cauchit"), F.Binomial(LINKS.Cauchy())
    ),
    "randhie-poisson": lambda: randhie(glm.Poisson(), F.Poisson()),
    "cancer-offset": lambda: cancer(glm.Poisson(), F.Poisson()),
    "engel-gamma-log": lambda: engel(glm.Gamma("log"), F.Gamma(LINKS.Log())),
    "engel-gamma-identity": lambda: engel(
        glm.Gamma("identity"), F.Gamma(LINKS.Identity())
    ),
    "engel-ig-log": lambda: engel(
        glm.InverseGaussian("log"), F.InverseGaussian(LINKS.Log())
    ),
    "engel-gaussian-log": lambda: engel(glm.Gaussian("log"), F.Gaussian(LINKS.Log())),
    "engel-tweedie": lambda: engel(
        glm.Tweedie(power=1.5), F.Tweedie(LINKS.Log(), var_power=1.5, eql=False)
    ),
    "stackloss-gaussian": lambda: stackloss(glm.Gaussian(), F.Gaussian()),
    "stackloss-poisson-sqrt": lambda: stackloss(
        glm.Poisson("sqrt"), F.Poisson(LINKS.Sqrt())
    ),
    "committee-poisson": lambda: committee(glm.Poisson(), F.Poisson()),
    "committee-nb2": lambda: committee(
        glm.NegativeBinomial(alpha=1.0), F.NegativeBinomial(alpha=1.0)
    ),
}
