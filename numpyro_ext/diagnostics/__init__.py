"""Judging a fit on its ArviZ tree. The only part of the package that imports ArviZ."""

from ._datatree import to_datatree as to_datatree
from ._summary import Summary as Summary
from ._summary import summarize as summarize
