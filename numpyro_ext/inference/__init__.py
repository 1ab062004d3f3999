"""One model, one log density, every engine."""

from ._fit import Fit as Fit
from ._model_spec import ModelSpec as ModelSpec
from ._parts import Parts as Parts
from ._sites import Site as Site
from ._sites import Sites as Sites
from ._status import MemberStatus as MemberStatus
from ._status import Status as Status
