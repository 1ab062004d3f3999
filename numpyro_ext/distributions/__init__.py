"""Distributions for NumPyro models, with or without the rest of the package."""

from .._guard import refuse_mixed_install

# Also here: the other package of this import name may have put its `__init__.py` in the
# place of ours, and this folder is ours whichever of the two was installed last.
refuse_mixed_install()
