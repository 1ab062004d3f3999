"""The links of probabilities that the likelihoods know by name."""

from collections.abc import Callable
from typing import Any

from jax import Array

from ...special._log_probs import (
    cauchit_log_probs,
    cloglog_log_probs,
    logit_log_probs,
    loglog_log_probs,
    probit_log_probs,
)

LogProbs = Callable[[Array], tuple[Array, Array]]

LINKS: dict[str, LogProbs] = {
    "logit": logit_log_probs,
    "probit": probit_log_probs,
    "cloglog": cloglog_log_probs,
    "loglog": loglog_log_probs,
    "cauchit": cauchit_log_probs,
}


def log_probs_of(owner: str, link: Any) -> LogProbs:
    """The function eta -> (log p, log(1 - p)) of a link's name, or of a link.

    Raises: ValueError for an unknown name; TypeError for what has no `log_probs`.
    """
    if isinstance(link, str):
        if link not in LINKS:
            raise ValueError(
                f"`{owner}(link={link!r})`: there is no such link of a probability. "
                f"Give one of {', '.join(map(repr, LINKS))}, or an object with "
                "`log_probs(eta)`."
            )
        return LINKS[link]
    if not callable(getattr(link, "log_probs", None)):
        raise TypeError(
            f"`{owner}(link={link!r})`: a link is one of "
            f"{', '.join(map(repr, LINKS))}, or an object with "
            "`log_probs(eta)` that returns log p and log(1 - p)."
        )
    return link.log_probs
