"""The three buckets that every log density here is split into."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Parts(NamedTuple):
    """Log likelihood, log prior and log |Jacobian| of one point; they add up.

    Tempering and mini-batch scaling act on the first, prior weights on the second,
    and nothing on the third.
    """

    log_likelihood: Float[Array, ""]
    log_prior: Float[Array, ""]
    log_det: Float[Array, ""]
