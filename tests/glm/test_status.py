"""Each way a fit can end: its code, its words, and what it leaves in the numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpyro_ext.glm as glm
from numpyro_ext import ConvergenceWarning
from numpyro_ext.glm import Status

from ..slow import slow_beside

RNG = np.random.default_rng(3)
N = 60
X = np.column_stack([np.ones(N), RNG.normal(size=N), RNG.normal(size=N)])
COUNTS = RNG.poisson(np.exp(X @ [0.5, 0.3, -0.2])).astype(float)
YES = (RNG.random(N) < 0.5).astype(float)
AMOUNTS = RNG.gamma(2.0, np.exp(X @ [0.5, 0.3, -0.2]))


def changed(values: np.ndarray, index: int | tuple, value: float) -> np.ndarray:
    values = values.copy()
    values[index] = value
    return values


INVALID = {
    "nan-in-y": (glm.Poisson(), X, changed(COUNTS, 7, np.nan), {}, r"`y\[7\]` is nan"),
    "nan-in-x": (glm.Poisson(), changed(X, (4, 1), np.nan), COUNTS, {},
                 r"`X\[4, 1\]` is nan"),
    "inf-in-x": (glm.Gaussian(), changed(X, (4, 1), np.inf), COUNTS, {},
                 r"`X\[4, 1\]` is inf"),
    "negative-count": (glm.Poisson(), X, changed(COUNTS, 9, -1.0), {},
                       r"`y\[9\]` is -1, and Poisson takes"),
    "negative-count-nb": (glm.NegativeBinomial(), X, changed(COUNTS, 9, -1.0), {},
                          r"`y\[9\]` is -1, and NegativeBinomial takes"),
    "two-in-bernoulli": (glm.Bernoulli(), X, changed(YES, 3, 2.0), {},
                         r"`y\[3\]` is 2, and Bernoulli takes between 0 and 1"),
    "zero-in-gamma": (glm.Gamma("log"), X, changed(AMOUNTS, 5, 0.0), {},
                      r"`y\[5\]` is 0, and Gamma takes positive"),
    "one-in-beta": (glm.Beta(), X, changed(0.5 * YES + 0.1, 5, 1.0), {},
                    r"`y\[5\]` is 1, and Beta takes"),
    "more-than-trials": (glm.Binomial(), X, changed(YES, 2, 8.0), {"trials": 5.0},
                         r"`y\[2\]` is 8, and Binomial takes"),
    "no-such-category": (glm.Ordered(2), X[:, 1:], changed(YES, 2, 2.0), {},
                         r"`y\[2\]` is 2"),
    "nan-offset": (glm.Poisson(), X, COUNTS, {"offset": np.full(N, np.nan)},
                   r"`offset\[0\]` is nan \(60 such values\)"),
    "negative-weight": (glm.Poisson(), X, COUNTS,
                        {"freq_weights": changed(np.ones(N), 6, -1.0)},
                        r"`freq_weights\[6\]` is -1"),
    "no-weight": (glm.Poisson(), X, COUNTS, {"freq_weights": 0.0}, "all weights"),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", slow_beside(INVALID.keys() - {"one-in-beta", "negative-count-nb"}, INVALID)
)
def test_invalid_data(name):
    family, design, y, options, words = INVALID[name]
    with pytest.warns(ConvergenceWarning, match=words):
        fitted = glm.fit(family, design, y, **options)
    assert fitted.status == Status.INVALID_DATA
    assert not fitted.converged
    assert np.all(np.isnan(fitted.params.beta))
    with pytest.raises(ValueError, match=words) as caught:
        glm.fit(family, design, y, **options, strict=True)
    assert "\n" not in str(caught.value)


def test_rank_deficient():
    design = np.column_stack([X, X[:, 1] - 2.0 * X[:, 2]])
    words = r"rank 3, with n = 60 and p = 4; dependent: `x1`, `x2`, `x3`"
    with pytest.warns(ConvergenceWarning, match=words):
        fitted = glm.fit(glm.Gaussian(), design, AMOUNTS)
    assert fitted.status == Status.RANK_DEFICIENT
    assert fitted.rank == 3
    least_norm = np.linalg.pinv(design) @ AMOUNTS
    np.testing.assert_allclose(fitted.params.beta, least_norm, rtol=1e-9)
    full = glm.fit(glm.Gaussian(), X, AMOUNTS)
    np.testing.assert_allclose(fitted.mu, full.mu, rtol=1e-10)
    np.testing.assert_allclose(fitted.params.disp, full.params.disp, rtol=1e-10)
    se = glm.infer(fitted).se
    np.testing.assert_allclose(se[0], glm.infer(full).se[0], rtol=1e-9)
    assert np.all(np.isnan(se[1:]))
    with pytest.raises(ValueError, match="`a`, `b`"):
        glm.fit(glm.Gaussian(), X[:, [1, 1]], AMOUNTS, names=["a", "b"], strict=True)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_a_column_is_no_matter(scale):
    design = X * [1.0, scale, 1.0]
    fitted = glm.fit(glm.Poisson(), design, COUNTS)
    plain = glm.fit(glm.Poisson(), X, COUNTS)
    assert fitted.converged
    np.testing.assert_allclose(
        fitted.params.beta * np.array([1.0, scale, 1.0]), plain.params.beta, rtol=1e-9
    )


def test_more_columns_than_rows():
    design = RNG.normal(size=(5, 8))
    with pytest.warns(ConvergenceWarning, match="n = 5 and p = 8"):
        fitted = glm.fit(glm.Gaussian(), design, COUNTS[:5])
    assert fitted.status == Status.RANK_DEFICIENT
    np.testing.assert_allclose(
        fitted.params.beta, np.linalg.pinv(design) @ COUNTS[:5], rtol=1e-8
    )


def test_no_degree_of_freedom_is_left():
    with pytest.warns(ConvergenceWarning, match="No residual degree of freedom"):
        fitted = glm.fit(glm.Gaussian(), X[:3], AMOUNTS[:3])
    assert fitted.status == Status.BOUNDARY


LINKS = ("logit", "probit", "cloglog", "loglog", "cauchit")


@pytest.mark.parametrize("link", slow_beside(("logit",), LINKS))
@pytest.mark.parametrize("kind", ["complete", "quasi", "all-zero"])
def test_separation(link, kind):
    y = (X[:, 1] > 0.2).astype(float)
    design = X
    if kind == "quasi":
        group = (np.arange(N) < 10).astype(float)
        y = np.where(group == 1, 1.0, YES)
        design = np.column_stack([X, group])
    if kind == "all-zero":
        y = np.zeros(N)
    with pytest.warns(ConvergenceWarning, match="separated"):
        fitted = glm.fit(glm.Bernoulli(link), design, y)
    assert fitted.status == Status.SEPARATED
    with pytest.raises(ArithmeticError, match="separated"):
        glm.fit(glm.Bernoulli(link), design, y, strict=True)
    assert glm.fit(glm.Bernoulli(link), design, y, l2=1.0).converged


@pytest.mark.parametrize("family", [glm.Poisson(), glm.NegativeBinomial()])
def test_counts_that_are_all_zero(family):
    with pytest.warns(ConvergenceWarning, match="BOUNDARY"):
        fitted = glm.fit(family, X, np.zeros(N))
    assert fitted.status == Status.BOUNDARY


def test_a_group_of_zero_counts():
    group = (np.arange(N) < 10).astype(float)
    with pytest.warns(ConvergenceWarning, match="counts are all zero"):
        fitted = glm.fit(
            glm.Poisson(), np.column_stack([X, group]), np.where(group, 0.0, COUNTS)
        )
    assert fitted.status == Status.BOUNDARY


def test_a_leverage_point_far_out_is_no_separation():
    design = changed(X, (0, 1), 300.0)
    y = changed(YES, 0, 1.0)
    fitted = glm.fit(glm.Bernoulli(), design, y)
    assert fitted.converged


def test_counts_without_overdispersion_end_at_poisson():
    y = np.arange(N) % 3
    with pytest.warns(ConvergenceWarning, match="`alpha` = "):
        fitted = glm.fit(glm.NegativeBinomial(), X, y)
    assert fitted.status == Status.BOUNDARY
    poisson = glm.fit(glm.Poisson(), X, y)
    np.testing.assert_allclose(fitted.params.beta, poisson.params.beta, rtol=1e-6)
    np.testing.assert_allclose(
        fitted.log_likelihood, poisson.log_likelihood, rtol=1e-10
    )
    np.testing.assert_allclose(glm.infer(fitted).se, glm.infer(poisson).se, rtol=1e-6)


def test_too_few_iterations():
    with pytest.warns(ConvergenceWarning, match="after 2"):
        fitted = glm.fit(glm.Poisson(), X, COUNTS, solver=glm.Newton(max_iter=2))
    assert fitted.status == Status.MAX_ITERATIONS


def test_a_link_whose_mean_leaves_the_domain():
    # Whatever the slope is, some mean is negative.
    with pytest.warns(ConvergenceWarning, match="NONFINITE.*choose a link"):
        fitted = glm.fit(glm.Gamma(), X[:, 1:2], AMOUNTS)
    assert fitted.status == Status.NONFINITE
    # A start outside of the domain is no matter where another one is inside.
    start = glm.Params(jnp.ones(1))
    inside = glm.fit(glm.Gamma(), -np.abs(X[:, 1:2]), AMOUNTS, init=start)
    assert inside.converged
    assert inside.params.beta < 0


def test_huge_counts():
    y = np.round(1e9 * np.exp(X @ [0.5, 0.3, -0.2]))
    fitted = glm.fit(glm.Poisson(), X, y)
    assert fitted.converged
    np.testing.assert_allclose(fitted.params.beta[1:], [0.3, -0.2], atol=1e-8)


BAD_ARGUMENTS = {
    "y-column": ((glm.Poisson(), X, COUNTS[:, None]), {}, r"y\[:, 0\]"),
    "lengths": ((glm.Poisson(), X, COUNTS[1:]), {}, r"\(60, 3\) and \(59,\)"),
    "vector-x": ((glm.Poisson(), X[:, 0], COUNTS), {}, r"\(60,\) and \(60,\)"),
    "empty": ((glm.Poisson(), X[:0], COUNTS[:0]), {}, "nothing to fit"),
    "offset": ((glm.Poisson(), X, COUNTS), {"offset": np.ones(3)}, r"shape \(3,\)"),
    "l2": ((glm.Poisson(), X, COUNTS), {"l2": np.ones(2)}, "3 columns"),
    "exposure": ((glm.Gaussian(), X, COUNTS), {"exposure": AMOUNTS}, "log link"),
    "trials": ((glm.Poisson(), X, COUNTS), {"trials": 3}, "Binomial"),
    "dispersion": ((glm.Poisson(), X, COUNTS), {"dispersion": "ml"}, "quasi"),
    "method": ((glm.Poisson(), X, COUNTS), {"dispersion": "person"}, "`pearson`"),
    "names": ((glm.Poisson(), X, COUNTS), {"names": ["a"]}, "1 names"),
}


@pytest.mark.parametrize("name", list(BAD_ARGUMENTS))
def test_wrong_arguments(name):
    args, options, words = BAD_ARGUMENTS[name]
    with pytest.raises(ValueError, match=words):
        glm.fit(*args, **options)


def test_a_link_that_the_family_has_not():
    with pytest.raises(ValueError, match=r"Poisson has no link Probit.*glm.Log\(\)"):
        glm.Poisson("probit")
    with pytest.raises(ValueError, match="Beta has no link Log"):
        glm.Beta("log")


def test_too_few_categories():
    with pytest.raises(ValueError, match=r"Categorical\(2\).*glm.Bernoulli\(\)"):
        glm.Categorical(2)
    with pytest.raises(ValueError, match="at least 3"):
        glm.Categorical(1)
    with pytest.raises(ValueError, match="at least 2"):
        glm.Ordered(1)


def test_coefficients_that_are_not_one_column_for_each_category():
    params = glm.Params(beta=np.ones(X.shape[1]))
    with pytest.raises(ValueError, match=r"eta.*shape \(..., 2\)"):
        glm.predict(glm.Categorical(3), params, X)


def test_words_in_place_of_numbers():
    with pytest.raises(TypeError, match="not numeric"):
        glm.fit(glm.Poisson(), X, np.array(["a"] * N))
    with pytest.raises(TypeError):
        glm.fit("poisson", X, COUNTS)


def test_a_bad_member_leaves_the_others_right():
    good = RNG.poisson(np.exp(X @ [0.5, 0.3, -0.2]), size=(2, N)).astype(float)
    designs = np.stack([X, X, X, np.column_stack([X[:, :2], X[:, 1]]), X])
    ys = np.stack([good[0], np.zeros(N), changed(good[0], 2, np.nan), good[0], good[1]])
    fitted = eqx.filter_vmap(lambda x, y: glm.fit(glm.Poisson(), x, y))(designs, ys)
    assert fitted.status.tolist() == [
        Status.CONVERGED, Status.BOUNDARY, Status.INVALID_DATA,
        Status.RANK_DEFICIENT, Status.CONVERGED,
    ]  # fmt: skip
    for i, y in ((0, good[0]), (4, good[1])):
        alone = glm.fit(glm.Poisson(), X, y)
        np.testing.assert_allclose(fitted.params.beta[i], alone.params.beta, rtol=1e-12)
    with pytest.warns(ConvergenceWarning):
        alone = glm.fit(glm.Poisson(), designs[3], good[0])
    np.testing.assert_allclose(fitted.params.beta[3], alone.params.beta, rtol=1e-9)
    assert "separated" not in fitted.message[0]
    with pytest.raises(ValueError, match="3 of 5 fits did not converge"):
        fitted.raise_for_status()


@pytest.mark.usefixtures("float32")
def test_float32():
    fitted = glm.fit(glm.Poisson(), X.astype(np.float32), COUNTS.astype(np.float32))
    assert fitted.params.beta.dtype == jnp.float32
    assert fitted.converged
    with jax.enable_x64(True):
        exact = glm.fit(glm.Poisson(), jnp.asarray(X), jnp.asarray(COUNTS))
    np.testing.assert_allclose(fitted.params.beta, exact.params.beta, rtol=2e-5)
    assert glm.infer(fitted).se.dtype == jnp.float32


def _ordered(n=200):
    rng = np.random.default_rng(8)
    design = rng.normal(size=(n, 2)) + 3.0
    latent = design @ [0.8, -0.5] + rng.logistic(size=n)
    return design, np.digitize(latent, [0.0, 1.5])


@pytest.mark.slow
def test_cutpoints_leave_no_room_for_an_intercept():
    design, y = _ordered()
    plain = glm.fit(glm.Ordered(3), design, y)
    constant = np.column_stack([design, np.full(len(y), 4.0)])
    words = "dependent: `x2`. The cutpoints take the place of an intercept"
    with pytest.warns(ConvergenceWarning, match=words):
        fitted = glm.fit(glm.Ordered(3), constant, y)
    assert fitted.status == Status.RANK_DEFICIENT
    np.testing.assert_allclose(fitted.params.beta, [*plain.beta, 0.0], atol=1e-10)
    np.testing.assert_allclose(fitted.params.aux, plain.params.aux, rtol=1e-9)
    found, known = glm.infer(fitted), glm.infer(plain)
    np.testing.assert_allclose(found.se[:2], known.se, rtol=1e-8)
    assert np.isnan(found.se[2])
    assert np.all(np.isnan(found.aux_se["cutpoints"]))
    # Columns with a constant sum are an intercept in disguise.
    share = np.column_stack([design[:, 0], 1.0 - design[:, 0]])
    with pytest.warns(ConvergenceWarning, match="dependent: `x0`, `x1`"):
        glm.fit(glm.Ordered(3), share, y)
    # A penalty decides.
    ridge = glm.fit(glm.Ordered(3), constant, y, l2=np.array([0.0, 0.0, 1.0]))
    assert ridge.converged
    np.testing.assert_allclose(ridge.beta, [*plain.beta, 0.0], atol=1e-8)


@pytest.mark.slow
def test_cutpoints_follow_a_column_far_from_zero():
    design, y = _ordered()
    plain = glm.fit(glm.Ordered(3), design, y)
    fitted = glm.fit(glm.Ordered(3), design + [2000.0, 0.0], y)
    assert fitted.converged
    np.testing.assert_allclose(fitted.beta, plain.beta, rtol=1e-7)
    shifted = plain.params.aux + 2000.0 * plain.beta[0]
    np.testing.assert_allclose(fitted.params.aux, shifted, rtol=1e-7)
