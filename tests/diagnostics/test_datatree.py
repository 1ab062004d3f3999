"""The tree of a fit holds every group that ArviZ reads, at the right values."""

import functools
import json
import warnings

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from scipy import stats

from numpyro_ext.diagnostics import diagnose
from numpyro_ext.diagnostics._tree_groups import chunk_size
from numpyro_ext.inference import (
    EM,
    HMC,
    NUTS,
    SMC,
    AdjustedMCLMC,
    ChEES,
    EnsembleMAP,
    EnsembleVI,
    Laplace,
    ModelSpec,
    NestedSampler,
    Pathfinder,
)

from ..slow import slow_beside

RNG = np.random.default_rng(6)
X = RNG.normal(size=(20, 2))
LABELS = RNG.integers(0, 3, size=20)
Y = X @ np.array([1.0, -0.5]) + LABELS + 0.3 * RNG.normal(size=20)
# Zarr has no version yet for text of a fixed length, and says so.
ZARR_WARNS = "ignore:.*does not have a Zarr V3 specification"


def every_shape(X, y=None):
    """A vector, a matrix, a simplex and a scalar; one of them in a plate."""
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)))
    matrix = numpyro.sample("matrix", dist.Normal(0, 1).expand([2, 3]).to_event(2))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("groups", 3):
        effect = numpyro.sample("effect", dist.Normal(0.0, 1.0))
    level = numpyro.deterministic("level", shares @ effect + jnp.sum(matrix) / 6)
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Normal(X @ weights + level, noise), obs=y)


SHAPES = {
    "weights": (2,),
    "shares": (3,),
    "matrix": (2, 3),
    "noise": (),
    "effect": (3,),
    "level": (),
}
ENGINES = {
    "NUTS": NUTS(num_warmup=50, num_samples=10, num_chains=2, max_tree_depth=3),
    "HMC": HMC(num_warmup=50, num_samples=10, num_chains=2),
    "AdjustedMCLMC": AdjustedMCLMC(num_warmup=50, num_samples=10, num_chains=2),
    "ChEES": ChEES(num_warmup=50, num_samples=10, num_chains=2),
    "SMC": SMC(num_particles=20, num_populations=2, max_mcmc_steps=2),
    "NestedSampler": NestedSampler(20, num_inner_steps=2, num_samples=20),
    "EnsembleMAP": EnsembleMAP(num_members=3, num_steps=20),
    "EM": EM(latent="weights", num_starts=2, max_iterations=20),
    "Laplace": Laplace(num_samples=20, num_starts=2),
    "Pathfinder": Pathfinder(num_paths=2, num_samples=20),
    "EnsembleVI": EnsembleVI(num_members=3, num_steps=20, num_samples=10),
}
# The others compile for long.
FAST = ("Laplace",)
SIZES = {
    "NUTS": (2, 10),
    "HMC": (2, 10),
    "AdjustedMCLMC": (2, 10),
    "ChEES": (2, 10),
    "EnsembleMAP": (3, 1),
    "EM": (2, 1),
    "EnsembleVI": (3, 10),
}


@functools.cache
def fit_of(engine="Laplace"):
    with warnings.catch_warnings():
        # These are too short to converge, which is not what is looked at.
        warnings.simplefilter("ignore")
        spec = ModelSpec(every_shape, X, y=Y)
        return ENGINES[engine].run(spec, jax.random.key(3))


@functools.cache
def full_tree(engine="Laplace"):
    return fit_of(engine).to_datatree(
        unconstrained=True,
        num_prior_draws=5,
        new_data={"X": X[:4], "y": Y[:4]},
        dims={"weights": ["feature"], "shares": ["part"], "X": ["rows", "feature"]},
        coords={
            "feature": ["a", "b"],
            "part": ["low", "middle", "high"],
            "rows": np.arange(100, 120),
        },
        pred_coords={"rows": np.arange(200, 204)},
    )


@pytest.mark.parametrize("engine", slow_beside(FAST, ENGINES))
def test_every_engine_gives_every_group_in_chains_and_draws(engine):
    fit, tree = fit_of(engine), full_tree(engine)
    groups = {
        "posterior",
        "sample_stats",
        "posterior_predictive",
        "unconstrained_posterior",
        "prior",
        "prior_predictive",
        "predictive_moments",
        "predictions",
        "predictions_moments",
        "predictions_constant_data",
        "predictions_observed_data",
        "predictions_log_likelihood",
        "observed_data",
        "constant_data",
    }
    if fit.kind != "points":
        groups |= {"log_likelihood", "log_prior"}
    assert set(tree.children) == groups
    for name in groups - {n for n in groups if n.endswith(("data", "moments"))}:
        for variable in tree[name].data_vars.values():
            assert variable.dims[:2] == ("chain", "draw"), (name, variable.name)
    chains, draws = jax.tree.leaves(fit.positions)[0].shape[:2]
    assert (chains, draws) == SIZES.get(engine, (chains, draws))
    assert {"Laplace": 1, "Pathfinder": 1}.get(engine, chains) == chains
    for site, shape in SHAPES.items():
        assert tree["posterior"][site].shape == (chains, draws, *shape)
        assert tree["prior"][site].shape == (1, 5, *shape)
    assert tree["posterior"]["shares"].dims == ("chain", "draw", "part")
    assert tree["posterior"]["effect"].dims == ("chain", "draw", "groups")
    # ArviZ and the package read it.
    assert diagnose(tree).kind == fit.kind
    assert len(az.summary(tree, kind="stats")) > 10


def test_the_attributes_say_what_was_run():
    fit, attrs = fit_of("EnsembleMAP"), full_tree("EnsembleMAP").attrs
    assert (attrs["engine"], attrs["kind"]) == ("EnsembleMAP", "points")
    assert attrs["space"] == "constrained"
    assert full_tree("NUTS").attrs["space"] == "unconstrained"
    data = jnp.asarray(json.loads(attrs["seed"]), jnp.uint32)
    assert jax.random.wrap_key_data(data) == fit.key
    assert attrs["numpyro_version"] == numpyro.__version__
    assert attrs["jax_version"] == jax.__version__
    assert attrs["sampling_time"] == fit.timing["total"] > 0


def test_sample_stats_have_the_names_that_arviz_reads():
    found = set(full_tree("NUTS")["sample_stats"].data_vars)
    assert found >= {
        "lp",
        "energy",
        "diverging",
        "acceptance_rate",
        "n_steps",
        "tree_depth",
        "reached_max_treedepth",
        "step_size",
    }


def test_log_likelihood_and_log_prior_are_scipys_at_the_draws():
    tree = full_tree()
    post = tree["posterior"]
    mean = np.einsum("cdk,nk->cdn", post["weights"].values, X)
    mean += post["level"].values[..., None]
    noise = post["noise"].values
    reference = stats.norm(mean, noise[..., None]).logpdf
    np.testing.assert_allclose(tree["log_likelihood"]["y"], reference(Y), rtol=1e-12)
    np.testing.assert_allclose(
        tree["predictions_log_likelihood"]["y"],
        stats.norm(mean[..., :4], noise[..., None]).logpdf(Y[:4]),
        rtol=1e-12,
    )
    prior = tree["log_prior"]
    assert set(prior.data_vars) == {"weights", "shares", "matrix", "noise", "effect"}
    np.testing.assert_allclose(
        prior["matrix"], stats.norm.logpdf(post["matrix"].values).sum((-1, -2))
    )
    np.testing.assert_allclose(prior["noise"], stats.halfnorm.logpdf(noise))
    np.testing.assert_allclose(prior["shares"], np.log(2.0))


def test_the_parts_sum_to_the_density_of_the_fit():
    tree = full_tree()
    spec, positions = fit_of().spec, fit_of().positions
    parts = jax.jit(jax.vmap(jax.vmap(spec.parts)))(positions)
    pointwise = tree["log_likelihood"]["y"].sum("rows")
    np.testing.assert_allclose(pointwise, parts.log_likelihood, rtol=1e-12)
    log_prior = sum(tree["log_prior"].data_vars.values())
    np.testing.assert_allclose(log_prior, parts.log_prior, rtol=1e-12)


def test_factors_are_prior_unless_declared():
    def model(y):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        numpyro.factor("soft", -0.5 * (a - 1.0) ** 2)
        numpyro.sample("y", dist.Normal(a, 1.0).expand([3]), obs=y)

    y = np.arange(3.0)
    fit = Laplace(num_samples=4, num_starts=1).run(
        ModelSpec(model, y), jax.random.key(0)
    )
    assert set(fit.to_datatree()["log_prior"].data_vars) == {"a", "soft"}
    declared = ModelSpec(model, y, observed=("y", "soft"))
    fit = Laplace(num_samples=4, num_starts=1).run(declared, jax.random.key(0))
    assert set(fit.to_datatree()["log_prior"].data_vars) == {"a"}


def test_a_plain_density_has_a_log_prior_and_no_predictions():
    spec = ModelSpec.from_log_density(
        lambda p, y: (-0.5 * jnp.sum((y - p["a"]) ** 2), -0.5 * p["a"] ** 2),
        lambda key: {"a": jax.random.normal(key)},
        np.arange(3.0),
    )
    fit = Laplace(num_samples=4, num_starts=1).run(spec, jax.random.key(0))
    tree = fit.to_datatree(unconstrained=True)
    assert {"log_likelihood", "posterior_predictive"}.isdisjoint(tree.children)
    np.testing.assert_allclose(
        tree["log_prior"]["log_prior"], -0.5 * tree["posterior"]["a"].values ** 2
    )
    with pytest.raises(ValueError, match=r"new_data=\.\.\.\).* plain log density"):
        fit.to_datatree(new_data={"y": np.arange(3.0)})


def test_coordinates_of_rows_do_not_reach_new_rows():
    tree = full_tree()
    assert list(tree["log_likelihood"]["rows"].values) == list(range(100, 120))
    new = tree["predictions"]["y"]
    assert list(new["rows"].values) == list(range(200, 204))
    constant = tree["predictions_constant_data"]["X"]
    assert constant.dims == ("rows", "feature")
    assert list(constant["feature"].values) == ["a", "b"]
    np.testing.assert_array_equal(constant, X[:4])
    np.testing.assert_array_equal(tree["predictions_observed_data"]["y"], Y[:4])


def test_dims_of_an_unknown_site_are_refused():
    with pytest.raises(ValueError, match="`weight`.*did you mean `weights`"):
        fit_of().to_datatree(dims={"weight": ["feature"]})


def test_predictions_without_data_are_not_scored():
    tree = fit_of().to_datatree(new_data={"X": X[:4]})
    assert tree["predictions"]["y"].shape == (1, 20, 4)
    assert "predictions_observed_data" not in tree.children
    assert "predictions_log_likelihood" not in tree.children


def test_predictions_follow_the_law_at_the_new_data():
    new = np.array([[1.0, 0.0], [0.0, 5.0]])
    tree = fit_of().to_datatree(
        new_data={"X": new}, num_replicates=200, log_likelihood=False, log_prior=False
    )
    assert {"log_likelihood", "log_prior"}.isdisjoint(tree.children)
    post = tree["posterior"]
    mean = post["weights"].values @ new.T + post["level"].values[..., None]
    mean, noise = (np.repeat(x, 200, axis=1) for x in (mean, post["noise"].values))
    z = (tree["predictions"]["y"].values - mean) / noise[..., None]
    for column in z[0].T:
        assert stats.kstest(column, "norm").pvalue > 1e-3


def test_the_variance_of_predictions_has_two_parts():
    tree = full_tree()
    post = tree["posterior"]
    for group, rows in (("predictive_moments", X), ("predictions_moments", X[:4])):
        mean = post["weights"].values @ rows.T + post["level"].values[..., None]
        moments = tree[group]
        assert moments["y_mean"].dims == ("rows",)
        np.testing.assert_allclose(moments["y_mean"], mean.mean((0, 1)), rtol=1e-12)
        np.testing.assert_allclose(moments["y_epistemic"], mean.var((0, 1)), rtol=1e-9)
        noise = np.mean(post["noise"].values ** 2)
        np.testing.assert_allclose(moments["y_aleatoric"], noise, rtol=1e-12)


@pytest.mark.usefixtures("float32")
@pytest.mark.slow
def test_single_precision_stays_single():
    x, y = X.astype(np.float32), Y.astype(np.float32)
    engine = EnsembleMAP(num_members=2, num_steps=5, tolerance=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too short to converge
        fit = engine.run(ModelSpec(every_shape, x, y=y), jax.random.key(0))
    tree = fit.to_datatree(new_data={"X": x, "y": y}, unconstrained=True)
    for name in ("predictive_moments", "predictions_log_likelihood", "predictions"):
        for variable in tree[name].data_vars.values():
            assert variable.dtype == np.float32
            assert np.isfinite(variable).all()


def test_a_law_without_a_mean_has_no_moments():
    def heavy(y):
        loc = numpyro.sample("loc", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Cauchy(loc, 1.0).expand([20]), obs=y)

    fit = Laplace(num_samples=20, num_starts=1).run(
        ModelSpec(heavy, Y), jax.random.key(0)
    )
    assert "predictive_moments" not in fit.to_datatree().children


def test_the_unconstrained_group_is_where_the_engine_works():
    tree = full_tree()
    group = tree["unconstrained_posterior"]
    assert group["shares"].dims == ("chain", "draw", "shares_unconstrained_dim_0")
    assert group["shares"].shape[2:] == (2,)
    assert group["weights"].dims == ("chain", "draw", "feature")
    np.testing.assert_allclose(np.exp(group["noise"]), tree["posterior"]["noise"])


@pytest.mark.parametrize("engine", ["NUTS", "EnsembleMAP"])
@pytest.mark.filterwarnings(ZARR_WARNS)
def test_the_tree_survives_the_disk(engine, tmp_path):
    tree = full_tree(engine)
    tree.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf") as back:
        assert back.load().identical(tree)
    tree.to_zarr(tmp_path / "fit.zarr", consolidated=False)
    with xr.open_datatree(
        tmp_path / "fit.zarr", engine="zarr", consolidated=False
    ) as back:
        assert back.load().identical(tree)


def test_prior_sensitivity_and_loo_read_the_tree():
    def conjugate(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mean, 1.0).expand([20]), obs=y)

    fit = Laplace(num_samples=400, num_starts=1).run(
        ModelSpec(conjugate, Y), jax.random.key(1)
    )
    tree = fit.to_datatree()
    assert np.isfinite(az.psense(tree)["mean"]).all()
    assert np.isfinite(az.loo(tree).elpd)


@pytest.mark.parametrize(
    ("num", "num_bytes", "expected"),
    [
        (4000, 8_000, 32),
        (4000, 100, 500),  # the most that divides, not 512
        (4000, 80_000_000, 1),  # memory decides
        (4001, 100, 512),  # a prime number has no divisor worth taking
        (3, 8, 3),
        (7, 0, 7),
    ],
)
def test_a_chunk_fits_and_leaves_no_rest(num, num_bytes, expected):
    assert chunk_size(num, num_bytes) == expected
