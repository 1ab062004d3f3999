"""How a fit ended: one code for each fit of a batch, with its words."""

import enum


class Status(enum.IntEnum):
    """The way a fit ended. `fitted.status` holds the code, for each fit of a batch."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    RANK_DEFICIENT = 2
    SEPARATED = 3
    BOUNDARY = 4
    INVALID_DATA = 5
    NONFINITE = 6

    @property
    def cause(self) -> str:
        """What happened and what to do, in one line."""
        return _CAUSES[self]


_CAUSES = {
    Status.CONVERGED: "The fit converged.",
    Status.MAX_ITERATIONS: (
        "The fit did not converge within the allowed iterations. Scale the columns of "
        "`X`, give a start with `init=`, or write `solver=glm.Newton(max_iter=1000)`."
    ),
    Status.RANK_DEFICIENT: (
        "The columns of `X` are linearly dependent: `beta` is the solution of least "
        "norm, and the standard errors of the columns involved are NaN. Drop a column, "
        "or add `l2=`."
    ),
    Status.SEPARATED: (
        "The classes are separated: some coefficients run to infinity, and their "
        "values and standard errors mean nothing. Add `l2=1.0`, or put a prior on them."
    ),
    Status.BOUNDARY: (
        "The likelihood is largest at the edge of the parameters, such as a group "
        "whose counts are all zero, or a negative binomial without overdispersion. "
        "Pool the group, choose the simpler family, or add `l2=`."
    ),
    Status.INVALID_DATA: (
        "The data contain values that the family does not allow. Check `X`, `y`, "
        "`offset`, `trials` and the weights."
    ),
    Status.NONFINITE: (
        "The log-likelihood is not finite at any start that was tried. Give a start "
        "with `init=`, or choose a link whose mean stays in the family's domain."
    ),
}
