"""Generalized linear models: one family for samplers and for maximum likelihood."""

from ._categories import Categorical as Categorical
from ._categories import Ordered as Ordered
from ._check import Check as Check
from ._check import GofStats as GofStats
from ._check import InfluenceStats as InfluenceStats
from ._check import Residuals as Residuals
from ._check import check as check
from ._continuous import Beta as Beta
from ._continuous import Gamma as Gamma
from ._continuous import Gaussian as Gaussian
from ._continuous import InverseGaussian as InverseGaussian
from ._continuous import StudentT as StudentT
from ._continuous import Tweedie as Tweedie
from ._counts import Bernoulli as Bernoulli
from ._counts import Binomial as Binomial
from ._counts import NegativeBinomial as NegativeBinomial
from ._counts import NegativeBinomial1 as NegativeBinomial1
from ._counts import Poisson as Poisson
from ._family import AbstractFamily as AbstractFamily
from ._fit import fit as fit
from ._formula import UnsafeFormulaError as UnsafeFormulaError
from ._infer import Inference as Inference
from ._infer import infer as infer
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
from ._model import GLMModel as GLMModel
from ._model import model as model
from ._newton import Newton as Newton
from ._predict import Interval as Interval
from ._predict import predict as predict
from ._result import FittedGLM as FittedGLM
from ._result import Params as Params
from ._status import Status as Status
from ._strategies import AbstractDiagnostic as AbstractDiagnostic
from ._strategies import DevianceResidual as DevianceResidual
from ._strategies import FisherInfoError as FisherInfoError
from ._strategies import GoodnessOfFit as GoodnessOfFit
from ._strategies import HuberError as HuberError
from ._strategies import Influence as Influence
from ._strategies import IRLSFitter as IRLSFitter
from ._strategies import NewtonFitter as NewtonFitter
from ._strategies import PearsonResidual as PearsonResidual
from ._strategies import QuantileResidual as QuantileResidual
from ._strategies import ScoreTest as ScoreTest
from ._strategies import WaldTest as WaldTest
from ._summary import Summary as Summary
from ._wrappers import Hurdle as Hurdle
from ._wrappers import ZeroInflated as ZeroInflated
from ._wrappers import from_distribution as from_distribution

# The links by the names of glmax.
CauchitLink = Cauchit
CLogLogLink = CLogLog
IdentityLink = Identity
InverseLink = Inverse
LogLink = Log
LogitLink = Logit
LogLogLink = LogLog
PowerLink = Power
ProbitLink = Probit
SqrtLink = Sqrt
