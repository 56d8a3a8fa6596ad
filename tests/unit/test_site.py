"""Static pages of many boards."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

from finefuse import api
from finefuse.errors import StoreError
from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.records import Records
from finefuse_zoo.reporters.json_board import Json
from helpers.boards import runs
from helpers.calling import call

HOSTILE = '<script>alert("x")</script>&'


class Links(HTMLParser):
    """The tags of a page and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


@pytest.fixture
def results(build: ModuleType, tmp_path: Path) -> Path:
    """A folder with records, one with a board alone and a README, and one with neither."""
    root = tmp_path / "results"
    for row in runs(build, "full", [0.5, 0.6], suite=HOSTILE, dataset="folder(train=/x/ants)"):
        Records(root / "with records #1").append(row)
    (root / "kept").mkdir()
    Json().write(make_leaderboard("kept", runs(build, "l2", [0.7, 0.8])), root / "kept")
    (root / "kept" / "README.md").write_text("what it shows")
    (root / "other").mkdir()
    return root


def test_a_site_has_every_board_and_an_index_whose_links_lead_somewhere(results: Path, tmp_path: Path) -> None:
    site = api.site(results, tmp_path / "site")
    assert site.complaints == ()
    assert [entry.name for entry in site.entries] == ["kept", "with records #1"]
    text = site.index.read_text(encoding="utf-8")
    page = Links(text)
    assert len(page.links) > 8
    assert all((site.index.parent / unquote(link)).is_file() for link in page.links)
    assert {"leaderboard.md", "scores.csv", "README.md"} <= {Path(unquote(link)).name for link in page.links}
    assert "ants · cnn-s: full, accuracy 0.5500" in text
    assert not re.search(r"https?:", text)
    assert "script" not in page.tags
    assert not (results / "kept" / "leaderboard.md").exists()


def test_links_to_folders_of_one_name_have_a_place_each(results: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    for name in ("kept", "with records #1"):
        (tmp_path / name / "run").parent.mkdir()
        (results / name).rename(tmp_path / name / "run")
        (tmp_path / "links" / name).symlink_to(tmp_path / name / "run")
    site = api.site(tmp_path / "links", tmp_path / "site")
    assert [entry.name for entry in site.entries] == ["kept", "with records #1"]


def test_reports_may_be_chosen_and_a_single_folder_is_a_site_too(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site"
    done = call(capsys, "site", results / "kept", "--out", out, "--reporter", "markdown")
    assert (done.code, done.out) == (0, f"{out / 'index.html'}\n")
    assert sorted(path.name for path in (out / "kept").iterdir()) == ["README.md", "leaderboard.md"]


def test_a_reporter_that_fails_is_told_and_the_others_write(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = 'model-index(line="nothing")'
    done = call(capsys, "site", results, "--out", tmp_path / "site", "--reporter", wrong, "--reporter", "markdown")
    assert done.code == 1
    assert done.err.count("no line with a score is called 'nothing'") == 2
    assert (tmp_path / "site" / "kept" / "leaderboard.md").exists()


def test_nothing_to_show_and_a_site_within_results_are_refused(results: Path, tmp_path: Path) -> None:
    for empty in (tmp_path / "nowhere", results / "other"):
        with pytest.raises(StoreError, match="no results here"):
            api.site(empty, tmp_path / "site")
    with pytest.raises(StoreError, match="is a results folder itself"):
        api.site(results, results / "kept" / "site")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        api.site(results, tmp_path / "file")
    assert not (tmp_path / "site").exists()
