"""Two packages install into the folder `numpyro_ext`; pip says nothing about it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "numpyro_ext"
OTHER = {"__init__.py": "", "distributions.py": "", "linear_op.py": "", "optim.py": ""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of our package in an otherwise empty site folder."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(PACKAGE, tmp_path / "numpyro_ext", ignore=ignored))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def install_other(folder: Path, *, keep_existing: bool) -> None:
    for name, text in OTHER.items():
        if not (keep_existing and (folder / name).exists()):
            (folder / name).write_text(text)


def assert_refused(folder: Path, statement: str) -> None:
    # Without the site folder: no other copy of the package can step in, and the guard
    # must speak before anything else is imported.
    result = run(folder, "-S", "-c", statement)
    assert result.returncode != 0
    assert "ImportError" in result.stderr
    assert str(folder) in result.stderr
    assert "pip uninstall -y numpyro-ext numpyro-ext-suite" in result.stderr


def test_ours_alone_imports(folder):
    script = "import numpyro_ext; from numpyro_ext import distributions as d; print(d)"
    result = run(folder, "-c", script)
    assert result.returncode == 0, result.stderr
    assert str(folder) in result.stdout


def test_ours_installed_last_refuses_at_once(folder):
    install_other(folder, keep_existing=True)
    assert_refused(folder, "import numpyro_ext")


def test_the_other_installed_last_is_refused_by_our_distributions(folder):
    install_other(folder, keep_existing=False)
    assert_refused(folder, "from numpyro_ext import distributions")


def test_a_half_uninstalled_package_is_refused(folder):
    install_other(folder, keep_existing=False)
    for name in OTHER:
        (folder / name).unlink()
    assert_refused(folder, "import numpyro_ext.distributions")
