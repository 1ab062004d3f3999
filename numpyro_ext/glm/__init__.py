"""Generalized linear models: one family for samplers and for maximum likelihood."""

from ._categories import Categorical as Categorical
from ._categories import Ordered as Ordered
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
from ._newton import Newton as Newton
from ._result import FittedGLM as FittedGLM
from ._result import Params as Params
from ._status import Status as Status
from ._wrappers import Hurdle as Hurdle
from ._wrappers import ZeroInflated as ZeroInflated
from ._wrappers import from_distribution as from_distribution
