"""The mode audit: how many modes, and who agrees, whatever the units."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest

from numpyro_ext.inference import EnsembleMAP, Fit, ModelSpec, modes

RNG = np.random.default_rng(8)
DATA = np.concatenate([RNG.normal(-2.0, 0.5, 60), RNG.normal(2.0, 0.5, 60)])


def mixture(y=None, unit=1.0):
    """Two normals of equal weight: exchanging their labels changes nothing."""
    means = numpyro.sample(
        "means", dist.Normal(0.0, 3.0 * unit).expand([2]).to_event(1)
    )
    weights = dist.Categorical(probs=jnp.array([0.5, 0.5]))
    law = dist.MixtureSameFamily(weights, dist.Normal(means, 0.5 * unit))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", law, obs=y)


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e4])
def test_exchanged_labels_are_two_modes(key, unit):
    spec = ModelSpec(mixture, y=unit * DATA, unit=unit)
    values = unit * np.array([[-1.0, 1.0], [1.0, -1.0], [-3.0, 2.0], [2.5, -1.5]])
    fit = EnsembleMAP(num_members=4).run(spec, key, init={"means": values})
    found = modes(fit)
    assert sorted(tuple(sorted(mode.members)) for mode in found) == [(0, 2), (1, 3)]
    assert not found.unconverged
    low, high = np.sort(np.asarray(fit.draws["means"])[:, 0], axis=1).T
    np.testing.assert_allclose(low, low[0], rtol=1e-4)
    np.testing.assert_allclose(high, high[0], rtol=1e-4)


def test_one_mode_and_its_table(key):
    def model():
        numpyro.sample("x", dist.Normal(1.0, 2.0))

    fit = EnsembleMAP(num_members=5).run(ModelSpec(model, observed=()), key)
    found = modes(fit)
    assert len(found) == 1
    assert sorted(found[0].members) == list(range(5))
    np.testing.assert_allclose(
        found[0].log_density, -0.5 * np.log(8 * np.pi), rtol=1e-12
    )
    header, row = repr(found).splitlines()
    assert "members" in header
    assert "-1.61" in row


def test_unconverged_members_are_listed_apart(key):
    def model():
        numpyro.sample("x", dist.Normal(0.0, 1.0))

    engine = EnsembleMAP(num_members=2, num_steps=3, optimizer=optax.sgd(1e-3))
    start = {"x": np.array([0.0, 2.0])}
    with pytest.warns(UserWarning, match="1 of 2 members"):
        fit = engine.run(ModelSpec(model, observed=()), key, init=start)
    found = modes(fit)
    assert [mode.members for mode in found] == [(0,)]
    assert found.unconverged == {1: "max_steps"}
    assert "not converged: 1 (max_steps)" in repr(found)


def test_modes_refuse_draws_and_bad_tolerances(key):
    def model():
        numpyro.sample("x", dist.Normal(0.0, 1.0))

    fit = EnsembleMAP(num_members=2).run(ModelSpec(model, observed=()), key)
    with pytest.raises(ValueError, match=r"tolerance=0\.0"):
        modes(fit, tolerance=0.0)
    fields = {name: getattr(fit, name) for name in fit.__dataclass_fields__}
    with pytest.raises(ValueError, match="holds draws"):
        modes(Fit(**(fields | {"kind": "draws"})))
