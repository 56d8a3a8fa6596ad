"""results/regenerate.py: one command that makes all committed boards anew, or those of which there are rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from finefuse import api
from finefuse.judge.board.from_means import ranked_from_means
from finefuse.judge.board.saved import saved_board
from helpers.loading import loaded

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a copy of the page in a folder of its own as results/."""
    module = loaded(ROOT / "results" / "regenerate.py")
    here = tmp_path / "results"
    here.mkdir()
    shutil.copy(ROOT / "results" / "README.md", here)
    monkeypatch.setattr(module, "HERE", here)
    return module


def table(script: ModuleType) -> list[str]:
    page: str = (script.HERE / "README.md").read_text(encoding="utf-8")
    return [line for line in page.splitlines() if line.startswith("| [")]


def test_every_suite_is_there_with_the_plugins_that_it_needs(script: ModuleType) -> None:
    for found in script.ROW.finditer((script.HERE / "README.md").read_text(encoding="utf-8")):
        source, plugins = script._source(found["suite"], None)
        path = source if isinstance(source, Path) else ROOT / "suites" / f"{source}.toml"
        needed = ["cifar_resnets.py"] if "cifar-resnet" in path.read_text(encoding="utf-8") else []
        assert [Path(plugin).name for plugin in plugins if Path(plugin).is_file()] == needed


def test_paths_of_an_example_are_moved_and_nothing_else(script: ModuleType, tmp_path: Path) -> None:
    suite, _ = script._source("examples/text/sst2.toml", tmp_path)
    (dataset,) = suite["datasets"]
    assert dataset["train"] == str(tmp_path / "text" / "sst2" / "train.tsv")
    assert suite["backbones"][0]["pretrained_on"]["test"] == str(tmp_path / "text" / "trec" / "test.tsv")
    assert (suite["name"], suite["schemes"][0], suite["seeds"]) == ("text-sst2", "full", [0, 1, 2, 3, 4])
    assert script.moved({"as": "data", "of": ["dataset/x", "data/x"]}, "/d") == {
        "as": "data",
        "of": ["dataset/x", "/d/x"],
    }


def test_boards_are_rebuilt_from_rows_and_named_in_the_table(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "FIGURES", ())  # altair takes seconds
    shutil.copytree(ROOT / "baselines" / "quick", tmp_path / "rows" / "regression")
    before = table(script)
    assert script.main(["--records", str(tmp_path / "rows")]) == 0
    board, rows_of = script.HERE / "regression", ROOT / "baselines" / "quick"
    assert {path.name for path in board.iterdir()} == {"costs.csv", "leaderboard.json", "leaderboard.md", "scores.csv"}
    text = (board / "leaderboard.md").read_text(encoding="utf-8")
    assert text.startswith("# quick\n\n")
    assert text.splitlines()[2:] == api.board(rows_of).to_markdown().splitlines()[2:]
    rows = [json.loads(line) for line in (rows_of / "records.jsonl").read_text().splitlines()]
    days = sorted({row["finished"][:10] for row in rows})
    made = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    changed = f"| [regression](regression/README.md) | `regression` | error rate | {made} | 3 |"
    assert table(script) == [changed if line.startswith("| [regression]") else line for line in before]


def test_boards_without_rows_are_ranked_from_their_means_and_nothing_else_changes(
    script: ModuleType, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "results" / "fashion-mnist", script.HERE / "fashion-mnist")
    former, page = script.HERE / "fashion-mnist", script.HERE / "README.md"
    as_kept = {path.name: path.read_bytes() for path in former.iterdir()}
    page.write_text(page.read_text().replace("| from means | 2026-11-26 | 2 |", "| former | 2026-11-26 | 2 |"))
    content = json.loads((former / "leaderboard.json").read_text())
    for line in content["lines"]:
        line |= {"rank": line["rank"] and 7, "tied": False}
        del line["rank.lowest"]
    (former / "leaderboard.json").write_text(json.dumps(content))
    assert script.main(["--from-scores", "fashion-mnist"]) == 0
    assert {path.name: path.read_bytes() for path in former.iterdir()} == as_kept
    assert (
        "| [fashion-mnist](fashion-mnist/README.md) | `examples/fashion-mnist/fashion-mnist.toml` | from means |"
        in (page.read_text())
    )
    assert script.main(["--from-scores", "fashion-mnist", "--into", str(tmp_path / "tried")]) == 0
    assert (tmp_path / "tried" / "fashion-mnist" / "scores.csv").read_bytes() == as_kept["scores.csv"]


def test_every_committed_board_has_ranks_by_the_present_rule() -> None:
    """Those without rows are what their means give; CHANGELOG.md and README.md say so."""
    module = loaded(ROOT / "results" / "regenerate.py")
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    kinds = {found["board"]: found["ranks"] for found in module.ROW.finditer(page)}
    assert set(kinds.values()) == {module.BY_ROWS, module.BY_SCORES}
    for board in (board for board, ranks in kinds.items() if ranks == module.BY_SCORES):
        kept = saved_board(ROOT / "results" / board / "leaderboard.json")
        ranked = ranked_from_means(kept)
        assert ranked.lines[["rank", "rank.lowest", "tied"]].equals(kept.lines[["rank", "rank.lowest", "tied"]])
        assert ranked.notes == kept.notes
        assert "the leader of their group" not in "".join(kept.notes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quik"], "quik: error: no board is called 'quik'; did you mean 'quick'?"),
        (["quick", "--records", "nowhere"], "quick: error: "),
        (["text-trec", "--data", "nowhere", "--workers", "0"], "text-trec: error: "),
        (["quick", "--from-scores"], "quick: error: "),
        (["--records", "nowhere"], "error: nowhere: no board has records there"),
    ],
)
def test_what_can_not_be_made_is_told_in_one_sentence(
    script: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = table(script)
    assert script.main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith(said)
    assert told.count("\n") == 1
    assert table(script) == before
    assert [path.name for path in script.HERE.iterdir()] == ["README.md"]


def test_jobs_that_failed_are_told(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Run:
        rows, bad, complaints = [{}, {}, {}], [{}], ["scores.csv: no room"]

    monkeypatch.setattr(script.finefuse, "run", lambda *_, **__: Run)
    assert script.main(["quick"]) == 1
    told = capsys.readouterr().err
    assert "1 of 3 jobs failed" in told
    assert "scores.csv: no room" in told


@pytest.mark.slow
def test_a_suite_is_run_and_a_second_time_only_rendered(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = script.HERE / "README.md"
    page.write_text("| [toy](toy/leaderboard.md) | `tests/fixtures/toys/toy.toml` | former | 2026-11-21 | 1 |\n")
    monkeypatch.setattr(script, "PLUGINS", {"toys": "../toys.py"})
    for kept in ("0 kept", "0 to run"):
        assert script.main(["--workers", "0", "--device", "cpu", "--store", str(tmp_path / "store")]) == 0
        assert kept in capsys.readouterr().err
    assert (script.HERE / "toy" / "leaderboard.json").exists()
    assert "| error rate |" in page.read_text(encoding="utf-8")
