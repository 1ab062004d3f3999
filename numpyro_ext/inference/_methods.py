"""`methods`: the engines side by side, before one is chosen."""

import pandas as pd

# Engine -> what it gives, what it costs, when it is wrong, and what was measured (two
# cores of a shared machine, float64; `benchmarks/` and the tests measure it again).
_ROWS = {
    "EnsembleMAP": (
        "a mode for each member",
        "a gradient for each step and member",
        "taken for a posterior: members that agree have no spread",
        "64 members x 1000 steps in 0.37 of the time of a vmapped loop",
    ),
    "EM": (
        "a mode for each start, latents integrated out, with a covariance",
        "an E and an M step for each iteration, dozens of them",
        "the latents' law is not a known one (the status says so), or the mode is "
        "taken for a posterior",
        "log likelihood and errors of a linear mixed model equal to those of "
        "statsmodels, to 1e-6 and 1e-4",
    ),
    "Laplace": (
        "independent draws of a Gaussian law at each mode, log evidence",
        "a Hessian at each mode",
        "the posterior is skewed or heavy-tailed: Pareto k above 0.7",
        "exact to 1e-10 on Gaussian posteriors; Gauss-Newton of 1153 coordinates in "
        "0.04 of the time of `jax.hessian`",
    ),
    "Pathfinder": (
        "draws of Gaussian laws along quasi-Newton paths, resampled",
        "some hundred gradients",
        "the posterior is curved: Pareto k above 0.7",
        "16 paths in 0.23 to 0.40 of BlackJAX's time",
    ),
    "EnsembleVI": (
        "draws of a guide for each member",
        "thousands of gradients, of mini-batches if wanted",
        "the guide has too few correlations: sds too small",
        "16 members x 1000 steps x 5 coordinates in 0.05 to 0.07 s",
    ),
    "NUTS": (
        "Markov chains",
        "tens to thousands of gradients for each draw",
        "it diverges, R-hat is above 1.01, or modes are apart",
        "0.04 (eight schools) to 0.7 (a Gaussian of 100 dimensions) of the time of "
        "NumPyro's best driver",
    ),
    "HMC": (
        "Markov chains of trajectories of one mean length",
        "as many gradients for each draw as you say",
        "the length does not suit the posterior: R-hat is above 1.01; modes are apart",
        "1.3 to 3.9 times the effective draws of NUTS per gradient on eight posteriors",
    ),
    "AdjustedMCLMC": (
        "Markov chains of microcanonical trajectories, without bias",
        "as many gradients for each draw as you say",
        "the length does not suit the posterior: R-hat is above 1.01; modes are apart",
        "1.1 to 5.0 times the effective draws of NUTS per gradient on eight posteriors",
    ),
    "ChEES": (
        "tens or hundreds of short Markov chains that adapt together",
        "equally many gradients for all chains, one program for an accelerator",
        "chains are few, or disagree: R-hat is above 1.01",
        "0.5 to 4.3 times the effective draws of NUTS per gradient on eight posteriors",
    ),
    "SMC": (
        "draws from several modes, log evidence with its error",
        "thousands of particles from the prior to the posterior",
        "populations disagree (`r_hat`)",
        "log evidence within its errors over 20 keys; 0.05 low under very wide priors",
    ),
    "NestedSampler": (
        "weighted draws from several modes, log evidence with its error, no gradients",
        "grows with the dimension: tens of coordinates",
        "`insertion_p_value` is tiny",
        "log evidence within its errors over 20 keys; errors 1.3 times too small where "
        "modes are apart",
    ),
}


def methods() -> pd.DataFrame:
    """Returns a table of the engines, a row for each.

    Its columns are `gives`, `cost`, `wrong_when`, and `measured`: figures of this
    project on two cores of a shared machine. `compare` measures fits of your own model.
    """
    columns = ["gives", "cost", "wrong_when", "measured"]
    table = pd.DataFrame.from_dict(_ROWS, orient="index", columns=columns)
    return table.rename_axis("engine")
