"""What a model is made of: its sites, as static facts that can key a compile cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

SiteKind = Literal["latent", "param", "observed", "factor", "deterministic"]


@dataclass(frozen=True)
class Site:
    """One site of a model.

    Attributes:
        name: the name given to `numpyro.sample`, `param`, `factor` or `deterministic`.
        kind: `latent` and `param` sites are the coordinates of the log density.
        shape: shape of the value.
        unconstrained_shape: shape of the coordinate, for latent sites; a simplex of
            three has two.
        event_dim: how many trailing axes are one event.
        distribution: name of the distribution, empty where there is none.
        support: the support, in NumPyro's words.
        plates: `(name, size, dim)` of the plates around the site, outermost first.
    """

    name: str
    kind: SiteKind
    shape: tuple[int, ...]
    unconstrained_shape: tuple[int, ...] = ()
    event_dim: int = 0
    distribution: str = ""
    support: str = ""
    plates: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class Sites:
    """The sites of a model in the order of the model; prints as a table."""

    items: tuple[Site, ...]

    def __iter__(self) -> Iterator[Site]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, name: str) -> Site:
        for site in self.items:
            if site.name == name:
                return site
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(site.name == name for site in self.items)

    def names(self, *kinds: SiteKind) -> tuple[str, ...]:
        """Returns the names of the sites of these kinds, in the model's order."""
        return tuple(site.name for site in self.items if site.kind in kinds)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the sites that an engine moves: latent sites and params."""
        return self.names("latent", "param")

    def __repr__(self) -> str:
        header = ("site", "kind", "shape", "unconstrained", "distribution", "support")
        rows = [
            (
                site.name,
                site.kind,
                str(site.shape),
                str(site.unconstrained_shape) if site.kind == "latent" else "",
                site.distribution,
                site.support,
            )
            for site in self.items
        ]
        return format_table(header, rows)


def format_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Lays out rows of text in aligned columns under a header."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)
