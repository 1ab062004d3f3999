"""Choices of the verbs as objects, by the names of glmax."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array

from ._check import goodness_of_fit, influence, residuals
from ._newton import Newton
from ._result import FittedGLM


class AbstractDiagnostic(eqx.Module):
    """One diagnostic of a fit; `glm.check(fitted, diagnostic=...)` calls it."""

    @abc.abstractmethod
    def diagnose(self, fitted: FittedGLM) -> Any:
        """Returns the diagnostic of a fit."""


class PearsonResidual(AbstractDiagnostic):
    """Pearson residuals."""

    def diagnose(self, fitted: FittedGLM) -> Any:
        return residuals(fitted, None).pearson


class DevianceResidual(AbstractDiagnostic):
    """Deviance residuals."""

    def diagnose(self, fitted: FittedGLM) -> Any:
        return residuals(fitted, None).deviance


class QuantileResidual(AbstractDiagnostic):
    """Quantile residuals; without a key the middle of each step.

    Attributes:
        key: random key, for discrete responses.
    """

    key: Array | None = None

    def diagnose(self, fitted: FittedGLM) -> Any:
        return residuals(fitted, self.key).quantile


class GoodnessOfFit(AbstractDiagnostic):
    """Goodness of fit, as `GofStats`."""

    def diagnose(self, fitted: FittedGLM) -> Any:
        return goodness_of_fit(fitted)


class Influence(AbstractDiagnostic):
    """Leverage and Cook's distance, as `InfluenceStats`."""

    def diagnose(self, fitted: FittedGLM) -> Any:
        return influence(fitted)


class WaldTest(eqx.Module):
    """`infer(test="wald")`."""

    test: str = eqx.field(default="wald", static=True, init=False)


class ScoreTest(eqx.Module):
    """`infer(test="score")`."""

    test: str = eqx.field(default="score", static=True, init=False)


class FisherInfoError(eqx.Module):
    """`infer(cov="auto")`: the information of the family."""

    cov: str = eqx.field(default="auto", static=True, init=False)


class HuberError(eqx.Module):
    """`infer(cov="HC0")`."""

    cov: str = eqx.field(default="HC0", static=True, init=False)


def IRLSFitter(  # noqa: N802
    solver: Any = None,
    step_size: float = 1.0,
    tol: float | None = None,
    max_iter: int = 200,
) -> Newton:
    """Returns settings for Fisher scoring, by the name and arguments of glmax.

    Args:
        solver: not used, since columns that are dependent are found in any case.
        step_size: not used, since steps are halved as needed.
        tol: bound of the decrement; by default that of `glm.Newton`.
        max_iter: evaluations.
    """
    del solver, step_size
    return Newton(max_iter=max_iter, tol=tol, hessian="expected")


def NewtonFitter(  # noqa: N802
    solver: Any = None,
    step_size: float = 1.0,
    tol: float | None = None,
    max_iter: int = 200,
    armijo_c: float = 0.1,
    armijo_factor: float = 0.5,
) -> Newton:
    """Returns settings for Newton's method, by the name and arguments of glmax.

    Args:
        solver: not used, since columns that are dependent are found in any case.
        step_size: not used, since steps are halved as needed.
        tol: bound of the decrement; by default that of `glm.Newton`.
        max_iter: evaluations.
        armijo_c: not used.
        armijo_factor: not used.
    """
    del solver, step_size, armijo_c, armijo_factor
    return Newton(max_iter=max_iter, tol=tol)
