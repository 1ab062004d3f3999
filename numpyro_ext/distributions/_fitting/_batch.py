"""Batch EM: the whole data set in each iteration."""

import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ..._checks import check_choice, check_positive_int
from ..._vectors import wide_vectors
from ._core import Outcome, compiled_fit, fit_arrays
from ._data import check_rank, find_ties, read_data, rows_on_hyperplane
from ._families_of_laws import (
    FAMILIES,
    build_law,
    fixed_tril,
    is_univariate,
    mixing_fix,
    read_fix,
)
from ._family import Family
from ._gauge import FREE, gauge_of
from ._messages import describe_outlier, message_of
from ._options import make_options, mixing_options
from ._progress import fit_in_chunks
from ._result import DegenerateFitWarning, LawFit, MonotonicityError
from ._shrinkage import shrinkage_of
from ._standard_errors import missing_reason
from ._start import MANY
from ._state import Settings
from ._verdict import FitStatus, verdict

# Share of a column's variance that the columns before it leave: below, look closer.
LEAST_PIVOT = 1e-6
# What a law has of the normal part of an outcome.
NORMAL = ("loc", "skew", "tril", "factor", "diag")


class BatchEM(eqx.Module):
    r"""Maximum likelihood of a law of the family by EM, accelerated and safeguarded.

    The likelihood of the family is not bounded: a law can put a spike on a datum, and
    on ties it pays. So every row counts as known to `resolution` only, in units of its
    column's spread: the criterion is the log of
    $\int p(x \mid w)\, e^{-r/2w}\, p(w)\,dw$ with
    $r = h^2\,\mathrm{tr}(D \Sigma^{-1})$, where D holds the squared spreads. It is
    bounded, at most the log likelihood, and differs from it by order $h^2$ unless the
    law has a spike. The fit says which of the two is the case.

    Args:
        algorithm: "ecme" takes Newton steps of the mixing law on the likelihood,
            together with loc, skew and scale along the skew; "mcecm" updates the mixing
            law by a second E step; "em" is plain EM. "newton" leaves the M step out
            where the Newton step moves everything, as it does in one dimension.
        acceleration: "squarem" or "none". An extrapolation that is worse is taken back.
        tol: The iteration ends when what remains to be gained, by the last gains, is
            below `tol` nats for each observation; from 64 columns on, for each number.
        max_iterations: EM maps at most, from each start.
        resolution: h above; 0 leaves the likelihood unbounded.
        shrinkage: Pulls the scale towards `target`: an intensity in [0, 1), or
            "ledoit-wolf". It is the penalty of an inverse Wishart prior.
        target: "diagonal", "identity" (times the mean variance), or a matrix in the
            units of the covariance.
        factors: Rank r of a scale F F^T + diag(D), for many columns; None for a full
            scale.
        parameter_tol: If given, no identified parameter may move by more than that in
            the last iteration: p and log alpha_bar (or log shape), and loc, skew and
            scale in units of the columns' spreads.
        identification: "mean" returns the law with E[w] = 1, "det" with a scale matrix
            of determinant 1. It is the same law of x. A value of `fix` goes first.
        verbose: Print the state every 10 iterations, from each start. The result is the
            same; `fit_many` prints nothing.
        starts: "nested" starts a generalized hyperbolic law from its nested laws, so
            that it is not below them; "single" from one law.

    Raises: ValueError, for a setting outside its domain.
    Source: Liu and Rubin (1994), Biometrika 81, 633-648 (ECME); Varadhan and Roland
        (2008), Scand. J. Statist. 35, 335-353 (SQUAREM); McNeil, Frey and Embrechts
        (2015), section 15.1.
    """

    algorithm: str = "ecme"
    acceleration: str = "squarem"
    tol: float = 1e-9
    max_iterations: int = 500
    resolution: float = 1e-5
    shrinkage: float | str = 0.0
    target: Any = "diagonal"
    factors: int | None = None
    starts: str = "nested"
    parameter_tol: float | None = None
    identification: str = "mean"
    verbose: bool = False

    def __check_init__(self):
        owner = "BatchEM"
        check_choice(
            owner, "algorithm", self.algorithm, ("ecme", "newton", "mcecm", "em")
        )
        check_choice(owner, "acceleration", self.acceleration, ("squarem", "none"))
        check_choice(owner, "starts", self.starts, ("nested", "single"))
        check_choice(owner, "identification", self.identification, ("mean", "det"))
        check_positive_int(owner, "max_iterations", self.max_iterations)
        if self.factors is not None:
            check_positive_int(owner, "factors", self.factors)
        if not (self.tol > 0 and np.isfinite(self.tol)):
            raise ValueError(
                f"`BatchEM(tol={self.tol})`: `tol` must be positive, in nats for each "
                "observation. Write for example `tol=1e-9`."
            )
        if self.parameter_tol is not None and not self.parameter_tol > 0:
            raise ValueError(
                f"`BatchEM(parameter_tol={self.parameter_tol})`: it must be positive, "
                "or None for no such tolerance. Write for example `parameter_tol=1e-6`."
            )
        if not 0 <= self.resolution < 1:
            raise ValueError(
                f"`BatchEM(resolution={self.resolution})`: `resolution` must lie in "
                "[0, 1); write for example `resolution=1e-5`."
            )

    def fit(
        self,
        law: type,
        x: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        fix: Mapping[str, Any] | None = None,
        symmetric: bool = False,
    ) -> LawFit:
        """Fits the class `law` to the rows of x; see `fit` of the laws."""
        begin = time.perf_counter()
        rows, weights, fix, count = self._read(law, x, weights, fix, symmetric)
        options, static = self._prepare(law, rows, weights, fix)
        fit = fit_in_chunks if self.verbose else compiled_fit
        out = fit(rows, weights, options, **static)
        extra = _verdict(static["family"], out, jnp.sum(weights))
        out, extra = jax.device_get((out, extra))
        return self._finish(law, rows, weights, fix, out, extra, count, begin)

    def fit_many(
        self,
        law: type,
        x: ArrayLike,
        *,
        fix: Mapping[str, Any] | None = None,
        symmetric: bool = False,
    ) -> list[LawFit]:
        """Fits m data sets of one shape, (m, n) or (m, n, d), in one vmapped program.

        Each has a verdict of its own; one that fails leaves the others as they are.
        Shrinkage takes one intensity and target from the first data set.
        """
        begin = time.perf_counter()
        read = [self._read(law, one, None, fix, symmetric) for one in np.asarray(x)]
        rows = jnp.stack([one[0] for one in read])
        weights, held, count = read[0][1:]
        options, static = self._prepare(law, rows[0], weights, held)
        key = (static["family"], static["settings"], static["rank"])
        out, extra = jax.device_get(_mapped(*key)(rows, weights, options))
        fits = []
        for i in range(rows.shape[0]):
            one, own = jax.tree.map(lambda y, i=i: y[i], (out, extra))
            fits.append(
                self._finish(law, rows[i], weights, held, one, own, count, begin)
            )
        return fits

    def _read(
        self, law: type, x: Any, weights: Any, fix: Any, symmetric: bool
    ) -> tuple[Array, Array, dict[str, Any], int]:
        owner = f"{law.__name__}.fit"
        family = FAMILIES[law]
        fix = read_fix(owner, law, fix, symmetric=symmetric)
        d = 1 if np.ndim(x) < 2 or is_univariate(law) else np.shape(x)[1]
        count = num_parameters(family, d, fix, self.factors)
        if self.factors is not None and not 0 < self.factors < d:
            raise ValueError(
                f"`{owner}`: `factors={self.factors}` for d = {d} columns; the rank "
                "must be less than d."
            )
        self._check_fix(owner, family, fix, d)
        # A full scale of many columns has more entries than there may be rows, and yet
        # a maximum.
        least = count if d == 1 else 3 + d
        rows, weights = read_data(
            owner,
            x,
            weights,
            is_univariate=is_univariate(law),
            num_parameters=least,
            # The fit itself tells, if not by how much.
            with_rank=d < MANY,
        )
        return rows, weights, fix, count

    def _check_fix(
        self, owner: str, family: Family, fix: dict[str, Any], d: int
    ) -> None:
        """What cannot be asked for together."""
        names = ", ".join(f"`{name}`" for name in fix)
        gauge, _ = gauge_of(fix)
        if gauge != FREE and self.algorithm not in ("ecme", "newton"):
            raise ValueError(
                f"`{owner}(fix=...)` with {names} and `algorithm={self.algorithm!r}`: "
                "a skew other than 0 and a scale can be fixed by 'ecme' only; leave "
                "`algorithm` out."
            )
        tril = fixed_tril(fix)
        if tril is None:
            pass
        elif self.factors is not None or self.shrinkage != 0.0:
            raise ValueError(
                f"`{owner}`: the scale is fixed, and `factors` or `shrinkage` would "
                "change it. Leave one of the two out."
            )
        elif tril.shape != (d, d):
            raise ValueError(
                f"`{owner}(fix={{'scale_tril': ...}})` has shape {tril.shape} for "
                f"d = {d} columns; give a lower triangle of shape ({d}, {d})."
            )
        is_set = family.kind == "inverse_gamma" or {"a", "b", "rate"} & fix.keys()
        if self.identification == "det" and (is_set or gauge != FREE):
            what = names or "`df`, which sets the scale of w"
            raise ValueError(
                f"`{owner}(identification='det')` with {what}: the scale of w is given "
                "already. Leave `identification` out."
            )

    def _prepare(
        self, law: type, rows: Array, weights: Array, fix: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        family = FAMILIES[law]
        strength, target = shrinkage_of(f"{law.__name__}.fit", self, rows, weights)
        dtype = rows.dtype
        many = self.starts == "nested"
        gauge, value = gauge_of(fix)
        options = make_options(
            mixing_options(family, mixing_fix(family, fix), dtype, many=many),
            dtype,
            rows.shape[1],
            tol=self.tol,
            parameter_tol=np.inf if self.parameter_tol is None else self.parameter_tol,
            resolution=self.resolution,
            strength=strength,
            target=target,
            loc=fix.get("loc"),
            skew=fix.get("skew"),
            tril=fixed_tril(fix),
            gauge_value=value,
        )
        settings = Settings(
            self.algorithm,
            self.acceleration,
            self.max_iterations,
            has_parameter_tol=self.parameter_tol is not None,
            is_shrunk=strength > 0.0,
            gauge=gauge,
        )
        static = {"family": family, "settings": settings, "rank": self.factors or 0}
        return options, static

    def _finish(
        self,
        law: type,
        rows: Array,
        weights: Array,
        fix: dict[str, Any],
        out: Outcome,
        extra: tuple,
        count: int,
        begin: float,
    ) -> LawFit:
        return finish(
            law,
            FAMILIES[law],
            rows,
            weights,
            fix,
            out,
            extra,
            count,
            begin,
            self,
        )


@cache
def _mapped(family: Family, settings: Settings, rank: int) -> Callable:
    """The fit and its verdict over data sets, compiled."""

    def one(x, weights, options):
        out = fit_arrays(
            x, weights, options, family=family, settings=settings, rank=rank
        )
        return out, verdict(family, out, jnp.sum(weights))

    mapped = jax.vmap(one, in_axes=(0, None, None))
    return jax.jit(mapped, compiler_options=wide_vectors())


_verdict = jax.jit(verdict, static_argnums=0)


def num_parameters(
    family: Family, d: int, fix: Mapping[str, Any], factors: int | None
) -> int:
    """Free parameters that can be identified."""
    held = mixing_fix(family, fix)
    mixing = family.num_mixing - len(held)
    normal = 2 * d - sum(d for name in ("loc", "skew") if name in fix)
    if fixed_tril(fix) is not None:
        scale = 0
    elif factors is None:
        scale = d * (d + 1) // 2
    else:
        scale = d * factors + d - factors * (factors - 1) // 2
    return mixing + normal + scale


def finish(
    law: type,
    family: Family,
    x: Any,
    weights: Any,
    fix: dict[str, Any],
    out: Outcome,
    extra: tuple,
    count: int,
    begin: float,
    fitter: BatchEM,
) -> LawFit:
    """The result object, with the warning or the error that the verdict asks for."""
    status = FitStatus(int(extra[0]))
    total = float(np.sum(np.asarray(weights, np.float64)))
    rows = np.asarray(x)
    if rows.shape[1] >= MANY and not out.pivot > LEAST_PIVOT:
        check_rank(f"{law.__name__}.fit", rows, np.asarray(weights))
    ties = find_ties(rows, np.asarray(weights))
    plane = None
    if status == FitStatus.DEGENERATE and rows.shape[1] > 1:
        plane = rows_on_hyperplane(
            rows, out.loc, out.tril, out.scale, 100.0 * fitter.resolution
        )
    information = float(extra[1]), float(extra[2])
    message = message_of(law, status, out, ties, plane, information, total)
    message += describe_outlier(rows, out)
    reason = missing_reason(family, status, count, fix)
    if reason and status in (FitStatus.CONVERGED, FitStatus.WEAKLY_IDENTIFIED):
        message += f" There are no standard errors: {reason}."
    if status == FitStatus.DECREASED:
        raise MonotonicityError(message)
    part = out._replace(**{name: jnp.asarray(getattr(out, name)) for name in NORMAL})
    fitted = build_law(
        law, family, jnp.asarray(out.c), fix, part, fitter.identification
    )
    if status in (FitStatus.DEGENERATE, FitStatus.NOT_FINITE):
        warnings.warn(message, DegenerateFitWarning, stacklevel=4)
    history = out.trace[: int(out.num_iterations) + 1]
    return LawFit(
        law=fitted,
        log_likelihood=total * float(out.log_likelihood),
        penalized_log_likelihood=total * float(out.penalized),
        history=np.asarray(history[np.isfinite(history)]),
        num_iterations=int(out.num_iterations),
        seconds=time.perf_counter() - begin,
        status=status,
        message=message,
        num_parameters=count,
        num_observations=total,
        information=information,
        x=x,
        weights=weights,
        fix=fix,
    )
