"""Show the fields of an Equinox module as what they are: the arguments of its class."""

import griffe


class _Dataclass(griffe.ExprName):
    """The name `dataclass`, wherever it stands."""

    @property
    def canonical_path(self) -> str:
        return "dataclasses.dataclass"


class EquinoxModules(griffe.Extension):
    """Treat Equinox modules, and what extends our abstract ones, as data classes."""

    def on_class_members(self, *, cls: griffe.Class, **_) -> None:
        bases = [str(base).split("[")[0] for base in cls.bases]
        if any(
            base in ("eqx.Module", "equinox.Module")
            or base.rpartition(".")[2].startswith("Abstract")
            for base in bases
        ):
            name = _Dataclass("dataclass")
            cls.decorators.append(griffe.Decorator(name, lineno=None, endlineno=None))
