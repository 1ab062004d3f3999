"""Which parameters of a test run in `make test`, and which in `make test-slow` only."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def slow_beside(fast: Container[str], names: Iterable[str]) -> list[Any]:
    """All names as parameters, those that are not in `fast` marked as slow.

    For what compiles anew for each name: the fast ones are unlike each other, and each
    of the others has a relative among them.
    """
    return [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in fast))
        for name in names
    ]
