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
from ._likelihoods._bernoulli import BernoulliLink as BernoulliLink
from ._likelihoods._beta_link import BetaLink as BetaLink
from ._likelihoods._binomial import BinomialLink as BinomialLink
from ._likelihoods._gamma_log import GammaLog as GammaLog
from ._likelihoods._hurdle import Hurdle as Hurdle
from ._likelihoods._inverse_gaussian_log import InverseGaussianLog as InverseGaussianLog
from ._likelihoods._negative_binomial import (
    NegativeBinomial1Log as NegativeBinomial1Log,
)
from ._likelihoods._negative_binomial import NegativeBinomialLog as NegativeBinomialLog
from ._likelihoods._ordered import OrderedLink as OrderedLink
from ._likelihoods._poisson import PoissonLog as PoissonLog
from ._likelihoods._tweedie import TweedieLog as TweedieLog
from ._likelihoods._zero_inflated import ZeroInflated as ZeroInflated
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
