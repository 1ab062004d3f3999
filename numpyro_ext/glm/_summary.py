"""A printed table of a fit, in the layout of statsmodels."""

import textwrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ._check import GofStats, goodness_of_fit
from ._diagnose import column_names, describe
from ._infer import Inference, infer
from ._result import FittedGLM
from ._status import Status

_WIDTH = 78


class Summary(NamedTuple):
    """A table that prints; `to_pandas()` has the same numbers."""

    fitted: FittedGLM
    inference: Inference
    gof: GofStats

    def to_pandas(self) -> pd.DataFrame:
        """Returns coefficients and nuisances, a row each."""
        found = self.inference
        letter = "t" if np.isfinite(float(found.df)) else "z"
        letter = letter if found.test == "wald" else "chi2"
        ends = [0.5 - 0.5 * found.level, 0.5 + 0.5 * found.level]
        columns = {
            "coef": np.ravel(self.fitted.params.beta),
            "std err": np.ravel(found.se),
            letter: np.ravel(found.stat),
            f"P>|{letter}|": np.ravel(found.p),
            f"[{ends[0]:.3g}": np.ravel(found.low),
            f"{ends[1]:.3g}]": np.ravel(found.high),
        }
        table = pd.DataFrame(columns, index=self._rows())
        for name, error in found.aux_se.items():
            value, error = np.ravel(self.fitted.aux[name]), np.ravel(error)
            labels = [name] if value.size == 1 else [
                f"{name}[{i}]" for i in range(value.size)
            ]  # fmt: skip
            for label, v, e in zip(labels, value, error, strict=True):
                table.loc[label] = [v, e] + [np.nan] * 4
        return table

    def _rows(self) -> list[str]:
        names = column_names(self.fitted)
        m = self.fitted.family.num_predictors
        if m == 1:
            return names
        return [f"{name}[{k + 1}]" for name in names for k in range(m)]

    def __str__(self) -> str:
        return "\n".join([*self._header(), *self._body(), *self._footer()])

    def __repr__(self) -> str:
        return str(self)

    def _header(self) -> list[str]:
        fitted, gof = self.fitted, self.gof
        family = fitted.family
        left = [
            ("Model Family", family.name),
            ("Link Function", type(family.link).__name__),
            ("Status", Status(int(fitted.status)).name),
            ("No. Iterations", f"{int(fitted.num_iters)}"),
            ("Covariance Type", self.inference.cov),
            ("No. Observations", f"{float(fitted.data.num_rows):g}"),
            ("Df Residuals", f"{float(gof.df_resid):g}"),
        ]
        right = [
            ("Scale", f"{float(gof.dispersion):.5g}"),
            ("Log-Likelihood", f"{float(gof.log_likelihood):.5g}"),
            ("Deviance", f"{float(gof.deviance):.5g}"),
            ("Pearson chi2", f"{float(gof.pearson_chi2):.5g}"),
            ("AIC", f"{float(gof.aic):.5g}"),
            ("BIC", f"{float(gof.bic):.5g}"),
            ("Pseudo R-squ. (CS)", f"{float(gof.pseudo_r2_cs):.4g}"),
        ]
        half = _WIDTH // 2 - 1
        lines = [
            f"{a + ':':<18}{b:>{half - 18}}  {c + ':':<20}{d:>{half - 20}}"
            for (a, b), (c, d) in zip(left, right, strict=True)
        ]
        title = "Generalized Linear Model Regression Results".center(_WIDTH).rstrip()
        if fitted.design is not None:
            formula = f"Formula: {fitted.design.formula.text}"
            lines = [*textwrap.wrap(formula, _WIDTH), *lines]
        return [title, "=" * _WIDTH, *lines]

    def _body(self) -> list[str]:
        table = self.to_pandas()
        width = max(12, *(len(label) for label in table.index))
        cells = [f"{c:>{10 if i else 11}}" for i, c in enumerate(table.columns)]
        lines = ["=" * _WIDTH, " " * width + "".join(cells), "-" * _WIDTH]
        formats = (".4f", ".3f", "p", "p", ".3f", ".3f")
        for label, row in table.iterrows():
            values = [
                f"{_cell(x, spec):>{10 if i else 11}}"
                for i, (x, spec) in enumerate(zip(row, formats, strict=True))
            ]
            lines.append(f"{label!s:<{width}}" + "".join(values))
        return lines

    def _footer(self) -> list[str]:
        lines = ["=" * _WIDTH]
        if int(self.fitted.status) != Status.CONVERGED:
            lines.append(describe(self.fitted))
        return lines


def _cell(value: Any, spec: str) -> str:
    if np.isnan(value):
        return ""
    if spec == "p":
        return f"{value:.3f}"
    # What four decimals would round to nothing is written with an exponent.
    is_small = value != 0 and abs(value) < 5e-4
    if is_small or abs(value) >= 1e6:
        return f"{value:.3e}" if spec == ".4f" else f"{value:.2e}"
    return f"{value:{spec}}"


def summarize(fitted: FittedGLM, **options: Any) -> Summary:
    """Returns the table of a fit; `options` are those of `infer`."""
    if np.ndim(fitted.status):
        raise ValueError(
            f"`summary` is of one fit, and this is a batch of {fitted.status.shape}. "
            "Take one with `jax.tree.map(lambda x: x[0], fitted)`."
        )
    return Summary(fitted, infer(fitted, **options), goodness_of_fit(fitted))
