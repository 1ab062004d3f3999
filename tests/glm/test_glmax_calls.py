"""The calls of glmax's documentation, with our module under its name."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import numpyro_ext.glm as glmax

X = jnp.array([[1.0, 0.5], [1.0, -0.3], [1.0, 1.2], [1.0, -0.8], [1.0, 0.1]])
Y = jnp.array([2.0, 1.0, 4.0, 1.0, 3.0])


def test_the_four_verbs():
    fitted = glmax.fit(glmax.Poisson(), X, Y)
    pred = glmax.predict(fitted.family, fitted.params, X)
    np.testing.assert_allclose(pred, fitted.mu, rtol=1e-14)
    result = glmax.infer(fitted)
    for part in (result.params.beta, result.se, result.stat, result.p):
        assert part.shape == (2,)
    assert fitted.converged
    assert fitted.num_iters > 0
    assert fitted.eta.shape == fitted.mu.shape == (5,)
    diag = glmax.check(fitted)
    assert np.isfinite(diag.aic)
    gof = glmax.check(fitted, diagnostic=glmax.GoodnessOfFit())
    np.testing.assert_allclose(gof.aic, diag.aic)
    assert gof.df_resid == 3
    influence = glmax.check(fitted, diagnostic=glmax.Influence())
    np.testing.assert_allclose(jnp.sum(influence.leverage), 2.0, rtol=1e-10)
    assert influence.hat.shape == influence.cooks_d.shape == influence.dffits.shape
    for diagnostic in (
        glmax.PearsonResidual(), glmax.DevianceResidual(), glmax.QuantileResidual(),
    ):  # fmt: skip
        assert glmax.check(fitted, diagnostic=diagnostic).shape == (5,)


def test_families_links_and_fitters():
    yes = jnp.array([1.0, 1.0, 0.0, 0.0, 1.0])
    assert glmax.fit(glmax.Binomial(glmax.ProbitLink()), X, yes).converged
    assert glmax.fit(glmax.Gamma(), X, 1.0 / (2.0 + X[:, 1])).params.beta.shape == (2,)
    counts = glmax.fit(glmax.Binomial(n_trials=10), X, Y)
    np.testing.assert_allclose(counts.mu, 10.0 * jax.nn.sigmoid(counts.eta), rtol=1e-12)
    for fitter in (
        glmax.NewtonFitter(), glmax.IRLSFitter(tol=1e-6, max_iter=500),
    ):  # fmt: skip
        fitted = glmax.fit(glmax.Poisson(), X, Y, fitter=fitter)
        np.testing.assert_allclose(
            fitted.params.beta, glmax.fit(glmax.Poisson(), X, Y).params.beta, rtol=1e-4
        )


def test_robust_score_offset_and_warm_start():
    fitted = glmax.fit(glmax.Poisson(), X, Y, offset=jnp.log(Y + 1.0))
    result = glmax.infer(fitted, inferrer=glmax.ScoreTest(), stderr=glmax.HuberError())
    assert np.all((result.p > 0) & (result.p < 1))
    fitted = glmax.fit(glmax.Poisson(), X, Y)
    again = glmax.fit(glmax.Poisson(), X, Y, init=fitted.params)
    assert again.num_iters <= 2


def test_a_batch_and_a_bootstrap():
    key = jr.key(0)
    design = jnp.column_stack([jnp.ones(100), jr.normal(key, (100,))])
    ys = jr.normal(jr.fold_in(key, 1), (20, 100))
    fitted = eqx.filter_vmap(lambda y: glmax.fit(glmax.Gaussian(), design, y))(ys)
    assert fitted.params.beta.shape == (20, 2)
    assert fitted.converged.shape == (20,)
    expected = np.linalg.lstsq(design, ys.T, rcond=None)[0].T
    np.testing.assert_allclose(fitted.params.beta, expected, rtol=1e-10, atol=1e-12)


def test_gradients_of_fit_and_predict():
    def loss(y, x):
        fitted = glmax.fit(glmax.Poisson(), x, y)
        mu = glmax.predict(fitted.family, fitted.params, x)
        return -jnp.sum(Y * jnp.log(mu) - mu)

    g_y, g_x = jax.grad(loss, argnums=(0, 1))(Y, X)
    assert np.all(np.isfinite(g_y))
    assert g_x.shape == X.shape
    fitted = glmax.fit(glmax.Poisson(), X, Y)

    def total(beta):
        params = glmax.Params(beta=beta, disp=fitted.params.disp, aux=fitted.params.aux)
        return glmax.predict(fitted.family, params, X).sum()

    np.testing.assert_allclose(
        jax.grad(total)(fitted.params.beta), fitted.mu @ X, rtol=1e-12
    )

    @jax.jit
    def pipeline(x, y):
        fitted = glmax.fit(glmax.Poisson(), x, y)
        return glmax.predict(fitted.family, fitted.params, x)

    np.testing.assert_allclose(pipeline(X, Y), fitted.mu, rtol=1e-12)


def test_a_diagnostic_of_ones_own():
    class Raw(glmax.AbstractDiagnostic):
        def diagnose(self, fitted):
            return fitted.y - fitted.mu

    fitted = glmax.fit(glmax.Poisson(), X, Y)
    raw = glmax.check(fitted, diagnostic=Raw())
    np.testing.assert_allclose(jnp.sum(raw), 0.0, atol=1e-10)
