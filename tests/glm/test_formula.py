"""Formulas: the design they mean, what they refuse, and new data."""

import sys

import jax
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

from numpyro_ext import glm


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    n = 120
    table = pd.DataFrame({
        "x": rng.normal(size=n),
        "z": rng.uniform(1.0, 2.0, n),
        "g": rng.choice(["a", "b", "c"], n),
        "k": rng.integers(1, 4, n),
        "is_new": rng.random(n) < 0.4,
        "area in ha": rng.uniform(1.0, 5.0, n),
        "log": rng.normal(size=n),
        "hours": rng.uniform(0.5, 2.0, n),
    })  # fmt: skip
    eta = 0.3 * table.x + 0.5 * (table.g == "b")
    table["y"] = rng.poisson(np.exp(eta) * table.hours).astype(float)
    return table


def columns(data):
    """Closed forms of the columns that terms mean, from the definition of each."""
    x, z, k = (data[name].to_numpy(float) for name in ("x", "z", "k"))
    one = np.ones(len(data))
    a, b, c = (np.asarray(data.g == level, float) for level in "abc")
    return {
        "y ~ x": {"Intercept": one, "x": x},
        "y ~ 1": {"Intercept": one},
        "y ~ x - 1": {"x": x},
        "y ~ -1 + x + z": {"x": x, "z": z},
        "y ~ 0 + C(g)": {"C(g)[a]": a, "C(g)[b]": b, "C(g)[c]": c},
        "y ~ g": {"Intercept": one, "g[T.b]": b, "g[T.c]": c},
        "y ~ C(k)": {"Intercept": one, "C(k)[T.2]": k == 2, "C(k)[T.3]": k == 3},
        "y ~ C(g, contr.treatment('b'))": {
            "Intercept": one,
            "C(g, contr.treatment('b'))[T.a]": a,
            "C(g, contr.treatment('b'))[T.c]": c,
        },
        "y ~ C(g, Treatment(reference='c'))": {
            "Intercept": one,
            "C(g, Treatment(reference='c'))[T.a]": a,
            "C(g, Treatment(reference='c'))[T.b]": b,
        },
        "y ~ C(g, Sum)": {
            "Intercept": one,
            "C(g, Sum)[S.a]": a - c,
            "C(g, Sum)[S.b]": b - c,
        },
        "y ~ C(g, levels=['c', 'b', 'a'])": {
            "Intercept": one,
            "C(g, levels=['c', 'b', 'a'])[T.b]": b,
            "C(g, levels=['c', 'b', 'a'])[T.a]": a,
        },
        "y ~ x*z": {"Intercept": one, "x": x, "z": z, "x:z": x * z},
        "y ~ (x + z)**2": {"Intercept": one, "x": x, "z": z, "x:z": x * z},
        "y ~ x*z - x:z": {"Intercept": one, "x": x, "z": z},
        "y ~ g:x": {
            "Intercept": one,
            "g[a]:x": a * x,
            "g[b]:x": b * x,
            "g[c]:x": c * x,
        },
        "y ~ x / is_new": {
            "Intercept": one,
            "x": x,
            "x:is_new": x * data.is_new.to_numpy(float),
        },
        "y ~ I(x**2 - 2*z) + I(-x / z)": {
            "Intercept": one,
            "I(x ** 2 - 2 * z)": x**2 - 2 * z,
            "I(-x / z)": -x / z,
        },
        "y ~ I(k**60)": {"Intercept": one, "I(k ** 60)": k**60.0},
        "y ~ log(z) + log1p(z) + sqrt(z)": {
            "Intercept": one,
            "log(z)": np.log(z),
            "log1p(z)": np.log1p(z),
            "sqrt(z)": np.sqrt(z),
        },
        "y ~ exp(x) + abs(x) + log2(z) + log10(x**2)": {
            "Intercept": one,
            "exp(x)": np.exp(x),
            "abs(x)": np.abs(x),
            "log2(z)": np.log2(z),
            "log10(x ** 2)": np.log10(x**2),
        },
        "y ~ center(x) + scale(z) + standardize(k)": {
            "Intercept": one,
            "center(x)": x - x.mean(),
            "scale(z)": (z - z.mean()) / z.std(ddof=1),
            "standardize(k)": (k - k.mean()) / k.std(),
        },
        "y ~ poly(x, 2, raw=True)": {
            "Intercept": one,
            "poly(x, 2, raw=True)[0]": x,
            "poly(x, 2, raw=True)[1]": x**2,
        },
        "y ~ `area in ha` + log(`area in ha`)": {
            "Intercept": one,
            "area in ha": data["area in ha"],
            "log(area in ha)": np.log(data["area in ha"]),
        },
        "y ~ log + log(exp(log) + 1)": {
            "Intercept": one,
            "log": data["log"],
            "log(exp(log) + 1)": np.log1p(np.exp(data["log"])),
        },
    }


FORMULAS = list(columns(pd.DataFrame({
    name: [1.0, 2.0] for name in ("x", "z", "k", "g", "is_new", "area in ha", "log")
})))  # fmt: skip


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_means_its_columns(formula, data):
    expected = columns(data)[formula]
    fitted = glm.fit(formula, data, glm.Gaussian())
    assert fitted.names == tuple(expected)
    for j, column in enumerate(expected.values()):
        np.testing.assert_allclose(fitted.X[:, j], column, rtol=1e-12, atol=1e-13)


def test_bases_span_what_they_should(data):
    x = data.x.to_numpy()
    fitted = glm.fit("y ~ poly(x, 3)", data, glm.Gaussian())
    basis = np.asarray(fitted.X)[:, 1:]
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-12)
    rest = np.linalg.lstsq(np.vander(x, 4), basis, rcond=None)[1]
    np.testing.assert_allclose(rest, 0.0, atol=1e-12)
    # B-splines sum to one, and with the intercept hold every cubic.
    spline = glm.fit("y ~ bs(x, df=5)", data, glm.Gaussian())
    assert spline.X.shape[1] == 6
    rest = np.linalg.lstsq(spline.X, np.vander(x, 4), rcond=None)[1]
    np.testing.assert_allclose(rest / np.sum(np.vander(x, 4) ** 2, 0), 0.0, atol=1e-12)


def test_splines_beside_an_intercept(data):
    natural = "y ~ cr(x, df=4, constraints='center')"
    fitted = glm.fit(natural, data, glm.Gaussian())
    assert bool(fitted.converged)
    assert fitted.names[1] == "cr(x, df=4, constraints='center')[1]"
    # A natural spline holds every line.
    line = np.column_stack([np.ones(len(data)), data.x])
    rest = np.linalg.lstsq(fitted.X, line, rcond=None)[1]
    np.testing.assert_allclose(rest, 0.0, atol=1e-10)


def test_the_fit_is_that_of_statsmodels(data):
    formula = "y ~ x * C(g) + z"
    ours = glm.fit(formula, data, glm.Poisson(), exposure="hours")
    theirs = smf.glm(
        formula, data, family=sm.families.Poisson(), exposure=data.hours
    ).fit(tol=1e-14)
    named = theirs.params.rename(lambda name: str(name))
    assert set(ours.names) == set(named.index)
    np.testing.assert_allclose(ours.beta, named[list(ours.names)], rtol=1e-8)
    table = ours.summary().to_pandas()
    np.testing.assert_allclose(table["coef"][named.index], named, rtol=1e-8)
    np.testing.assert_allclose(table["std err"][named.index], theirs.bse, rtol=1e-6)
    text = str(ours.summary())
    assert "x:C(g)[T.b]" in text
    assert f"Formula: {formula}" in text


def test_new_data_are_coded_as_the_old(data):
    formula = "y ~ center(x) * g + poly(z, 2) + C(k)"
    fitted = glm.fit(formula, data, glm.Poisson())
    theirs = smf.glm(
        "y ~ x * g + z + I(z**2) + C(k)", data, family=sm.families.Poisson()
    ).fit(tol=1e-14)
    # One row, with columns in another order: levels and centres are those of the fit.
    new = data.iloc[[7]][["k", "g", "z", "x"]]
    expected = theirs.predict(new)
    np.testing.assert_allclose(glm.predict(fitted, new), expected, rtol=1e-7)
    again = glm.predict(fitted, data.drop(columns="y"))
    np.testing.assert_allclose(again, fitted.mu, rtol=1e-10)
    low = glm.predict(fitted, new, kind="interval").low
    assert float(low[0]) < float(expected.iloc[0])


def test_options_may_be_names_of_columns(data):
    by_name = glm.fit(
        "y ~ x", data, glm.Poisson(), offset="z", exposure="hours", freq_weights="k"
    )
    by_value = glm.fit(
        "y ~ x",
        data,
        glm.Poisson(),
        offset=data.z,
        exposure=data.hours,
        freq_weights=data.k,
    )
    np.testing.assert_array_equal(by_name.beta, by_value.beta)
    new = data.iloc[:3]
    named = glm.predict(by_name, new, offset="z", exposure="hours")
    given = glm.predict(by_name, new, offset=new.z, exposure=new.hours)
    np.testing.assert_array_equal(named, given)
    with pytest.raises(ValueError, match="no column `minutes`"):
        glm.fit("y ~ x", data, glm.Poisson(), exposure="minutes")


def test_keywords_and_dictionaries(data):
    positional = glm.fit("y ~ x", data, glm.Poisson())
    named = glm.fit(formula="y ~ x", data=data, family=glm.Poisson())
    mixed = glm.fit("y ~ x", data=dict(data[["x", "y"]]), family=glm.Poisson())
    np.testing.assert_array_equal(positional.beta, named.beta)
    np.testing.assert_array_equal(positional.beta, mixed.beta)


def test_a_transformed_response(data):
    fitted = glm.fit("log(y + 1) ~ x", data, glm.Gaussian())
    np.testing.assert_allclose(fitted.y, np.log(data.y + 1))
    assert fitted.design.response == "log(y + 1)"


def test_ordered_categories_get_no_intercept(data):
    table = data.assign(y=np.minimum(data.y, 2))
    fitted = glm.fit("y ~ x + C(g)", table, glm.Ordered(3))
    assert fitted.names == ("x", "C(g)[T.b]", "C(g)[T.c]")
    assert bool(fitted.converged)
    assert glm.predict(fitted, table.iloc[:2]).shape == (2,)


def test_levels_that_do_not_occur_are_left_out(data):
    every = pd.Categorical(data.g, categories=["z", "c", "b", "a"])
    fitted = glm.fit("y ~ g", data.assign(g=every), glm.Poisson())
    assert fitted.names == ("Intercept", "g[T.b]", "g[T.a]")
    assert bool(fitted.converged)


def test_fits_of_formulas_share_compiled_verbs(data):
    from numpyro_ext.glm._infer import _infer

    glm.infer(glm.fit("y ~ x", data, glm.Poisson()))
    count = _infer._cache_size()
    glm.infer(glm.fit("y ~ center(z)", data, glm.Poisson()))
    assert _infer._cache_size() == count


def test_a_table_of_names_is_read_by_name(data):
    fitted = glm.fit(glm.Poisson(), data[["x", "z"]], data.y)
    np.testing.assert_allclose(glm.predict(fitted, data[["z", "x"]]), fitted.mu)
    with pytest.raises(ValueError, match="no column `z`"):
        glm.predict(fitted, data[["x", "k"]])


# -- what is refused ------------------------------------------------------------------

HOSTILE = {
    'y ~ I(x*0 + __import__("os").getpid())': "__import__",
    "y ~ __import__('os').system('true')": "__import__",
    "y ~ x.__class__": "x.__class__",
    "y ~ x.mean()": "x.mean",
    "y ~ np.log(x)": "np.log",
    "y ~ C(g).__class__": "C(g).__class__",
    "y ~ x[0]": "x[0]",
    "y ~ x[(lambda: 0)()]": "lambda",
    "y ~ lambda: x": "lambda",
    "y ~ [i for i in x]": "for",
    "y ~ (i for i in x)": "for",
    "y ~ x if z else k": "if",
    "y ~ not x": "not",
    "y ~ await x": "await",
    "y ~ x and z": "and",
    "y ~ eval('1')": "eval",
    "y ~ exec('1')": "exec",
    "y ~ open('secret')": "open",
    "y ~ getattr(x, 'y')": "getattr",
    "y ~ __builtins__": "__builtins__",
    "y ~ globals()": "globals",
    "y ~ Q('x')": "Q",
    "y ~ hashed(g)": "hashed",
    "y ~ lag(x)": "lag",
    "y ~ {x}": "{",
    "y ~ {__import__('os')}": "{",
    "y ~ x | z": "|",
    "y ~ x @ z": "@",
    "y ~ x; z": ";",
    "y ~ x % z": "%",
    "y ~ x ^ z": "^",
    "y ~ x & z": "&",
    "y ~ x < z": "<",
    "y ~ x == z": "x == z",
    "y ~ x // z": "x // z",
    "y ~ \\x": "\\",
    "y ~ 'x'": "'x'",
    "y ~ f'{x}'": "f'{x}'",
    "y ~ b'x'": "b'x'",
    "y ~ 'a\\'": "'",
    "y ~ True": "True",
    "y ~ log(x, out=z)": "out",
    "y ~ log(x, z)": "log(x, z)",
    "y ~ log(*x)": "*x",
    "y ~ log(**x)": "log(**x)",
    "y ~ log()": "log()",
    "y ~ log(C(g))": "C",
    "y ~ log(bs(x))": "bs",
    "y ~ poly(x, z)": "z",
    "y ~ poly(x, degree=open('f'))": "open",
    "y ~ bs(x, df=99999999)": "99999999",
    "y ~ bs(x, extrapolation='clip')": "extrapolation",
    "y ~ C(x + z)": "C(x + z)",
    "y ~ C(__import__('os'))": "__import__",
    "y ~ C(g, levels=open('x'))": "open",
    "y ~ C(g, levels='abc')": "levels",
    "y ~ C(g, contr.custom([[1]]))": "contr.custom",
    "y ~ C(g, contr.__class__)": "contr.__class__",
    "y ~ C(g, contr.treatment(x=1))": "x",
    "y ~ C(g, spans_intercept=False)": "spans_intercept",
    "y ~ C(g, levels=['a', 'b', 'c']) + C(g, levels=['c', 'b', 'a'])": "`g`",
    "y ~ 2*x": "2",
    "y ~ x + 5": "5",
    "y ~ I(3)": "I(3)",
    "y ~ I(9**9**9**9)": "9 ** 9",
    "y ~ (x + z)**99": "99",
    "y ~ x**z": "z",
    "y ~ I(x : z)": ":",
    "y ~ " + "*".join(["x", "z", "k", "g", "log", "hours"] * 3): "terms",
    "log(y, out=x) ~ z": "out",
    "__import__('os') ~ x": "__import__",
}


@pytest.mark.parametrize("formula", list(HOSTILE))
def test_code_is_refused_by_name(formula, data, monkeypatch):
    import formulaic

    def unreachable(*args, **kwargs):
        raise AssertionError("the formula reached formulaic")

    monkeypatch.setattr(formulaic, "model_matrix", unreachable)
    with pytest.raises(glm.UnsafeFormulaError) as caught:
        glm.fit(formula, data, glm.Poisson())
    assert HOSTILE[formula] in str(caught.value)
    for allowed in ("log1p", "poly", "columns"):
        assert allowed in str(caught.value)


@pytest.mark.parametrize(
    "level", ["a) + {__import__('os')} + (b", 'x"]) + open("f', "`", "it's", "~ 0 #"]
)
def test_levels_are_no_code(level, data):
    renamed = data.assign(g=data.g.replace("b", level))
    fitted = glm.fit("y ~ g", renamed, glm.Poisson())
    plain = glm.fit("y ~ C(g, levels=['a', 'b', 'c'])", data, glm.Poisson())
    both = {fitted.names[1], fitted.names[2]}
    assert f"g[T.{level}]" in both or "g[T.a]" in both
    np.testing.assert_allclose(fitted.log_likelihood, plain.log_likelihood, rtol=1e-10)
    quote = '"' if "'" in level else "'"
    if quote not in level:
        words = f"y ~ C(g, levels=['a', {quote}{level}{quote}, 'c'])"
        again = glm.fit(words, renamed, glm.Poisson())
        np.testing.assert_allclose(again.beta, plain.beta, rtol=1e-8)


@pytest.mark.parametrize(
    "name", ["__import__('os').getpid()", "x) + (z", "a`b"[:1] + " ~ 0", "lambda"]
)
def test_names_of_columns_are_no_code(name, data):
    renamed = data.rename(columns={"x": name})
    fitted = glm.fit(f"y ~ `{name}` + I(`{name}`**2)", renamed, glm.Poisson())
    plain = glm.fit("y ~ x + I(x**2)", data, glm.Poisson())
    np.testing.assert_array_equal(fitted.beta, plain.beta)
    assert fitted.names[1] == name


@pytest.mark.parametrize(
    "formula",
    ["y ~ " + "(" * 400 + "x" + ")" * 400, "y ~ " + "log(" * 300 + "x" + ")" * 300]
    + ["y ~ " + "-" * 5000 + "x", "y ~ " + "x:" * 900 + "x", "y ~ x" + " " * 30_000],
    ids=["parentheses", "calls", "signs", "products", "length"],
)
def test_long_formulas_end_in_an_error(formula, data):
    words = "cannot be read|nested too deeply|terms|characters"
    with pytest.raises(ValueError, match=words) as caught:
        glm.fit(formula, data, glm.Poisson())
    assert len(str(caught.value)) < 1500


REFUSED = {
    "y ~ y + x": (ValueError, "`y` on both sides"),
    "log(y + 1) ~ x + I(y**2)": (ValueError, "`y` on both sides"),
    "y ~": (ValueError, "no term"),
    "y ~ 0": (ValueError, "no term"),
    "~ x": (ValueError, "one response"),
    "y": (ValueError, "one response"),
    "y ~ x ~ z": (ValueError, "one response"),
    "1 ~ x": (ValueError, "without any column"),
    "y ~ hour": (ValueError, "did you mean `hours`"),
    "y ~ `area`": (ValueError, "`area`, which is no column"),
    "y ~ x +": (ValueError, "cannot be read"),
    "y ~ log(g)": (TypeError, "Write `C(g)`"),
    "y ~ when": (TypeError, "`when` is of type datetime64"),
    "g ~ x": (TypeError, "response `g` is of type"),
    "y ~ log(x)": (ValueError, "`log(x)` of the formula"),
    "y ~ bs(x, df=1)": (ValueError, "bs(x, df=1)"),
    "y ~ I(x + 9**9**9)": (ValueError, "cannot be evaluated"),
    "y ~ constant": (ValueError, "`constant` has one level"),
    "y ~ mixed": (TypeError, "`mixed` holds values of several types"),
    "y ~ C(g, levels=['a', 'b'])": (ValueError, "c, first in row"),
    "y ~ Sepal.Length": (ValueError, "backticks"),
}


@pytest.mark.parametrize("formula", list(REFUSED))
def test_formulas_without_a_meaning(formula, data):
    error, words = REFUSED[formula]
    table = data.assign(
        constant="a",
        mixed=np.array([1, "b"] * 60, dtype=object),
        when=pd.Timestamp("2020-01-01"),
    )
    table["Sepal.Length"] = table.x
    with pytest.raises(error) as caught:
        glm.fit(formula, table, glm.Poisson())
    assert words in str(caught.value)


def test_missing_values(data):
    table = data.copy()
    table.loc[[3, 50], "x"] = np.nan
    table.loc[50, "g"] = None
    table.loc[7, "hours"] = np.nan
    with pytest.raises(ValueError, match=r"`x` \(2\).*2 rows: 3, 50.*missing='drop'"):
        glm.fit("y ~ x", table, glm.Poisson())
    with pytest.warns(UserWarning, match=r"`x` \(2\), `g` \(1\), `hours` \(1\).*3 of"):
        fitted = glm.fit(
            "y ~ x + g", table, glm.Poisson(), exposure="hours", missing="drop"
        )
    kept = data.drop(index=[3, 7, 50])
    plain = glm.fit("y ~ x + g", kept, glm.Poisson(), exposure="hours")
    np.testing.assert_array_equal(fitted.beta, plain.beta)
    with pytest.warns(UserWarning, match="2 of 120 rows"):
        by_value = glm.fit("y ~ x", table, glm.Poisson(), offset=data.z, missing="drop")
    assert by_value.data.offset.shape == (118,)
    with pytest.raises(ValueError, match="`x` \\(1\\), in 1 rows: 2"):
        glm.predict(plain, table.iloc[1:4])
    with pytest.raises(ValueError, match="no such choice"):
        glm.fit("y ~ x", table, glm.Poisson(), missing="ignore")


def test_new_data_that_do_not_fit(data):
    fitted = glm.fit("y ~ x + C(g)", data, glm.Poisson())
    with pytest.raises(ValueError, match="`g` has values .* d, e, first in row 1"):
        glm.predict(fitted, pd.DataFrame({"x": [0.0] * 3, "g": ["a", "d", "e"]}))
    with pytest.raises(ValueError, match="no column `x`"):
        glm.predict(fitted, data[["g"]])
    with pytest.raises(TypeError, match="`x` is of type"):
        glm.predict(fitted, pd.DataFrame({"x": ["1"], "g": ["a"]}))


def test_wrong_arguments(data):
    with pytest.raises(TypeError, match="got DataFrame and NoneType"):
        glm.fit("y ~ x", data)
    with pytest.raises(TypeError, match="got Poisson and DataFrame"):
        glm.fit("y ~ x", glm.Poisson(), data)
    with pytest.raises(TypeError, match="takes a table of pandas"):
        glm.fit("y ~ x", data.to_numpy(), glm.Poisson())
    with pytest.raises(ValueError, match="two columns `x`"):
        glm.fit("y ~ x", pd.concat([data, data[["x"]]], axis=1), glm.Poisson())
    with pytest.raises(ValueError, match="no row"):
        glm.fit("y ~ x", data.iloc[:0], glm.Poisson())
    with pytest.raises(TypeError, match="Leave `names` out"):
        glm.fit("y ~ x", data, glm.Poisson(), names=["a", "b"])


def test_the_status_names_terms(data):
    table = data.assign(w=2 * data.x)
    with pytest.warns(UserWarning, match="dependent: `x`, `w`"):
        glm.fit("y ~ x + w", table, glm.Poisson())


def test_without_formulaic(data, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("formulaic")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ImportError, match=r'pip install "numpyro-ext-suite\[formula\]"'
    ):
        glm.fit("y ~ x", data, glm.Poisson())


def test_float32(float32, data):
    fitted = glm.fit("y ~ x + C(g)", data, glm.Poisson())
    assert fitted.beta.dtype == np.float32
    assert glm.predict(fitted, data).dtype == np.float32


def test_a_fit_of_a_formula_is_a_pytree(data):
    fitted = glm.fit("y ~ x + C(g)", data, glm.Poisson())
    leaves, structure = jax.tree.flatten(fitted)
    again = jax.tree.unflatten(structure, leaves)
    assert again.names == fitted.names
    assert again.design is fitted.design
