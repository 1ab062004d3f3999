"""Distributions for NumPyro models, with or without the rest of the package."""

from .._guard import refuse_mixed_install

# Also here: the other package of this import name may have put its `__init__.py` in the
# place of ours, and this folder is ours whichever of the two was installed last.
refuse_mixed_install()

from ._divergences import squared_hellinger as squared_hellinger
from ._exponential_family import AbstractExponentialFamily as AbstractExponentialFamily
from ._fitting._batch import BatchEM as BatchEM
from ._fitting._compare import compare as compare
from ._fitting._online import OnlineEM as OnlineEM
from ._fitting._result import DegenerateFitWarning as DegenerateFitWarning
from ._fitting._result import LawFit as LawFit
from ._fitting._result import MonotonicityError as MonotonicityError
from ._fitting._verdict import FitStatus as FitStatus
from ._gamma import Gamma as Gamma
from ._gamma import InverseGamma as InverseGamma
from ._generalized_hyperbolic import GeneralizedHyperbolic as GeneralizedHyperbolic
from ._generalized_hyperbolic import (
    MultivariateGeneralizedHyperbolic as MultivariateGeneralizedHyperbolic,
)
from ._generalized_inverse_gaussian import (
    GeneralizedInverseGaussian as GeneralizedInverseGaussian,
)
from ._generalized_inverse_gaussian import InverseGaussian as InverseGaussian
from ._hyperbolic import Hyperbolic as Hyperbolic
from ._hyperbolic import MultivariateHyperbolic as MultivariateHyperbolic
from ._joint import JointNormalMixture as JointNormalMixture
from ._multivariate_normal import MultivariateNormal as MultivariateNormal
from ._normal_inverse_gaussian import (
    MultivariateNormalInverseGaussian as MultivariateNormalInverseGaussian,
)
from ._normal_inverse_gaussian import NormalInverseGaussian as NormalInverseGaussian
from ._reparam import GHReparam as GHReparam
from ._risk import expected_shortfall as expected_shortfall
from ._risk import value_at_risk as value_at_risk
from ._skew_t import GeneralizedHyperbolicSkewT as GeneralizedHyperbolicSkewT
from ._skew_t import (
    MultivariateGeneralizedHyperbolicSkewT as MultivariateGeneralizedHyperbolicSkewT,
)
from ._variance_gamma import MultivariateVarianceGamma as MultivariateVarianceGamma
from ._variance_gamma import VarianceGamma as VarianceGamma
