"""The table of engines has every engine, and no other."""

import inspect

from numpyro_ext import inference
from numpyro_ext.inference import AbstractEngine, methods


def test_every_engine_has_a_row():
    table = methods()
    engines = {
        name
        for name, member in vars(inference).items()
        if inspect.isclass(member)
        and issubclass(member, AbstractEngine)
        and member is not AbstractEngine
    }
    assert set(table.index) == engines
    assert list(table.columns) == ["gives", "cost", "wrong_when", "measured"]
    assert table.map(len).to_numpy().min() > 10
