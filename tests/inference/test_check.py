"""Bad models and bad data are refused by name, with the cause and what to type."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from numpyro_ext._checks import InitializationError, check_key
from numpyro_ext.inference import ModelSpec

from .zoo import X, Y, improper, linear


def normal(y, x=0.0):
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(a + x, 1.0), obs=y)


def test_a_good_model_passes_with_a_row_for_each_site(key):
    report = ModelSpec(linear, X, y=Y).check(key)
    names = [site.name for site in report.sites]
    assert names == ["weights", "noise", "mean", "y"]
    assert "real vector" in repr(report)
    assert all(
        np.isfinite(s.log_prob) for s in report.sites if s.kind != "deterministic"
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_data_name_site_index_and_value(key, bad):
    y = Y.copy()
    y[7] = bad
    with pytest.raises(ValueError, match=rf"site `y`.*index 7 holds {bad}"):
        ModelSpec(normal, y).check(key)


def test_nan_in_a_covariate_names_argument_index_and_site(key):
    x = X[:, 0].copy()
    x[3] = np.nan
    with pytest.raises(
        InitializationError, match=r"`y` \(nan\).*argument `x` holds nan at index 3"
    ):
        ModelSpec(normal, Y, x).check(key)


def test_data_outside_the_support_name_the_first_value(key):
    def poisson(y):
        rate = numpyro.sample("rate", dist.Exponential(1.0))
        numpyro.sample("y", dist.Poisson(rate), obs=y)

    with pytest.raises(
        ValueError, match=r"site `y`.*Poisson.*nonnegative.*index 2 holds -1"
    ):
        ModelSpec(poisson, np.array([0, 3, -1, 2])).check(key)


def test_more_successes_than_trials_name_total_count(key):
    def binomial(y, trials):
        p = numpyro.sample("p", dist.Beta(1.0, 1.0))
        numpyro.sample("y", dist.Binomial(trials, p), obs=y)

    with pytest.raises(ValueError, match=r"site `y`.*total_count.*index 1 holds 9"):
        ModelSpec(binomial, np.array([1, 9]), np.array([5, 5])).check(key)


def test_masked_data_may_hold_anything(key):
    def masked(y, keep):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        with numpyro.handlers.mask(mask=keep):
            numpyro.sample("y", dist.Normal(a, 1.0), obs=jnp.where(keep, y, 0.0))

    y = Y.copy()
    y[4] = np.nan
    ModelSpec(masked, y, np.isfinite(y)).check(key)


def test_a_column_under_a_vector_is_refused():
    with pytest.raises(ValueError, match=r"`y`.*\(30, 1\).*\(30,\).*\(30, 30\).*ravel"):
        ModelSpec(linear, X, y=Y[:, None])


def test_lengths_that_differ_name_both_shapes():
    with pytest.raises(ValueError, match=r"`y` have shape \(29,\)") as caught:
        ModelSpec(linear, X, y=Y[:29])
    assert "X (30, 3), y (29,)" in "".join(caught.value.__notes__)


def test_forgotten_data_warn_and_then_fail_the_check(key):
    with pytest.warns(UserWarning, match=r"no observed site.*`y`.*obs="):
        spec = ModelSpec(linear, X)
    with pytest.raises(ValueError, match=r"no observed site.*observed=\(\)"):
        spec.check(key)
    ModelSpec(linear, X, observed=()).check(key)


def test_a_likelihood_may_be_a_factor(key):
    def by_factor(X, y=None):
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        if y is not None:
            residual = y - X @ slope
            numpyro.factor("likelihood", -0.5 * jnp.sum(residual**2))

    ModelSpec(by_factor, X, y=Y).check(key)
    with pytest.warns(UserWarning, match=r"no observed site"):
        ModelSpec(by_factor, X)


def test_declared_data_must_be_there():
    with pytest.raises(ValueError, match=r"`observed` names `y`.*latent"):
        ModelSpec(linear, X, observed="y")
    with pytest.raises(ValueError, match=r"`yy`.*did you mean `y`"):
        ModelSpec(linear, X, y=Y, observed=("yy",))


def test_a_real_prior_used_as_a_scale_names_both_sites(key):
    def model(y):
        sigma = numpyro.sample("sigma", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(0.0, sigma), obs=y)

    with pytest.raises(ValueError, match=r"`scale` of Normal at site `y`.*`sigma`"):
        ModelSpec(model, Y).check(key)


def discrete(y):
    k = numpyro.sample("k", dist.Poisson(3.0))
    numpyro.sample("y", dist.Normal(k, 1.0), obs=y)


def delta(y):
    a = numpyro.sample("a", dist.Delta(1.0))
    b = numpyro.sample("b", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(a + b, 1.0), obs=y)


def subsampled(y):
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", 30, subsample_size=5) as index:
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y[index])


def mutable(y):
    state = numpyro.primitives.mutable("state", {"mean": jnp.zeros(())})
    a = numpyro.sample("a", dist.Normal(state["mean"], 1.0))
    numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


def random_inside(y):
    noise = jax.random.normal(numpyro.prng_key())
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(a + noise, 1.0), obs=y)


def no_latent(y):
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)


def reserved(y):
    a = numpyro.sample("draw", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


def needs_values(y):
    a = numpyro.sample("a", dist.Normal(0.0, 1.0).expand([len(np.unique(y))]))
    numpyro.sample("y", dist.Normal(a[0], 1.0), obs=y)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (discrete, r"`k` \(Poisson\) is discrete.*marginalise.*DiscreteHMCGibbs"),
        (delta, r"`a` is a `Delta`.*deterministic"),
        (subsampled, r"plate `rows` is subsampled \(subsample_size=5 of 30\).*batch="),
        (mutable, r"mutable site `state`"),
        (random_inside, r"prng_key"),
        (no_latent, r"`no_latent` has no latent sample sites"),
        (reserved, r"`draw` has a reserved name"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_no_engine_can_run_is_refused_by_name(model, words):
    with pytest.raises(ValueError, match=words):
        ModelSpec(model, Y)


def test_a_model_that_needs_values_says_how_to_pass_them():
    with pytest.raises(jax.errors.TracerArrayConversionError) as caught:
        ModelSpec(needs_values, Y)
    assert "outside the model" in "".join(caught.value.__notes__)


def test_a_model_that_changes_its_sites_is_refused(key):
    calls = []

    def model(y):
        calls.append(1)
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        if len(calls) > 1:
            numpyro.sample("b", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    with pytest.raises(ValueError, match=r"\['b'\] appeared"):
        ModelSpec(model, Y).check(key)


def test_arguments_that_do_not_fit_show_the_signature():
    with pytest.raises(TypeError, match=r"`yy`|'yy'.*linear\(X, y=None\)"):
        ModelSpec(linear, X, yy=Y)
    with pytest.raises(ValueError, match=r"argument `X` has 0 rows"):
        ModelSpec(linear, X[:0], y=Y[:0])
    with pytest.raises(TypeError, match=r"argument `y` holds .* values"):
        ModelSpec(linear, X, y=np.array(["a"] * 30))


def test_positions_must_name_each_site():
    spec = ModelSpec(linear, X, y=Y)
    with pytest.raises(ValueError, match=r"lacks the sites \['noise'\]"):
        spec.log_density({"weights": jnp.zeros(3)})
    with pytest.raises(ValueError, match=r"`nois`.*did you mean `noise`"):
        spec.log_density({"weights": jnp.zeros(3), "nois": jnp.zeros(())})


def test_keys_and_counts_are_checked(key):
    spec = ModelSpec(linear, X, y=Y)
    with pytest.raises(TypeError, match=r"rng_key.*jax.random.key\(0\)"):
        check_key("NUTS.run", 0)
    with pytest.raises(ValueError, match=r"`ModelSpec.init\(n=0\)`"):
        spec.init(key, 0)


def test_an_improper_prior_has_no_prior_draws(key):
    spec = ModelSpec(improper, Y)
    with pytest.raises(ValueError, match=r"site `a` is improper"):
        spec.prior_predictive(key, 3)


def test_a_batch_must_reach_a_likelihood_and_no_latent_site():
    def local(x, y):
        with numpyro.plate("rows", x.shape[0]):
            b = numpyro.sample("b", dist.Normal(0.0, 1.0))
            numpyro.sample("y", dist.Normal(b * x, 1.0), obs=y)

    def fixed(x, y):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", 30):
            numpyro.sample("y", dist.Normal(a * x, 1.0), obs=y)

    x = X[:, 0]
    with pytest.raises(ValueError, match=r"latent site `b` has one value for each row"):
        ModelSpec(local, x, Y, batch=("x", "y"))
    with pytest.raises(ValueError, match="broadcast") as caught:
        ModelSpec(fixed, x, Y, batch=("x", "y"))
    assert "plate of a fixed size" in "".join(caught.value.__notes__)
    with pytest.raises(ValueError, match=r"`z` is no argument.*`y`"):
        ModelSpec(normal, Y, x, batch=("z",))
    with pytest.raises(ValueError, match=r"differ in their number of rows"):
        ModelSpec(normal, Y, x[:20][:1], batch=("y", "x"))
    with pytest.raises(ValueError, match=r"does not say which arguments hold rows"):
        ModelSpec(normal, Y).minibatch(jnp.arange(3))


# -- what is legal and seldom meant ------------------------------------------------


def test_constant_data_are_noticed(key):
    with pytest.warns(UserWarning, match=r"site `y` have zero variance: all 30"):
        ModelSpec(linear, X, y=np.ones(30)).check(key)


def test_one_row_is_noticed(key):
    with pytest.warns(UserWarning, match=r"site `y` has one value \(n=1\) for p="):
        ModelSpec(linear, X[:1], y=Y[:1]).check(key)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dependent_columns_are_named(key, dtype):
    doubled = np.column_stack([X[:, :2], X[:, 0] - 2.0 * X[:, 1]]).astype(dtype)
    with pytest.warns(UserWarning, match=r"`X` has rank 2 and 3 columns: `X\[:, 2\]`"):
        ModelSpec(linear, doubled, y=Y.astype(dtype)).check(key)


@pytest.mark.filterwarnings("error")
def test_nearly_dependent_columns_pass(key):
    close = np.column_stack([X[:, :2], X[:, 0] + 1e-6 * X[:, 2]])
    ModelSpec(linear, close, y=Y).check(key)


def flat_prior(y, *, uses_both):
    anywhere = dist.ImproperUniform(dist.constraints.real, (), ())
    a, b = numpyro.sample("a", anywhere), numpyro.sample("b", anywhere)
    total = a + b if uses_both == "sum" else a
    law = dist.Normal(total, jnp.exp(b) if uses_both == "scale" else 1.0)
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", law, obs=y)


@pytest.mark.parametrize(("uses_both", "named"), [("no", "`b`"), ("sum", "`a`, `b`")])
def test_an_improper_posterior_is_noticed(key, uses_both, named):
    spec = ModelSpec(flat_prior, Y, uses_both=uses_both)
    with pytest.warns(UserWarning, match=f"No proper posterior detected at {named}:"):
        spec.check(key)


@pytest.mark.filterwarnings("error")
def test_improper_priors_with_a_proper_posterior_pass(key):
    ModelSpec(flat_prior, Y, uses_both="scale").check(key)
