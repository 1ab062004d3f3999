"""What the laws of data say, against SciPy's laws at each draw."""

import json

import arviz_base
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import statsmodels.api as sm
from scipy import stats

from numpyro_ext import EnsembleMAP, ModelSpec
from numpyro_ext import distributions as distx
from numpyro_ext.diagnostics import with_laws
from numpyro_ext.diagnostics._deviance import unit_deviance

RNG = np.random.default_rng(2)
N, DRAWS = 7, (2, 5)
DATA = {
    "normal": RNG.normal(size=N),
    "count": RNG.poisson(2.0, N),
    "event": RNG.integers(0, 2, N),
    "kind": RNG.integers(0, 3, N),
    "vector": RNG.normal(size=(N, 2)),
    "cauchy": RNG.normal(size=N),
}


def model(data):
    level = numpyro.sample("level", dist.Normal(0, 1))
    with numpyro.plate("row", len(data["normal"])):
        numpyro.sample("normal", dist.Normal(level, 2.0), obs=data["normal"])
        numpyro.sample("count", dist.Poisson(jnp.exp(level)), obs=data["count"])
        numpyro.sample("event", dist.Bernoulli(logits=level), obs=data["event"])
        logits = jnp.stack([level, 0.0, -level])
        numpyro.sample("kind", dist.Categorical(logits=logits), obs=data["kind"])
        both = dist.MultivariateNormal(level * jnp.ones(2), jnp.eye(2))
        numpyro.sample("vector", both, obs=data["vector"])
        numpyro.sample("cauchy", dist.Cauchy(level, 1.0), obs=data["cauchy"])


def tree_of(level, data=DATA, **groups):
    return arviz_base.from_dict(
        {"posterior": {"level": level}, "observed_data": data, **groups}
    )


@pytest.fixture(scope="module")
def level():
    return RNG.normal(size=DRAWS)


@pytest.fixture(scope="module")
def tree(level):
    return with_laws(tree_of(level), ModelSpec(model, DATA))


def test_each_law_says_what_it_is(tree, level):
    at = level[..., None]
    y = DATA
    for site, law in {
        "normal": stats.norm(at, 2.0),
        "count": stats.poisson(np.exp(at)),
        "event": stats.bernoulli(1 / (1 + np.exp(-at))),
        "cauchy": stats.cauchy(at),
    }.items():
        cdf = tree["conditional_cdf"][site]
        np.testing.assert_allclose(cdf, law.cdf(y[site]), rtol=1e-10)
        assert cdf.dims[2:] == tree["observed_data"][site].dims
        if site != "cauchy":
            for name, value in zip(
                ("mean", "variance"), law.stats(moments="mv"), strict=True
            ):
                found = tree[f"conditional_{name}"][site]
                np.testing.assert_allclose(
                    found, np.broadcast_to(value, found.shape), rtol=1e-10
                )
    below = tree["conditional_cdf_below"]
    assert set(below.data_vars) == {"count", "event", "kind"}
    expected = stats.poisson(np.exp(at)).cdf(y["count"] - 1)
    np.testing.assert_allclose(below["count"], expected, rtol=1e-10)
    powers = np.exp(np.stack([level, 0 * level, -level], axis=-1))
    probs = powers / powers.sum(axis=-1, keepdims=True)
    found = tree["conditional_probs"]["kind"]
    assert found.dims[-1] == "category"
    np.testing.assert_allclose(found[:, :, 3], probs, rtol=1e-10)
    assert tree["conditional_mean"]["vector"].attrs["event_dim"] == 1


def test_what_a_law_has_not_is_said(tree):
    missing = json.loads(tree.attrs["laws_missing"])
    assert "joint law" in missing["vector: cdf"]
    assert "not finite for 7 data" in missing["cauchy: mean"]
    assert missing["cauchy: deviance"] == "`Cauchy` is no law of a GLM."
    for group in ("conditional_cdf", "conditional_deviance"):
        assert "vector" not in tree[group]
    assert "cauchy" not in tree["conditional_mean"]


def test_data_held_out_have_groups_of_their_own(level):
    new = {name: value[:4] for name, value in DATA.items()}
    spec = ModelSpec(model, DATA)
    held_out = tree_of(level, predictions_observed_data=new)
    both = with_laws(with_laws(held_out, spec), spec.with_data(new))
    np.testing.assert_array_equal(
        both["predictions_conditional_cdf"]["normal"],
        both["conditional_cdf"]["normal"][:, :, :4],
    )
    other = {name: value[1:5] for name, value in DATA.items()}
    with pytest.raises(ValueError, match="`normal`.*are neither `observed_data`"):
        with_laws(held_out, spec.with_data(other))


def test_a_model_of_something_else_is_refused(level):
    spec = ModelSpec(model, DATA)
    tree = arviz_base.from_dict({"posterior": {"b": level}, "observed_data": DATA})
    with pytest.raises(ValueError, match="has no `level`"):
        with_laws(tree, spec)
    plain = ModelSpec.from_log_density(
        lambda p: (-jnp.sum(p**2), jnp.zeros(())), lambda key: jnp.zeros(2)
    )
    with pytest.raises(ValueError, match="plain log density"):
        with_laws(tree, plain)


def test_masked_data_are_nan_and_vectors_have_parts(key):
    mask = np.arange(N) != 2

    def masked(y):
        level = numpyro.sample("level", dist.Normal(0, 1))
        law = dist.Normal(level, 1.0).expand([2]).to_event(1)
        with numpyro.plate("row", N), numpyro.handlers.mask(mask=mask):
            numpyro.sample("y", law, obs=y)

    spec = ModelSpec(masked, DATA["vector"])
    fit = EnsembleMAP(num_members=2, num_steps=5).run(spec, key)
    cdf = with_laws(fit.to_datatree(), fit)["conditional_cdf"]["y"]
    assert np.isnan(cdf[:, :, 2]).all()
    expected = stats.norm(float(fit.draws["level"][1, 0])).cdf(DATA["vector"])
    np.testing.assert_allclose(cdf[1, 0][mask], expected[mask], rtol=1e-10)


Y = np.array([0.5, 1.0, 3.0])
K = np.array([0, 2, 5])
FAMILIES = {  # id: (law, data, reference, mean, scale of the deviance)
    "normal": (dist.Normal(1.3, 2.0), Y, sm.families.Gaussian(), 1.3, 4.0),
    "poisson": (dist.Poisson(1.7), K, sm.families.Poisson(), 1.7, 1.0),
    "poisson-link": (
        distx.PoissonLog(0.3),
        K,
        sm.families.Poisson(),
        np.exp(0.3),
        1.0,
    ),
    "bernoulli": (dist.Bernoulli(0.3), K // 2 % 2, sm.families.Binomial(), 0.3, 1.0),
    "gamma": (dist.Gamma(2.5, 1.5), Y, sm.families.Gamma(), 2.5 / 1.5, 1 / 2.5),
    "gamma-link": (distx.GammaLog(0.3, 0.4), Y, sm.families.Gamma(), np.exp(0.3), 0.4),
    "negative-binomial": (
        dist.NegativeBinomial2(1.7, 2.5),
        K,
        sm.families.NegativeBinomial(alpha=0.4),
        1.7,
        1.0,
    ),
    "negative-binomial-link": (
        distx.NegativeBinomialLog(0.3, 0.4),
        K,
        sm.families.NegativeBinomial(alpha=0.4),
        np.exp(0.3),
        1.0,
    ),
    "inverse-gaussian": (
        distx.InverseGaussian(1.4, 2.0),
        Y,
        sm.families.InverseGaussian(),
        1.4,
        0.5,
    ),
    "inverse-gaussian-link": (
        distx.InverseGaussianLog(0.3, 0.5),
        Y,
        sm.families.InverseGaussian(),
        np.exp(0.3),
        0.5,
    ),
}


@pytest.mark.parametrize(
    ("law", "y", "family", "mean", "scale"), FAMILIES.values(), ids=FAMILIES
)
def test_deviances_are_those_of_statsmodels(law, y, family, mean, scale):
    expected = [family.deviance(np.array([v]), np.array([mean])) / scale for v in y]
    found = unit_deviance(law.expand([3]), jnp.asarray(y))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_the_deviance_of_a_binomial_counts_trials():
    for law in (dist.Binomial(5, 0.3), distx.BinomialLink(np.log(0.3 / 0.7), 5)):
        exact = stats.binom(5, np.array([0.0, 0.4, 1.0])).logpmf([0, 2, 5])
        expected = 2 * (exact - stats.binom(5, 0.3).logpmf([0, 2, 5]))
        found = unit_deviance(law, jnp.array([0, 2, 5]))
        np.testing.assert_allclose(found, expected, rtol=1e-9)
