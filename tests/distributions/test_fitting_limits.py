"""The richest law against its members, and units, for all laws, d = 1 and 3."""

import numpy as np
import pytest
import scipy.stats as st
from arch.data import nasdaq, sp500, wti

from numpyro_ext import distributions as distx
from numpyro_ext.distributions import FitStatus

NAMES = (
    "NormalInverseGaussian",
    "VarianceGamma",
    "GeneralizedHyperbolicSkewT",
    "Hyperbolic",
)
RICHEST = "GeneralizedHyperbolic"
N = 800
LIMITS = (
    FitStatus.NORMAL_LIMIT,
    FitStatus.GAMMA_LIMIT,
    FitStatus.INVERSE_GAMMA_LIMIT,
)


def law_of(name, d):
    return getattr(distx, name if d == 1 else f"Multivariate{name}")


def data_of(kind, d):
    """Rows of one of three kinds."""
    rng = np.random.default_rng(20)
    noise = rng.normal(size=(N, d))
    if kind == "returns":
        prices = [sp500.load()["Adj Close"], nasdaq.load()["Adj Close"]]
        prices.append(wti.load()["DCOILWTICO"].dropna())
        columns = [np.log(p).diff().rename(str(i)) for i, p in enumerate(prices)]
        table = columns[0].to_frame().join(columns[1:], how="inner").dropna()
        x = table.to_numpy()[-N:, :d]
    else:
        w = np.ones(N) if kind == "normal" else 3.0 / rng.chisquare(3.0, N)
        x = np.sqrt(w)[:, None] * noise
    return x[:, 0] if d == 1 else x


def normal_and_t(x):
    """Largest mean log likelihoods of the normal and of Student's t law."""
    rows = x.reshape(N, -1)
    d = rows.shape[1]
    normal = st.multivariate_normal(rows.mean(0), np.cov(rows.T, ddof=0))
    law = law_of("GeneralizedHyperbolicSkewT", d)
    t = law.fit(x, symmetric=True).law
    tril = np.reshape(t.scale, (1, 1)) if d == 1 else np.asarray(t.scale_tril)
    student = st.multivariate_t(np.ravel(t.loc), tril @ tril.T, df=float(t.df))
    return normal.logpdf(rows).mean(), student.logpdf(rows).mean()


# Ties of real returns: the fit of a variance gamma law says that it is a spike.
@pytest.mark.filterwarnings("ignore:Degenerate")
@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("kind", ["normal", "t3", "returns"])
def test_the_richest_law_is_never_below_its_members(kind, d):
    x = data_of(kind, d)
    fit = law_of(RICHEST, d).fit(x)
    best = fit.log_likelihood / N
    fits = {n: law_of(n, d).fit(x) for n in NAMES}
    # A spike is no maximum, and its height is that of the resolution.
    members = {
        n: f.log_likelihood / N
        for n, f in fits.items()
        if f.status != FitStatus.DEGENERATE
    }
    members["normal"], members["t"] = normal_and_t(x)
    for name, value in members.items():
        assert best >= value - 1e-6, name
    # Where a member is as likely to a hundredth of a nat, the verdict names a limit.
    close = [
        name
        for name in ("VarianceGamma", NAMES[2], "normal")
        if name in members and N * (best - members[name]) < 0.009
    ]
    assert not close or fit.status in LIMITS


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("name", [*NAMES, RICHEST])
def test_units_do_not_matter(name, d):
    x, law = data_of("t3", d), law_of(name, d)
    fits = {unit: law.fit(unit * x) for unit in (1e-6, 1.0, 1e6)}
    values = [f.log_likelihood / N + d * np.log(u) for u, f in fits.items()]
    np.testing.assert_allclose(values, values[1], rtol=0, atol=1e-9)
    assert len({f.status for f in fits.values()}) == 1
