"""Whatever is wrong with what was asked: one sentence, exit code 2, no traceback, and nothing lost or half written."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finefuse.cli import main

GOOD = """
name      = "tiny"
seeds     = [0]
budget    = { epochs = 2 }
datasets  = ["points"]
backbones = ["tiny"]
metrics   = ["accuracy"]
schemes   = ["full", "head-sgd"]
fusions   = ["mean-probs"]
latency   = []

[pools]
both = { of = ["full", "head-sgd"] }
"""
MISTAKES = {
    "an unknown key": ("seeds     =", "seed      =", "bad.toml:3: seed: unknown key; did you mean 'seeds'?"),
    "a misspelled key in a table": ("epochs", "epoch", "bad.toml:4: budget.epoch: unknown key; did you mean 'epochs'?"),
    "a missing key": ('datasets  = ["points"]\n', "", "bad.toml: the key 'datasets' is missing"),
    "a missing key in a table": ('of = ["full", "head-sgd"]', "copies = 2", "bad.toml:13: pools.both: the key 'of'"),
    "no name": ('"tiny"\nseeds', '""\nseeds', "bad.toml:2: name: must be letters"),
    "a name that leaves the folder": ('"tiny"\nseeds', '"../tiny"\nseeds', "bad.toml:2: name: must be letters"),
    "a text for a number": ("epochs = 2", 'epochs = "2"', "bad.toml:4: budget.epochs: must be a"),
    "a broken number": ("epochs = 2", "epochs = 2.5", "bad.toml:4: budget.epochs: must be a"),
    "true for a number": ("[0]", "[true]", "bad.toml:3: seeds[0]: must be a"),
    "a text for a list": ('["points"]', '"points"', "bad.toml:5: datasets: must be a list"),
    "a number for a plugin": ('["points"]', "[5]", "bad.toml:5: datasets[0]: must be a name or a table"),
    "a number for a table": ("{ epochs = 2 }", "2", "bad.toml:4: budget: must be a table"),
    "a number below its bounds": ("epochs = 2", "epochs = 0", "bad.toml:4: budget.epochs: must be greater than"),
    "a negative seed": ("[0]", "[-1]", "bad.toml:3: seeds[0]: must be greater than"),
    "infinite seconds": (
        "latency",
        "limits = { seconds = inf }\nlatency",
        "bad.toml:10: limits.seconds: must be a finite",
    ),
    "a duplicate key": ("latency", "seeds = [1]\nlatency", "bad.toml:10: seeds: is given twice, first on line 3"),
    "a duplicate seed": ("[0]", "[0, 0]", "bad.toml:3: seeds[1]: 0 is given twice"),
    "a duplicate scheme": (
        '"full", "head-sgd"]\nf',
        '"full", "full"]\nf',
        "bad.toml:8: schemes[1]: full is given twice",
    ),
    "a duplicate label": (
        '["full", "head-sgd"]\nf',
        '["full", { use = "head-sgd", as = "full" }]\nf',
        "full is given twice",
    ),
    "no schemes": ('["full", "head-sgd"]\nf', "[]\nf", "bad.toml:8: schemes: must not be empty"),
    "no seeds": ("[0]", "[]", "bad.toml:3: seeds: must not be empty"),
    "an empty pool": ('of = ["full", "head-sgd"]', "of = []", "bad.toml:13: pools.both.of: must not be empty"),
    "an unknown scheme": (
        '"full", "head-sgd"]\nf',
        '"ful", "head-sgd"]\nf',
        "there is no scheme 'ful'; did you mean 'full'?",
    ),
    "an unknown data set": (
        '["points"]',
        '["poinst"]',
        "bad.toml:5: datasets[0]: there is no dataset 'poinst'; did you",
    ),
    "a fusion among the schemes": ('"head-sgd"]\nf', '"soup"]\nf', "'soup' is a fusion"),
    "an unknown parameter": (
        's   = ["full", "head',
        's   = [{ use = "full", rate = 1 }, "head',
        "schemes[0].rate: scheme 'full' has no",
    ),
    "a parameter out of bounds": ('s   = ["full", "head', 's   = [{ use = "full", lr = -1 }, "head', "schemes[0].lr: "),
    "a parameter of another type": (
        's   = ["full", "head',
        's   = [{ use = "full", lr = "fast" }, "head',
        "schemes[0].lr: ",
    ),
    "an empty grid": (
        's   = ["full", "head',
        's   = [{ use = "full", grid = { lr = [] } }, "head',
        "bad.toml:8: schemes[0].grid.lr: must not be empty",
    ),
    "a pool without schemes": (
        'of = ["full", "head-sgd"]',
        'of = ["fool"]',
        'no scheme or pool is called "fool"; there is full',
    ),
    "pools that contain each other": (
        '["full", "head-sgd"] }',
        '["loop"] }\nloop = { of = ["both"] }',
        "bad.toml:13: pools.both: contains itself: both -> loop -> both",
    ),
    "a pool that contains itself": (
        '["full", "head-sgd"] }',
        '["both"] }',
        "pools.both: contains itself: both -> both",
    ),
    "a metric for another task": ('["accuracy"]', '["mse"]', "bad.toml:7: metrics: points is a classification task"),
    "a broken line": ("seeds     =", "seeds     :", "bad.toml:3: is not valid TOML"),
}


@pytest.fixture
def results(place: Any, snapshot: Callable[[Path], dict[str, str]], fixture_module: Callable[[str], Any]) -> Any:
    """A results folder from before, and the digests of its files."""
    builder = fixture_module("records_builder")
    builder.write(place.folder / "results" / "tiny", [builder.row(label=label) for label in ("full", "head-sgd")])
    place.before = snapshot(place.folder / "results")
    return place


@pytest.fixture
def refused(
    results: Any,
    tiny: str,
    snapshot: Callable[[Path], dict[str, str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Runs a command that must be refused, in this process, checks how, and gives back the sentence."""
    monkeypatch.chdir(results.folder)
    monkeypatch.setenv("FINEFUSE_STORE", str(results.store))

    def check(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--plugin", tiny])
        assert isinstance(ended.value.code, int)
        sentence = only_sentence(ended.value.code, *capsys.readouterr())
        assert snapshot(results.folder / "results") == results.before
        assert not results.store.exists()
        return sentence

    return check


def only_sentence(code: int, out: str, err: str) -> str:
    """What is wrong, from an outcome that says that and nothing else."""
    assert (code, out) == (2, ""), err
    assert "Traceback" not in err
    line, *more = err.splitlines()
    assert not more
    assert line.startswith("error: ")
    return str(line.removeprefix("error: "))


# ------------------------------------------------------------------------------------------------- in the suite


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_suite(refused: Callable[..., str], results: Any, mistake: str) -> None:
    old, new, sentence = MISTAKES[mistake]
    assert GOOD.count(old) == 1
    results.write("bad.toml", GOOD.replace(old, new))
    assert sentence in refused("run", "bad.toml")


def _folder(path: Path) -> None:
    path.mkdir()


def _binary(path: Path) -> None:
    path.write_bytes(b"\x7fELF\0\0\0")


def _latin(path: Path) -> None:
    path.write_bytes(GOOD.encode() + b"# caf\xe9\n")


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(50 * 1024**2)


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _deep(path: Path) -> None:
    path.write_text("seeds = " + "[" * 5000 + "]" * 5000)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_folder, "odd.toml: is a folder; give the path of a suite file (.toml)"),
        (_binary, "odd.toml: is a binary file, not a suite"),
        (_latin, "odd.toml:14: is not UTF-8: byte 0xe9"),
        (_huge, "odd.toml: has 52,428,800 bytes, and a suite at most 1,000,000; is it one?"),
        (_nothing, "odd.toml: the key 'name' is missing"),
        (_deep, "odd.toml: is nested too deeply"),
        (_pipe, "odd.toml: is not a regular file"),
        (_socket, "odd.toml: is not a regular file"),
    ],
)
def test_a_suite_that_is_no_text(
    refused: Callable[..., str], results: Any, make: Callable[[Path], None], sentence: str
) -> None:
    make(results.folder / "odd.toml")
    assert sentence in refused("run", "odd.toml")


def test_a_suite_that_is_not_there(refused: Callable[..., str]) -> None:
    assert "no suite and no file is called \"quikc\"; did you mean 'quick'?" in refused("run", "quikc")


# ------------------------------------------------------------------------------------------------- in the command


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--executor", "lokal"), "there is no executor 'lokal'; did you mean 'local'?"),
        (("--device", "gpu"), "gpu"),
        (("--device", "cuda:99"), "cuda:99"),
        (("--workers", "-1"), "workers must be 0 or more, not -1"),
        (("--only", "fulll"), "no scheme or fusion matches \"fulll\"; did you mean 'full'?"),
    ],
)
def test_an_option_that_makes_no_sense(
    refused: Callable[..., str], results: Any, options: tuple[str, ...], sentence: str
) -> None:
    results.write("good.toml", GOOD)
    assert sentence in refused("run", "good.toml", *options)


def test_cuda_where_the_system_shows_none(
    refused: Callable[..., str], results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    results.write("good.toml", GOOD)
    assert "CUDA" in refused("run", "good.toml", "--device", "cuda")


def test_an_unknown_reporter(refused: Callable[..., str]) -> None:
    assert "there is no reporter 'cvs'; did you mean 'csv'?" in refused("report", "results/tiny", "--reporter", "cvs")


def test_a_folder_without_results(refused: Callable[..., str]) -> None:
    assert "results/none: no results here" in refused("report", "results/none")


# ------------------------------------------------------------------------------------------------- plugins

BROKEN = "import a_module_that_is_not_there\n"


def test_a_broken_plugin_stops_only_what_needs_it(results: Any, tiny: str) -> None:
    results.write("broken.py", BROKEN)
    results.write("needs.toml", GOOD.replace('"full", "head-sgd"', '"full", "broken-scheme"', 1))
    results.write("good.toml", GOOD)
    needs = results.call("check", "needs.toml", "--plugin", tiny, "--plugin", "broken.py")
    (sentence,) = needs.err.splitlines()
    assert (needs.code, needs.out) == (2, "")
    assert sentence.startswith("error: needs.toml:8: schemes[1]: there is no scheme 'broken-scheme'")
    assert sentence.endswith("broken.py: see `finefuse plugins`)")
    assert results.call("check", "good.toml", "--plugin", tiny, "--plugin", "broken.py").code == 0


def test_a_name_of_two_plugins(refused: Callable[..., str], results: Any) -> None:
    twin = "from finefuse import Entry, hookimpl\n@hookimpl\ndef finefuse_schemes():\n    yield Entry('full', dict)\n"
    results.write("twin.py", twin)
    results.write("good.toml", GOOD)
    sentence = refused("run", "good.toml", "--plugin", "twin.py")
    assert "scheme 'full' is provided 2 times, by finefuse_zoo.hooks (finefuse" in sentence
    assert "twin.py" in sentence


# ------------------------------------------------------------------------------------------------- records and store


def test_a_corrupt_line_closes_the_folder_until_its_job_ran_again(
    place: Any, tiny: str, snapshot: Callable[[Path], dict[str, str]]
) -> None:
    place.write("good.toml", GOOD)
    run = ("run", "good.toml", "--plugin", tiny, "--device", "cpu", "--workers", "0")
    assert place.call(*run).code == 0
    folder = place.folder / "results" / "tiny"
    first, second, *rest = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "records.jsonl").write_bytes(b"".join([first, second[:40] + b"\n", *rest]))
    before, wrong = snapshot(folder), "results/tiny/records.jsonl:2: is not a JSON object"
    assert only_sentence(*place.call("report", "results/tiny")).startswith(f"{wrong}; `finefuse run` ignores it")
    assert f"{wrong}: it counts for nothing" in place.call("plan", "good.toml", "--plugin", tiny).err
    assert snapshot(folder) == before
    outcome = place.call(*run)
    assert outcome.code == 0
    assert f"{wrong}: it counts for nothing" in outcome.err
    assert place.call("report", "results/tiny").code == 0
    assert f"were ignored: {wrong}" in (folder / "leaderboard.md").read_text()


def test_a_torn_last_line_is_no_error_and_is_replaced(place: Any, tiny: str) -> None:
    place.write("good.toml", GOOD)
    command = ("run", "good.toml", "--plugin", tiny, "--device", "cpu", "--workers", "0")
    assert place.call(*command).code == 0
    rows, scores = place.rows("results/tiny"), place.scores("results/tiny")
    records = place.folder / "results" / "tiny" / "records.jsonl"
    records.write_bytes(records.read_bytes()[:-100])
    assert len(place.rows("results/tiny")) == len(rows) - 1
    assert place.call("report", "results/tiny").code == 0
    again = place.run(*command)
    assert again.code == 0, again.err
    assert "Traceback" not in again.err
    assert [row["cell"] for row in place.rows("results/tiny")] == [row["cell"] for row in rows]
    assert place.scores("results/tiny") == scores


@pytest.mark.parametrize("out", ["good.toml/results", "/proc/finefuse", "/dev/null"])
def test_a_results_folder_that_cannot_be_made(refused: Callable[..., str], results: Any, out: str) -> None:
    results.write("good.toml", GOOD)
    assert f"{out}" in refused("run", "good.toml", "--out", out)


def test_a_store_that_cannot_be_written_to(place: Any, tiny: str) -> None:
    place.write("good.toml", GOOD)
    store = "good.toml/store"
    outcome = place.call("run", "good.toml", "--plugin", tiny, "--store", store, "--workers", "0", "--quiet")
    sentence = only_sentence(*outcome)
    assert store in sentence
    assert "the store can't be written to" in sentence
    assert not place.rows("results/tiny")


def test_a_full_disk_keeps_what_is_finished_and_the_same_command_goes_on(place: Any, tiny: str) -> None:
    """Files that may not grow stand for a disk that is full."""
    place.write("good.toml", GOOD)
    command = ("run", "good.toml", "--plugin", tiny, "--device", "cpu", "--workers", "0", "--quiet")
    limit = 6000
    small = place.run(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    sentence = only_sentence(*small)
    assert "records.jsonl: can't be written: " in sentence
    kept = place.rows("results/tiny")
    assert kept
    assert place.run(*command).code == 0
    rows = place.rows("results/tiny")
    assert rows[: len(kept)] == kept
    assert [row["status"] for row in rows] == ["ok"] * 5
    assert len({row["cell"] for row in rows}) == 5


SLEEPY = """
import time
from dataclasses import dataclass
from pathlib import Path
from finefuse import Entry, hookimpl

@dataclass(frozen=True)
class Sleepy:
    def tune(self, on):
        Path("asleep").write_text("")
        time.sleep(600)

@hookimpl
def finefuse_schemes():
    yield Entry("sleepy", Sleepy)
"""


def test_a_second_driver_in_one_folder_is_refused(place: Any, tiny: str) -> None:
    place.write("sleepy.py", SLEEPY)
    place.write(
        "good.toml", GOOD.replace('"full", "head-sgd"]\nf', '"sleepy", "full"]\nf').replace("head-sgd", "sleepy")
    )
    command = ("run", "good.toml", "--plugin", tiny, "--plugin", "sleepy.py", "--device", "cpu", "--workers", "0")
    first: subprocess.Popen[str] = place.start(*command)
    try:
        while not (place.folder / "asleep").exists():
            assert first.poll() is None, first.communicate()[1]
            time.sleep(0.05)
        before = place.rows("results/tiny")
        sentence = only_sentence(*place.run(*command))
        assert f"results/tiny: another run (process {first.pid}) is writing here" in sentence
        assert place.rows("results/tiny") == before
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate()
    assert first.returncode == 130
