"""Random-walk Metropolis: a whole engine, as an example of how to write one."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key

from numpyro_ext.inference import (
    AbstractEngine,
    Fit,
    InitLike,
    MemberStatus,
    ModelSpec,
    Status,
    constrain_draws,
    starting_positions,
)


class RandomWalk(AbstractEngine):
    """Metropolis with normal steps of one size in all directions."""

    num_samples: int = 2000
    num_chains: int = 4
    step_size: float = 0.5

    def run(
        self, spec: ModelSpec, key: Key[Array, ""], *, init: InitLike = None
    ) -> Fit:
        start = starting_positions(self, spec, key, init, self.num_chains)
        keys = jax.random.split(key, self.num_chains)
        positions, lp, accepted = _sample(self, spec, keys, start)
        rates = accepted.mean(axis=1)
        return Fit(
            engine=self,
            spec=spec,
            key=key,
            kind="draws",
            jacobian=True,
            positions=positions,
            draws=constrain_draws(spec, positions),
            stats={"lp": lp, "acceptance_rate": accepted},
            status=tuple(MemberStatus(Status.OK, f"accepted {r:.0%}") for r in rates),
        )


@eqx.filter_jit
def _sample(engine, spec, keys, start):
    def chain(key, start):
        z, unravel = ravel_pytree(start)

        def step(state, key):
            z, lp = state
            noise_key, accept_key = jax.random.split(key)
            new = z + engine.step_size * jax.random.normal(noise_key, z.shape, z.dtype)
            new_lp = spec.log_density(unravel(new))
            accept = jnp.log(jax.random.uniform(accept_key)) < new_lp - lp
            state = jnp.where(accept, new, z), jnp.where(accept, new_lp, lp)
            return state, (unravel(state[0]), state[1], accept.astype(z.dtype))

        first = z, spec.log_density(start)
        return jax.lax.scan(step, first, jax.random.split(key, engine.num_samples))[1]

    return jax.vmap(chain)(keys, start)
