"""Every notebook runs from top to bottom, as its reader would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# These compile for long; the first is what a newcomer runs.
SLOW = (
    "02_ensembles",
    "03_log_bessel",
    "04_heavy_tails",
    "05_heavy_tails_in_finance",
    "06_counts_both_ways",
    "07_from_fit_to_verdict",
    "08_one_model_every_engine",
)
NOTEBOOKS = [
    pytest.param(
        path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else []
    )
    for path in sorted((ROOT / "notebooks").glob("*.py"))
]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_notebook_runs(notebook, tmp_path):
    # In a folder of its own: pictures land there. CI=1 asks for a smaller example.
    script = f"import runpy; runpy.run_path({str(notebook)!r}, run_name='__main__')"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "CI": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
