"""Online EM: one pass over a stream, in memory that does not grow."""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike

from ..._checks import check_open_interval, check_positive_int
from ._batch import BatchEM
from ._data import read_data
from ._density import Params, Prior, evaluate, geometry
from ._families_of_laws import FAMILIES, build_law, is_univariate, mixing_fix, read_fix
from ._family import Family, clip
from ._gauge import FREE, gauge_of
from ._m_step import Held, scale_of
from ._mixing_em import expectations_step
from ._options import make_options, mixing_options
from ._start import Units, units_of


class Statistics(NamedTuple):
    """Means over the rows of what the M step needs; d^2 numbers."""

    w: Array
    inverse: Array
    log_w: Array
    x: Array
    ratio: Array
    square: Array


class OnlineState(eqx.Module):
    """What a stream leaves behind.

    Attributes:
        count: Chunks so far.
        statistics: Their running mean, with weights by the step-size rule.
        average: The plain mean of `statistics` since averaging began.
    """

    count: Array
    num_averaged: Array
    statistics: Statistics
    average: Statistics
    params: Params
    units: Units
    held: Held
    projector: Array
    law: type = eqx.field(static=True)
    fix: dict[str, Any] = eqx.field(static=True)


class OnlineEM(eqx.Module):
    r"""EM for data that come in chunks, by stochastic approximation.

    After chunk t the expected sufficient statistics move towards those of the chunk by
    the step $(t + t_0)^{-\kappa}$, and the law follows by an M step. With averaging
    (Polyak and Ruppert) the law that is returned is that of the mean statistics.

    Args:
        decay: $\kappa$ in (1/2, 1]: nearer to 1/2 forgets the start sooner.
        delay: $t_0 \ge 1$, in chunks.
        average_from: The chunk from which on statistics are averaged; None for never.
        resolution: As for `BatchEM`.

    Source: Cappé and Moulines (2009), J. R. Statist. Soc. B 71, 593-613.
    """

    decay: float = 0.6
    delay: float = 2.0
    average_from: int | None = 20
    resolution: float = 1e-5

    def __check_init__(self):
        check_open_interval("OnlineEM", "decay", self.decay, 0.5, 1.0 + 1e-12)
        check_open_interval("OnlineEM", "delay", self.delay, 1.0 - 1e-12, np.inf)
        if self.average_from is not None:
            check_positive_int("OnlineEM", "average_from", self.average_from)

    def init(
        self,
        law: type,
        x: ArrayLike,
        *,
        fix: Mapping[str, Any] | None = None,
        symmetric: bool = False,
    ) -> OnlineState:
        """The state after a batch fit to the first chunk, which sets the units."""
        owner = f"OnlineEM.init({law.__name__})"
        family = FAMILIES[law]
        fix = read_fix(owner, law, fix, symmetric=symmetric)
        if gauge_of(fix)[0] != FREE:
            raise ValueError(
                f"`{owner}`: a scale, or a skew other than 0, can be fixed by "
                "`BatchEM` only. Leave it out of `fix`, or write `symmetric=True`."
            )
        first = BatchEM(resolution=self.resolution, max_iterations=50, starts="single")
        fit = first.fit(law, x, fix=fix)
        rows = fit.x
        d, dtype = rows.shape[1], rows.dtype
        units = units_of(rows, fit.weights / jnp.sum(fit.weights))
        mixing = mixing_options(family, mixing_fix(family, fix), dtype, many=False)
        options = make_options(
            mixing,
            dtype,
            d,
            tol=1.0,
            resolution=self.resolution,
            loc=fix.get("loc"),
            skew=fix.get("skew"),
        )
        held = Held(
            (options.loc - units.centre) / units.scale,
            options.skew / units.scale,
            options.is_loc,
            options.is_skew,
        )
        params = _params_of(family, fit.law, units, d)
        statistics = _expect(family, self.resolution, rows, params, units)
        zero = jnp.zeros((), jnp.int32)
        return OnlineState(
            zero + 1,
            zero,
            statistics,
            statistics,
            params,
            units,
            held,
            options.projector[0, 1],
            law,
            fix,
        )

    def update(self, state: OnlineState, x: ArrayLike) -> OnlineState:
        """The state after one more chunk. Chunks of one shape compile once."""
        family = FAMILIES[state.law]
        rows, _ = read_data(
            f"OnlineEM.update({state.law.__name__})",
            x,
            None,
            is_univariate=is_univariate(state.law),
            num_parameters=0,
        )
        first = self.average_from
        start = np.iinfo(np.int32).max if first is None else first
        numbers = (self.decay, self.delay, self.resolution, start)
        numbers = tuple(jnp.asarray(v, rows.dtype) for v in numbers)
        return _update(family, state, rows, numbers)

    def law(self, state: OnlineState) -> dist.Distribution:
        """The law of the state, averaged if averaging has begun."""
        family = FAMILIES[state.law]
        is_averaged = bool(state.num_averaged > 0)
        statistics = state.average if is_averaged else state.statistics
        params = _maximise(family, self.resolution, state, statistics)
        scale = state.units.scale
        part = params._replace(
            loc=state.units.centre + scale * params.loc,
            skew=scale * params.skew,
            tril=scale[:, None] * params.tril,
        )
        return build_law(state.law, family, params.c, state.fix, part)

    def fit_stream(
        self,
        law: type,
        chunks: Iterable[ArrayLike],
        *,
        fix: Mapping[str, Any] | None = None,
        symmetric: bool = False,
        seconds: float | None = None,
    ) -> OnlineState:
        """One pass over an iterable of chunks; ends after `seconds`, if given.

        Raises: ValueError, if the iterable is empty.
        """
        begin = time.perf_counter()
        iterator = iter(chunks)
        first = next(iterator, None)
        if first is None:
            raise ValueError("`OnlineEM.fit_stream` got no chunks; give at least one.")
        state = self.init(law, first, fix=fix, symmetric=symmetric)
        for chunk in iterator:
            state = self.update(state, chunk)
            if seconds is not None and time.perf_counter() - begin > seconds:
                break
        return state

    def fit_minibatch(
        self,
        law: type,
        x: ArrayLike,
        key: Array,
        *,
        batch_size: int = 1024,
        num_steps: int = 200,
        fix: Mapping[str, Any] | None = None,
        symmetric: bool = False,
    ) -> OnlineState:
        """Steps on random rows of one array, drawn with replacement."""
        check_positive_int("OnlineEM.fit_minibatch", "batch_size", batch_size)
        check_positive_int("OnlineEM.fit_minibatch", "num_steps", num_steps)
        x = jnp.asarray(x)

        def chunks():
            for one in jax.random.split(key, num_steps):
                yield x[jax.random.randint(one, (batch_size,), 0, x.shape[0])]

        return self.fit_stream(law, chunks(), fix=fix, symmetric=symmetric)


def _params_of(family: Family, law: Any, units: Units, d: int) -> Params:
    """The params of a law, in the units."""
    _, a, b = law.mixing()
    if family.kind == "gamma":
        c = jnp.stack([jnp.log(law.concentration), jnp.log(a)])
    elif family.kind == "inverse_gamma":
        c = jnp.stack([jnp.log(0.5 * law.df), jnp.log(b)])
    elif family.order is not None:
        c = jnp.stack([jnp.log(a), jnp.log(b)])
    else:
        c = jnp.stack([law.p, jnp.log(a), jnp.log(b)])
    tril = jnp.reshape(law.scale, (1, 1)) if d == 1 else law.scale_tril
    if d == 1 and hasattr(law, "univariate"):
        tril = law.scale_tril
    return Params(
        c,
        (jnp.reshape(law.loc, (d,)) - units.centre) / units.scale,
        jnp.reshape(law.skew, (d,)) / units.scale,
        tril / units.scale[:, None],
        jnp.zeros((d, 0), c.dtype),
        jnp.ones((d,), c.dtype),
    )


@partial(jax.jit, static_argnums=0)
def _expect(
    family: Family, resolution: Any, x: Array, params: Params, units: Units
) -> Statistics:
    """The mean of the expected statistics of these rows."""
    n, d = x.shape
    y = (x - units.centre) / units.scale
    zero = jnp.zeros((), x.dtype)
    blur = jnp.square(jnp.asarray(resolution, x.dtype))
    prior = Prior(blur, zero, jnp.eye(d, dtype=x.dtype))
    weights = jnp.full((n,), 1.0 / n, x.dtype)
    geo = geometry(y.T, params, prior)
    sweep = evaluate(family, params.c, geo, weights, prior, d)
    inverse = weights * sweep.mean_inverse
    return Statistics(
        jnp.sum(weights * sweep.mean_w),
        jnp.sum(inverse),
        jnp.sum(weights * sweep.mean_log),
        weights @ y,
        inverse @ y,
        (y * inverse[:, None]).T @ y,
    )


@partial(jax.jit, static_argnums=0)
def _maximise(
    family: Family, resolution: Any, state: OnlineState, s: Statistics
) -> Params:
    """The M step on mean statistics."""
    held, params = state.held, state.params
    spread = jnp.maximum(s.inverse * s.w - 1.0, jnp.finfo(s.w.dtype).eps)
    skew = (s.inverse * s.x - s.ratio) / spread
    skew = jnp.where(held.is_loc, (s.x - held.loc) / s.w, skew)
    skew = jnp.where(held.is_skew, held.skew, skew)
    loc = (s.ratio - skew) / s.inverse
    loc = jnp.where(held.is_loc, held.loc, loc)
    cross = s.ratio[:, None] * loc[None, :]
    outer = (s.x - loc)[:, None] * skew[None, :]
    scatter = s.square - cross - cross.T + s.inverse * loc[:, None] * loc[None, :]
    scatter = scatter - outer - outer.T + s.w * skew[:, None] * skew[None, :]
    blur = jnp.square(jnp.asarray(resolution, s.w.dtype))
    eye = jnp.eye(loc.shape[0], dtype=loc.dtype)
    tril, _, _ = scale_of(scatter + blur * s.inverse * eye, params)
    c = expectations_step(family, params.c, s.w, s.inverse, s.log_w, state.projector)
    free = jnp.full_like(c, jnp.inf)
    return params._replace(
        c=clip(family, c, -free, free), loc=loc, skew=skew, tril=tril
    )


@partial(jax.jit, static_argnums=0)
def _update(
    family: Family, state: OnlineState, x: Array, numbers: tuple[Array, ...]
) -> OnlineState:
    decay, delay, resolution, start = numbers
    new = _expect(family, resolution, x, state.params, state.units)
    step = (state.count.astype(x.dtype) + delay) ** -decay
    moved = jax.tree.map(lambda old, y: old + step * (y - old), state.statistics, new)
    is_averaging = state.count >= start
    num_averaged = state.num_averaged + is_averaging.astype(jnp.int32)
    share = 1.0 / jnp.maximum(num_averaged, 1).astype(x.dtype)
    average = jax.tree.map(
        lambda old, y: jnp.where(is_averaging, old + share * (y - old), old),
        state.average,
        moved,
    )
    params = _maximise(family, resolution, state, moved)
    return eqx.tree_at(
        lambda s: (s.count, s.num_averaged, s.statistics, s.average, s.params),
        state,
        (state.count + 1, num_averaged, moved, average, params),
    )
