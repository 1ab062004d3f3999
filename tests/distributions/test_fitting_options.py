"""What can be asked of a fit, and what it says of itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from scipy.optimize import minimize

from numpyro_ext import distributions as distx
from numpyro_ext.distributions import FitStatus

NIG, PANEL = distx.NormalInverseGaussian, distx.MultivariateNormalInverseGaussian
GIG, IG = distx.GeneralizedInverseGaussian, distx.InverseGaussian
X = st.norminvgauss(1.2, 0.5).rvs(800, random_state=3)


def rows(n=600, d=3, seed=4):
    rng = np.random.default_rng(seed)
    w = rng.wald(1.0, 1.0, n)[:, None]
    return 0.2 * w + np.sqrt(w) * (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "fix",
    [
        {"skew": 0.3},
        {"scale": 1.0},
        {"scale": 1.2, "skew": 0.3},
        {"a": 2.0, "skew": 0.3},
    ],
    ids=["skew", "scale", "scale-skew", "a-skew"],
)
def test_a_skew_and_a_scale_are_held_at_unit_mean(fix):
    fit = NIG.fit(X, fix=fix)
    for name, value in fix.items():
        assert float(getattr(fit.law, name)) == pytest.approx(value, rel=1e-12)
    if "a" not in fix:
        assert float(fit.law.mixing_law().mean) == pytest.approx(1.0, rel=1e-10)

    def loss(v):
        scale, skew = fix.get("scale", jnp.exp(v[2])), fix.get("skew", v[3])
        if "a" in fix:
            law = NIG(fix["a"], jnp.exp(v[0]), v[1], scale, skew)
        else:
            law = NIG.from_alpha_bar(jnp.exp(v[0]), v[1], scale, skew)
        return -law.log_prob(X).sum()

    both = jax.jit(jax.value_and_grad(loss))
    found = minimize(both, [0.0, 0.1, 0.0, 0.3], jac=True, method="BFGS")
    assert fit.log_likelihood == pytest.approx(-found.fun, abs=1e-5)
    # Without `a` its place is taken by E[w] = 1.
    assert fit.num_parameters == 4 - len(fix) + ("a" in fix)


@pytest.mark.slow
def test_a_scale_matrix_can_be_held():
    x = rows(d=2)
    free = PANEL.fit(x)
    held = PANEL.fit(x, fix={"scale_tril": free.law.scale_tril})
    assert held.log_likelihood == pytest.approx(free.log_likelihood, abs=1e-5)
    assert held.num_parameters == free.num_parameters - 3
    np.testing.assert_allclose(held.law.scale_tril, free.law.scale_tril, rtol=1e-12)
    assert "scale_tril" not in held.standard_errors
    # What is known costs no certainty elsewhere.
    assert held.standard_errors["alpha_bar"] < free.standard_errors["alpha_bar"]


@pytest.mark.parametrize(
    ("law", "options", "words"),
    [
        (NIG, {"fix": {"scale": -1.0}}, "positive"),
        (NIG, {"fix": {"scale_tril": np.eye(2)}}, "cannot be fixed"),
        (PANEL, {"fix": {"scale_tril": np.ones((2, 2))}}, "np.linalg.cholesky"),
        (PANEL, {"fix": {"scale_tril": np.eye(2)}}, r"shape \(2, 2\) for d = 3"),
        (PANEL, {"fix": {"scale_tril": np.eye(3)}, "factors": 1}, "factors"),
        (NIG, {"fix": {"skew": 1.0}, "algorithm": "em"}, "ecme"),
        (NIG, {"fix": {"a": 1.0}, "identification": "det"}, "identification"),
        (NIG, {"parameter_tol": 0.0}, "parameter_tol"),
    ],
)
def test_what_cannot_be_asked_for(law, options, words):
    with pytest.raises(ValueError, match=words):
        law.fit(X if law is NIG else rows(), **options)


@pytest.mark.slow
def test_a_scale_of_determinant_one_is_the_same_law():
    x = rows()
    one, other = PANEL.fit(x), PANEL.fit(x, identification="det")
    tril = np.asarray(other.law.scale_tril)
    assert np.prod(np.diag(tril)) == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(one.law.log_prob(x), other.law.log_prob(x), rtol=1e-10)
    assert one.log_likelihood == other.log_likelihood


@pytest.mark.slow
def test_progress_is_printed_and_changes_nothing(capsys):
    options = {"algorithm": "em", "acceleration": "none"}
    quiet = NIG.fit(X, **options)
    assert capsys.readouterr().out == ""
    loud = NIG.fit(X, **options, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert loud.num_iterations == quiet.num_iterations
    assert loud.log_likelihood == pytest.approx(quiet.log_likelihood, abs=1e-9)
    assert len(lines) == -(-quiet.num_iterations // 10)
    assert f"{quiet.num_iterations} iterations" in lines[-1]
    printed = float(lines[-1].split("log likelihood ")[1].split()[0])
    assert printed == pytest.approx(quiet.log_likelihood / len(X), abs=1e-8)


@pytest.mark.slow
def test_a_tolerance_on_parameters_goes_on_for_longer():
    loose = NIG.fit(X, tol=1e-2, algorithm="em")
    tight = NIG.fit(X, tol=1e-2, algorithm="em", parameter_tol=1e-6)
    best = NIG.fit(X)
    assert loose.num_iterations < tight.num_iterations
    np.testing.assert_allclose(tight.law.scale, best.law.scale, atol=1e-3)


def test_rounding_is_the_least_tolerance():
    fit = NIG.fit(X, tol=1e-30)
    assert fit.status == FitStatus.CONVERGED
    assert fit.num_iterations <= 12


def test_the_information_has_everything_else_profiled_out():
    fit = NIG.fit(X)
    estimate = float(fit.summary().loc["alpha_bar", "estimate"])
    # Of log alpha_bar, by the whole Hessian.
    expected = (estimate / float(fit.standard_errors["alpha_bar"])) ** 2
    assert fit.information[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_factors_have_standard_errors():
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(4, 1))
    w = np.sqrt(rng.wald(1.0, 1.0, 1500))[:, None]
    x = w * (rng.normal(size=(1500, 1)) @ loadings.T + 0.7 * rng.normal(size=(1500, 4)))
    fit = PANEL.fit(x, factors=1)
    errors = fit.standard_errors
    true = {"cov_factor": np.abs(loadings), "cov_diag": np.full(4, 0.49)}
    for name, value in true.items():
        found = np.abs(np.asarray(getattr(fit.law, name)))
        assert (np.abs(found - value) < 4.0 * errors[name]).all()
    # One factor of four columns has less freedom than ten entries of a scale.
    full = PANEL.fit(x)
    assert (errors["loc"] < 1.1 * full.standard_errors["loc"]).all()
    assert fit.num_parameters == full.num_parameters - 2
    gap = full.log_likelihood - fit.log_likelihood
    # The likelihood-ratio statistic has two degrees of freedom.
    assert 0.0 <= 2.0 * gap < st.chi2(2).ppf(0.9999)


@pytest.mark.slow
def test_positive_laws_can_hold_parameters(key):
    x = 1e3 * np.asarray(GIG(1.5, 1.0, 2.0).sample(key, (400,)))
    for fix in ({"p": 0.5}, {"p": 1.0, "a": 1e-3}):
        fit = GIG.fit(x, fix=fix)

        def loss(v, fix=fix):
            return (
                -GIG(fix["p"], fix.get("a", jnp.exp(v[0])), jnp.exp(v[1]))
                .log_prob(x)
                .mean()
            )

        both = jax.jit(jax.value_and_grad(loss))
        found = minimize(both, [-7.0, 7.0], jac=True, method="BFGS")
        assert fit.log_likelihood / 400 == pytest.approx(-found.fun, abs=1e-8)
        assert float(fit.law.p) == fix["p"]
        assert set(fit.standard_errors) == {"p", "a", "b"} - fix.keys()
    fit = IG.fit(x, fix={"loc": 2000.0})
    values = x / 2000.0
    shape = 2000.0 / np.mean((values - 1.0) ** 2 / values)
    assert float(fit.law.concentration) == pytest.approx(shape, rel=1e-10)
    assert float(IG.fit(x, fix={"concentration": 9.0}).law.loc) == pytest.approx(
        x.mean()
    )
    with pytest.raises(ValueError, match="cannot be fixed"):
        IG.fit(x, fix={"p": 1.0})


def ledoit_wolf_by_rows(x):
    """The intensity towards m I, with its sums written out."""
    n, d = x.shape
    x = x - x.mean(0)
    sample = sum(np.outer(r, r) for r in x) / n
    m = np.trace(sample) / d
    far = np.sum((sample - m * np.eye(d)) ** 2)
    noise = sum(np.sum((np.outer(r, r) - sample) ** 2) for r in x) / n**2
    return min(noise, far) / far


def test_the_shrinkage_of_ledoit_and_wolf():
    # Light tails, so that the mixing law stays away from its edges.
    x = np.random.default_rng(1).standard_t(8, size=(80, 4)) @ np.diag(
        [1.0, 2.0, 1.5, 1]
    )
    intensity = ledoit_wolf_by_rows(x)
    assert 0.02 < intensity < 0.9
    options = {"target": "identity", "symmetric": True}
    one = PANEL.fit(x, shrinkage="ledoit-wolf", **options)
    other = PANEL.fit(x, shrinkage=intensity, **options)
    np.testing.assert_allclose(one.law.scale_tril, other.law.scale_tril, rtol=1e-6)


@pytest.mark.slow
def test_shrinkage_ends_at_the_target_that_is_given():
    x, target = rows(), np.diag([1.0, 2.0, 3.0])
    law = PANEL.fit(x, shrinkage=0.999, target=target).law
    np.testing.assert_allclose(law.scale_tril @ law.scale_tril.T, target, atol=0.05)
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(3, 3\)"):
        PANEL.fit(x, shrinkage=0.5, target=np.eye(2))
