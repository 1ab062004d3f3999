"""Generalized linear models."""

from ._links import AbstractLink as AbstractLink
from ._links import Cauchit as Cauchit
from ._links import CLogLog as CLogLog
from ._links import Identity as Identity
from ._links import Inverse as Inverse
from ._links import InverseSquared as InverseSquared
from ._links import Log as Log
from ._links import Logit as Logit
from ._links import LogLog as LogLog
from ._links import Power as Power
from ._links import Probit as Probit
from ._links import Sqrt as Sqrt
from ._links import get_link as get_link
