"""One NumPyro model, many inference engines, one ArviZ tree."""

from ._guard import refuse_mixed_install

# Before anything else is imported, so that the reader sees the cause first.
refuse_mixed_install()

from importlib.metadata import PackageNotFoundError, version

from ._checks import ConvergenceWarning as ConvergenceWarning
from ._checks import DivergenceWarning as DivergenceWarning
from ._checks import InitializationError as InitializationError
from .inference import NUTS as NUTS
from .inference import EarlyStopping as EarlyStopping
from .inference import EnsembleMAP as EnsembleMAP
from .inference import EnsembleState as EnsembleState
from .inference import Fit as Fit
from .inference import ModelSpec as ModelSpec
from .inference import ensemble_init as ensemble_init
from .inference import ensemble_loss as ensemble_loss
from .inference import ensemble_predict as ensemble_predict
from .inference import ensemble_step as ensemble_step
from .inference import modes as modes

try:
    __version__ = version("numpyro-ext-suite")
except PackageNotFoundError:  # a checkout on the path that nobody installed
    __version__ = "0+unknown"
