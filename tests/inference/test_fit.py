"""A fit prints, predicts, makes a tree that ArviZ reads, and survives the disk."""

import functools

import arviz as az
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from numpyro_ext.diagnostics import summarize
from numpyro_ext.inference import Fit, MemberStatus, ModelSpec, Status
from numpyro_ext.inference._engine import AbstractEngine

from ..slow import slow_beside
from .zoo import IGNORED_WARNINGS, ZOO, X, Y

pytestmark = pytest.mark.filterwarnings(IGNORED_WARNINGS)


class ExactEngine(AbstractEngine):
    """Independent draws from the prior: enough to look at a fit."""

    num_chains: int = 4
    num_draws: int = 50
    kind: str = eqx.field(static=True, default="draws")

    def run(self, spec, key, *, init=None):
        num = self.num_chains * self.num_draws

        def split(leaf):
            return leaf.reshape(self.num_chains, self.num_draws, *leaf.shape[1:])

        positions = jax.tree.map(split, spec.init(key, num))
        constrain = functools.partial(spec.constrain, deterministic=True)
        draws = eqx.filter_jit(jax.vmap(jax.vmap(constrain)))(positions)
        lp = jax.jit(jax.vmap(jax.vmap(spec.log_density)))(positions)
        return Fit(
            engine=self,
            spec=spec,
            key=key,
            kind=self.kind,
            jacobian=True,
            positions=positions,
            draws=draws,
            stats={"lp": lp, "diverging": jnp.zeros(lp.shape, bool)},
            status=(MemberStatus(Status.OK, "done"),) * self.num_chains,
        )


@functools.cache
def fit_of(name, kind="draws", num_draws=50):
    entry = ZOO[name]
    spec = ModelSpec(entry.model, *entry.args, **entry.kwargs)
    engine = ExactEngine(num_draws=num_draws, kind=kind)
    return engine.run(spec, jax.random.key(5))


FAST = ("glm", "random-module", "scan", "mask", "factor")


@pytest.mark.parametrize("name", slow_beside(FAST, sorted(ZOO.keys() - {"improper"})))
def test_every_model_gives_a_tree_that_arviz_reads(name):
    fit = fit_of(name)
    tree = fit.to_datatree()
    groups = {"posterior", "sample_stats", "posterior_predictive", "log_likelihood"}
    assert groups | {"observed_data"} <= set(tree.children)
    for group in groups:
        for variable in tree[group].data_vars.values():
            assert variable.dims[:2] == ("chain", "draw")
            assert variable.shape[:2] == (4, 50)
    with np.errstate(invalid="ignore", divide="ignore"):
        theirs = az.summary(tree, round_to="none", ci_prob=0.89)
    ours = fit.summary().table
    # ArviZ takes the tails of the interval; ours are the 5 % and 95 % quantiles.
    columns = [name for name in ours.columns if name != "ess_tail"]
    np.testing.assert_allclose(
        ours[columns], theirs.loc[ours.index, columns], rtol=1e-10
    )
    assert len(ours) >= len(fit.spec.sites.coordinates)


def test_log_likelihood_group_is_the_law_at_the_draws():
    fit = fit_of("linear")
    mean = np.einsum("cdk,nk->cdn", fit.draws["weights"], X)
    reference = dist.Normal(mean, np.asarray(fit.draws["noise"])[..., None]).log_prob(Y)
    pointwise = fit.to_datatree()["log_likelihood"]["y"]
    np.testing.assert_allclose(pointwise, reference, rtol=1e-12)


def test_plates_name_the_dimensions_of_sites_and_covariates():
    tree = fit_of("linear").to_datatree(dims={"weights": ["column"]})
    assert tree["posterior_predictive"]["y"].dims == ("chain", "draw", "rows")
    assert tree["log_likelihood"]["y"].dims == ("chain", "draw", "rows")
    assert tree["constant_data"]["X"].dims == ("rows", "X_dim_1")
    assert tree["posterior"]["weights"].dims == ("chain", "draw", "column")
    assert set(tree["constant_data"].data_vars) == {"X"}
    crossed = fit_of("crossed-plates").to_datatree()
    assert crossed["observed_data"]["y"].dims == ("rows", "columns")
    assert crossed["posterior"]["a"].dims == ("chain", "draw", "rows", "a_dim_1")
    assert crossed["posterior"]["b"].dims == ("chain", "draw", "columns")


def test_the_tree_survives_netcdf(tmp_path):
    fit = fit_of("random-module")
    tree = fit.to_datatree(num_prior_draws=5, dims={"net/bias": ["unit"]})
    assert tree["posterior"]["net.bias"].dims == ("chain", "draw", "unit")
    tree.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    back = az.from_netcdf(tmp_path / "fit.nc").load()
    assert back.identical(tree)


def test_masked_data_are_left_out_of_the_log_likelihood():
    values = fit_of("mask").to_datatree()["log_likelihood"]["y"]
    assert values.shape == (4, 50, 20)
    np.testing.assert_array_equal(
        values["y_unmasked"], np.flatnonzero(np.arange(30) % 3)
    )


def test_loo_runs_on_draws_and_is_refused_on_points():
    def conjugate(y):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", y.shape[0]):
            numpyro.sample("y", dist.Normal(a, 5.0), obs=y)

    spec = ModelSpec(conjugate, Y)
    draws = ExactEngine(num_draws=250).run(spec, jax.random.key(0))
    assert np.isfinite(az.loo(draws.to_datatree()).elpd)
    points = fit_of("linear", kind="points", num_draws=1).to_datatree()
    assert "log_likelihood" not in points.children
    with pytest.raises(TypeError, match="log likelihood not found"):
        az.loo(points)


def test_points_show_no_r_hat_and_no_ess():
    fit = fit_of("linear", kind="points", num_draws=1)
    summary = fit.summary()
    assert list(summary.table.columns) == ["mean", "sd", "min", "max"]
    assert "no posterior uncertainty" in repr(summary)
    replicates = fit.to_datatree()["posterior_predictive"]["y"]
    assert replicates.shape == (4, 100, 30)


def test_independent_draws_show_no_r_hat_and_what_the_engine_says():
    fit = fit_of("linear", kind="independent")
    account = {
        "log_evidence": jnp.asarray(-3.25),
        "log_evidence_error": jnp.asarray(0.5),
        "diagnostics": {"pareto_k": jnp.asarray(0.9)},
    }
    fit = Fit(**(vars(fit) | account))
    table = fit.summary()
    assert "r_hat" not in table.table.columns
    assert "Log evidence -3.25 (standard error 0.5)" in repr(table)
    assert "Pareto k of the approximation 0.90: far from it" in repr(table)
    tree = fit.to_datatree()
    assert tree.attrs["log_evidence"] == -3.25
    assert tree.attrs["pareto_k"] == pytest.approx(0.9)
    assert "log_likelihood" in tree.children


def test_starts_of_independent_draws_are_different_ones():
    fit = fit_of("linear", kind="independent")
    starts = np.asarray(fit.starts(12)["noise"])
    assert len(np.unique(starts)) == 12
    assert set(starts) <= set(np.asarray(fit.positions["noise"]).ravel())


def test_summary_states_its_interval_and_is_arviz_own():
    fit = fit_of("linear")
    summary = fit.summary(ci_prob=0.5)
    assert "hold 50% of the draws" in repr(summary)
    noise = np.asarray(fit.draws["noise"]).ravel()
    row = summary.table.loc["noise"]
    np.testing.assert_allclose(row["mean"], noise.mean(), rtol=1e-12)
    np.testing.assert_allclose(row["sd"], noise.std(ddof=1), rtol=1e-2)
    np.testing.assert_allclose(row["eti50_ub"], np.quantile(noise, 0.75), rtol=1e-2)
    assert "mean" in fit.summary(sites=["mean"]).table.columns
    with pytest.raises(ValueError, match=r"no site `nois`; did you mean `noise`"):
        fit.summary(sites=["nois"])
    with pytest.raises(ValueError, match=r"ci_prob=95.0"):
        fit.summary(ci_prob=95.0)


@pytest.mark.parametrize("kind", ["draws", "points", "independent"])
def test_the_summary_of_a_tree_is_that_of_its_fit(kind):
    fit = fit_of("random-module", kind=kind, num_draws=1 if kind == "points" else 50)
    of_tree = summarize(fit.to_datatree())
    np.testing.assert_array_equal(of_tree.table, fit.summary().table)
    assert list(of_tree.table.index) == list(fit.summary().table.index)
    assert repr(of_tree) == repr(fit.summary())


def test_predict_takes_new_arguments_or_none():
    fit = fit_of("linear")
    assert fit.predict(np.eye(3))["y"].shape == (4, 50, 3)
    np.testing.assert_array_equal(fit.predict()["y"], fit.predict(X, y=Y)["y"])
    other = fit.predict(key=jax.random.key(1))["y"]
    assert not np.array_equal(other, fit.predict()["y"])


def test_a_bad_member_is_named_and_no_start():
    fit = fit_of("linear", kind="points", num_draws=1)
    status = (MemberStatus(Status.NONFINITE_VALUE, "nan at step 3"), *fit.status[1:])
    bad = eqx.tree_at(lambda f: f.stats["lp"], fit, jnp.array([[9.0], [1], [3], [2]]))
    object.__setattr__(bad, "status", status)
    assert "1 of 4 did not end well ([0]): nan at step 3" in repr(bad.summary())
    starts = bad.starts(4)["noise"]
    expected = np.asarray(bad.positions["noise"])[[2, 3, 1, 2], 0]
    np.testing.assert_array_equal(starts, expected)


@pytest.mark.parametrize("name", ["linear", "module-params"])
def test_save_and_load_return_the_same_fit(tmp_path, name):
    fit = fit_of(name)
    fit = eqx.tree_at(
        lambda f: (f.state, f.history),
        fit,
        ({"key": jax.random.key(3), "x": {"y": jnp.arange(3)}}, {"loss": jnp.ones(2)}),
        is_leaf=lambda leaf: leaf is None,
    )
    fit.save(tmp_path / "fit.npz")
    loaded = Fit.load(tmp_path / "fit.npz", fit.spec, fit.engine)
    assert eqx.tree_equal(loaded, fit)
    np.testing.assert_array_equal(loaded.predict()["y"], fit.predict()["y"])


def test_load_refuses_other_data_damage_and_pickles(tmp_path):
    fit, path = fit_of("linear"), tmp_path / "fit.npz"
    fit.save(path)
    with pytest.raises(ValueError, match="saved with another data"):
        Fit.load(path, fit.spec.with_data(X, y=Y + 1.0), fit.engine)
    other = ZOO["eight-schools"]
    with pytest.raises(ValueError, match="saved with another sites"):
        Fit.load(path, ModelSpec(other.model, *other.args), fit.engine)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"no result file, or its end is missing"):
        Fit.load(path, fit.spec, fit.engine)
    fit.save(path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"damaged"):
        Fit.load(path, fit.spec, fit.engine)
    (tmp_path / "fit.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(ValueError, match="pickles are refused"):
        Fit.load(tmp_path / "fit.pkl", fit.spec, fit.engine)
    with pytest.raises(FileNotFoundError, match="folder"):
        fit.save(tmp_path / "missing" / "fit.npz")


def test_an_engine_without_chains_cannot_resume():
    with pytest.raises(ValueError, match="no chain to resume"):
        fit_of("linear").resume(10)
