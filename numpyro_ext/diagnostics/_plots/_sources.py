"""What a picture of calibration is made of: transforms, or a result that has them."""

from .._calibration import Calibration, SiteCalibration
from .._values import Values


def site_of(owner: str, source: Values) -> SiteCalibration | None:
    """Returns the one site of a result of `calibration`; None for anything else.

    Raises:
        ValueError: for a result of several sites.
    """
    if isinstance(source, SiteCalibration):
        return source
    if not isinstance(source, Calibration):
        return None
    if len(source.sites) != 1:
        names = list(source.sites)
        raise ValueError(
            f"`{owner}` draws one site, and this result has {names}. Write "
            f"`{owner}(result.sites[{names[0]!r}])`."
        )
    return next(iter(source.sites.values()))


def pit_of(owner: str, site: SiteCalibration) -> Values:
    """Returns the transforms of a site.

    Raises:
        ValueError: if it has none.
    """
    if site.pit is None:
        raise ValueError(
            f"`{owner}`: site `{site.name}` has no PIT. {site.verdict} Categories are "
            "drawn by `plot_reliability`."
        )
    return site.pit


def title_of(site: SiteCalibration) -> str:
    """Says which data these are, and what they know."""
    kinds = {"LOO": "leave-one-out", "held-out": "held-out data"}
    return f"{site.name}, {kinds.get(site.split, site.split)}"
