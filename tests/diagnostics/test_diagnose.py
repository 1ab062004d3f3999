"""Each check passes what is right and finds what is wrong; none passes in silence."""

import json

import arviz_base
import numpy as np
import pytest

from numpyro_ext.diagnostics import diagnose

RNG = np.random.default_rng(3)


def tree_of(values, *, kind="draws", stats=None, **attrs):
    groups = {"posterior": values}
    if stats is not None:
        groups["sample_stats"] = stats
    tree = arviz_base.from_dict(groups, check_conventions=False)
    tree.attrs |= {"kind": kind} | attrs
    return tree


def good_draws(shape=(4, 500)):
    return {"a": RNG.normal(size=shape), "b": RNG.normal(size=(*shape, 2))}


def good_stats(shape=(4, 500)):
    return {
        "diverging": np.zeros(shape, bool),
        "reached_max_treedepth": np.zeros(shape, bool),
        "energy": RNG.normal(size=shape),
        "lp": RNG.normal(size=shape),
    }


def row(diagnosis, check):
    return diagnosis.table.set_index("check").loc[check]


def test_right_chains_pass_all_checks():
    diagnosis = diagnose(tree_of(good_draws(), stats=good_stats()))
    assert diagnosis.status == "ok"
    assert set(diagnosis.table["status"]) == {"ok"}
    assert "No check found anything wrong" in repr(diagnosis)


def shifted(values, stats):
    values["b"][0, :, 1] += 3.0


def with_nan(values, stats):
    values["a"][2, 7] = np.nan


def all_nan(values, stats):
    for value in values.values():
        value[...] = np.nan


def stuck(values, stats):
    for value in values.values():
        value[1] = value[1, :1]


def copied(values, stats):
    for value in values.values():
        value[3] = value[0]


def constant(values, stats):
    values["b"][:, :, 0] = 1.0


def diverging(values, stats):
    stats["diverging"][1, :30] = True


def saturated(values, stats):
    stats["reached_max_treedepth"][:] = True


def other_spelling(values, stats):
    stats["reached_max_tree_depth"] = ~stats.pop("reached_max_treedepth")


def low_energy(values, stats):
    stats["energy"] = np.cumsum(stats["energy"], axis=1)


def correlated(values, stats):
    values["a"] = np.repeat(RNG.normal(size=(4, 10)), 50, axis=1)


WRONG = [
    (shifted, "R-hat", "fail", "`b[1]`"),
    (with_nan, "finite draws", "fail", "`a`"),
    (all_nan, "finite draws", "fail", "`a`, `b[0]`, `b[1]`"),
    (stuck, "chains that move", "fail", "chain 1"),
    (copied, "different chains", "fail", "chains 3 and 0"),
    (constant, "moving draws", "warn", "`b[0]`"),
    (diverging, "divergences", "fail", "chain 1"),
    (saturated, "tree depth", "fail", "chain 0, chain 1, chain 2, chain 3"),
    (other_spelling, "tree depth", "fail", "chain 0, chain 1, chain 2, chain 3"),
    (low_energy, "E-BFMI", "fail", "chain 0, chain 1, chain 2, chain 3"),
    (correlated, "bulk ESS", "fail", "`a`"),
]


@pytest.mark.parametrize(("spoil", "check", "status", "where"), WRONG)
def test_what_is_wrong_is_found_and_named(spoil, check, status, where):
    values, stats = good_draws(), good_stats()
    spoil(values, stats)
    diagnosis = diagnose(tree_of(values, stats=stats))
    assert row(diagnosis, check)["status"] == status
    assert row(diagnosis, check)["where"] == where
    assert diagnosis.status in ("warn", "fail")
    assert row(diagnosis, check)["advice"] in diagnosis.verdict


def test_a_value_is_told_from_its_threshold():
    draws = RNG.normal(size=(4, 500))

    def shifted_by(move):
        moved = draws + move * np.array([1.0, 0.0, 0.0, 0.0])[:, None]
        return diagnose(tree_of({"a": moved}))

    low, high = 0.0, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        is_below = row(shifted_by(middle), "R-hat")["value"] < 1.0102
        low, high = (middle, high) if is_below else (low, middle)
    assert "(1.0102, should be at most 1.01)" in shifted_by(high).verdict


def test_one_chain_is_never_ok():
    diagnosis = diagnose(tree_of(good_draws((1, 2000)), stats=good_stats((1, 2000))))
    assert diagnosis.status == "warn"
    assert "run four" in diagnosis.verdict


def test_a_tree_without_statistics_says_what_was_not_judged():
    table = diagnose(tree_of(good_draws())).table.set_index("check")
    for check in ("divergences", "tree depth", "E-BFMI"):
        assert table.loc[check, "status"] == "not applicable"


def test_points_are_never_ok():
    values = {"a": RNG.normal(size=(5, 1))}
    stats = {"lp": np.full((5, 1), -3.0)}
    codes = ["CONVERGED"] * 5
    tree = tree_of(values, kind="points", stats=stats, status=json.dumps(codes))
    diagnosis = diagnose(tree)
    assert diagnosis.status == "not applicable"
    assert "cannot say" in diagnosis.verdict
    codes[2] = "MAX_STEPS"
    tree.attrs["status"] = json.dumps(codes)
    assert row(diagnose(tree), "converged members")["where"] == "member 2 (max_steps)"
    assert diagnose(tree).status == "warn"
    tree.attrs["status"] = json.dumps(["CONVERGED"] * 5)
    tree["sample_stats"]["lp"][1] = -9.0
    assert row(diagnose(tree), "members agree")["where"] == "member 1"


@pytest.mark.parametrize(
    ("attrs", "status"),
    [
        ({"pareto_k": 0.2}, "ok"),
        ({"pareto_k": 0.8}, "warn"),
        ({"pareto_k": float("nan")}, "fail"),
        ({"pareto_k": 0.2, "sd_ratio": 0.9}, "ok"),
        ({"pareto_k": 0.2, "sd_ratio": 1.3}, "warn"),
        ({"pareto_k": 0.2, "sd_ratio": 0.4}, "fail"),
        ({"sd_ratio": float("nan")}, "fail"),
        ({"r_hat": 1.01}, "ok"),
        ({"r_hat": 1.3}, "fail"),
        ({"insertion_p_value": 0.4}, "ok"),
        ({"insertion_p_value": 1e-9}, "fail"),
        ({}, "warn"),
    ],
)
def test_independent_draws_are_judged_by_the_engines_own_account(attrs, status):
    codes = json.dumps(["CONVERGED"])
    tree = tree_of(good_draws((1, 800)), kind="independent", status=codes, **attrs)
    assert diagnose(tree).status == status


def test_an_approximation_that_ended_badly_fails():
    codes = json.dumps(["SADDLE"])
    tree = tree_of(good_draws(), kind="independent", status=codes, pareto_k=0.1)
    assert diagnose(tree).status == "fail"
    with pytest.raises(ValueError, match="no `posterior`"):
        diagnose(arviz_base.from_dict({"prior": {"a": np.zeros((1, 3))}}))
