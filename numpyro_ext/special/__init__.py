"""Special functions of arrays, with all their derivatives."""

from ._exponentials import log1mexp as log1mexp
from ._exponentials import log1mexpexp as log1mexpexp
from ._exponentials import log_expit as log_expit
from ._log_kv import log_kv as log_kv
from ._log_kv_moments import LogKvMoments as LogKvMoments
from ._log_kv_moments import log_kv_moments as log_kv_moments
from ._log_kv_ratio import log_kv_ratio as log_kv_ratio
from ._log_ndtr import log_ndtr as log_ndtr
