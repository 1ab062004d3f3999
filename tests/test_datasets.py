import numpy as np
import pytest
import statsmodels.api as sm

from numpyro_ext.datasets import engel


def test_engel_is_the_published_table():
    data, reference = engel(), sm.datasets.engel.load_pandas().data
    np.testing.assert_array_equal(data.income, reference["income"])
    np.testing.assert_array_equal(data.food_expenditure, reference["foodexp"])


def test_engel_gives_the_published_median_regression():
    # Koenker and Bassett (1982): median food expenditure = 81.48 + 0.5602 income.
    data = engel()
    design = sm.add_constant(data.income)
    fit = sm.QuantReg(data.food_expenditure, design).fit(q=0.5)
    np.testing.assert_allclose(fit.params, [81.4822, 0.5602], rtol=1e-4)


def test_engel_cannot_be_changed_for_the_next_reader():
    data = engel()
    with pytest.raises(AttributeError):
        data.income = np.zeros(235)
    data.income[:] = 0.0
    assert engel().income.min() > 0.0
    assert data.income.dtype == data.food_expenditure.dtype == np.float64
