"""One model, one log density, every engine."""

from ._constrain import constrain_draws as constrain_draws
from ._engine import AbstractEngine as AbstractEngine
from ._fit import Fit as Fit
from ._init_values import InitLike as InitLike
from ._init_values import starting_positions as starting_positions
from ._model_spec import ModelSpec as ModelSpec
from ._nuts import NUTS as NUTS
from ._parts import Parts as Parts
from ._sites import Site as Site
from ._sites import Sites as Sites
from ._status import MemberStatus as MemberStatus
from ._status import Status as Status
