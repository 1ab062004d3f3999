"""Densities, gradients and tails against values of 40 digits.

The inputs of the table are exact: a function that sees its inputs as they are meets
the bar of its value. Some derivatives are small differences of large terms, which
half a unit in the last place of the inputs changes altogether; their bar has a second
term, the change that `ULPS` units of relative size eps in every input would make. The
table holds that condition, the sum over the inputs of |d g / d input * input|.
"""

import jax
import numpy as np
import pytest

from ..slow import slow_beside
from .reference import (
    LAWS,
    WITH_TAILS,
    beyond,
    both_tails,
    log_prob,
    order,
    over_rows,
    report,
    rows,
    tails,
)

EPS = np.finfo(np.float64).eps
EPS32 = float(np.finfo(np.float32).eps)
ULPS = 4.0


# Of each kind: positive, on the line, with a factor and without.
FAST = ("gig", "nig", "multivariate_gh")


@pytest.mark.parametrize("name", slow_beside(FAST, LAWS))
def test_the_log_density_and_its_gradient_are_the_reference(name):
    row = rows(name)
    value, grad = over_rows(jax.value_and_grad(log_prob(name)), row["inputs"])
    bar = 1e-12 * np.maximum(1.0, np.abs(row["log_prob"]))
    bad = beyond(name, row["inputs"], value, row["log_prob"], bar)
    # One-sided derivatives at the edges a = 0 and b = 0 can be infinite.
    is_finite = np.isfinite(row["grad"])
    want, condition = (np.where(is_finite, row[k], 0.0) for k in ("grad", "condition"))
    bar = 1e-10 * np.abs(want) + ULPS * EPS * condition
    bad += beyond(name, row["inputs"], np.where(is_finite, grad, 0.0), want, bar)
    assert not bad, report(bad, value.size + grad.size)


@pytest.mark.parametrize("name", slow_beside(FAST, LAWS))
def test_the_log_density_in_float32_is_the_reference(name):
    row = rows(name, np.float32)
    assert row["inputs"].shape[0] > 10
    value = over_rows(log_prob(name), row["inputs"].astype(np.float32))
    assert value.dtype == np.float32
    slopes = np.where(np.isfinite(row["grad"]), row["grad"], 0.0)
    condition = np.sum(np.abs(slopes * row["inputs"]), axis=1)
    # The density is a quotient of two functions whose logarithms grow like the order.
    size = np.maximum(np.abs(row["log_prob"]), np.abs(order(name, row["inputs"])))
    bar = 5e-6 * np.maximum(1.0, size) + ULPS * EPS32 * condition
    bad = beyond(name, row["inputs"], value, row["log_prob"], bar)
    assert not bad, report(bad, value.size)


@pytest.mark.parametrize("name", slow_beside(FAST, WITH_TAILS))
def test_both_tails_are_the_reference(name):
    row = tails(name)
    lower, upper = over_rows(both_tails(name), row["inputs"])
    got = np.where(row["side"] > 0, upper, lower)
    # Relative to the probability; beyond 1e-200, to its logarithm.
    is_far = row["log"] < np.log(1e-201)
    bar = np.where(is_far, 1e-8 * np.abs(row["log"]), 1e-10)
    bad = beyond(name, row["inputs"], got, row["log"], bar)
    assert not bad, report(bad, got.size)
