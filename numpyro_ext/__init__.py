"""One NumPyro model, many inference engines, one ArviZ tree.

Modules are loaded when a name of theirs is first used, so that nobody waits for what
they do not use.
"""

from ._guard import refuse_mixed_install

# Before anything else is imported, so that the reader sees the cause first.
refuse_mixed_install()

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets as datasets
    from . import diagnostics as diagnostics
    from . import distributions as distributions
    from . import glm as glm
    from . import inference as inference
    from . import special as special
    from ._checks import ConvergenceWarning as ConvergenceWarning
    from ._checks import DivergenceWarning as DivergenceWarning
    from ._checks import InitializationError as InitializationError
    from .inference import EM as EM
    from .inference import HMC as HMC
    from .inference import NUTS as NUTS
    from .inference import SMC as SMC
    from .inference import AdjustedMCLMC as AdjustedMCLMC
    from .inference import ChEES as ChEES
    from .inference import EarlyStopping as EarlyStopping
    from .inference import EnsembleMAP as EnsembleMAP
    from .inference import EnsembleState as EnsembleState
    from .inference import EnsembleVI as EnsembleVI
    from .inference import Fit as Fit
    from .inference import Laplace as Laplace
    from .inference import ModelSpec as ModelSpec
    from .inference import NestedSampler as NestedSampler
    from .inference import Pathfinder as Pathfinder
    from .inference import compare as compare
    from .inference import ensemble_init as ensemble_init
    from .inference import ensemble_loss as ensemble_loss
    from .inference import ensemble_predict as ensemble_predict
    from .inference import ensemble_step as ensemble_step
    from .inference import methods as methods
    from .inference import modes as modes
    from .inference import site_covariance as site_covariance

__all__ = [
    "EM",
    "HMC",
    "NUTS",
    "SMC",
    "AdjustedMCLMC",
    "ChEES",
    "ConvergenceWarning",
    "DivergenceWarning",
    "EarlyStopping",
    "EnsembleMAP",
    "EnsembleState",
    "EnsembleVI",
    "Fit",
    "InitializationError",
    "Laplace",
    "ModelSpec",
    "NestedSampler",
    "Pathfinder",
    "compare",
    "datasets",
    "diagnostics",
    "distributions",
    "ensemble_init",
    "ensemble_loss",
    "ensemble_predict",
    "ensemble_step",
    "glm",
    "inference",
    "methods",
    "modes",
    "site_covariance",
    "special",
]
_MODULES = (
    "datasets",
    "diagnostics",
    "distributions",
    "glm",
    "inference",
    "special",
)
_CHECKS = ("ConvergenceWarning", "DivergenceWarning", "InitializationError")

try:
    __version__ = version("numpyro-ext-suite")
except PackageNotFoundError:  # a checkout on the path that nobody installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    home = "_checks" if name in _CHECKS else "inference"
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
