"""The engine of the documentation is short, and it samples the right posterior."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import numpyro
import numpyro.distributions as dist

from numpyro_ext.inference import ModelSpec

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "random_walk.py"


def load_example():
    spec = importlib.util.spec_from_file_location("random_walk", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["random_walk"] = module
    spec.loader.exec_module(module)
    return module


def test_an_engine_takes_fewer_than_sixty_lines_of_code():
    code = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(code) < 60


def test_the_example_samples_a_conjugate_posterior(key):
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", y.shape[0]):
            numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    y = np.array([0.5, 1.5, 1.0])
    fit = load_example().RandomWalk(num_samples=4000).run(ModelSpec(model, y), key)
    table = fit.summary().table.loc["mean"]
    assert table["r_hat"] < 1.02
    assert abs(table["mean"] - y.sum() / 4) < 4 * table["mcse_mean"]
    assert abs(table["sd"] - 0.5) < 4 * table["mcse_sd"]
