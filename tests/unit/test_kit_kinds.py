"""The kit for data sets, backbones, metrics, executors, reporters, observers and suites: each rule is broken by one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finefuse.errors import PluginError
from finefuse.testing import CHECKS, check_plugin, check_suite
from finefuse.testing.backbone_rules import backbone_checks
from finefuse.testing.report import Report, tell
from finefuse.testing.small import POINTS
from finefuse.types import PluginKind
from helpers.calling import call

WRONG: dict[PluginKind, dict[str, tuple[str, str]]] = {
    "dataset": {
        "drifts": ("same-seed-same-splits", "train differs between two calls with one seed"),
        "leaks": ("splits-are-disjoint", "2 of 30 examples in test are in train as well"),
        "forgets_a_class": ("classes-are-present", "val has no example of class 2"),
        "shapes": ("fits-its-task", r"val has inputs of shape \(30, 3\), not \(30, 4\)"),
        "nan": ("fits-its-task", "test has inputs that are not finite"),
        "counts": ("fingerprint-is-of-the-content", "its fingerprint is 'cloud-.*, and later"),
        "": (
            "fingerprint-is-of-the-content",
            "stays the same when the last byte of .* changes",
        ),
        "downloads": ("nothing-is-downloaded", r"it asks 127\.0\.0\.1 on the network"),
        "seeds": ("nothing-else-is-changed", "the global generator of torch was used"),
    },
    "backbone": {
        "twice": ("stages-cover-all-once", r"stages\.1\.weight, stages\.1\.bias is in more than one stage"),
        "outside": ("stages-cover-all-once", "scale is in no stage and not in the head"),
        "drifts": ("same-seed-same-weights", "two builds with one seed differ in head.bias"),
        "asks_the_batch": ("any-batch-size", "outputs for an example depend on the other examples of its batch"),
        "stops_gradients": ("gradients-reach-all", r"no gradient reaches stages\.0\.1\.weight"),
        "branches": ("can-be-exported", "raised .*"),
    },
    "metric": {
        "upside_down": ("direction-is-as-declared", "right answers score 0, wrong ones 1, and higher is better"),
        "text": ("gives-a-number", "gave 'good' as a score; a number was expected"),
        "nan": ("gives-a-number", "examples gave the score nan"),
        "sum": ("every-example-weighs-the-same", "every example twice changes the score from"),
        "first": ("order-of-examples-does-not-matter", "the examples in another order changes the score"),
        "counts": ("same-outputs-same-score", "the same outputs score .*, and later"),
        "spoils": ("nothing-else-is-changed", "it changed the outputs in place"),
    },
    "executor": {
        "twice": ("every-row-once", r"six calls gave the answers \[0, 0, 0, 0, 0, 0\]"),
        "no-future": ("every-row-once", "`submit` gave {'number': 0, .*, and not a Future"),
        "swallows": ("errors-come-back", "a call that raises ValueError gave None"),
        "": ("one-call-per-process", "two calls ran in one process at the same time"),
        "stays": ("nothing-is-left-behind", "it left 1 thread behind, ThreadPoolExecutor"),
    },
    "reporter": {
        "secretly": ("tells-what-it-wrote", r"it tells table\.txt, and wrote more\.txt, table\.txt"),
        "outside": ("tells-what-it-wrote", r"it wrote outside\.txt outside the folder"),
        "empty": ("tells-what-it-wrote", r"table\.txt is empty"),
        "counts": ("same-board-same-bytes", r"two reports of one board differ in table\.txt"),
        "changes": ("board-keeps-its-numbers", "it changed the board"),
        "first": ("an-empty-board", "raised "),
        "html": ("hostile-names", r"table\.html has a name of the board as a tag, unescaped"),
        "csv": ("hostile-names", r"table\.csv has \['@SUM\(A1\)'\], which a spreadsheet would execute"),
        "json": ("a-huge-board", r"table\.json can't be read: NaN is no JSON"),
    },
    "observer": {
        "divides": ("a-run-with-nothing-to-do", "raised ZeroDivisionError"),
        "moves": ("nothing-else-is-changed", "it changed the working folder"),
        "scores": ("rows-of-every-status", "raised KeyError"),
        "all": ("a-run-that-is-stopped", "raised IndexError"),
    },
}
CLASSES = {
    "dataset": "Cloud",
    "backbone": "Layers",
    "metric": "Share",
    "executor": "Runs",
    "reporter": "Writes",
    "observer": "Watches",
}
EACH = [(kind, what) for kind, wrong in WRONG.items() for what in wrong]
UNBROKEN = {("executor", rule) for rule in ("environment-is-passed-on", "time-is-limited", "memory-is-limited")}
UNBROKEN |= {("executor", "a-death-is-told"), ("observer", "is-told-something"), ("observer", "a-whole-run")}
UNBROKEN |= {("backbone", "nothing-else-is-changed"), ("backbone", "fingerprint-is-steady")}
UNBROKEN |= {("reporter", "nothing-else-is-changed")}
"""Rules without a wrong plugin here: `Deaf` below, or what others break in the same words."""


@pytest.fixture(scope="module")
def wrong(fixture_module: Callable[[str], Any]) -> Any:
    return fixture_module("wrong_plugins")


@pytest.mark.parametrize(("kind", "what"), EACH)
def test_it_is_caught(wrong: Any, kind: PluginKind, what: str) -> None:
    rule, sentence = WRONG[kind][what]
    check = backbone_checks((POINTS,))[rule] if kind == "backbone" else CHECKS[kind][rule]
    (found,) = tell(getattr(wrong, CLASSES[kind])(what), {rule: check}).checked
    assert found.outcome == "broken"
    assert re.search(sentence, found.why), found.why


def test_every_rule_is_broken_by_one() -> None:
    broken = {(kind, WRONG[kind][what][0]) for kind, what in EACH}
    every = {(kind, rule) for kind in WRONG for rule in CHECKS[kind]}
    assert broken | UNBROKEN == every


def test_an_observer_that_hears_nothing_is_caught(wrong: Any) -> None:
    report = tell(wrong.Deaf, CHECKS["observer"])
    assert "has none of the methods of an observer" in report.complaint


def test_a_suite_is_checked_without_a_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "yours"\nseeds = [0]\ndatasets = ["digits"]\nbackbones = ["cnn-s"]\nschemes = ["full"]\n')
    with pytest.raises(AssertionError) as caught:
        check_suite(file)
    assert "is-called-as-its-file: it is called 'yours', and its file 'mine'" in str(caught.value)
    assert "has-several-seeds: it has one seed" in str(caught.value)


PLUGIN = '''
from dataclasses import dataclass
from finefuse import Entry, hookimpl

@dataclass(frozen=True)
class Share:
    """Share of right answers."""

    kinds = ("classification",)
    higher_is_better = {better}

    def score(self, outputs, y):
        return float((outputs.argmax(-1) == y).double().mean()){more}

@hookimpl
def finefuse_metrics():
    yield Entry("share", Share, "share of right answers")
'''


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def written(better: str = "True", more: str = "") -> str:
        path = tmp_path / "share.py"
        path.write_text(PLUGIN.format(better=better, more=more))
        return str(path)

    return written


LOCAL = "other-process-same-bits"


def test_a_file_is_checked_from_the_command_line(file: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    outcome = call(capsys, "check-plugin", file(), "--skip", LOCAL)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("metric share\n  gives-a-number: kept\n")
    assert outcome.out.endswith(f"  {LOCAL}: not run, it was to be left out\n6 kept, 1 not run\n")


def test_a_broken_rule_exits_with_1_and_a_reason_makes_it_expected(
    file: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, rule = file("False"), "direction-is-as-declared"
    outcome = call(capsys, "check-plugin", path, "--skip", LOCAL)
    assert outcome.code == 1
    assert f"  {rule}: broken, right answers score 1, wrong ones 0, and lower is better\n" in outcome.out
    outcome = call(capsys, "check-plugin", path, "--skip", LOCAL, "--expect", f"{rule}=a game to be lost")
    assert outcome.code == 0
    assert f"  {rule}: expected, a game to be lost\n" in outcome.out


def test_what_is_expected_to_fail_and_does_not_is_an_error(
    file: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = call(capsys, "check-plugin", file(), "--skip", LOCAL, "--expect", "gives-a-number=it is odd")
    assert outcome.code == 1
    assert "gives-a-number: broken, it was expected to fail (it is odd), and is kept" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["accuracyy"], "there is no plugin 'accuracyy' of any kind; did you mean 'accuracy'?"),
        (["accuracy", "--expect", "gives-a-number"], "--expect 'gives-a-number': write RULE=WHY, as in"),
        (["accuracy", "--skip", "gives-number"], "there is no rule 'gives-number'; did you mean 'gives-a-number'?"),
        (["nowhere.py"], "error: there is no file nowhere.py"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = call(capsys, "check-plugin", *arguments)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_file_without_plugins_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text(
        "from finefuse import hookimpl\n@hookimpl\ndef finefuse_suites():\n    return []\n"
    )
    with pytest.raises(PluginError, match="provides no plugin of any kind"):
        check_plugin(tmp_path / "empty.py")


SCHEMES = '''
import time
from dataclasses import dataclass
import torch
from finefuse import Entry, hookimpl

KEPT = {}

@dataclass(frozen=True)
class Odd:
    """Adds `what` to the bias of the head."""

    what: str = "nothing"

    def tune(self, on):
        on.trainer.fit(on.model, [{"params": on.model.head.parameters()}])
        with torch.no_grad():
            on.model.head.bias[0] += globals()[self.what](on)

def nothing(on):
    return 0

def hashes(on):
    return len(next(iter({"a", "bb", "ccc", "dddd", "eeeee", "ffffff"})))

def date(on):
    return int(time.time()) // 86_400 % 7

def first(on):
    return KEPT.setdefault("bias", float(on.model.head.bias.detach()[0]))

@hookimpl
def finefuse_schemes():
    yield Entry("odd", Odd, "adds to the bias")
'''


@pytest.mark.slow
@pytest.mark.parametrize("what", ["nothing", "hashes", "date", "first"])
def test_results_of_hashes_dates_and_earlier_calls_are_caught_in_other_processes(tmp_path: Path, what: str) -> None:
    file = tmp_path / "odd.py"
    file.write_text(SCHEMES)
    skip = list(CHECKS["scheme"])
    (report,) = check_plugin(f"odd(what={what!r})".replace("'", '"'), plugins=[str(file)], skip=skip)
    assert isinstance(report, Report)
    (found,) = [one for one in report.checked if one.rule == LOCAL]
    assert found.outcome == ("kept" if what == "nothing" else "broken"), found
    assert what == "nothing" or "two processes with another PYTHONHASHSEED, date and order of calls" in found.why
