from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True, eq=False)
class Engel:
    """Income and food expenditure of working-class households, in Belgian francs.

    Attributes:
        income: Annual household income.
        food_expenditure: Annual household expenditure on food.
    """

    income: Float64[np.ndarray, " household"]
    food_expenditure: Float64[np.ndarray, " household"]


def engel() -> Engel:
    """Read the food expenditure of 235 Belgian working-class households in 1857.

    The larger the income, the larger the spread of what is spent on food, and a few
    rich households spend far less than the rest: a small test for robust regression.

    Returns:
        The two columns as NumPy arrays of length 235, in float64.

    Source: E. Engel (1857), "Die Productions- und Consumtionsverhältnisse des
        Königreichs Sachsen"; as used by R. Koenker and G. Bassett (1982), "Robust tests
        of heteroscedasticity based on regression quantiles", Econometrica 50, 43-61.
        In the public domain; the figures are those of `statsmodels.datasets.engel`.
    """
    path = Path(__file__).with_name("engel.csv")
    income, food = np.loadtxt(path, delimiter=",", skiprows=1).T.copy()
    return Engel(income=income, food_expenditure=food)
