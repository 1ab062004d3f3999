"""A stream of a million rows against the fit to all of them."""

import jax
import numpy as np
import pytest

from numpyro_ext import distributions as distx

NIG = distx.NormalInverseGaussian
CHUNKS, ROWS = 200, 5000


def chunk(i):
    """The i-th chunk, made when it is asked for."""
    rng = np.random.default_rng([7, i])
    w = rng.wald(1.0, 0.8, ROWS)
    return 0.3 - 0.2 * w + 1.5 * np.sqrt(w) * rng.normal(size=ROWS)


@pytest.mark.slow
def test_a_stream_of_a_million_rows():
    online = distx.OnlineEM()
    state = online.init(NIG, chunk(0))
    sizes = {sum(y.nbytes for y in jax.tree.leaves(state))}
    for i in range(1, CHUNKS):
        state = online.update(state, chunk(i))
        sizes.add(sum(y.nbytes for y in jax.tree.leaves(state)))
    # Nothing that is carried grows with the rows that went by.
    assert len(sizes) == 1
    assert sizes.pop() < 1000
    x = np.concatenate([chunk(i) for i in range(CHUNKS)])
    batch = NIG.fit(x, max_iterations=50)
    value = float(np.mean(online.law(state).log_prob(x)))
    assert -1e-9 <= batch.log_likelihood / x.size - value < 1e-3
