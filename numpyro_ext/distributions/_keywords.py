"""Refusals of keywords that a law does not have, with what to type instead."""

import difflib
import inspect
from collections.abc import Iterable

# What other books and programs call the parameters of this package.
ELSEWHERE = {
    "chi": ("b",),
    "covariance_matrix": ("scale_tril",),
    "delta": ("scale",),
    "gamma": ("skew",),
    "lambda_": ("p",),
    "lmbda": ("p",),
    "mu": ("loc",),
    "nu": ("df",),
    "psi": ("a",),
    "scale": ("scale_tril",),
    "sigma": ("scale", "scale_tril"),
    "theta": ("skew",),
}
SHARED = ("loc", "validate_args")


def parameters_of(function: object) -> list[str]:
    """The names that a constructor takes, without `self`."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(function).parameters  # pyright: ignore[reportArgumentType]
    return [k for k, v in found.items() if v.kind in kinds and k != "self"]


def constructors(law: type) -> dict[str, list[str]]:
    """The class methods that build the law from other parameters, and their names."""
    names = [n for n in dir(law) if n.startswith("from_") or n == "standardized"]
    return {name: parameters_of(getattr(law, name)) for name in names}


def check_keywords(law: type, count: int, given: Iterable[str]) -> None:
    """Raises TypeError for an unknown keyword, ValueError for two sets of parameters.

    Args:
        law: The class that is called.
        count: How many arguments were given by position.
        given: The keywords.
    """
    given = list(given)
    own = parameters_of(law.__init__)
    foreign = [name for name in given if name not in own]
    if not foreign:
        return
    name = law.__name__
    accepted = f"`{name}({', '.join(own[: own.index('validate_args')])})`"
    elsewhere = constructors(law)
    fits = [k for k, names in elsewhere.items() if set(foreign) <= set(names)]
    near = {wrong: _nearest(wrong, own) for wrong in foreign}
    # A lone `delta` among our own names is a slip; an `alpha` is another set.
    if not all(ELSEWHERE.get(wrong) and near[wrong] for wrong in foreign):
        known = [*own[:count], *(x for x in given if x in own)]
        for k in fits:
            other = [x for x in known if x not in (*elsewhere[k], *SHARED)]
            # `standardized` takes the parameters of the mixing law as well.
            if other and k != "standardized":
                call = f"`{name}.{k}({', '.join(elsewhere[k])})`"
                raise ValueError(
                    f"`{name}` got parameters of two parametrizations: "
                    f"{_quoted(foreign)} of {call} and {_quoted(other)} of {accepted}. "
                    "Give all of one set and none of the other."
                )
    message = f"`{name}` has no parameter {_quoted(foreign)}; it takes {accepted}."
    for wrong in foreign:
        if near[wrong]:
            message += f" Did you mean `{near[wrong]}` for `{wrong}`?"
    calls = [f"`{name}.{k}({', '.join(elsewhere[k])})`" for k in fits]
    if calls:
        message += f" {_quoted(foreign)}: see {' and '.join(calls)}."
    raise TypeError(message)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _nearest(wrong: str, own: list[str]) -> str | None:
    """The parameter that was most likely meant."""
    for name in ELSEWHERE.get(wrong, ()):
        if name in own:
            return name
    near = difflib.get_close_matches(wrong, own, n=1)
    return near[0] if near else None
