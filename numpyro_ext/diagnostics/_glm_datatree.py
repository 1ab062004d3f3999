"""From a fit of `glm.fit` to an ArviZ tree: the normal law of its estimates."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key, PyTree

from .. import glm
from .._checks import check_key, check_positive_int
from ..glm._model import build_model
from ..inference import Fit, ModelSpec
from ..inference._engine import AbstractEngine
from ..inference._independent import independent_fit, log_densities, weigh
from ..inference._status import MemberStatus, Status
from ._datatree import to_datatree


class AsymptoticNormal(AbstractEngine):
    """Draws from the normal law of the estimates of a fit by maximum likelihood.

    Args:
        fitted: the fit.
        cov: the covariance, as in `glm.infer`.
        num_samples: draws.
    """

    fitted: glm.FittedGLM
    cov: Any = "auto"
    num_samples: int = 1000

    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: PyTree | None = None
    ) -> Fit:
        """Draws; the estimates are those of the fit, so that `init` has no effect."""
        mean, covariance = self._law(spec)
        values, vectors = np.linalg.eigh(covariance)
        root = jnp.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
        normal = jax.random.normal(key, (self.num_samples, mean.size), root.dtype)
        flat = mean + normal @ root.T
        positions = jax.vmap(lambda x: self._position(spec, x))(flat)
        positions = jax.tree.map(lambda leaf: leaf[None], positions)
        lp = log_densities(spec, positions)
        log_law = -0.5 * jnp.sum(jnp.square(normal), axis=1)[None]
        disp = jnp.asarray(self.fitted.params.disp)
        return independent_fit(
            self,
            spec,
            key,
            positions,
            (MemberStatus(Status.CONVERGED, "the estimates are a maximum"),),
            log_density=lp,
            stats={"log_law": log_law},
            diagnostics={"pareto_k": weigh(lp - log_law).pareto_k, "dispersion": disp},
        )

    def _law(self, spec: ModelSpec) -> tuple[Float[Array, " d"], np.ndarray]:
        """Returns mean and covariance of what is no constant."""
        point = self.fitted.point
        mean = jnp.concatenate([point.beta.ravel(), point.theta])
        found = np.asarray(glm.infer(self.fitted, cov=self.cov).covariance)
        kept = [True] * point.beta.size
        for name, shape in self.fitted.shapes:
            kept += [name in spec.sites] * int(np.prod(shape))
        return mean[np.asarray(kept)], found[np.ix_(kept, kept)]

    def _position(self, spec: ModelSpec, flat: Float[Array, " d"]) -> dict[str, Array]:
        """Returns a point by site; nuisances are unconstrained in the fit as here."""
        shape = self.fitted.point.beta.shape
        beta = flat[: np.prod(shape)].reshape(shape)
        position = {"beta": beta[0] if shape[0] == 1 else beta.T}
        start = beta.size
        for name, shape in self.fitted.shapes:
            if name in spec.sites:
                size = int(np.prod(shape))
                position[name] = flat[start : start + size].reshape(shape)
                start += size
        return position


def glm_datatree(
    fitted: glm.FittedGLM,
    *,
    cov: Any = "auto",
    num_samples: int = 1000,
    key: Key[Array, ""] | None = None,
    **options: Any,
) -> xr.DataTree:
    """Returns a fit of `glm.fit` as an ArviZ tree; see `FittedGLM.to_datatree`."""
    check_positive_int("to_datatree", "num_samples", num_samples)
    key = check_key("to_datatree", jax.random.key(0) if key is None else key)
    if np.ndim(fitted.status):
        raise ValueError(
            f"`to_datatree` is of one fit, and this is a batch of "
            f"{fitted.status.shape}. Take one with `jax.tree.map(lambda x: x[0], "
            "fitted)`."
        )
    se = glm.infer(fitted, cov=cov)
    if not np.all(np.isfinite(np.asarray(se.se))):
        raise ValueError(
            "The estimates have no normal law to draw from: some standard errors are "
            f"not finite. {fitted.message}"
        )
    # What has no error, such as a nuisance at its edge, is a constant of the model.
    held = {
        name: float(fitted.aux[name])
        for name, error in se.aux_se.items()
        if not np.all(np.isfinite(np.asarray(error)))
    }
    if fitted.family.has_dispersion:
        held["dispersion"] = float(fitted.params.disp)
    names = tuple(fitted.names or (f"x{j}" for j in range(fitted.X.shape[1])))
    priors = {"beta": "flat", **dict.fromkeys(fitted.family.nuisance, "flat"), **held}
    model = build_model(fitted.family, fitted.data, names, priors)
    if fitted.design is not None:
        model = model.with_design(fitted.design)
    engine = AsymptoticNormal(fitted, cov, num_samples)
    fit = engine.run(ModelSpec(model), jax.random.fold_in(key, 0))
    return to_datatree(fit, key=jax.random.fold_in(key, 1), **options)
