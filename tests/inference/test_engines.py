"""Every engine on targets whose answer is known, by one set of rules.

A new engine is one line of `ENGINES`.
"""

import functools
import math

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import numpyro_ext
from numpyro_ext.inference import (
    EM,
    HMC,
    NUTS,
    SMC,
    AdjustedMCLMC,
    ChEES,
    EnsembleMAP,
    EnsembleVI,
    Fit,
    Laplace,
    NestedSampler,
    Pathfinder,
)

from ..slow import slow_beside
from .targets import TARGETS, X

# Names of engines -> (the engine, the statistical efficiency of its draws).
ENGINES = {
    "NUTS": (NUTS(num_warmup=300, num_samples=1000, num_chains=2), 0.3),
    "NUTS-low_rank": (
        NUTS(num_warmup=300, num_samples=1000, num_chains=2, mass_rank=2),
        0.3,
    ),
    "HMC": (HMC(num_warmup=300, num_samples=1000, num_chains=2), 0.3),
    "AdjustedMCLMC": (
        AdjustedMCLMC(num_warmup=300, num_samples=1000, num_chains=2),
        0.3,
    ),
    "ChEES": (ChEES(num_warmup=300, num_samples=200, num_chains=16), 0.3),
    "SMC": (SMC(), 0.5),
    # The dead points are fewer than the draws that are taken of them.
    "NestedSampler": (NestedSampler(num_samples=2000), 0.4),
    "EnsembleMAP": (EnsembleMAP(num_members=4, jacobian=True), None),
    # One coefficient is integrated out, and ends at its conditional mean.
    "EM": (EM(latent="beta", jacobian=True), None),
    "Laplace": (Laplace(num_samples=2000), 1.0),
    "Laplace-ggn": (Laplace("ggn", num_samples=2000), 1.0),
    "Laplace-low_rank": (Laplace("low_rank", num_samples=2000), 1.0),
    # Less than the share of the draws that resampling keeps apart.
    "Pathfinder": (Pathfinder(num_paths=8), 0.8),
    "EnsembleVI": (EnsembleVI("full_rank", num_members=4, num_samples=500), 1.0),
}
TARGET_NAMES = sorted(TARGETS)
# Of each target one of its sites, and other data.
SITES = {"regression": "beta", "lognormal": "size"}
OTHER_DATA = {
    "regression": (X, X @ np.array([1.0, 0.5, -1.0])),
    "lognormal": (np.array([1.1, 0.7, 2.0]),),
}
# The target of the tests that need only one, so that each engine compiles once.
ONE = "regression"
# Of the standard normal law; at this many comparisons a right engine passes.
MAX_SCORE = 4.5


@functools.cache
def target_of(name):
    return TARGETS[name]()


@functools.cache
def fit_of(engine, target):
    return ENGINES[engine][0].run(target_of(target).spec, jax.random.key(3))


def flat_positions(fit: Fit) -> np.ndarray:
    flat = jax.vmap(jax.vmap(lambda z: ravel_pytree(z)[0]))(fit.positions)
    return np.asarray(flat).reshape(-1, flat.shape[-1])


def check_posterior(fit: Fit, mean, covariance, efficiency: float) -> None:
    """Compares mean, variances and correlations of the draws with the truth."""
    draws = flat_positions(fit)
    size = efficiency * len(draws)
    sd = np.sqrt(np.diag(covariance))
    scores = (draws.mean(axis=0) - mean) / sd * math.sqrt(size)
    assert np.abs(scores).max() < MAX_SCORE
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    # Whitened by the truth, the second moments are those of the identity.
    white = np.cov((draws - mean) @ root.T, rowvar=False, ddof=0).reshape(
        len(mean), len(mean)
    )
    error = np.sqrt((1.0 + np.eye(len(mean))) / size)
    assert (np.abs(white - np.eye(len(mean))) / error).max() < MAX_SCORE


def check_mode(fit: Fit, mean, covariance) -> None:
    """Each member is within a thousandth of a posterior sd of the mode."""
    sd = np.sqrt(np.diag(covariance))
    assert np.abs((flat_positions(fit) - mean) / sd).max() < 1e-3


def check_evidence(fit: Fit, log_evidence: float) -> None:
    """The log evidence is within three of its own standard errors."""
    error = 0.0 if fit.log_evidence_error is None else float(fit.log_evidence_error)
    assert error < 0.5
    assert abs(float(fit.log_evidence) - log_evidence) < 3 * error + 1e-9


def check(engine: str, fit: Fit, mean, covariance, log_evidence: float) -> None:
    efficiency = ENGINES[engine][1]
    if fit.kind == "points":
        check_mode(fit, mean, covariance)
    else:
        check_posterior(fit, mean, covariance, efficiency)
    if fit.log_evidence is not None:
        check_evidence(fit, log_evidence)


# Engines of one skeleton, and what compiles for long, run on one target, and on the
# others with the slow tests.
RELATED = ("NUTS-low_rank", "HMC", "AdjustedMCLMC", "ChEES")
LONG = ("SMC", "NestedSampler", "EnsembleVI", "NUTS", "Pathfinder", *RELATED)
ALL = slow_beside(ENGINES.keys() - set(RELATED), ENGINES)


def on_targets(*slow):
    """Parameters `engine, target`; `slow` engines are slow on every target.

    `EM` needs a latent to integrate out.
    """
    return pytest.mark.parametrize(
        ("engine", "target"),
        [
            pytest.param(
                engine,
                target,
                marks=[pytest.mark.slow]
                * (engine in slow or (engine in LONG and target != ONE)),
            )
            for engine in ENGINES
            for target in TARGET_NAMES
            if engine != "EM" or target == ONE
        ],
    )


@on_targets()
def test_an_engine_gives_the_known_posterior(engine, target):
    truth = target_of(target)
    fit = fit_of(engine, target)
    check(engine, fit, truth.mean, truth.covariance, truth.log_evidence)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_check_finds_a_planted_error(engine):
    truth, fit = target_of(ONE), fit_of(engine, ONE)
    sd = np.sqrt(np.diag(truth.covariance))
    wrong = truth.mean + 0.4 * sd
    with pytest.raises(AssertionError):
        check(engine, fit, wrong, truth.covariance, truth.log_evidence)
    if fit.kind == "points":
        return
    wide = 1.6 * truth.covariance
    with pytest.raises(AssertionError):
        check(engine, fit, truth.mean, wide, truth.log_evidence)
    if fit.log_evidence is not None:
        with pytest.raises(AssertionError):
            check_evidence(fit, truth.log_evidence + 1.6)


@on_targets(*RELATED)
def test_a_second_run_compiles_nothing(engine, target):
    fit_of(engine, target)
    other = target_of(target).spec.with_data(*OTHER_DATA[target])
    compiled = []

    def listen(event, duration, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        ENGINES[engine][0].run(other, jax.random.key(4))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled


@on_targets(*RELATED)
def test_the_key_alone_decides(engine, target):
    site, fit = SITES[target], fit_of(engine, target)
    again = ENGINES[engine][0].run(target_of(target).spec, jax.random.key(3))
    np.testing.assert_array_equal(again.draws[site], fit.draws[site])


@on_targets(*RELATED)
def test_a_fit_goes_to_a_table_a_tree_and_the_disk(engine, target, tmp_path):
    site, fit = SITES[target], fit_of(engine, target)
    assert site in repr(fit.summary())
    tree = fit.to_datatree()
    assert tree["posterior"][site].dims == ("chain", "draw")
    assert tree.attrs["engine"] == type(fit.engine).__name__
    fit.save(tmp_path / "fit.npz")
    back = Fit.load(tmp_path / "fit.npz", fit.spec, fit.engine)
    for mine, other in zip(
        jax.tree.leaves((fit.draws, fit.stats, fit.log_evidence, fit.diagnostics)),
        jax.tree.leaves((back.draws, back.stats, back.log_evidence, back.diagnostics)),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("engine", ALL)
def test_a_fit_starts_another_engine(engine):
    start = fit_of(engine, ONE)
    fit = EnsembleMAP(num_members=3, jacobian=True).run(
        start.spec, jax.random.key(0), init=start
    )
    truth = target_of(ONE)
    check_mode(fit, truth.mean, truth.covariance)


@on_targets(*RELATED)
def test_an_engine_starts_from_a_fit(engine, target):
    start = fit_of("EnsembleMAP", target)
    fit = ENGINES[engine][0].run(start.spec, jax.random.key(1), init=start)
    truth = target_of(target)
    check(engine, fit, truth.mean, truth.covariance, truth.log_evidence)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_unknown_setting_is_refused(engine):
    settings = type(ENGINES[engine][0])
    with pytest.raises(TypeError, match="num_sample_s"):
        settings(num_sample_s=3)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_has_a_public_name(engine):
    assert getattr(numpyro_ext, type(ENGINES[engine][0]).__name__)
