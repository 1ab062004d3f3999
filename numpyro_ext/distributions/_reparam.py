"""The mixing variable of a generalized hyperbolic law as a site of its own."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.infer.reparam import Reparam

from ._multivariate_mixture import AbstractMultivariateNormalMixture
from ._normal_mixture import AbstractNormalMixture

MIXTURES = AbstractNormalMixture | AbstractMultivariateNormalMixture


class GHReparam(Reparam):
    r"""For `numpyro.handlers.reparam`: latent w, and x | w normal.

    The site `x` gains a latent `x_mixing`, the variable w of
    $x = \mu + \gamma w + \sigma\sqrt{w}\,n$, and becomes normal given it. The
    conditional of w given x, for Gibbs blocks and EM, is `conditional_mixing(x)`.
    Any law of the family serves, observed or latent, in plates.

    Raises: TypeError, at a site of another law.
    """

    def __call__(
        self, name: str, fn: dist.Distribution, obs: Array | None
    ) -> tuple[dist.Distribution, Array | None]:
        """Called by the handler."""
        law, expand_shape, event_dim = self._unwrap(fn)
        if not isinstance(
            law, AbstractNormalMixture | AbstractMultivariateNormalMixture
        ):
            raise TypeError(
                f"`GHReparam` at the site `{name}`: {type(law).__name__} is not a "
                "normal variance-mean mixture. It serves the generalized hyperbolic "
                "family only."
            )
        extra = event_dim - law.event_dim
        mixing = law.mixing_law().expand(expand_shape).to_event(extra)
        w = numpyro.sample(f"{name}_mixing", mixing)
        given = _given(law, jnp.asarray(w))
        return given.expand(expand_shape).to_event(extra), obs


def _given(
    law: AbstractNormalMixture | AbstractMultivariateNormalMixture, w: Array
) -> dist.Distribution:
    """The normal law of x given w."""
    if isinstance(law, AbstractNormalMixture):
        return dist.Normal(law.loc + law.skew * w, law.scale * jnp.sqrt(w))
    loc = law.loc + law.skew * w[..., None]
    if law.scale_tril is not None:
        tril = law.scale_tril * jnp.sqrt(w)[..., None, None]
        return dist.MultivariateNormal(loc, scale_tril=tril)
    assert law.cov_factor is not None
    assert law.cov_diag is not None
    return dist.LowRankMultivariateNormal(
        loc,
        law.cov_factor * jnp.sqrt(w)[..., None, None],
        law.cov_diag * w[..., None],
    )
