"""Executors, reporters and observers with parameters: from a text, a table, a `Ref`, a suite."""

from __future__ import annotations

from types import ModuleType

import pytest

from finefuse import Ref
from finefuse.declare.choice import all_chosen, chosen
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import PluginError
from finefuse_zoo import hooks
from helpers.plugging import PLUGINS, module_with
from helpers.suites import HEAD, LEAST, complaint


@pytest.fixture
def observing(plugins: ModuleType) -> Registry:
    """The plugins of suites, those with parameters for a run, and the zoo's executors and reporters."""
    kept = {name: getattr(hooks, name) for name in ("finefuse_executors", "finefuse_reporters")}
    return Registry([plugins, str(PLUGINS / "observing.py"), module_with("some", **kept)], entry_points=False)


@pytest.mark.parametrize(
    ("choice", "ref"),
    [
        ("local", Ref.of("local")),
        ("local()", Ref.of("local")),
        (" local ( preload = false ) ", Ref.of("local", preload=False)),
        ('csv(sep = ";", digits = 3)', Ref.of("csv", sep=";", digits=3)),
        ('a(b = "), (", c = [1, 2.5], d = {e = "f"})', Ref.of("a", b="), (", c=[1, 2.5], d={"e": "f"})),
        ("my-own.one(rate=1e-3)", Ref.of("my-own.one", rate=1e-3)),
        ({"use": "local", "preload": False}, Ref.of("local", preload=False)),
        ({"use": "local"}, Ref.of("local")),
        (Ref.of("local", preload=False), Ref.of("local", preload=False)),
    ],
)
def test_what_can_be_written(choice, ref):
    assert chosen("executor", choice) == ref


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ("", "executor '' can't be read: write its name, or name(key=value, ...)"),
        ("local(", "executor 'local(' can't be read"),
        ("local)", "executor 'local)' can't be read"),
        ("local(a=1) b", "executor 'local(a=1) b' can't be read"),
        ("two words", "executor 'two words' can't be read"),
        (
            "local(preload=fals)",
            "executor 'local': 'preload=fals' can't be read: write key=value, key=value",
        ),
        ("local(preload)", "executor 'local': 'preload' can't be read"),
        ("local(word=text)", "executor 'local': 'word=text' can't be read"),
        ("local(a=1, a=2)", "executor 'local': 'a=1, a=2' can't be read"),
        ("local(a=1}\nb={c=1)", "executor 'local': 'a=1}\\nb={c=1' can't be read"),
        ("local(day=2020-01-01)", "executor 'local': Object of type date is not JSON serializable"),
        ({"preload": False}, "executor {'preload': False} has no `use` that names it"),
        ({"use": 3}, "executor {} has no `use` that names it"),
    ],
)
def test_what_can_not_be_read_is_one_sentence(choice, sentence):
    with pytest.raises(PluginError) as caught:
        chosen("executor", choice)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_several_are_taken_once_each():
    assert all_chosen("reporter", ["csv", {"use": "csv"}, "json"]) == (Ref("csv"), Ref("json"))
    assert all_chosen("reporter", "csv") == all_chosen("reporter", Ref("csv")) == (Ref("csv"),)
    assert all_chosen("reporter", []) == ()


# ------------------------------------------------------------------------------------------------- in a suite

RUN = {
    "executor": {"use": "local", "preload": False},
    "workers": 3,
    "reporters": ["markdown", {"use": "shout", "word": "hi"}],
    "observers": ["diary", {"use": "diary", "name": "second"}],
}


def test_a_suite_says_who_carries_it_out_watches_and_reports_it(observing: Registry):
    run = load_suite({**LEAST, "run": RUN}, observing).run
    assert run.executor == Ref.of("local", preload=False)
    assert run.workers == 3
    assert run.reporters == (Ref("markdown"), Ref.of("shout", word="hi"))
    assert run.observers == (Ref("diary"), Ref.of("diary", name="second"))
    plain = load_suite(LEAST, observing).run
    assert (plain.executor, plain.workers, plain.reporters, plain.observers) == (None, None, None, ())
    assert load_suite({**LEAST, "run": {"reporters": []}}, observing).run.reporters == ()


def test_none_of_it_is_part_of_a_key(observing: Registry):
    with_run = make_plan(load_suite({**LEAST, "run": RUN}, observing), observing)
    without = make_plan(load_suite(LEAST, observing), observing)
    assert [job.key for job in with_run.jobs] == [job.key for job in without.jobs]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("executor = 'locall'", "s.toml:6: run.executor: there is no executor 'locall'; did you mean 'local'?"),
        ("executor = 'csv'", "s.toml:6: run.executor: there is no executor 'csv'; 'csv' is a reporter"),
        (
            "executor = {use = 'local', preloda = false}",
            "s.toml:6: run.executor.preloda: executor 'local' has no parameter 'preloda'; did you mean 'preload'?",
        ),
        ("executor = {preload = false}", "s.toml:6: run.executor: the key 'use' is missing"),
        ("executor = 3", "s.toml:6: run.executor: must be a name or a table, not 3"),
        ("workers = -1", "s.toml:6: run.workers: must be greater than or equal to 0, not -1"),
        ("wrokers = 1", "s.toml:6: run.wrokers: unknown key; did you mean 'workers'?"),
        ("reporters = ['markdwon']", "s.toml:6: run.reporters[0]: there is no reporter 'markdwon'; did you mean"),
        ("reporters = ['csv', 'csv']", "s.toml:6: run.reporters[1]: "),
        ("observers = ['diray']", "s.toml:6: run.observers[0]: there is no observer 'diray'; did you mean 'diary'?"),
        ("observers = [{use = 'diary', name = 3}]", "s.toml:6: run.observers[0].name: observer 'diary': name must be"),
    ],
)
def test_what_is_wrong_with_it_is_told_with_the_line(write, observing: Registry, text: str, sentence: str):
    assert complaint(write(f"{HEAD}[run]\n{text}\n"), observing).startswith(sentence)
