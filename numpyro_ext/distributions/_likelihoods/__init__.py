"""Likelihoods of generalized linear models, by the linear predictor."""
