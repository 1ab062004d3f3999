"""One model, one log density, every engine."""

from ._constrain import constrain_draws as constrain_draws
from ._early_stopping import EarlyStopping as EarlyStopping
from ._engine import AbstractEngine as AbstractEngine
from ._ensemble import EnsembleState as EnsembleState
from ._ensemble import ensemble_init as ensemble_init
from ._ensemble import ensemble_loss as ensemble_loss
from ._ensemble import ensemble_predict as ensemble_predict
from ._ensemble import ensemble_step as ensemble_step
from ._ensemble_map import EnsembleMAP as EnsembleMAP
from ._ensemble_vi import EnsembleVI as EnsembleVI
from ._fit import Fit as Fit
from ._init_values import InitLike as InitLike
from ._init_values import starting_positions as starting_positions
from ._model_spec import ModelSpec as ModelSpec
from ._modes import Mode as Mode
from ._modes import Modes as Modes
from ._modes import modes as modes
from ._nuts import NUTS as NUTS
from ._parts import Parts as Parts
from ._pathfinder import Pathfinder as Pathfinder
from ._sites import Site as Site
from ._sites import Sites as Sites
from ._status import MemberStatus as MemberStatus
from ._status import Status as Status
