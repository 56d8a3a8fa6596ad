"""results/ holds generated boards with pages by hand beside them; studies/ holds scripts with their figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from finefuse.declare.keys import RESULTS_VERSION

ROOT = Path(__file__).parents[2]
BOARDS = sorted(ROOT.glob("results/*/leaderboard.md"))
PAGES = sorted([*ROOT.glob("results/*/README.md"), *ROOT.glob("studies/**/*.md"), *ROOT.glob("examples/*/README.md")])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_folder_of_results_has_a_board() -> None:
    assert {path.parent for path in BOARDS} == {path for path in (ROOT / "results").iterdir() if path.is_dir()}


@pytest.mark.parametrize("board", BOARDS, ids=name)
def test_a_board_is_generated_text_from_its_first_line(board: Path) -> None:
    written = json.loads(board.with_name("leaderboard.json").read_text(encoding="utf-8"))
    text = board.read_text(encoding="utf-8")
    assert text.startswith(f"# {written['suite']}\n\n## ")
    assert re.findall(r"^# .*", text, flags=re.MULTILINE) == [f"# {written['suite']}"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []
    assert page.parts[-3] != "results" or "leaderboard.md" in targets


def test_every_study_is_listed_with_its_figures() -> None:
    rows = re.findall(
        r"^\| \[(.+?)\]\(.+?\) \| .+ \| (.+) \|$", (ROOT / "studies" / "README.md").read_text(), re.MULTILINE
    )
    found = [path for kind in ("*.py", "*.sh") for path in (ROOT / "studies").rglob(kind)]
    scripts = [path.relative_to(ROOT / "studies").as_posix() for path in found]
    assert sorted(script for script, _ in rows) == sorted(scripts)
    told = re.findall(r"\w+/\w+\.md", " ".join(figures for _, figures in rows))
    assert {path.relative_to(ROOT / "studies").as_posix() for path in (ROOT / "studies").glob("*/*.md")} <= set(told)


def test_no_study_speaks_of_a_place_where_it_no_longer_is() -> None:
    for path in [*(ROOT / "studies").rglob("*.py"), *(ROOT / "studies").rglob("*.md")]:
        for script in re.findall(r"[\w/]+/\w+\.py\b", path.read_text(encoding="utf-8")):
            assert any((base / script).exists() for base in (ROOT, path.parent)), (path, script)


def test_the_page_of_all_boards_names_each_with_its_suite_and_its_rule() -> None:
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(.+?)\]\((.+?)\) \| `(.+?)` \| (.+?) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert sorted(folder for folder, *_ in rows) == sorted(board.parent.name for board in BOARDS)
    for folder, link, suite, rule, made, version in rows:
        assert re.fullmatch(r"20\d\d-\d\d-\d\d( to 20\d\d-\d\d-\d\d)?", made)
        assert 1 <= int(version) <= RESULTS_VERSION
        assert (ROOT / "results" / link).is_file()
        assert (ROOT / suite).is_file() or (ROOT / "suites" / f"{suite}.toml").is_file()
        written = json.loads((ROOT / "results" / folder / "leaderboard.json").read_text(encoding="utf-8"))
        from_means = any("the rows were not kept" in note for note in written["notes"])
        one_seed = not any(line["ok"] > 1 for line in written["lines"])
        assert "rank.lowest" in written["lines"][0]
        assert rule == ("from means" if from_means or one_seed else "error rate")
