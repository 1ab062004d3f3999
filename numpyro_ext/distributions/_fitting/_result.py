"""What a fit of a law returns."""

from typing import Any

import equinox as eqx
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Array, Float

from ._verdict import FitStatus


class DegenerateFitWarning(UserWarning):
    """The likelihood has a spike or is not bounded: the answer is no answer."""


class MonotonicityError(RuntimeError):
    """The log likelihood fell between two iterations of EM, which it cannot."""


class LawFit(eqx.Module):
    """A fitted law, with all that says how far to trust it.

    Attributes:
        law: The fitted law, with E[w] = 1 unless `fix` says otherwise.
        log_likelihood: Of the data under the law, in all, in nats.
        penalized_log_likelihood: What was maximised; see `BatchEM`.
        history: Penalised log likelihood per observation after each iteration.
        num_iterations: EM maps, of the best of the starts.
        seconds: Wall time, with the compilation if there was one.
        status: The verdict, a `FitStatus`.
        message: The verdict in words, with the cause.
        num_parameters: Free parameters that can be identified.
        num_observations: Sum of the weights.
        information: Smallest and largest information on the mixing law.
    """

    law: dist.Distribution
    log_likelihood: float
    penalized_log_likelihood: float
    history: np.ndarray
    num_iterations: int
    seconds: float
    status: FitStatus
    message: str
    num_parameters: int
    num_observations: float
    information: tuple[float, float]
    # For the standard errors.
    x: Float[Array, "n d"]
    weights: Float[Array, " n"]
    fix: dict[str, Any]

    @property
    def converged(self) -> bool:
        """Whether the iteration ended at a maximum, in the inside or at a limit law."""
        return self.status in (
            FitStatus.CONVERGED,
            FitStatus.NORMAL_LIMIT,
            FitStatus.GAMMA_LIMIT,
            FitStatus.INVERSE_GAMMA_LIMIT,
            FitStatus.WEAKLY_IDENTIFIED,
        )

    @property
    def aic(self) -> float:
        """Akaike's criterion: 2 parameters - 2 log likelihood."""
        return 2.0 * self.num_parameters - 2.0 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Schwarz's criterion: log n parameters - 2 log likelihood."""
        cost = np.log(self.num_observations) * self.num_parameters
        return float(cost) - 2.0 * self.log_likelihood

    @property
    def standard_errors(self) -> dict[str, np.ndarray]:
        """Standard errors by the observed information, by name of the parameter.

        In the identified parameters: the shape of the mixing law (p and alpha_bar, or
        concentration, or df), loc, skew and scale, or the lower triangle of the scale's
        Cholesky factor, at E[w] = 1. NaN where the fit lies on a boundary or the
        information is not positive definite: no normal law holds there. What is fixed
        is left out.
        """
        from ._standard_errors import standard_errors

        return standard_errors(self)

    def summary(self) -> pd.DataFrame:
        """A table of the identified parameters, standard errors and 95 % intervals."""
        from ._standard_errors import summary

        return summary(self)

    def __repr__(self) -> str:
        name = type(self.law).__name__
        return (
            f"LawFit({name}, log_likelihood={self.log_likelihood:.4f}, "
            f"num_iterations={self.num_iterations}, status={self.status.name}: "
            f"{self.message})"
        )
