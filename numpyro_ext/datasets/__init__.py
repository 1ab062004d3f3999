"""Small real data sets that ship with the package, with their sources."""

from ._engel import Engel as Engel
from ._engel import engel as engel
