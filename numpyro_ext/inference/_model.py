"""What `ModelSpec` asks of the thing that it wraps."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float, Key, PyTree

from .._checks import nearest
from ._parts import Parts
from ._sites import Sites


class AbstractModel(eqx.Module):
    """A model with its data: everything here is pure and for one point."""

    args: eqx.AbstractVar[tuple[Any, ...]]
    kwargs: eqx.AbstractVar[dict[str, Any]]

    @abc.abstractmethod
    def structure(self) -> Sites:
        """Reads the sites from one abstract trace; refuses what no engine can run."""

    @abc.abstractmethod
    def argument_names(self) -> tuple[str, ...]:
        """Returns the names of the positional arguments, in order."""

    @abc.abstractmethod
    def check_position(self, position: PyTree[Array], sites: Sites) -> None:
        """Raises unless the position has one coordinate for each site."""

    @abc.abstractmethod
    def parts(
        self, position: PyTree[Array], *, row_sites: tuple[str, ...]
    ) -> tuple[Parts, Parts]:
        """Returns the three buckets of `row_sites`, and those of all other sites."""

    @abc.abstractmethod
    def site_log_probs(self, position: PyTree[Array]) -> dict[str, Float[Array, ""]]:
        """Returns the summed log probability of every site that has one."""

    @abc.abstractmethod
    def pointwise_log_likelihood(
        self, position: PyTree[Array]
    ) -> dict[str, Float[Array, "..."]]:
        """Returns the unscaled log probability of each datum; NaN where masked."""

    @abc.abstractmethod
    def data_violations(self, position: PyTree[Array]) -> dict[str, Bool[Array, "..."]]:
        """Marks the data outside the support of their distribution."""

    @abc.abstractmethod
    def parameter_violations(
        self, position: PyTree[Array]
    ) -> dict[tuple[str, str], Bool[Array, ""]]:
        """Marks `(site, parameter)` of distributions outside their constraint."""

    @abc.abstractmethod
    def draw_prior(self, key: Key[Array, ""]) -> PyTree[Array]:
        """Draws one point from the prior, and from nothing else.

        Raises:
            ValueError: naming the site, if its prior has no draws.
        """

    @abc.abstractmethod
    def unlike_draws(self, position: PyTree[Array]) -> dict[str, Bool[Array, ""]]:
        """Marks the latent sites whose log prior is not that of their draws.

        Scales, masks and undeclared factors change the density and not the draws.
        """

    @property
    @abc.abstractmethod
    def asks_for_prior(self) -> bool:
        """Whether the user said that no data is meant."""

    @abc.abstractmethod
    def by_site(self, position: PyTree[Array]) -> dict[str, Any]:
        """Names the parts of a position by site."""

    @abc.abstractmethod
    def constrain(
        self, position: PyTree[Array], *, deterministic: bool
    ) -> dict[str, Any]:
        """Maps coordinates to values by site."""

    @abc.abstractmethod
    def unconstrain(self, values: dict[str, Any]) -> PyTree[Array]:
        """Maps values by site to coordinates."""

    @abc.abstractmethod
    def support_violations(
        self, values: dict[str, Any]
    ) -> dict[str, Bool[Array, "..."]]:
        """Marks the values outside the support of their prior."""

    @abc.abstractmethod
    def draw_start(self, key: Key[Array, ""], *, strategy: str) -> PyTree[Array]:
        """Draws one point from the prior or uniformly."""

    @abc.abstractmethod
    def predict(
        self,
        key: Key[Array, ""],
        values: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> dict[str, Array]:
        """Draws the observed sites, and all else that is not in `values`."""

    @abc.abstractmethod
    def observed_data(self, position: PyTree[Array]) -> dict[str, Array]:
        """Returns the data of the observed sites."""

    def argument(self, name: str) -> Any:
        """Returns the argument of this name, positional or keyword."""
        arguments = self.arguments()
        if name in arguments:
            return arguments[name]
        raise ValueError(
            f"`{name}` is no argument that was given; " + nearest(name, arguments)
        )

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments by name; extra positional ones get their index."""
        names = self.argument_names()
        extra = [f"args[{i}]" for i in range(len(names), len(self.args))]
        positional = zip((*names, *extra), self.args, strict=False)
        return dict(positional) | self.kwargs
