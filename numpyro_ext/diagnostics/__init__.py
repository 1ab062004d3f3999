"""Judging a fit on its ArviZ tree. The only part of the package that imports ArviZ."""

from ._all_scores import Scores as Scores
from ._all_scores import scores as scores
from ._bands import Band as Band
from ._bands import ecdf_band as ecdf_band
from ._brier import BrierDecomposition as BrierDecomposition
from ._brier import brier_decomposition as brier_decomposition
from ._datatree import to_datatree as to_datatree
from ._diagnose import Check as Check
from ._diagnose import Diagnosis as Diagnosis
from ._diagnose import diagnose as diagnose
from ._pit import pit as pit
from ._pit import quantile_residuals as quantile_residuals
from ._sbc import SBCResult as SBCResult
from ._sbc import sbc as sbc
from ._scores import brier_score as brier_score
from ._scores import crps as crps
from ._scores import energy_score as energy_score
from ._scores import interval_score as interval_score
from ._scores import log_score as log_score
from ._summary import Summary as Summary
from ._summary import summarize as summarize
