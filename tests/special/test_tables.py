import runpy
from pathlib import Path

import mpmath
import numpy as np
import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.slow
def test_the_tables_are_as_generated():
    script = runpy.run_path(str(TOOLS / "generate_bessel_tables.py"))
    assert script["TARGET"].read_text() == script["generate"]()


def test_the_reference_is_mpmaths():
    script = runpy.run_path(str(TOOLS / "generate_bessel_reference.py"))
    with np.load(script["TARGET"]) as data:
        rows = dict(data)
    v, z = script["points"](np.random.default_rng(script["SEED"]))
    np.testing.assert_array_equal(rows["v"], v)
    np.testing.assert_allclose(rows["z"], z, rtol=1e-15)
    with mpmath.workdps(60):
        for i in range(0, v.size, 500):
            expected = script["reference"](float(rows["v"][i]), float(rows["z"][i]))
            stored = [rows[name][i] for name in script["NAMES"]]
            assert stored == [float(x) for x in expected]
