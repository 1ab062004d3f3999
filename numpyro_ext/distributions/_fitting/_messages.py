"""The verdict in words: what happened, the usual cause, what to type next."""

from typing import Any

import numpy as np

from ._core import Outcome
from ._data import Ties
from ._verdict import FitStatus

# Ties are mentioned from this share of the rows on.
TIE_SHARE = 0.01
# And outliers from so many spreads on.
FAR = 1e4


def message_of(
    law: type,
    status: FitStatus,
    out: Outcome,
    ties: Ties,
    plane: tuple[int, np.ndarray] | None,
    information: tuple[float, float],
    total: float,
) -> str:
    """One paragraph for the user."""
    text = _verdict_text(law, status, out, plane, information, total)
    if ties.size >= max(2.0, TIE_SHARE * ties.total):
        text += (
            f" {ties.size} of {ties.total} rows ({100 * ties.size / ties.total:.1f} "
            f"%) are exactly {_show(ties.value)}: a continuous law has no such ties, "
            "and its likelihood rewards a spike there."
        )
    return text


def _verdict_text(
    law: type,
    status: FitStatus,
    out: Outcome,
    plane: tuple[int, np.ndarray] | None,
    information: tuple[float, float],
    total: float,
) -> str:
    gap = total * float(out.log_likelihood - out.normal)
    least, largest = information
    texts = {
        FitStatus.CONVERGED: "Converged.",
        FitStatus.NORMAL_LIMIT: (
            f"Converged on the boundary: the normal law, which is within {gap:.2g} "
            "nats in all. The mixing law cannot be told from a constant; fit a normal "
            "law."
        ),
        FitStatus.GAMMA_LIMIT: (
            "Converged on the boundary b = 0, where the mixing law is Gamma: fit "
            "`VarianceGamma`."
        ),
        FitStatus.INVERSE_GAMMA_LIMIT: (
            "Converged on the boundary a = 0, where the mixing law is InverseGamma: "
            "fit `GeneralizedHyperbolicSkewT`."
        ),
        FitStatus.WEAKLY_IDENTIFIED: (
            "Converged, but the mixing law is weakly identified: the least information "
            f"on it is {least:.2g}, and the condition number {_ratio(largest, least)}. "
            "Other mixing laws are as likely; fix a parameter, for example `fix={'p': "
            "-0.5}`, or use a nested law."
        ),
        FitStatus.MAX_ITERATIONS: (
            f"Stopped after {int(out.num_iterations)} iterations before it converged. "
            "Give a larger `max_iterations` or `tol`."
        ),
        FitStatus.NOT_FINITE: (
            "The log likelihood is not finite at the start. Look at the scale of the "
            "columns and for columns that are nearly constant."
        ),
        FitStatus.DECREASED: (
            f"The log likelihood per observation fell by {float(out.drop):.3g} at "
            f"iteration {int(out.num_iterations)}, which EM cannot do: please "
            "report the data."
        ),
    }
    if status in texts:
        return texts[status]
    text = (
        f"Degenerate: the likelihood of {law.__name__} is unbounded here, and the fit "
        "is a spike that only the resolution bounds."
    )
    if plane is not None and plane[0] > out.loc.shape[0]:
        text += (
            f" {plane[0]} rows lie on the hyperplane with normal {_show(plane[1])} (in "
            "units of the columns' spreads)."
        )
    return text + (
        f" It is at loc = {_show(out.loc)}. Spread the ties over their rounding "
        "interval, fix the order (`fix={'p': -0.5}`), or use `NormalInverseGaussian` "
        "or `GeneralizedHyperbolicSkewT`."
    )


def describe_outlier(rows: np.ndarray, out: Outcome) -> str:
    """Names the farthest row, if it is far beyond what a fit can be meant for."""
    if not out.farthest > FAR:
        return ""
    distance = np.max(np.abs(rows - out.centre) / out.scale, axis=1)
    index = int(np.argmax(distance))
    return (
        f" Row {index} is an outlier, {distance[index]:.2g} spreads from the centre; "
        "see whether it is an error of the data."
    )


def _ratio(largest: float, least: float) -> str:
    return f"{largest / least:.2g}" if least > 0 else "infinite"


def _show(value: Any) -> str:
    flat = np.ravel(value)
    if flat.size == 1:
        return f"{flat[0]:.6g}"
    shown = ", ".join(f"{v:.4g}" for v in flat[:4])
    return f"({shown}{', ...' if flat.size > 4 else ''})"
