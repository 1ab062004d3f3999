r"""The likelihood's curvature from the parameters of its distributions.

A datum sees the unconstrained coordinates through the parameters of its distribution
alone. With $J$ their derivatives and $W$ the information of one datum about them, the
generalised Gauss-Newton matrix is the sum of $J^T W J$ over the data.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, Independent
from numpyro.distributions.util import lazy_property

from ._site_messages import Message, unwrap

# Parameters that one datum may have; beyond, it is no datum but a whole data set.
MAX_PARAMETERS = 64
# Laws whose Hessian in their parameters is affine in y: its mean is that at the mean.
AFFINE = (
    "BernoulliLogits",
    "BernoulliProbs",
    "BinomialLogits",
    "BinomialProbs",
    "Exponential",
    "Gamma",
    "Poisson",
)
LOCATION_SCALE = ("Normal", "LogNormal")

type Trace = Callable[[Float[Array, " n"]], dict[str, Message]]


class Rows(NamedTuple):
    """A factor of a Gauss-Newton matrix, and the log likelihood that it stands for.

    Attributes:
        rows: R, with R^T R the matrix.
        log_likelihood: of the laws as they were rebuilt from their parameters.
    """

    rows: Float[Array, "m n"]
    log_likelihood: Float[Array, ""]


class Law(NamedTuple):
    """An elementwise law without wrappers, as a function of its parameters.

    Attributes:
        base: the law.
        mask: entries that count, or None.
        shape: the batch shape of the data.
        parameters: names of its arrays, with the number of their event axes.
        settings: what else its constructor takes.
    """

    base: Distribution
    mask: Array | None
    shape: tuple[int, ...]
    parameters: dict[str, int]
    settings: dict[str, object]

    def rebuild(self, values: dict[str, Array]) -> Distribution:
        """Returns the law with these parameters."""
        return type(self.base)(**values, **self.settings, validate_args=False)


def likelihood_rows(sites: Trace, point: Float[Array, " n"]) -> Rows:
    """Returns a factor of the Gauss-Newton matrix of all observed sites at a point.

    Args:
        sites: from free coordinates to the messages of the observed sites.
        point: the free coordinates.

    Raises:
        ValueError: naming a site whose data are not independent given the parameters
            of its distribution.
    """
    parts = [_site_rows(sites, point, name) for name in sites(point)]
    rows = jnp.concatenate([part.rows for part in parts])
    return Rows(rows, sum((part.log_likelihood for part in parts), jnp.zeros(())))


def _site_rows(sites: Trace, point: Float[Array, " n"], name: str) -> Rows:
    site = sites(point)[name]
    law = _read(site)
    widths = {
        p: _width(jnp.asarray(getattr(law.base, p)), axes)
        for p, axes in law.parameters.items()
    }
    if sum(widths.values()) > MAX_PARAMETERS:
        raise ValueError(
            f'`Laplace(structure="ggn")` takes the data of a site one by one, and at '
            f"site `{name}` ({type(law.base).__name__}) one datum has "
            f'{sum(widths.values())} parameters. Take `structure="full"`, or '
            '"low_rank" for many coordinates.'
        )

    def read(point: Float[Array, " n"]) -> dict[str, Array]:
        base = _read(sites(point)[name]).base
        return {p: jnp.asarray(getattr(base, p)) for p in law.parameters}

    values = {p: _spread(law, p, v) for p, v in read(point).items()}
    slopes = _slopes(read, point)
    jacobian = jnp.concatenate(
        [
            _spread(law, p, s, 1).reshape(-1, widths[p], point.size)
            for p, s in slopes.items()
        ],
        axis=1,
    )
    weight = jnp.asarray(1.0 if site["scale"] is None else site["scale"])
    if law.mask is not None:
        weight = weight * law.mask
    weight = jnp.broadcast_to(weight, law.shape)
    log_prob = law.rebuild(values).log_prob(site["value"])
    root = _root(_information(law, values, widths, site["value"]))
    root = root * jnp.sqrt(weight.reshape(-1))[:, None, None]
    rows = jnp.einsum("mkj,mkn->mjn", root, jacobian)
    # Where a mask hides bad data, 0 times NaN must not be seen.
    safe = jnp.where(weight > 0, log_prob, 0.0)
    return Rows(rows.reshape(-1, point.size), jnp.sum(weight * safe))


def _read(site: Message) -> Law:
    base, mask = site["fn"], None
    while True:
        base, own = unwrap(base)
        if own is not None:
            own = own.reshape(own.shape + (1,) * (site["fn"].event_dim))
            mask = own if mask is None else mask & own
        if not isinstance(base, Independent):
            break
        base = base.base_dist
    # Data may be larger than the law: NumPyro broadcasts.
    whole = np.broadcast_shapes(site["fn"].shape(), jnp.shape(site["value"]))
    shape = whole[: len(whole) - base.event_dim]
    parameters, settings = {}, {}
    for name in inspect.signature(type(base).__init__).parameters:
        is_derived = isinstance(getattr(type(base), name, None), lazy_property)
        value = None if is_derived else getattr(base, name, None)
        if name in ("self", "validate_args") or value is None:
            continue
        is_real = name in type(base).arg_constraints and jnp.issubdtype(
            jnp.result_type(value), jnp.floating
        )
        if is_real:
            parameters[name] = type(base).arg_constraints[name].event_dim
        else:
            settings[name] = value
    return Law(base, mask, shape, parameters, settings)


def _width(value: Array, event_axes: int) -> int:
    return int(jnp.size(value[(0,) * (value.ndim - event_axes)]))


def _spread(law: Law, name: str, value: Array, extra: int = 0) -> Array:
    """Broadcasts a parameter, or its derivatives, to one for each datum."""
    axes = law.parameters[name] + extra
    event = value.shape[value.ndim - axes :]
    return jnp.broadcast_to(value, law.shape + event)


def _slopes(
    read: Callable[[Float[Array, " n"]], dict[str, Array]], point: Float[Array, " n"]
) -> dict[str, Array]:
    """Returns the derivatives of the parameters, by the cheaper mode."""
    num_outputs = sum(v.size for v in jax.eval_shape(read, point).values())
    take = jax.jacrev if num_outputs < point.size else jax.jacfwd
    return take(read)(point)


def _information(
    law: Law, values: dict[str, Array], widths: dict[str, int], data: Array
) -> Float[Array, "m k k"]:
    """Returns the information of each datum about its parameters."""
    name = type(law.base).__name__
    if name in LOCATION_SCALE:
        inverse = 1.0 / jnp.square(values["scale"]).reshape(-1)
        by_name = {"loc": inverse, "scale": 2.0 * inverse}
        return jax.vmap(jnp.diag)(jnp.stack([by_name[p] for p in values], axis=-1))
    if name in AFFINE:
        data = law.rebuild(values).mean

    def loss(values: dict[str, Array]) -> Float[Array, ""]:
        return -jnp.sum(law.rebuild(values).log_prob(data))

    # The same direction for all data at once: no datum depends on another's entries.
    def column(direction: Float[Array, " k"]) -> Float[Array, "m k"]:
        ends = [sum(list(widths.values())[: i + 1]) for i in range(len(widths))]
        pieces = jnp.split(direction, ends[:-1])
        tangents = {
            p: jnp.broadcast_to(
                piece.reshape(v.shape[len(law.shape) :]), v.shape
            ).astype(v.dtype)
            for piece, (p, v) in zip(pieces, values.items(), strict=True)
        }
        out = jax.jvp(jax.grad(loss), (values,), (tangents,))[1]
        return jnp.concatenate([out[p].reshape(-1, widths[p]) for p in values], axis=1)

    size = sum(widths.values())
    return jnp.moveaxis(jax.vmap(column)(jnp.eye(size)), 0, -1)


def _root(matrices: Float[Array, "m k k"]) -> Float[Array, "m k k"]:
    """Returns R with R R^T the matrix without its negative part."""
    if matrices.shape[-1] == 1:
        return jnp.sqrt(jnp.maximum(matrices, 0.0))
    symmetric = 0.5 * (matrices + jnp.swapaxes(matrices, -1, -2))
    values, vectors = jnp.linalg.eigh(symmetric)
    return vectors * jnp.sqrt(jnp.maximum(values, 0.0))[:, None, :]
