"""What the array functions take."""

from typing import Any

# Whatever `np.asarray` makes numbers of: arrays, lists, Series, DataArrays, numbers.
type Values = Any
