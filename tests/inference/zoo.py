"""NumPyro models of every kind that a spec accepts, with data: `ZOO[name]`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan
from numpyro.contrib.module import eqx_module, random_eqx_module
from numpyro.handlers import mask, reparam, scale
from numpyro.infer.reparam import LocScaleReparam

RNG = np.random.default_rng(20)
X = RNG.normal(size=(30, 3))
Y = X @ np.array([1.0, -0.5, 0.2]) + 0.3 * RNG.normal(size=30)
GROUP = RNG.integers(0, 4, size=30)
COUNTS = RNG.poisson(3.0, size=30)
EIGHT = (
    np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
)


class Entry(NamedTuple):
    model: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}


def linear(X, y=None):
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    mean = numpyro.deterministic("mean", X @ weights)
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Normal(mean, noise), obs=y)


def eight_schools(y, sigma):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", y.shape[0]):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


eight_schools_noncentred = reparam(
    eight_schools, config={"theta": LocScaleReparam(centered=0.0)}
)


def crossed_plates(y):
    scale_ = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    rows = numpyro.plate("rows", y.shape[0], dim=-2)
    columns = numpyro.plate("columns", y.shape[1], dim=-1)
    with rows:
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    with columns:
        b = numpyro.sample("b", dist.Normal(0.0, 1.0))
    with rows, columns:
        numpyro.sample("y", dist.Normal(a + b, scale_), obs=y)


def hierarchical(group, y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("groups", 4):
        sigma = numpyro.sample("sigma", dist.Gamma(2.0, 2.0))
        a = numpyro.sample("a", dist.StudentT(4.0, mu, 1.0))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Normal(a[group], sigma[group]), obs=y)


def simplex(y):
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(3)))
    centres = numpyro.sample("centres", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
    law = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(centres, 0.5))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", law, obs=y)


def lkj(X):
    chol = numpyro.sample("chol", dist.LKJCholesky(3, 2.0))
    sds = numpyro.sample("sds", dist.HalfCauchy(1.0).expand([3]).to_event(1))
    law = dist.MultivariateNormal(jnp.zeros(3), scale_tril=sds[:, None] * chol)
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("x", law, obs=X)


def ordered(y):
    base = dist.Normal(0.0, 1.0).expand([2]).to_event(1)
    cuts = numpyro.sample(
        "cuts", dist.TransformedDistribution(base, dist.transforms.OrderedTransform())
    )
    eta = numpyro.sample("eta", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.OrderedLogistic(eta, cuts), obs=y)


def dynamic_support(y):
    upper = numpyro.sample("upper", dist.Exponential(0.5))
    middle = numpyro.sample("middle", dist.Uniform(-upper, upper))
    numpyro.sample("y", dist.Normal(middle, 1.0), obs=y)


def circular(angles):
    loc = numpyro.sample("loc", dist.VonMises(0.0, 1.0))
    concentration = numpyro.sample("concentration", dist.Gamma(2.0, 1.0))
    with numpyro.plate("rows", angles.shape[0]):
        numpyro.sample("angles", dist.VonMises(loc, concentration), obs=angles)


def with_factor(y):
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    numpyro.factor("soft", -0.5 * (a - 1.0) ** 2)
    numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


def with_mask(y):
    a = numpyro.sample("a", dist.Exponential(1.0))
    with numpyro.plate("rows", y.shape[0]), mask(mask=jnp.arange(y.shape[0]) % 3 > 0):
        b = numpyro.sample("b", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Normal(a + b, 1.0), obs=y)


def with_scale(y):
    with scale(scale=0.3):
        a = numpyro.sample("a", dist.Gamma(2.0, 1.0))
    with scale(scale=2.0), numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


def imputation(y, missing):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Normal(mu, sigma), obs=y, obs_mask=~missing)


def random_walk(y):
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))

    def step(level, value):
        level = numpyro.sample("level", dist.Normal(level, sigma))
        numpyro.sample("y", dist.Normal(level, 0.5), obs=value)
        return level, None

    scan(step, jnp.zeros(()), y)


class Net(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    activation: Callable = jnp.tanh

    def __call__(self, x):
        return jnp.sum(self.activation(self.weight @ x + self.bias))


NET = Net(jnp.full((4, 3), 0.1), jnp.zeros(4))


def bayesian_network(X, y):
    net = random_eqx_module("net", NET, prior=dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Normal(jax.vmap(net)(X), 0.5), obs=y)


def network_params(X, y):
    net = eqx_module("net", NET)
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("y", dist.Normal(jax.vmap(net)(X), noise), obs=y)


def glm(X, counts):
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    with numpyro.plate("rows", X.shape[0]):
        numpyro.sample("counts", dist.Poisson(jnp.exp(X @ beta)), obs=counts)


def improper(y):
    a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


ZOO = {
    "linear": Entry(linear, (X,), {"y": Y}),
    "eight-schools": Entry(eight_schools, EIGHT),
    "reparametrised": Entry(eight_schools_noncentred, EIGHT),
    "crossed-plates": Entry(crossed_plates, (RNG.normal(size=(5, 4)),)),
    "hierarchical": Entry(hierarchical, (GROUP, Y)),
    "simplex": Entry(simplex, (Y,)),
    "lkj": Entry(lkj, (X,)),
    "ordered": Entry(ordered, (GROUP % 3,)),
    "dynamic-support": Entry(dynamic_support, (Y,)),
    "circular": Entry(circular, (RNG.uniform(-3.0, 3.0, size=20),)),
    "factor": Entry(with_factor, (Y,)),
    "mask": Entry(with_mask, (Y,)),
    "scale": Entry(with_scale, (Y,)),
    "imputation": Entry(imputation, (Y, RNG.random(30) < 0.2)),
    "scan": Entry(random_walk, (Y,)),
    "random-module": Entry(bayesian_network, (X, Y)),
    "module-params": Entry(network_params, (X, Y)),
    "glm": Entry(glm, (X, COUNTS)),
    "improper": Entry(improper, (Y,)),
}
# What NumPyro says at these models is meant; it is not ours to hide.
IGNORED_WARNINGS = "ignore:Continuous inference poorly handles circular:UserWarning"
