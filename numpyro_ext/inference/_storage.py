"""Fits on disk: one `.npz` of plain arrays and a JSON header, nothing executable."""

import hashlib
import json
import os
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._checks import OWN_FRAMES
from ._model_spec import ModelSpec
from ._status import MemberStatus, Status

if TYPE_CHECKING:
    from ._engine import AbstractEngine
    from ._fit import Fit

FORMAT = 1
HEADER = "header"
KEY = "__key__"


def save_fit(fit: "Fit", path: str | Path) -> None:
    """Writes the fit to `path`, whole or not at all.

    The spec and the engine are code, so they are not stored: `load` takes them, and
    checks that data, sites and settings are those of the run.

    Raises:
        OSError: if the folder is missing or cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"The folder `{path.parent}` does not exist, so `{path.name}` cannot be "
            "saved. Make it with `Path(...).mkdir(parents=True)`."
        )
    trees = {
        "key": fit.key,
        "positions": dict(enumerate(jax.tree.leaves(fit.positions))),
        "draws": fit.draws,
        "stats": fit.stats,
        "history": fit.history,
        "warmup": fit.warmup or {},
        "state": fit.state or {},
        "diagnostics": fit.diagnostics,
    }
    evidence = {"value": fit.log_evidence, "error": fit.log_evidence_error}
    trees["evidence"] = {k: v for k, v in evidence.items() if v is not None}
    header = json.dumps(_header(fit)).encode()
    arrays = _flatten(trees) | {HEADER: np.frombuffer(header, dtype=np.uint8)}
    # A crash while writing must not leave half a file under the name.
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            Path(file.name).unlink()
            raise
    os.replace(file.name, path)


def load_fit(path: str | Path, spec: ModelSpec, engine: "AbstractEngine") -> "Fit":
    """Reads a fit that `save_fit` wrote.

    Args:
        path: the file.
        spec: the spec of the run, with the same data.
        engine: the engine of the run, with the same settings.

    Raises:
        ValueError: if the file is damaged or no result file (pickles are refused),
            or if data, sites or engine differ from those of the run.
    """
    from ._fit import Fit

    header, trees = _read(Path(path))
    _compare(Path(path), header, spec, engine)
    prototype = jax.eval_shape(
        lambda: spec.model.draw_start(jax.random.key(0), strategy="uniform")
    )
    leaves = [trees["positions"][str(i)] for i in range(len(trees["positions"]))]
    return Fit(
        engine=engine,
        spec=spec,
        key=trees["key"],
        kind=header["kind"],
        jacobian=header["jacobian"],
        positions=jax.tree.unflatten(jax.tree.structure(prototype), leaves),
        draws=_regroup(trees.get("draws", {}), spec),
        stats=trees.get("stats", {}),
        status=tuple(MemberStatus(Status(c), m) for c, m in header["status"]),
        history=trees.get("history", {}),
        warmup=trees.get("warmup") or None,
        state=trees.get("state") or None,
        timing=header["timing"],
        log_evidence=trees.get("evidence", {}).get("value"),
        log_evidence_error=trees.get("evidence", {}).get("error"),
        diagnostics=trees.get("diagnostics", {}),
    )


def _header(fit: "Fit") -> dict[str, Any]:
    from .. import __version__

    return {
        "format": FORMAT,
        "kind": fit.kind,
        "jacobian": fit.jacobian,
        "status": [[int(code), message] for code, message in fit.status],
        "timing": fit.timing,
        "engine": type(fit.engine).__name__,
        "sites": list(fit.spec.sites.coordinates),
        "data": hash_data(fit.spec),
        "versions": {"numpyro_ext": __version__, "jax": jax.__version__},
    }


def hash_data(spec: ModelSpec) -> str:
    """Returns a digest of the data: their shapes, types and bytes."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((spec.model.args, spec.model.kwargs)):
        if eqx.is_array(leaf):
            array = np.asarray(leaf)
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        else:
            digest.update(repr(leaf).encode())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not zipfile.is_zipfile(path):
        if not path.exists():
            raise FileNotFoundError(f"There is no file `{path}`.")
        raise ValueError(
            f"`{path}` is no result file, or its end is missing. Results are `.npz` "
            "files made by `fit.save(path)`; pickles are refused, because loading one "
            "can run any code."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(bytes(arrays.pop(HEADER)))
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`{path}` cannot be read as a result: {error}. It is damaged, or holds "
            "objects (read with allow_pickle=False). Run again, or take another copy."
        ) from error
    return header, _unflatten(arrays)


def _compare(
    path: Path, header: dict[str, Any], spec: ModelSpec, engine: "AbstractEngine"
) -> None:
    checks = {
        "engine": (header["engine"], type(engine).__name__),
        "sites": (header["sites"], list(spec.sites.coordinates)),
        "data": (header["data"][:12], hash_data(spec)[:12]),
    }
    for what, (saved, given) in checks.items():
        if saved != given:
            raise ValueError(
                f"`{path}` was saved with another {what}: {saved} there, {given} "
                "here. Load it with the spec and engine of its run."
            )
    if header["versions"]["jax"] != jax.__version__:
        warnings.warn(
            f"`{path}` was saved under jax {header['versions']['jax']}; this is "
            f"{jax.__version__}. Draws that are resumed may differ in the last digits.",
            UserWarning,
            skip_file_prefixes=OWN_FRAMES,
        )


def _flatten(tree: PyTree, prefix: str = "") -> dict[str, np.ndarray]:
    if not isinstance(tree, dict):
        pairs = jax.tree_util.tree_leaves_with_path(tree)
        flat = {}
        for path, leaf in pairs:
            name = prefix + jax.tree_util.keystr(path)
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                name, leaf = name + KEY, jax.random.key_data(leaf)
            flat[name] = np.asarray(leaf)
        return flat
    flat = {}
    for name, value in tree.items():
        flat |= _flatten(value, f"{prefix}\x1f{name}" if prefix else str(name))
    return flat


def _unflatten(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in flat.items():
        value = jnp.asarray(array)
        if name.endswith(KEY):
            name, value = name.removesuffix(KEY), jax.random.wrap_key_data(value)
        *groups, last = name.split("\x1f")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    return tree


def _regroup(draws: dict[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Puts the leaves of a site that is a pytree back together."""
    shapes = jax.eval_shape(
        lambda: spec.constrain(
            spec.model.draw_start(jax.random.key(0), strategy="uniform"),
            deterministic=True,
        )
    )
    grouped = {}
    for name, shape in shapes.items():
        paths = jax.tree_util.tree_leaves_with_path(shape)
        leaves = [draws[name + jax.tree_util.keystr(path)] for path, _ in paths]
        grouped[name] = jax.tree.unflatten(jax.tree.structure(shape), leaves)
    return grouped
