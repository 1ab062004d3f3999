"""`model`: a generalized linear model as a NumPyro model function."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, ArrayLike, Float
from numpyro import handlers
from numpyro.distributions import Distribution

from ._data import Data, linear_predictor
from ._design import Design, Rows
from ._diagnose import invalid_words
from ._family import AbstractFamily
from ._fit import column_names, is_valid, make_data
from ._priors import choose_priors
from ._takes_formula import takes_formula


class GLMModel(eqx.Module):
    """A NumPyro model: call it inside any engine; see `glm.model`.

    Attributes:
        family: the family.
        data: X, y, offset, trials and weights.
        priors: the prior of each site.
        held: nuisances that are held at a value, which are no sites.
        names: the names of the coefficients.
        response: the name of the observed site.
        design: what the formula learned from its data.
    """

    family: AbstractFamily
    data: Data
    priors: dict[str, Distribution]
    held: dict[str, Array]
    names: tuple[str, ...] = eqx.field(static=True)
    response: str = eqx.field(static=True, default="y")
    design: Design | None = eqx.field(static=True, default=None)

    def __call__(
        self,
        X: ArrayLike | None = None,
        *,
        offset: ArrayLike | None = None,
        trials: ArrayLike | None = None,
    ) -> None:
        """The model; with `X`, of new rows whose response is not known.

        `fit.predict(model.rows(new))` draws the response of new rows.
        """
        family, data, y = self.family, self.data, self.data.y
        if X is not None:
            X, y = jnp.asarray(X), None
            offset = None if offset is None else jnp.asarray(offset, X.dtype)
            trials = None if trials is None else jnp.asarray(trials, X.dtype)
            data = Data(X, X[:, 0], offset, trials)
        beta = self._coefficients()
        aux = {name: self._nuisance(name) for name in family.nuisance}
        spread = {}
        if family.has_dispersion:
            spread["dispersion"] = self._nuisance("dispersion")
        weight = data.freq_weights
        if data.var_weights is not None:
            if "dispersion" in spread:
                spread["dispersion"] = spread["dispersion"] / data.var_weights
            else:
                weight = data.weights
        law = family.law(linear_predictor(data, beta), aux, data.trials, **spread)
        obs = None if y is None else family.response(y)
        with numpyro.plate("row", data.X.shape[0]):
            if weight is None:
                numpyro.sample(self.response, law, obs=obs)
            else:
                with handlers.scale(scale=weight):
                    numpyro.sample(self.response, law, obs=obs)

    def _coefficients(self) -> Float[Array, "m p"]:
        p, m = len(self.names), self.family.num_predictors
        if m == 1:
            with numpyro.plate("coefficient", p):
                return jnp.asarray(numpyro.sample("beta", self.priors["beta"]))[None]
        with (
            numpyro.plate("coefficient", p, dim=-2),
            numpyro.plate("category", m, dim=-1),
        ):
            return jnp.asarray(numpyro.sample("beta", self.priors["beta"])).T

    def _nuisance(self, name: str) -> Array:
        if name in self.held:
            return self.held[name]
        return jnp.asarray(numpyro.sample(name, self.priors[name]))

    def rows(self, data: Any) -> np.ndarray:
        """Returns the rows of X of new data, by the formula of the model."""
        if self.design is None:
            raise ValueError(
                "`rows` builds X by a formula, and this model was made of arrays. Call "
                "`glm.model('y ~ x', data, family)`, or give X itself."
            )
        return self.design.rows(data)

    @property
    def coords(self) -> dict[str, list[Any]]:
        """The coordinates of the dimensions that ArviZ shows."""
        m = self.family.num_predictors
        category = {"category": list(range(1, m + 1))} if m > 1 else {}
        return {"coefficient": list(self.names), **category}

    def with_design(self, design: Design) -> "GLMModel":
        """Returns the model with the formula that its X came from."""
        response = design.response
        taken = {"row", "coefficient", "category", "beta", "dispersion"}
        if not response.isidentifier() or response in taken | set(self.family.nuisance):
            response = "y"
        return dataclasses.replace(self, design=design, response=response)


@takes_formula
def model(
    family: AbstractFamily,
    X: Any,
    y: Any,
    *,
    priors: Any = None,
    offset: Rows | None = None,
    exposure: Rows | None = None,
    trials: Rows | None = None,
    freq_weights: Rows | None = None,
    var_weights: Rows | None = None,
    names: tuple[str, ...] | list[str] | None = None,
) -> GLMModel:
    r"""Returns a generalized linear model as a NumPyro model function, for any engine.

    `model("y ~ x + C(g)", data, family)` takes a formula, as `fit` does;
    `model(family, X, y)` takes arrays. `ModelSpec(model)` and
    `numpyro.infer.MCMC(NUTS(model), ...)` run it as it is.

    Sites: `beta`, the coefficients, in the plate `coefficient` (and `category`, for
    categories without order), whose coordinates are their names; `dispersion`, for
    families that have one; the nuisances of the family by name; and the response, by
    its name in the formula, else `y`, in the plate `row`.

    Default priors, which say little and know the units of the data, with $\bar x_j$ and
    $s_j$ the mean and standard deviation of column j, and $u$ the unit of the linear
    predictor (1 for log and probability links, else $|g'(\bar y)|$ times the standard
    deviation of y):

    - a coefficient: $N(0, (2.5\,u / s_j)^2)$;
    - of a constant column: normal about $g(\bar y)$ less the mean offset, with variance
      $(2.5\,u)^2 + \sum_j (2.5\,u\,\bar x_j / s_j)^2$, since it is the linear predictor
      where all other columns are zero;
    - a positive nuisance or dispersion: `HalfCauchy`, its scale the estimate by moments
      without any column (`df` of Student's t: `Gamma(2, 0.1)`);
    - `gate_logits`: `Logistic(0, 1)`, uniform on the probability;
    - cutpoints: the ascending order of independent draws of the link's law, as wide as
      the columns may shift them.

    Args:
        family: such as `glm.Poisson()`.
        X: design (n, p); it has its intercept column.
        y: response (n,).
        priors: None for the defaults; `"flat"` for improper flat priors of everything,
            with which the MAP in the model's own parameters is the fit by maximum
            likelihood; a law without shape, for every coefficient; or a dictionary
            from names of coefficients, `beta` (all of them) or nuisances to a law or
            `"flat"`. A number holds a nuisance at that value.
        offset: known part of the linear predictor, a number or (n,).
        exposure: positive (n,); its logarithm is added to the offset (log links only).
        trials: number of trials of each row (n,), for `glm.Binomial`.
        freq_weights: how often each row was seen, positive (n,).
        var_weights: precision of each row, positive (n,).
        names: names of the columns of X; by default those of a pandas table.

    With a formula, `missing` is as in `fit`, and offset, exposure, trials and weights
    may be names of columns.

    Raises:
        TypeError, ValueError: for what `fit` refuses; for a prior of an unknown name,
            of a wrong kind or support; for flat priors of columns that are linearly
            dependent, whose posterior is improper.
    """
    if not isinstance(family, AbstractFamily):
        raise TypeError(
            f"`model` takes a family or a formula first, and got "
            f"{type(family).__name__}. Write `glm.model(glm.Poisson(), X, y)` or "
            "`glm.model('y ~ x', data, glm.Poisson())`."
        )
    names = column_names(X, names)
    data = make_data(
        family, X, y, offset, exposure, trials, freq_weights, var_weights, None
    )
    names = names or tuple(f"x{j}" for j in range(data.X.shape[1]))
    return build_model(family, data, names, priors)


def build_model(
    family: AbstractFamily, data: Data, names: tuple[str, ...], priors: Any
) -> GLMModel:
    """Returns the model of data that are arrays already."""
    _check_data(family, data, names)
    laws, held = choose_priors(family, data, names, priors)
    return GLMModel(family=family, data=data, priors=laws, held=held, names=names)


def _check_data(family: AbstractFamily, data: Data, names: tuple[str, ...]) -> None:
    is_finite = jnp.all(jnp.isfinite(data.X))
    if not bool(is_valid(family, data) & is_finite):
        case = SimpleNamespace(data=data, family=family)
        raise ValueError(f"`model` of {family.name}: {invalid_words(case)}")
    if data.weights is not None and not bool(jnp.all(data.weights > 0)):
        raise ValueError(
            "`model` takes positive weights, and some are zero. Leave these rows out."
        )
