"""Maximum likelihood for the generalized hyperbolic family.

The laws know the mixture, the fitters own the iteration. Arrays go in and out of one
compiled program for each family, shape and set of options; messages, errors and result
objects are made at the edge.
"""
