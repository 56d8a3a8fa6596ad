"""The verbs that read results, report and compare; and that no quick verb needs torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.calling import call

TOYS = Path(__file__).parents[1] / "fixtures" / "toys.py"


# ------------------------------------------------------------------------------------------------- no torch

WITHOUT_TORCH = """
import sys
from finefuse.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    loaded = {"torch._C", "sklearn", "torchmetrics"} & set(sys.modules)
    assert not loaded, loaded
    raise
"""


@pytest.mark.parametrize(
    ("verb", "also_without"),
    [
        (["--help"], ("pandas", "rich.console", "pydantic")),
        (["list"], ("pandas", "rich.console", "numpy")),
        (["show", "plain"], ("pandas",)),
        (["plugins"], ("pandas",)),
        (["check", "toy"], ("pandas",)),
        (["plan", "toy", "--why", "--device", "cpu"], ("pandas",)),
        (["schema"], ("pandas",)),
        (["report", "results"], ()),
        (["compare", "results", "results"], ()),
    ],
)
def test_a_quick_verb_needs_no_torch(verb: list[str], also_without: tuple[str, ...], results: Path) -> None:
    code = WITHOUT_TORCH.replace('"torch._C"', ", ".join(map(repr, ("torch._C", *also_without))))
    doors = [] if verb[0] in ("--help", "compare") else ["--plugin", str(TOYS)]
    path = os.pathsep.join(part for part in sys.path if part)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *verb, *doors],
        capture_output=True,
        text=True,
        cwd=results.parent,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


# ------------------------------------------------------------------------------------------------- report, compare


def test_report_names_the_files_it_wrote(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = call(capsys, "report", results)
    assert (outcome.code, outcome.err) == (0, "")
    written = {Path(line) for line in outcome.out.splitlines()}
    assert written == set(results.iterdir()) - {results / "records.jsonl"}
    assert results / "leaderboard.md" in written


def test_report_leaves_what_a_person_wrote_as_it_is(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "README.md").write_text("# What this teaches\n", encoding="utf-8")
    outcome = call(capsys, "report", results)
    assert "README.md" not in outcome.out
    assert (results / "README.md").read_text(encoding="utf-8") == "# What this teaches\n"
    assert (results / "leaderboard.md").read_text(encoding="utf-8").startswith("# ")


def test_report_of_a_pair_writes_nothing(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(results.iterdir())
    outcome = call(capsys, "report", results, "--pair", "full", "lp")
    assert (outcome.code, outcome.err, set(results.iterdir())) == (0, "", before)
    assert outcome.out.startswith("# a: full, b: lp\n")
    wrong = call(capsys, "report", results, "--pair", "full", "ful")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == "error: no line with a score is called 'ful'; did you mean 'full'?\n"


def test_report_over_all_backbones_writes_nothing(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(results.iterdir())
    outcome = call(capsys, "report", results, "--overall")
    assert (outcome.code, outcome.err, set(results.iterdir())) == (0, "", before)
    assert outcome.out.startswith("## digits\n")
    wrong = call(capsys, "report", results, "--impute", "best")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("error: no imputation is called 'best'")


def test_report_of_one_format(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "report", results, "--reporter", "json").out == f"{results / 'leaderboard.json'}\n"


def test_report_with_a_reporter_that_fails_exits_with_1(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.py").write_text(
        "from dataclasses import dataclass\nfrom finefuse import Entry, hookimpl\n"
        "@dataclass(frozen=True)\nclass Bad:\n    def write(self, board, folder):\n        raise OSError('no paper')\n"
        "@hookimpl\ndef finefuse_reporters():\n    yield Entry('bad', Bad)\n"
    )
    outcome = call(capsys, "report", results, "--plugin", tmp_path / "bad.py")
    assert outcome.code == 1
    assert outcome.err == "error: the reporter 'bad' failed with OSError: no paper\n"
    assert "leaderboard.md" in outcome.out


def test_report_of_an_empty_folder_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = call(capsys, "report", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {tmp_path}: no results here")


def test_compare_with_itself_passes(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = call(capsys, "compare", results, results)
    assert (outcome.code, outcome.err) == (0, "")
    assert "unchanged" in outcome.out


def test_compare_with_what_lacks_a_cell_fails(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    less = tmp_path / "less"
    less.mkdir()
    lines = (results / "records.jsonl").read_text().splitlines(keepends=True)
    (less / "records.jsonl").write_text("".join(lines[:-1]))
    outcome = call(capsys, "compare", results, less)
    assert outcome.code == 1
    assert "missing" in outcome.out


@pytest.mark.parametrize("unreadable", ["base", "new"])
@pytest.mark.parametrize("content", [None, "", "{torn\n{}\n"])
def test_the_gate_fails_closed_on_what_cannot_be_read(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unreadable: str, content: str | None
) -> None:
    bad = tmp_path / "bad"
    if content is not None:
        bad.mkdir()
        (bad / "records.jsonl").write_text(content)
    pair = (bad, results) if unreadable == "base" else (results, bad)
    outcome = call(capsys, "compare", *pair)
    assert outcome.code == 1
    assert str(bad) in outcome.err + outcome.out
    assert "Traceback" not in outcome.err


def test_compare_hands_on_its_options(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from finefuse.judge import compare as judge

    seen = {}
    real = judge.compare

    def spy(base: Path, new: Path, **options: float) -> judge.Comparison:
        seen.update(options)
        return real(base, new, **options)

    monkeypatch.setattr(judge, "compare", spy)
    options = ["--alpha", "0.01", "--margin", "2%", "--resolve", "50pp", "--fail-on", "nll:20%", "--fail-on", "flops:0"]
    words = ["--fatal", "new", "--allow", "settings"]
    assert call(capsys, "compare", results, results, *options, *words).code == 0
    limits = {"fail_on": {"nll": "20%", "flops": "0"}, "fatal": ["new"], "allow": ["settings"], "noise": None}
    assert seen == {"alpha": 0.01, "margin": "2%", "resolve": "50pp", **limits}


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--fail-on", "acuracy:1pp"], "nothing is measured that is called 'acuracy'; did you mean 'accuracy'?"),
        (["--fail-on", "flops"], "'flops' names no limit: write MEASURE:LIMIT"),
        (["--fail-on", "nll:much"], "nll: 'much' is no limit: write 0.5pp, 20% or a plain number from 0."),
        (["--fatal", "neww"], "there is no judgement 'neww'; did you mean 'new'?"),
        (["--allow", "regressed"], "a regression can't be allowed"),
        (["--margin", "-1"], "'-1' is no limit"),
    ],
)
def test_compare_refuses_what_makes_no_sense(
    results: Path, capsys: pytest.CaptureFixture[str], option: list[str], said: str
) -> None:
    outcome = call(capsys, "compare", results, results, *option)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {said}")
