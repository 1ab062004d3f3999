"""Fits of the generalized hyperbolic family against normix and SciPy.

    python benchmarks/em.py [--repeats 5] [--panel]

CPU time of one process on one core, medians. The data are drawn from a normal-inverse
Gaussian law; the iterations of GH are also counted on the returns of the S&P 500 and
the NASDAQ, where `arch` is installed, and the times are set beside normix's where
`normix` is. `--panel` adds 468 columns by 2552 rows, which takes some minutes more.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

NUM_DATA, NUM_RETURNS, NUM_SOLVES = 8312, 5000, 256
PANEL = 2552, 468
# Milliseconds for each iteration.
ITERATION_BARS = {"NIG": 8.0, "GH": 15.0}
GH_ITERATIONS, NEAR = 20, 1e-6
FIXED_COST = 0.05
SOLVE_BARS = {"one": 0.3, "mapped": 0.1}
PANEL_RATIO, NEWTON_RATIO, ACCELERATED_SHARE = 0.3, 0.2, 0.3
SAME = 1e-8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--panel", action="store_true")
    arguments = parser.parse_args()
    # Before JAX starts its threads.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"load {os.getloadavg()[0]:.1f}")
    import jax

    jax.config.update("jax_enable_x64", True)
    iterations(arguments.repeats)
    to_the_optimum()
    acceleration()
    newton(arguments.repeats)
    solves(arguments.repeats)
    if arguments.panel:
        panel(arguments.repeats)
    print(f"load {os.getloadavg()[0]:.1f}")


def spent(run: Callable[[], Any], repeats: int) -> float:
    """Median CPU seconds, after one run that compiles."""
    run()
    return statistics.median(once(run)[0] for _ in range(repeats))


def once(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def verdict(value: float, bar: float) -> str:
    return f"bar {bar:g}: {'met' if value <= bar else 'MISSED'}"


def simulated(n: int, seed: int = 0, d: int | None = None) -> Any:
    """Draws with the tails and the skew of daily returns."""
    import numpy as np

    rng = np.random.default_rng(seed)
    w = rng.wald(1.0, 0.6, n)
    if d is None:
        return 6e-4 - 5e-4 * w + 0.011 * np.sqrt(w) * rng.normal(size=n)
    common, own = rng.normal(size=(n, 1)), rng.normal(size=(n, d))
    noise = common @ rng.uniform(0.5, 1.0, (1, d)) + own
    return 6e-4 - 5e-4 * w[:, None] + 0.011 * np.sqrt(w)[:, None] * noise


def returns(name: str) -> Any:
    """Daily log returns, or None without the package that has them."""
    try:
        from arch.data import nasdaq, sp500
    except ImportError:
        return None
    import numpy as np

    prices = {"S&P 500": sp500, "NASDAQ": nasdaq}[name].load()["Adj Close"]
    return np.diff(np.log(prices.to_numpy()))


def peer() -> Any:
    try:
        import normix
    except ImportError:
        print("normix is not installed")
        return None
    return normix


def iterations(repeats: int) -> None:
    """The slope of the time over iterations, and what remains at none of them."""
    from numpyro_ext import distributions as distx

    x, other = simulated(NUM_DATA), simulated(NUM_DATA, seed=1)
    normix = peer()
    laws = {"NIG": distx.NormalInverseGaussian, "GH": distx.GeneralizedHyperbolic}
    for name, law in laws.items():
        for algorithm in ("ecme", "em") if name == "NIG" else ("ecme",):
            slope, fixed = our_slope(law, x, repeats, algorithm)
            ms, bar = 1e3 * slope, ITERATION_BARS[name]
            print(f"{name} {algorithm}: {ms:.2f} ms an iteration, {verdict(ms, bar)}")
            print(f"  fixed cost {fixed:.4f} s, {verdict(fixed, FIXED_COST)}")
        compiled = count_compilations(lambda law=law: law.fit(x))
        again = count_compilations(lambda law=law: law.fit(other))
        whole, _ = once(lambda law=law: law.fit(other))
        print(f"  programs compiled by a first fit {compiled}, by a second {again}, ")
        print(f"    {verdict(again, 0)}; the second fit in all {whole:.3f} s")
        if normix:
            their_slope(normix, name, x)


def our_slope(law: type, x: Any, repeats: int, algorithm: str) -> tuple[float, float]:
    """CPU seconds for one iteration, and for a fit without any."""
    times, counts = [], []
    # One program: the tolerance compiles nothing.
    for tol in (1e-2, 1e-12):

        def run(tol=tol):
            return law.fit(x, algorithm=algorithm, tol=tol, starts="single")

        times.append(spent(run, repeats))
        counts.append(run().num_iterations)
    slope = (times[1] - times[0]) / (counts[1] - counts[0])
    return slope, max(times[0] - counts[0] * slope, 0.0)


def count_compilations(run: Callable[[], Any]) -> int:
    import jax

    seen = []

    def listen(event: str, duration: float, **_):
        if event.endswith("backend_compile_duration"):
            seen.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    run()
    jax.monitoring.unregister_event_duration_listener(listen)
    return len(seen)


def their_law(normix: Any, name: str) -> Any:
    """The law of any number of columns: one scan refuses the univariate GH."""
    long = {
        "NIG": "NormalInverseGaussian",
        "VG": "VarianceGamma",
        "GH": "GeneralizedHyperbolic",
    }
    return getattr(normix, long[name])


def their_fitter(normix: Any, backend: str, **options: Any) -> Any:
    from normix.fitting.em import BatchEMFitter

    return BatchEMFitter(e_step_backend=backend, m_step_backend=backend, **options)


def moment_start(normix: Any, name: str, x: Any) -> Any:
    """normix's own start, but for GH, where that takes 20 s, its fallback."""
    import numpy as np

    law = their_law(normix, name)
    if name != "GH":
        return law.default_init(x)
    mean, cov = x.mean(0), np.atleast_2d(np.cov(x.T))
    return law.from_classical(mu=mean, gamma=0.0 * mean, sigma=cov, p=1.0, a=1.0, b=1.0)


def their_slope(normix: Any, name: str, x: Any) -> None:
    start = moment_start(normix, name, x[:, None])
    times = {}
    for limit in (2, 12):
        fitter = their_fitter(normix, "jax", max_iter=limit, tol=1e-300)

        def run(fitter=fitter):
            return fitter.fit(start, x[:, None])

        run()
        times[limit] = once(run)[0]
    slope = (times[12] - times[2]) / 10
    fixed = times[2] - 2 * slope
    print(f"  normix: {1e3 * slope:.1f} ms an iteration, fixed cost {fixed:.2f} s")


def to_the_optimum() -> None:
    """Iterations of GH until no more than 1e-6 for each observation is to be gained."""
    import numpy as np

    from numpyro_ext.distributions import GeneralizedHyperbolic

    data = {"simulated": simulated(NUM_DATA)}
    for name in ("S&P 500", "NASDAQ"):
        real = returns(name)
        if real is not None:
            data[name] = real
    for name, x in data.items():
        best = GeneralizedHyperbolic.fit(x, tol=1e-12)
        top = best.penalized_log_likelihood / best.num_observations
        for starts in ("nested", "single"):
            # The history begins with the start.
            fit = GeneralizedHyperbolic.fit(x, starts=starts)
            is_near = fit.history > top - NEAR
            count = int(np.argmax(is_near)) if is_near.any() else float("inf")
            print(
                f"GH on {name}, {starts} start: {count} iterations to within {NEAR:g} "
                f"of {fit.num_iterations}, {verdict(count, GH_ITERATIONS)}"
            )


def acceleration() -> None:
    """Plain EM with and without SQUAREM, on data of several members."""
    import scipy.stats as st

    from numpyro_ext import distributions as distx

    data = {
        "returns-like": simulated(2000),
        "t, 3 degrees of freedom": st.t(3).rvs(2000, random_state=1),
        "skewed": st.norminvgauss(1.2, 0.5).rvs(2000, random_state=2),
        "near normal": st.norminvgauss(6.0, 1.0).rvs(2000, random_state=3),
    }
    laws = distx.NormalInverseGaussian, distx.GeneralizedHyperbolicSkewT
    plain, fast, worst, lowest, where = 0, 0, 0.0, 0.0, "none"
    for name, x in data.items():
        for law in laws:
            options = dict(algorithm="em", max_iterations=20_000)
            slow = law.fit(x, acceleration="none", **options)
            quick = law.fit(x, acceleration="squarem", **options)
            plain += slow.num_iterations
            fast += quick.num_iterations
            worst = max(worst, quick.num_iterations / slow.num_iterations)
            gap = slow.penalized_log_likelihood - quick.penalized_log_likelihood
            gap /= slow.num_observations
            if gap > lowest:
                lowest, where = gap, f"{law.__name__} on {name}"
    share = fast / plain
    print(
        f"accelerated EM: {fast} of {plain} iterations, share {share:.3f}, "
        f"{verdict(share, ACCELERATED_SHARE)}; worst of {len(data) * len(laws)}: "
        f"{worst:.3f}"
    )
    print(
        f"  lower than plain EM by {lowest:.1e} for each row at most ({where}), "
        f"{verdict(lowest, SAME)}"
    )


def newton(repeats: int) -> None:
    """The univariate fit by Newton's method beside SciPy's simplex."""
    import numpy as np
    import scipy.stats as st
    from scipy.optimize import fmin

    from numpyro_ext.distributions import NormalInverseGaussian

    real = returns("S&P 500")
    x = simulated(NUM_RETURNS) if real is None else real[:NUM_RETURNS]
    # SciPy's stopping rule is for data of unit size.
    x = (x - x.mean()) / x.std()

    def ours():
        return NormalInverseGaussian.fit(x, method="newton")

    def polished(f, x0, args, disp):
        limits = dict(xtol=1e-10, ftol=1e-13, maxiter=20_000, maxfun=20_000)
        return fmin(f, x0, args=args, disp=disp, **limits)

    mine, theirs = spent(ours, repeats), spent(lambda: st.norminvgauss.fit(x), repeats)
    best = st.norminvgauss.fit(x, optimizer=polished)
    top = np.mean(st.norminvgauss(*best).logpdf(x))
    gap = abs(ours().log_likelihood / len(x) - top)
    ratio = mine / theirs
    print(
        f"NIG by Newton, n = {len(x)}: {1e3 * mine:.1f} ms, SciPy {1e3 * theirs:.0f} "
        f"ms, ratio {ratio:.3f}, {verdict(ratio, NEWTON_RATIO)}"
    )
    print(f"  optima differ by {gap:.1e} for each row, {verdict(gap, SAME)}")


def solves(repeats: int) -> None:
    """GIG laws from their expectations."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from numpyro_ext.distributions import GeneralizedInverseGaussian as GIG

    rng = np.random.default_rng(4)
    p = rng.uniform(-3.0, 3.0, NUM_SOLVES)
    a, b = 10.0 ** rng.uniform(-1.0, 1.0, (2, NUM_SOLVES))
    eta = jax.jit(lambda p, a, b: GIG(p, a, b).expectation_params)(p, a, b)

    def parameters(one):
        law = GIG.from_expectation(one)
        return jnp.stack([law.p, law.a, law.b])

    each, all_at_once = jax.jit(parameters), jax.jit(jax.vmap(parameters))

    def in_turn():
        return [each(one).block_until_ready() for one in rows]

    rows = list(eta[:64])
    found = np.asarray(all_at_once(eta))
    ms = 1e3 * spent(in_turn, repeats) / len(rows)
    print(f"GIG from expectations: {ms:.3f} ms, {verdict(ms, SOLVE_BARS['one'])}")
    ms = 1e3 * spent(lambda: all_at_once(eta).block_until_ready(), repeats)
    ms /= NUM_SOLVES
    print(f"  mapped {ms:.4f} ms each, {verdict(ms, SOLVE_BARS['mapped'])}")
    error = np.max(np.abs(found - np.stack([p, a, b], 1)) / (1.0 + np.abs(p))[:, None])
    print(f"  largest error of p, a and b {error:.1e}")
    normix = peer()
    if normix:
        theirs = normix.GeneralizedInverseGaussian
        solve = jax.jit(lambda one: theirs.from_expectation(one).natural_params())
        run = lambda: [solve(one).block_until_ready() for one in rows]  # noqa: E731
        print(f"  normix {1e3 * spent(run, 1) / len(rows):.3f} ms")


def panel(repeats: int) -> None:
    """Whole fits of many columns, the second call of each."""
    import numpy as np

    from numpyro_ext import distributions as distx

    x = simulated(PANEL[0], seed=5, d=PANEL[1])
    normix = peer()
    laws = {
        "NIG": distx.MultivariateNormalInverseGaussian,
        "VG": distx.MultivariateVarianceGamma,
        "GH": distx.MultivariateGeneralizedHyperbolic,
    }
    for name, law in laws.items():
        fits = {"ours": lambda law=law: law.fit(x)}
        if normix:
            # Their start from moments is not counted.
            start = moment_start(normix, name, x)
            for backend in ("jax", "cpu"):
                fitter = their_fitter(normix, backend)
                fits[backend] = lambda f=fitter, s=start: f.fit(s, x)
        results = {how: run() for how, run in fits.items()}
        fit = results.pop("ours")
        per_row = fit.log_likelihood / fit.num_observations
        # One after the other, so that what else the machine does meets all alike.
        times: dict[str, list[float]] = {how: [] for how in fits}
        for repeat in range(repeats):
            for how, run in fits.items():
                if how != "jax" or repeat == 0:
                    times[how].append(once(run)[0])
        seconds = {how: statistics.median(each) for how, each in times.items()}
        print(f"{name}, {PANEL[1]} columns: {seconds['ours']:.2f} s, ", end="")
        print(f"{fit.num_iterations} iterations, ", end="")
        print(f"log likelihood {per_row:.5f}, {fit.status.name}")
        highest = -np.inf
        for backend, theirs in results.items():
            value = float(theirs.model.marginal_log_likelihood(x))
            highest = max(highest, value)
            print(f"  normix, {backend}: {seconds[backend]:.2f} s, ", end="")
            print(f"log likelihood {value:.5f}")
        if results:
            ratio = seconds["ours"] / min(seconds[how] for how in results)
            print(f"  ratio {ratio:.3f}, {verdict(ratio, PANEL_RATIO)}")
            below = len(x) * (highest - per_row)
            print(f"  nats below theirs in all {below:.4f}, {verdict(below, 0.0)}")


if __name__ == "__main__":
    main()
