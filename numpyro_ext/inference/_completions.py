"""Which latents a model has that EM can integrate out, and how."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.distributions.util import is_identically_one
from numpyro.infer.reparam import Reparam

from .._checks import OWN_FRAMES, nearest
from ..distributions import DegenerateFitWarning, GHReparam
from ..distributions._multivariate_mixture import AbstractMultivariateNormalMixture
from ..distributions._normal_mixture import AbstractNormalMixture
from ._completion import AbstractCompletion, Position, is_positive, is_real
from ._completion_mixture import MixtureCompletion, mixture_of
from ._completion_normal import NormalCompletion
from ._completion_scales import ScaleCompletion
from ._model_spec import ModelSpec
from ._numpyro_model import NumPyroModel
from ._objective import Weight
from ._site_messages import unwrap

MIXING = "_mixing"
# Of what makes a law exact, up to rounding: of three derivatives, and of one.
MAX_MISFIT = {"float64": 1e-6, "float32": 2e-2}
# Fewer data than that do not make a component.
LEAST_DATA = 1.5
# Of the data's variance: a component below is a spike.
LEAST_VARIANCE = 1e-8


def complete(
    spec: ModelSpec,
    latent: tuple[str, ...],
    start: Position,
    *,
    prior_weight: Weight,
    jacobian: bool,
) -> tuple[AbstractCompletion, bool]:
    """Returns the rule for the latents, and whether it is exact.

    Raises:
        ValueError: naming what EM lacks.
    """
    if not isinstance(spec.model, NumPyroModel):
        raise ValueError(
            "`EM` reads the sites of a NumPyro model, and this spec is of a plain "
            "function, whose latents it cannot tell apart. Use `EnsembleMAP`."
        )
    settings: dict[str, Any] = {
        "spec": spec,
        "prior_weight": prior_weight,
        "jacobian": jacobian,
    }
    if not latent:
        return _of_observed(start, settings), True
    for name in latent:
        if name not in spec.sites.names("latent"):
            raise ValueError(
                f"`EM(latent=...)` names `{name}`, which is no latent site; "
                + nearest(name, spec.sites.names("latent"))
            )
    theta = {name: z for name, z in start.items() if name not in latent}
    if all(is_positive(spec, name) for name in latent):
        scales = ScaleCompletion(latent=latent, is_added=False, **settings)
        _check_scales(scales, theta, latent)
        return scales, True
    if all(is_real(spec, name) for name in latent):
        normals = NormalCompletion(latent=latent, **settings)
        return normals, _misfit(normals, theta) <= _allowed(theta)
    supports = {name: spec.sites[name].support for name in latent}
    raise ValueError(
        f"`EM(latent=...)` names sites of the supports {supports}. They must be all "
        "positive (scales whose conditional laws are generalized inverse Gaussian) or "
        "all real (effects that are normal given the rest). Name those of one kind."
    )


def _of_observed(start: Position, settings: dict[str, Any]) -> AbstractCompletion:
    spec = settings["spec"]
    model: Any = spec.model
    sites = model.observed_sites(start)
    mixtures = tuple(n for n, site in sites.items() if mixture_of(site["fn"]))
    scales = tuple(n for n, site in sites.items() if _reparam(site["fn"]) is not None)
    if mixtures and not scales:
        return MixtureCompletion(mixtures=mixtures, **settings)
    if scales and not mixtures:
        _refuse_weights(sites, scales)
        added: dict[str, Any] = settings | {"spec": with_scales(spec, scales)}
        latent = tuple(name + MIXING for name in scales)
        return ScaleCompletion(latent=latent, is_added=True, **added)
    if mixtures:
        raise ValueError(
            f"`EM` finds finite mixtures at {list(mixtures)} and laws with a latent "
            f"scale at {list(scales)}, and takes one kind at a time. Write the scales "
            "as a site of their own for `EnsembleMAP`, or use `NUTS`."
        )
    names = {n: type(unwrap(site["fn"])[0]).__name__ for n, site in sites.items()}
    raise ValueError(
        f"`EM` finds nothing to integrate out: the observed sites are {names}. It "
        "needs `latent=(...)`, naming latent sites that are generalized inverse "
        "Gaussian or normal given the rest, or an observed site of a finite mixture "
        "(`MixtureSameFamily`), Student's t, or the generalized hyperbolic family. "
        "Without latents `EnsembleMAP` finds the same mode."
    )


def _refuse_weights(sites: dict[str, dict[str, Any]], names: tuple[str, ...]) -> None:
    """A power of the joint law of data and scales is not one of the data alone."""
    for name in names:
        scale = sites[name]["scale"]
        if not (scale is None or is_identically_one(scale)):
            raise ValueError(
                f"`EM` adds the scales of the site `{name}` to the model, and the "
                f"site has the weight {np.ravel(scale)[0]:.3g} "
                "(`handlers.scale`, or a plate with `subsample_size`), with which they "
                "are no law of its data. Take the weight away, or use `EnsembleMAP`."
            )


def _check_scales(
    scales: ScaleCompletion, theta: Position, latent: tuple[str, ...]
) -> None:
    misfit = _misfit(scales, theta)
    if not misfit <= _allowed(theta):
        raise ValueError(
            f"`EM(latent={latent})`: given the rest, these positive sites must be "
            "independent, and enter the log density by log w, w and 1/w alone "
            f"(generalized inverse Gaussian laws); here they are off by {misfit:.2g}. "
            "Scales of independent data with gamma, inverse gamma or generalized "
            "inverse Gaussian priors are; name only such sites, or use `EnsembleMAP`."
        )


@eqx.filter_jit
def _misfit_at(
    completion: ScaleCompletion | NormalCompletion, theta: Position
) -> Float[Array, ""]:
    origin = jnp.zeros_like(completion.begin(theta))
    steps = jnp.arange(origin.size) / origin.size
    return completion.misfit(theta, origin + 0.3 * jnp.cos(7.0 * steps))


def _misfit(completion: ScaleCompletion | NormalCompletion, theta: Position) -> float:
    return float(_misfit_at(completion, theta))


def _allowed(theta: Position) -> float:
    return MAX_MISFIT[str(jax.tree.leaves(theta)[0].dtype)]


class StudentReparam(Reparam):
    r"""For `handlers.reparam`: Student's t law as a normal one, of scale $\sqrt w$.

    The site `x` gains `x_mixing`, inverse gamma with shape and scale df / 2.
    """

    def __call__(
        self, name: str, fn: dist.Distribution, obs: Array | None
    ) -> tuple[dist.Distribution, Array | None]:
        """Called by the handler."""
        unwrapped: Any = self._unwrap(fn)
        law, expand_shape, event_dim = unwrapped
        extra = event_dim - law.event_dim
        mixing = dist.InverseGamma(0.5 * law.df, 0.5 * law.df)
        w = numpyro.sample(name + MIXING, mixing.expand(expand_shape).to_event(extra))
        root = jnp.sqrt(w)
        if isinstance(law, dist.StudentT):
            given = dist.Normal(law.loc, law.scale * root)
        else:
            tril = law.scale_tril * root[..., None, None]
            given = dist.MultivariateNormal(law.loc, scale_tril=tril)
        return given.expand(expand_shape).to_event(extra), obs


def _reparam(fn: dist.Distribution) -> Reparam | None:
    while isinstance(fn, dist.ExpandedDistribution | dist.Independent):
        fn = fn.base_dist
    if isinstance(fn, dist.StudentT | dist.MultivariateStudentT):
        return StudentReparam()
    if isinstance(fn, AbstractNormalMixture | AbstractMultivariateNormalMixture):
        return GHReparam()
    return None


class ScaledModel(eqx.Module):
    """A model whose observed sites have their scales as latent sites."""

    model: Callable[..., Any]
    names: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model."""

        def config(site: dict[str, Any]) -> Reparam | None:
            return _reparam(site["fn"]) if site["name"] in self.names else None

        return handlers.reparam(self.model, config=config)(*args, **kwargs)


def with_scales(spec: ModelSpec, names: tuple[str, ...]) -> ModelSpec:
    """Returns the spec with the scales of these observed sites as latent sites."""
    model: Any = spec.model
    scaled = ScaledModel(model.model, names)
    return ModelSpec(scaled, *model.args, observed=model.observed, **model.kwargs)


def warn_collapsed(completion: MixtureCompletion, theta: Position) -> None:
    """Warns of components without data, or without spread."""
    shares = jax.device_get(eqx.filter_jit(completion.expect)(theta, None)[0])
    model: Any = completion.spec.model
    sites = model.observed_sites(theta)
    for name, share in shares.items():
        counts = share.reshape(-1, share.shape[-1]).sum(axis=0)
        for k in np.flatnonzero(counts < LEAST_DATA):
            _warn_component(name, int(k), "weight", f"{counts[k]:.3g} data in all")
        for k in np.flatnonzero(_is_spike(sites[name])):
            _warn_component(name, int(k), "scale", "next to no spread")


def _is_spike(site: dict[str, Any]) -> np.ndarray:
    law: Any = mixture_of(site["fn"])
    parts = getattr(law, "component_distribution", None)
    own = [parts] if parts is not None else law.component_distributions
    spread = np.var(np.asarray(site["value"]))
    try:
        variances = [np.asarray(part.variance) for part in own]
    except NotImplementedError:  # a law without a variance has no spike to see
        return np.zeros(1, bool)
    if parts is None:
        return np.asarray([v.max() < LEAST_VARIANCE * spread for v in variances])
    events = tuple(range(-parts.event_dim, 0))
    return np.ravel(variances[0].max(axis=events) < LEAST_VARIANCE * spread)


def _warn_component(name: str, k: int, parameter: str, words: str) -> None:
    warnings.warn(
        f"Component {k} of the mixture at site `{name}` has collapsed: its {parameter} "
        f"runs to 0 ({words}). A mixture of maximum likelihood does that when it has "
        "too many components; take fewer, or give the "
        f"{parameter}s a prior that keeps them from 0.",
        DegenerateFitWarning,
        skip_file_prefixes=OWN_FRAMES,
    )
