"""Mean and variance of predictions, split into what draws say and where they differ."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from numpyro import handlers
from numpyro.distributions import Distribution

from ..inference import Fit
from ..inference._numpyro_model import NumPyroModel
from ._dims import variable_name
from ._tree_groups import Group

type Moments = dict[str, tuple[Float[Array, "..."], Float[Array, "..."]]]


def moments_group(fit: Fit, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Group:
    r"""Returns `y_mean`, `y_epistemic` and `y_aleatoric` of each observed site `y`.

    With the law of a datum at each draw, its variance is
    $$\mathrm{Var}(y) = \underbrace{\mathrm{Var}_s E[y \mid \theta_s]}_{epistemic}
      + \underbrace{E_s \mathrm{Var}[y \mid \theta_s]}_{aleatoric}.$$
    All are exact sums over the draws. A site whose law has no mean is left out.
    """
    model = fit.spec.model
    if not isinstance(model, NumPyroModel):
        return {}
    draws = {
        name: jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), fit.draws[name])
        for name in fit.spec.sites.coordinates
    }
    names = fit.spec.sites.names("observed")
    group = {}
    for name, values in _moments(model, draws, args, kwargs, names).items():
        if not any(np.isnan(value).any() for value in values):
            parts = zip(("mean", "epistemic", "aleatoric"), values, strict=True)
            group |= {
                f"{variable_name(name)}_{part}": np.asarray(x) for part, x in parts
            }
    return group


@eqx.filter_jit
def _moments(
    model: NumPyroModel,
    draws: dict[str, PyTree[Array]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    names: tuple[str, ...],
) -> dict[str, tuple[Array, Array, Array]]:
    def at(values: dict[str, PyTree[Array]]) -> Moments:
        placed = handlers.substitute(model.model, data=values)
        seeded = handlers.seed(placed, jax.random.key(0))
        trace = handlers.trace(seeded).get_trace(*args, **kwargs)
        found = {n: _of_law(trace[n]["fn"]) for n in names if n in trace}
        return {name: pair for name, pair in found.items() if pair is not None}

    first = at(jax.tree.map(lambda x: x[0], draws))

    def step(sums: Any, values: dict[str, PyTree[Array]]) -> tuple[Any, None]:
        now = at(values)
        # As distances from the first draw, so that the squares lose no digits.
        d = {name: now[name][0] - first[name][0] for name in now}
        terms = {name: (d[name], d[name] ** 2, now[name][1]) for name in now}
        return jax.tree.map(jnp.add, sums, terms), None

    zeros = {
        name: (jnp.zeros_like(mean), jnp.zeros_like(mean), jnp.zeros_like(variance))
        for name, (mean, variance) in first.items()
    }
    sums, _ = jax.lax.scan(step, zeros, draws)
    num = jax.tree.leaves(draws)[0].shape[0]
    return {
        name: (
            first[name][0] + total / num,
            jnp.maximum(squares / num - (total / num) ** 2, 0.0),
            variance / num,
        )
        for name, (total, squares, variance) in sums.items()
    }


def _of_law(law: Distribution) -> tuple[Array, Array] | None:
    try:
        mean, variance = law.mean, law.variance
    except NotImplementedError:
        return None
    shape = tuple(law.shape())
    # Times 1.0 makes numbers of whole ones, and leaves float32 as it is.
    return (
        jnp.broadcast_to(1.0 * jnp.asarray(mean), shape),
        jnp.broadcast_to(1.0 * jnp.asarray(variance), shape),
    )
