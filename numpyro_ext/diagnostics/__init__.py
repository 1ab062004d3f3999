"""Judging a fit on its ArviZ tree. The only part of the package that imports ArviZ."""

from ._bands import Band as Band
from ._bands import ecdf_band as ecdf_band
from ._datatree import to_datatree as to_datatree
from ._diagnose import Check as Check
from ._diagnose import Diagnosis as Diagnosis
from ._diagnose import diagnose as diagnose
from ._pit import pit as pit
from ._pit import quantile_residuals as quantile_residuals
from ._plots import plot_coverage as plot_coverage
from ._plots import plot_members as plot_members
from ._plots import plot_pit_ecdf as plot_pit_ecdf
from ._plots import plot_predictive as plot_predictive
from ._plots import plot_reliability as plot_reliability
from ._plots import plot_residual_qq as plot_residual_qq
from ._plots import plot_residuals as plot_residuals
from ._plots import plot_sbc as plot_sbc
from ._sbc import SBCResult as SBCResult
from ._sbc import sbc as sbc
from ._scores import brier_score as brier_score
from ._scores import crps as crps
from ._scores import energy_score as energy_score
from ._scores import interval_score as interval_score
from ._scores import log_score as log_score
from ._summary import Summary as Summary
from ._summary import summarize as summarize
