"""From a fit to an ArviZ tree, goodness of fit and calibration."""
