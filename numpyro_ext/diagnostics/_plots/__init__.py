"""Pictures of a fit. Each function draws into one matplotlib axes and returns it."""

from ._coverage import plot_coverage as plot_coverage
from ._members import plot_members as plot_members
from ._pit_ecdf import plot_loo_pit as plot_loo_pit
from ._pit_ecdf import plot_pit_ecdf as plot_pit_ecdf
from ._predictive import plot_predictive as plot_predictive
from ._reliability import plot_reliability as plot_reliability
from ._residuals import plot_residual_qq as plot_residual_qq
from ._residuals import plot_residuals as plot_residuals
from ._sbc import plot_sbc as plot_sbc
