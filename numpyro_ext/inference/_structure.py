"""Reads the sites of a NumPyro model from one abstract trace, and refuses early.

Nothing is computed: the model runs on shapes. What no engine can run is refused here
with the name of the site, because later it would be a wrong number or a NaN.
"""

import functools
import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro import handlers
from numpyro.distributions import (
    Delta,
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
)
from numpyro.infer.util import helpful_support_errors
from numpyro.primitives import Messenger

from .._checks import OWN_FRAMES, nearest
from ._site_messages import (
    Message,
    coordinate_transform,
    is_coordinate,
    is_factor,
    support_name,
)
from ._sites import Site, SiteKind, Sites

# Dimensions of every ArviZ group: a site of this name could not be stored beside them.
RESERVED_NAMES = ("chain", "draw")
NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def read_structure(
    model: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    observed: tuple[str, ...] | None,
) -> Sites:
    """Traces the model on shapes and returns its sites.

    Raises:
        ValueError: naming the site, for discrete or Delta latent sites, subsampled
            plates, mutable sites, randomness inside the model, accidental
            broadcasting, reserved names, and names in `observed` that have no data.
        TypeError: when the arguments do not fit the signature of the model.
    """
    bind_arguments(model, args, kwargs)
    sites: list[Site] = []

    def trace_on_shapes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        placed = handlers.substitute(
            handlers.seed(_RefuseRandomness(model), jax.random.key(0)),
            substitute_fn=_place_zero,
        )
        trace = handlers.trace(placed).get_trace(*args, **kwargs)
        sites.extend(_read_site(site) for site in trace.values() if _is_kept(site))

    try:
        eqx.filter_eval_shape(trace_on_shapes, args, kwargs)
    except NEEDS_VALUES as error:
        error.add_note(
            f"`{model_name(model)}` needs the value of an array while it is traced. "
            "Compute such numbers (sizes, unique labels) outside the model and pass "
            "them as Python numbers."
        )
        raise
    except (ValueError, TypeError) as error:
        error.add_note(
            f"While tracing `{model_name(model)}` with "
            + describe_arguments(model, args, kwargs)
        )
        raise
    table = Sites(tuple(sites))
    _check_coordinates(model, table)
    _check_observed(model, args, kwargs, table, observed)
    return table


def bind_arguments(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Returns the arguments by name; raises TypeError where they do not fit."""
    signature = inspect.signature(model)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"The arguments do not fit the model: {error}. Its signature is "
            f"`{model_name(model)}{signature}`. Pass the model's own arguments to "
            "`ModelSpec(model, *args, **kwargs)`."
        ) from None
    bound.apply_defaults()
    return dict(bound.arguments)


def describe_arguments(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """Lists the arguments with their shapes, for messages."""
    words = [
        f"{name} {jnp.shape(value)}" if eqx.is_array(value) else f"{name}={value!r:.40}"
        for name, value in bind_arguments(model, args, kwargs).items()
    ]
    return "the arguments " + (", ".join(words) or "()")


def model_name(model: Callable[..., Any]) -> str:
    """Returns the name that messages use for the model."""
    return getattr(model, "__name__", type(model).__name__)


class _RefuseRandomness(Messenger):
    """Refuses `numpyro.prng_key()`: a log density must give the same value twice.

    The initial value of a param may be random; it is asked for between the two
    messages of the param.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.is_in_param = False
        super().__init__(fn)

    def process_message(self, msg: Message) -> None:
        if msg["type"] == "param":
            self.is_in_param = True
        if msg["type"] == "prng_key" and not self.is_in_param:
            raise ValueError(
                "The model asks for randomness with `numpyro.prng_key()`, so its log "
                "density is not a function of its sites. Dropout and other stochastic "
                "layers are the usual cause. Switch them off inside the model, or "
                "draw them with `numpyro.sample`."
            )

    def postprocess_message(self, msg: Message) -> None:
        if msg["type"] == "param":
            self.is_in_param = False


class _HideParams(Messenger):
    """Gives params their initial value and stops them from reaching other handlers."""

    def __init__(self, fn: Callable[..., Any], names: tuple[str, ...]) -> None:
        self.names = names
        self.is_in_param = False
        super().__init__(fn)

    def process_message(self, msg: Message) -> None:
        if msg["type"] == "param" and msg["name"] in self.names:
            self.is_in_param = True
            msg["stop"] = True
        if msg["type"] == "prng_key" and self.is_in_param:
            msg["value"] = jax.random.key(0)
            msg["stop"] = True

    def postprocess_message(self, msg: Message) -> None:
        if msg["type"] == "param":
            self.is_in_param = False


def replaced_params(sites: Sites) -> tuple[str, ...]:
    """Returns the params all of whose entries are drawn by latent sites.

    `random_eqx_module("net", ...)` leaves a param `net$params` behind, and then draws
    each of its arrays in a site `net/...`: the param has no effect.
    """
    replaced = []
    for site in sites:
        prefix = site.name.removesuffix("$params")
        if site.kind != "param" or prefix == site.name:
            continue
        drawn = [s for s in sites if s.kind == "latent" and s.name.startswith(prefix)]
        if sum(math.prod(s.shape) for s in drawn) >= math.prod(site.shape):
            replaced.append(site.name)
    return tuple(replaced)


@functools.cache
def hide_params(
    model: Callable[..., Any], names: tuple[str, ...]
) -> Callable[..., Any]:
    """Hides params from every handler; cached, so that equal specs share programs."""
    return _HideParams(model, names)


def _place_zero(site: Message) -> Array | None:
    """Puts the unconstrained zero at latent sites, so that nothing is sampled."""
    if not is_coordinate(site) or site["type"] == "param":
        return None
    _check_latent(site)
    with helpful_support_errors(site, raise_warnings=True):
        transform = coordinate_transform(site)
    shape = tuple(site["fn"].shape(site["kwargs"].get("sample_shape", ())))
    return jnp.asarray(transform(jnp.zeros(transform.inverse_shape(shape))))


def _check_latent(site: Message) -> None:
    name, law = site["name"], type(site["fn"]).__name__
    if site["fn"].support.is_discrete:
        raise ValueError(
            f"The latent site `{name}` ({law}) is discrete, and every engine here "
            "moves continuous coordinates. If it is data, pass `obs=`; else "
            "marginalise it (`numpyro.distributions.MixtureSameFamily` sums out a "
            "label) or use NumPyro's `DiscreteHMCGibbs`."
        )
    if isinstance(site["fn"], Delta):
        raise ValueError(
            f"The latent site `{name}` is a `Delta`: it has one value and no density. "
            f'Write `numpyro.deterministic("{name}", value)` instead.'
        )


def _is_kept(site: Message) -> bool:
    name = site.get("name")
    if site["type"] == "plate":
        size, subsample_size = site["args"]
        if subsample_size is not None and subsample_size != size:
            raise ValueError(
                f"The plate `{name}` is subsampled (subsample_size={subsample_size} of "
                f"{size}), which makes the log density random. Remove `subsample_size` "
                "and let the engine slice the data: `ModelSpec(model, X, y=y, "
                'batch=("X", "y"))` with `EnsembleMAP(batch_size=...)`.'
            )
        return False
    if site["type"] == "mutable":
        raise ValueError(
            f"The model keeps state in the mutable site `{name}` (batch normalisation "
            "is the usual cause). A log density has no state: freeze it by closing "
            "over its value."
        )
    return site["type"] in ("sample", "param", "deterministic")


def _read_site(site: Message) -> Site:
    if site["type"] == "deterministic":
        return Site(
            name=site["name"],
            kind="deterministic",
            shape=_shape(site["value"]),
            plates=_plates(site),
        )
    if site["type"] == "param":
        return Site(site["name"], "param", _shape(site["value"]))
    fn, shape = site["fn"], jnp.shape(site["value"])
    kind: SiteKind = "latent"
    unconstrained: tuple[int, ...] = ()
    if is_factor(site):
        return Site(site["name"], "factor", tuple(fn.batch_shape))
    if site["is_observed"]:
        kind = "observed"
        _check_broadcast(site)
    else:
        unconstrained = tuple(coordinate_transform(site).inverse_shape(shape))
    return Site(
        name=site["name"],
        kind=kind,
        shape=shape,
        unconstrained_shape=unconstrained,
        event_dim=fn.event_dim,
        distribution=_law_name(fn),
        support=support_name(fn.support),
        plates=_plates(site),
    )


def _plates(site: Message) -> tuple[tuple[str, int, int], ...]:
    frames = site.get("cond_indep_stack", ())
    return tuple((frame.name, frame.size, frame.dim) for frame in frames)


def _law_name(fn: Any) -> str:
    while isinstance(fn, ExpandedDistribution | Independent | MaskedDistribution):
        fn = fn.base_dist
    return type(fn).__name__


def _shape(value: Any) -> tuple[int, ...]:
    leaves = jax.tree.leaves(value)
    if len(leaves) == 1:
        return jnp.shape(leaves[0])
    return (sum(math.prod(jnp.shape(leaf)) for leaf in leaves),)


def _check_broadcast(site: Message) -> None:
    fn, value_shape = site["fn"], jnp.shape(site["value"])
    law_shape = tuple(fn.batch_shape) + tuple(fn.event_shape)
    try:
        joint = np.broadcast_shapes(value_shape, law_shape)
    except ValueError:
        raise ValueError(
            f"The data of site `{site['name']}` have shape {value_shape}, and its "
            f"distribution {_law_name(fn)} has shape {law_shape}: they do not "
            "broadcast. Most often two arguments differ in length."
        ) from None
    if joint not in (value_shape, law_shape):
        raise ValueError(
            f"The data of site `{site['name']}` have shape {value_shape} under a "
            f"{_law_name(fn)} of shape {law_shape}: together they would be {joint}, "
            f"{math.prod(joint)} terms instead of {math.prod(value_shape)}. The "
            "usual cause is a column where a vector is meant: pass `y.ravel()` or "
            "`y[:, 0]`."
        )


def _check_coordinates(model: Callable[..., Any], sites: Sites) -> None:
    if not sites.coordinates:
        raise ValueError(
            f"The model `{model_name(model)}` has no latent sample sites, so there is "
            "nothing to infer. Most often `obs=` was given to every "
            "`numpyro.sample`; remove it from the parameters."
        )
    for name in RESERVED_NAMES:
        if name in sites:
            raise ValueError(
                f"The site `{name}` has a reserved name: `chain` and `draw` are the "
                "dimensions of every result. Rename the site."
            )


def _check_observed(
    model: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    sites: Sites,
    observed: tuple[str, ...] | None,
) -> None:
    has_density = sites.names("observed", "factor")
    for name in observed or ():
        if name in has_density:
            continue
        if name in sites:
            raise ValueError(
                f"`observed` names `{name}`, but the site has no data: it is "
                f"{sites[name].kind}. Most often its argument was forgotten; pass it "
                f"to `ModelSpec`, as in `ModelSpec(model, X, {name}={name})`."
            )
        raise ValueError(
            f"`observed` names `{name}`, which is no site of the model; "
            + nearest(name, has_density)
        )
    if observed is None and not sites.names("observed"):
        empty = [k for k, v in bind_arguments(model, args, kwargs).items() if v is None]
        if sites.names("factor") and not empty:
            return  # the likelihood is a factor
        latent = sites.names("latent")
        suspects = [name for name in latent if name in empty] or list(latent)
        warnings.warn(
            f"The model `{model_name(model)}` has no observed site, so every engine "
            "returns the prior, times its factors if it has any. Sites that look like "
            "data: "
            + ", ".join(f"`{name}`" for name in suspects)
            + ". Most often `obs=` got None because an argument was forgotten; pass "
            "it to `ModelSpec`, or write `observed=()` to ask for the prior.",
            UserWarning,
            skip_file_prefixes=OWN_FRAMES,
        )
