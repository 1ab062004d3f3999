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

    def weigh(
        self,
        *,
        jacobian: bool,
        likelihood_weight: Float[Array, ""] | float | int = 1.0,
        prior_weight: Float[Array, ""] | float | int = 1.0,
    ) -> Float[Array, ""]:
        """Adds the parts up; a Python 0 leaves the prior out even where it is zero."""
        total = likelihood_weight * self.log_likelihood
        if not (isinstance(prior_weight, int | float) and prior_weight == 0):
            total = total + prior_weight * self.log_prior
        return total + self.log_det if jacobian else total
