"""What the package is made of: read from the source where it can be.

Each rule is a function of a source tree that returns what breaks it. It must find
nothing in the package, and something in a small tree that breaks it on purpose.
"""

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import numpyro_ext

PACKAGE = Path(__file__).parents[1] / "numpyro_ext"
# A part may import those to its left. What is not named here is a leaf.
LAYERS = ("special", "distributions", "glm", "inference", "diagnostics")
ARVIZ = {"arviz", "arviz_base", "arviz_plots", "arviz_stats"}
# Names that have moved between releases, or that the next release may move.
MOVED = (
    "blackjax.adaptation",
    "blackjax.base",
    "blackjax.mcmc",
    "blackjax.util",
    "jax._src",
    "jax.core",
    "jax.experimental",
    "jax.extend",
    "jax.interpreters",
)


@functools.cache
def modules(root: Path) -> dict[str, tuple[Path, ast.Module]]:
    """Dotted name to (file, parsed source) of every module under `root`."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path, ast.parse(path.read_text())
    return found


def imports(name: str, path: Path, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """The absolute dotted names that the import statements among `nodes` ask for."""
    package = (name if path.name == "__init__.py" else name.rpartition(".")[0]).split(
        "."
    )
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = [*above, node.module] if node.module else above
            yield from (".".join([*base, alias.name]) for alias in node.names)


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: no functions, no `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        is_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(
            child.test
        )
        is_function = isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        )
        if not is_for_types and not is_function:
            yield child
            yield from at_import(child)


def edges(root: Path) -> dict[str, set[str]]:
    """Module to the modules of the same package that it imports when imported."""
    tree = modules(root)
    graph: dict[str, set[str]] = {}
    for name, (path, source) in tree.items():
        graph[name] = set()
        for target in imports(name, path, at_import(source)):
            # `from .a import b` asks for the module a.b, or for the name b of a.
            for candidate in (target, target.rpartition(".")[0]):
                if candidate in tree:
                    graph[name].add(candidate)
                    break
    return graph


def part(name: str) -> str:
    """The first level below the package: `numpyro_ext.glm._links` gives `glm`."""
    return name.split(".")[1] if "." in name else ""


def may_import(here: str, there: str) -> bool:
    if here == there:
        return True
    if here not in LAYERS or there == "":
        return False
    return there not in LAYERS or LAYERS.index(there) < LAYERS.index(here)


def wrong_way_imports(root: Path) -> list[str]:
    return [
        f"{name} imports {target}"
        for name, targets in edges(root).items()
        for target in sorted(targets)
        # The package's own `__init__` re-exports from every part.
        if part(name) != "" and not may_import(part(name), part(target))
    ]


def import_cycles(root: Path) -> list[str]:
    try:
        graphlib.TopologicalSorter(edges(root)).prepare()
    except graphlib.CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def arviz_outside_diagnostics(root: Path) -> list[str]:
    return [
        f"{name} imports {target}"
        for name, (path, source) in modules(root).items()
        if part(name) not in ("diagnostics", "_compat")
        for target in imports(name, path, ast.walk(source))
        if target.split(".")[0] in ARVIZ
    ]


def moved_names_outside_compat(root: Path) -> list[str]:
    found = []
    for name, (path, source) in modules(root).items():
        if part(name) == "_compat":
            continue
        used = list(imports(name, path, ast.walk(source)))
        used += [
            ast.unparse(n) for n in ast.walk(source) if isinstance(n, ast.Attribute)
        ]
        found += [
            f"{name} uses {use}"
            for use in used
            if any(f"{use}.".startswith(f"{moved}.") for moved in MOVED)
        ]
    return found


def extended_final_classes(root: Path) -> list[str]:
    """Equinox modules that are extended although their name is not `Abstract...`."""
    bases = {
        node.name: [ast.unparse(base).split("[")[0] for base in node.bases]
        for _, source in modules(root).values()
        for node in ast.walk(source)
        if isinstance(node, ast.ClassDef)
    }
    # What is an Equinox module: `eqx.Module`, and what extends one of these.
    known = {"Module"}
    for _ in bases:
        known |= {name for name in bases if known & set(map(last, bases[name]))}
    return [
        f"{name} extends {base}"
        for name in bases
        for base in map(last, bases[name])
        if base in known & set(bases) and not base.lstrip("_").startswith("Abstract")
    ]


def last(dotted: str) -> str:
    return dotted.rpartition(".")[2]


# Rule to small trees that break it, each a file and its text.
RULES: dict[Callable[[Path], list[str]], list[dict[str, str]]] = {
    wrong_way_imports: [
        {"special/__init__.py": "from ..glm import fit", "glm/__init__.py": ""},
        {"glm/_fit.py": "from .. import inference", "inference/__init__.py": ""},
        {"_checks.py": "from .special import f", "special/__init__.py": ""},
        {"datasets/__init__.py": "from .. import _checks", "_checks.py": ""},
        {"inference/_a.py": "from numpyro_ext import anything", "__init__.py": ""},
    ],
    import_cycles: [
        {"glm/_a.py": "from ._b import x", "glm/_b.py": "from ._a import y"},
        {"glm/__init__.py": "from ._a import x", "glm/_a.py": "from ..glm import y"},
        {"a.py": "import numpyro_ext.b", "b.py": "if True:\n    from . import a"},
    ],
    arviz_outside_diagnostics: [
        {"inference/_fit.py": "def f():\n    import arviz as az"},
        {"__init__.py": "from arviz_base import from_dict"},
    ],
    moved_names_outside_compat: [
        {"glm/_a.py": "from jax.experimental import shard_map"},
        {"glm/_a.py": "import jax\n\ndef f():\n    return jax.core.Tracer"},
        {"glm/_a.py": "def f():\n    from jax import core"},
    ],
    extended_final_classes: [
        {"a.py": "class Map(eqx.Module): ...\nclass Better(Map): ..."},
        {
            "a.py": "class AbstractEngine[S](eqx.Module): ...",
            "b.py": "class Map(a.AbstractEngine[int]): ...",
            "c.py": "class Better(b.Map): ...",
        },
    ],
}
BROKEN = [(rule, tree) for rule, trees in RULES.items() for tree in trees]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule):
    assert rule(PACKAGE) == []


@pytest.mark.parametrize(("rule", "tree"), BROKEN)
def test_the_rule_is_seen_when_broken(rule, tree, tmp_path):
    root = tmp_path / "numpyro_ext"
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert rule(root) != []


def test_abstract_classes_may_be_extended(tmp_path):
    text = (
        "class AbstractA(eqx.Module): ...\nclass B(AbstractA): ...\nclass C(B.D): ..."
    )
    (tmp_path / "a.py").write_text(text)
    assert extended_final_classes(tmp_path) == []


def test_every_module_of_the_package_is_read():
    names = set(modules(PACKAGE))
    assert {"numpyro_ext", "numpyro_ext._guard", "numpyro_ext.datasets._engel"} <= names
    assert "numpyro_ext._guard" in edges(PACKAGE)["numpyro_ext.distributions"]


def loaded_by(statement: str) -> set[str]:
    script = f"{statement}; import sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_importing_the_package_loads_no_library():
    loaded = loaded_by("import numpyro_ext")
    assert "numpyro_ext" in loaded
    assert loaded & {*ARVIZ, "blackjax", "jax", "matplotlib", "numpyro"} == set()


def test_importing_every_name_leaves_heavy_libraries_alone():
    loaded = loaded_by("from numpyro_ext import NUTS, EnsembleMAP, Fit, ModelSpec")
    assert "numpyro_ext.inference._nuts" in loaded
    assert loaded & {*ARVIZ, "blackjax", "matplotlib"} == set()


def test_every_public_name_is_found():
    for name in numpyro_ext.__all__:
        assert getattr(numpyro_ext, name) is not None
    assert set(numpyro_ext.__all__) <= set(dir(numpyro_ext))
    with pytest.raises(AttributeError, match="`numpyro_ext` has no attribute `nuts`"):
        numpyro_ext.nuts  # noqa: B018


def test_a_heavy_library_would_be_noticed():
    assert "arviz_base" in loaded_by("import arviz_base")
