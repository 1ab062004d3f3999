"""The covariance of a site, of the engines that know one, and the names of entries."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import nearest
from ._fit import Fit
from ._flat import position_shapes
from ._gaussian import Gaussian
from ._model_spec import ModelSpec

LAW = ("mean", "root", "vectors", "eigenvalues")


def law_state(law: Gaussian, index: Array | None) -> dict[str, Array]:
    """What a fit keeps of a Gaussian law of some entries of its positions, or all."""
    own = jnp.arange(law.mean.size) if index is None else index
    return {name: getattr(law, name) for name in LAW} | {"index": own}


def site_covariance(fit: Fit, site: str) -> Float[Array, "n n"]:
    """Returns the covariance of a site's unconstrained coordinates at the best mode.

    Args:
        fit: a fit of `Laplace`, or of `EM`, where it is that of the coordinates that
            are not integrated out.
        site: the name of a latent site.

    Raises:
        ValueError: for a fit of another engine, or an unknown site.
    """
    if not (isinstance(fit.state, dict) and {*LAW, "index"} <= fit.state.keys()):
        raise ValueError(
            "`site_covariance` reads a fit of `Laplace` or `EM`, and this one is of "
            f"`{type(fit.engine).__name__}`. Take the covariance of its `positions`."
        )
    labels = [coordinate_labels(fit.spec)[i] for i in np.asarray(fit.state["index"])]
    chosen = np.asarray([i for i, (name, _) in enumerate(labels) if name == site])
    if not chosen.size:
        raise ValueError(
            f"The fit has no covariance of `{site}`; "
            + nearest(site, {name for name, _ in labels})
        )
    law = Gaussian(*(fit.state[name] for name in LAW))
    return law.covariance()[np.ix_(chosen, chosen)]


def coordinate_labels(spec: ModelSpec) -> list[tuple[str, str]]:
    """Returns (site, entry) of each entry of a flat position, entry as `[0, 1]`."""
    labels = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(position_shapes(spec)):
        key = path[0] if path else None
        site = str(getattr(key, "key", key))
        for place in np.ndindex(leaf.shape):
            labels.append((site, f"[{', '.join(map(str, place))}]" if place else ""))
    return labels
