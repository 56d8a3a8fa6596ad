"""Limits, what is fatal, and the table [gate] of a suite."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError, SuiteError
from finefuse.judge.gate.policy import FATAL, Limit, limits_of, read_policy
from helpers.suites import HEAD


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("0.5pp", Limit(0.005)),
        ("20%", Limit(0.2, True)),
        (" .5 % ", Limit(0.005, True)),
        ("0", Limit(0.0)),
        (0, Limit(0.0)),
        (0.01, Limit(0.01)),
        ("1e-3", Limit(0.001)),
    ],
)
def test_limits_are_read(text: Any, limit: Limit) -> None:
    found = Limit.read(text)
    assert (found.amount, found.relative) == (pytest.approx(limit.amount), limit.relative)


@pytest.mark.parametrize("text", ["", "-1", "much", "5 points", "nan", "inf", "1%%", True, None, math.nan, "1,5%"])
def test_what_is_no_limit_is_refused(text: Any) -> None:
    with pytest.raises(FinefuseError, match=r"is no limit: write 0\.5pp, 20% or a plain number from 0"):
        Limit.read(text)


def test_a_limit_holds_in_its_own_unit() -> None:
    assert Limit(0.01).holds(0.9, 0.89)
    assert not Limit(0.01).holds(0.9, 0.8899)
    assert Limit(0.1, True).holds(50, 55)
    assert not Limit(0.1, True).holds(50, 55.1)
    assert Limit(0.0).holds(3, 3)
    assert not Limit(0.0, True).holds(1_000_000, 1_000_001)


def test_what_is_given_goes_before_the_suites_table() -> None:
    table = {"alpha": 0.01, "margin": "1pp", "fail_on": {"flops": "10%", "nll": "5%"}, "fatal": ["new"]}
    policy = read_policy(table, {"alpha": None, "margin": 0.02, "fail_on": {"flops": "off"}, "allow": ["missing"]})
    assert (policy.alpha, policy.margin) == (0.01, Limit(0.02))
    assert policy.limits == {"flops": None, "nll": Limit(0.05, True)}
    assert policy.fatal == FATAL - {"missing"} | {"new"}
    assert policy.limit("flops") is None
    assert policy.limit("steps") == Limit(0.0, True)
    assert policy.limit("accuracy") == Limit(0.02)


def test_what_a_suite_allows_can_be_fatal_again() -> None:
    assert "missing" in read_policy({"allow": ["missing"]}, {"fatal": ["missing"]}).fatal
    assert "new" not in read_policy({"fatal": ["new"]}, {"allow": ["new"]}).fatal


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"alhpa": 0.1}, "[gate] has no key 'alhpa'; did you mean 'alpha'?"),
        ({"alpha": "0.1"}, "[gate] has '0.1' as alpha"),
        ({"alpha": 2}, "alpha must lie between 0 and 1"),
        ({"fail_on": ["flops"]}, "[gate] has ['flops'] as fail_on"),
        ({"fail_on": {"flops": "x"}}, "flops: 'x' is no limit"),
        ({"fatal": "new"}, "[gate] has 'new' as fatal"),
        ({"fatal": ["settings"]}, "there is no judgement 'settings'"),
        ({"allow": ["setings"]}, "there is no judgement 'setings'; did you mean 'settings'?"),
        ({"resolve": 1}, "resolve must be below 1, which is 100 points: one point is 1pp."),
        ({"resolve": "100pp"}, "resolve must be below 1"),
        ({"alpha": 1e-4}, "alpha must be 0.001 or more"),
        ({"noise": {"trian_s": 0.1}}, "no noise is known by the name 'trian_s'; did you mean 'train_s'?"),
        ({"noise": {"train_s": 0}}, "the noise of train_s must be a number above 0"),
        ({"noise": {"train_s": "big"}}, "the noise of train_s must be a number above 0"),
    ],
)
def test_a_table_that_makes_no_sense(table: dict[str, Any], said: str) -> None:
    with pytest.raises(FinefuseError) as error:
        read_policy(table)
    assert str(error.value).startswith(said)


def test_the_command_line_names_limits_by_measure() -> None:
    assert limits_of(["accuracy:0.5pp", "also.x(a:b).nll:5%"]) == {"accuracy": "0.5pp", "also.x(a:b).nll": "5%"}
    for text in ("accuracy", ":5%"):
        with pytest.raises(FinefuseError, match="names no limit"):
            limits_of([text])


def test_a_suite_has_a_gate(write: Callable[[str], Path], registry: Registry) -> None:
    limits = 'fail_on = { flops = 0, nll = "20%", latency = "off" }'
    gate = f'[gate]\nalpha = 0.01\nresolve = "1pp"\n{limits}\nfatal = ["new"]\n'
    suite = load_suite(write(HEAD + gate), registry)
    assert suite.gate == {
        "alpha": 0.01,
        "resolve": "1pp",
        "fail_on": {"flops": 0, "nll": "20%", "latency": "off"},
        "fatal": ["new"],
    }
    policy = read_policy(suite.gate)
    assert policy.resolve == Limit(0.01)
    assert policy.limits["latency"] is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alpha = 2", "s.toml:6: gate.alpha: must be less than 1"),
        ("alhpa = 0.1", "s.toml:6: gate.alhpa: unknown key; did you mean 'alpha'?"),
        ('fatal = ["neww"]', "s.toml:6: gate.fatal[0]: must be"),
    ],
)
def test_a_suite_with_a_gate_that_makes_no_sense(
    write: Callable[[str], Path], registry: Registry, line: str, said: str
) -> None:
    with pytest.raises(SuiteError) as error:
        load_suite(write(HEAD + f"[gate]\n{line}\n"), registry)
    assert said in str(error.value)
