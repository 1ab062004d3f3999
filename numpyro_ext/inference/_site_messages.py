"""Reading NumPyro's site messages: kind, transform and log probability."""

import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Bool, Float, Key
from numpyro.distributions import (
    Distribution,
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
    Unit,
    constraints,
)
from numpyro.distributions.transforms import IdentityTransform, Transform, biject_to
from numpyro.distributions.util import is_identically_one, sum_rightmost
from numpyro.infer.util import helpful_support_errors

type Message = dict[str, Any]


def is_factor(site: Message) -> bool:
    """Whether the site was made by `numpyro.factor`."""
    return site["type"] == "sample" and isinstance(unwrap(site["fn"])[0], Unit)


def is_data(site: Message) -> bool:
    """Whether the site has data; `factor` has none, though NumPyro marks it so."""
    return site["type"] == "sample" and site["is_observed"] and not is_factor(site)


def is_coordinate(site: Message) -> bool:
    """Whether an engine moves the site: a latent sample site, or a param."""
    return site["type"] == "param" or (
        site["type"] == "sample" and not site["is_observed"]
    )


def coordinate_transform(site: Message) -> Transform:
    """Returns the map from the unconstrained coordinate to the site's value."""
    if site["type"] == "param":
        constraint = site["kwargs"].get("constraint", constraints.real)
        return biject_to(constraint)
    with helpful_support_errors(site):
        return biject_to(site["fn"].support)


def emit_log_det(
    site: Message, coordinate: Float[Array, "..."], emitted: set[str]
) -> Float[Array, "..."]:
    """Returns the constrained value, and leaves log |Jacobian| as a factor site.

    The factor sits inside the site's own plates, masks and scales, as in
    `numpyro.infer.util.potential_energy`, so that the sum of all parts is the same.
    """
    transform = coordinate_transform(site)
    # Under `scan` the model asks for one step; the coordinate holds all of them.
    step = site["infer"].get("_scan_current_index", None)
    if step is not None:
        shift = transform.codomain.event_dim - transform.domain.event_dim
        if jnp.ndim(coordinate) > len(site["fn"].shape()) - shift:
            coordinate = coordinate[step]
    if isinstance(transform, IdentityTransform):
        return coordinate
    value = jnp.asarray(transform(coordinate))
    log_det = transform.log_abs_det_jacobian(coordinate, value)
    event_axes = jnp.ndim(log_det) - jnp.ndim(value) + len(site["fn"].event_shape)
    name = f"_{site['name']}_log_det"
    emitted.add(name)
    numpyro.factor(name, sum_rightmost(log_det, event_axes))
    return value


def uniform_start(
    key: Key[Array, ""], site: Message, sample_shape: tuple[int, ...]
) -> Float[Array, "..."]:
    """Draws U(-2, 2) in the unconstrained space, as Stan and NumPyro start."""
    transform = coordinate_transform(site)
    shape = transform.inverse_shape(tuple(site["fn"].shape(sample_shape)))
    start = jax.random.uniform(key, shape, minval=-2.0, maxval=2.0)
    return jnp.asarray(transform(start))


def scaled_log_prob(site: Message) -> Float[Array, "..."]:
    """Returns the site's log probability with NumPyro's scale; names it on failure."""
    value, fn = site["value"], site["fn"]
    try:
        if site["intermediates"]:
            log_prob = fn.log_prob(value, site["intermediates"])
        else:
            log_prob = fn.log_prob(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"The log probability of site `{site['name']}` cannot be taken: its value "
            f"has shape {jnp.shape(value)}, its distribution {type(fn).__name__} has "
            f"shape {tuple(fn.shape())}.\n"
            "Most often two arguments of the model differ in length. Check the shapes "
            "of the data that reach this site."
        ) from error
    scale = site["scale"]
    if scale is not None and not is_identically_one(scale):
        log_prob = scale * log_prob
    return log_prob


def unmasked_log_prob(fn: Distribution, value: Array) -> Float[Array, "..."]:
    """Returns the log probability without scale; NaN marks masked entries."""
    base, mask = unwrap(fn)
    if mask is None:
        return jnp.asarray(fn.log_prob(value))
    log_prob = base.expand(fn.batch_shape).log_prob(value)
    return jnp.where(mask, log_prob, jnp.nan)


def outside_support(fn: Distribution, value: Array) -> Bool[Array, "..."]:
    """Marks the entries of `value` outside the support (NaN is outside any support)."""
    base, mask = unwrap(fn)
    support: Any = base.expand(fn.batch_shape).support
    try:
        inside = jnp.asarray(support(value))
    except NotImplementedError:  # a support that NumPyro cannot check by itself
        inside = jnp.ones(jnp.shape(value), bool)
    return ~inside if mask is None else ~inside & mask


def outside_constraints(fn: Distribution) -> dict[str, Bool[Array, ""]]:
    """Says for each parameter of a distribution whether it breaks its constraint."""
    base, _ = unwrap(fn)
    while isinstance(base, Independent):
        base, _ = unwrap(base.base_dist)
    marks = {}
    for name, constraint in base.arg_constraints.items():
        if isinstance(constraint, type(constraints.dependent)) or name not in vars(
            base
        ):
            continue
        value = getattr(base, name)
        if eqx.is_array_like(value):
            marks[name] = jnp.any(~jnp.asarray(constraint(value)))
    return marks


def support_name(support: constraints.Constraint) -> str:
    """Names a support in words, without the traced values that it may hold."""
    axes = 0
    while isinstance(support, constraints.independent):
        axes += support.reinterpreted_batch_ndims
        support = support.base_constraint
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(support).__name__.strip("_"))
    name = words.lower().replace("_", " ")
    if "interval" in name:
        low, high = (getattr(support, f"{end}_bound") for end in ("lower", "upper"))
        if isinstance(low, int | float) and isinstance(high, int | float):
            name += f" ({low:g}, {high:g})"
    return name + (" vector" if axes == 1 else f" array of {axes} axes" if axes else "")


def unwrap(
    fn: Distribution,
) -> tuple[Distribution, Bool[Array, "..."] | None]:
    """Strips masks and expansions; returns the base and the joint mask, if any."""
    mask = None
    while isinstance(fn, MaskedDistribution | ExpandedDistribution):
        if isinstance(fn, MaskedDistribution):
            own = jnp.asarray(fn._mask)
            mask = own if mask is None else mask & own
        fn = fn.base_dist
    return fn, mask
