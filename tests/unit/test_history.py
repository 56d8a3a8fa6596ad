"""`finefuse history`: points from git and from dated folders, the table, the page and the picture."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from finefuse.errors import FinefuseError
from finefuse.judge.history.page import page, picture
from finefuse.judge.history.points import points_of
from finefuse.judge.history.told import history, steps_of
from finefuse.types import Cell, Record
from helpers.calling import call
from helpers.gates import BASE, flip
from helpers.histories import look, point
from helpers.projects import git

HOSTILE = "</svg><script>alert(1)</script>\u202e\x1b[31m & \"x\" 'y'"


def rows(build: ModuleType, right: list[bool] = BASE, label: str = "full") -> list[Record]:
    return [build.row(label=label, seed=seed) | build.scores(right) for seed in range(2)]


def commit(top: Path, title: str) -> str:
    """Commit all there is, and name the commit in short."""
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", title)
    return git(top, "rev-parse", "--short", "HEAD")


@pytest.fixture(scope="module")
def repository(build: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline that was renamed, was damaged once, is worse since a merge, and another that was not committed."""
    top = tmp_path_factory.mktemp("repository")
    git(top, "init", "--quiet")
    old = build.write(top / "old", rows(build), planned=())
    commit(top, "The first rows")
    records = old / "records.jsonl"
    records.write_text(f"{records.read_text()}{{}}\nno row\n")
    commit(top, "A damaged file")
    build.write(old, rows(build), planned=())
    commit(top, "Whole again")
    new = top / "bäse line"
    git(top, "mv", "old", new.name)
    commit(top, "Another name")
    git(top, "checkout", "--quiet", "-b", "side")
    build.write(new, rows(build, flip(500, 0)), planned=())
    commit(top, "Much worse on the way")
    build.write(new, rows(build, flip(40, 0)), planned=[Cell("tune", "digits", "cnn-s", "new", "", 0, 0, 0, 0)])
    commit(top, "Worse")
    git(top, "checkout", "--quiet", "main")
    (top / "other").write_text("x")
    commit(top, "Nothing of the baseline")
    git(top, "merge", "--quiet", "--no-ff", "--message", f"Merge {HOSTILE}", "side")
    build.write(top / "mine", rows(build))
    return top


# ---------------------------------------------------------------------------------------------------- the points


def test_commits_that_changed_the_records_are_points(repository: Path) -> None:
    points, notes = points_of(repository / "bäse line")
    assert [one.title[:11] for one in points] == [
        "The first r",
        "A damaged f",
        "Whole again",
        "Another nam",
        "Merge </svg",
    ]
    names = [
        git(repository, "rev-parse", "--short", name) for name in (":/first", ":/damaged", ":/Whole", ":/name", "HEAD")
    ]
    assert [one.name for one in points] == names
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+[-+]\d\d:\d\d", one.when) for one in points)
    assert [one.rows[0]["test.accuracy"] for one in points] == [0.9, 0.9, 0.9, 0.9, 0.86]
    assert [len(one.side.absent) for one in points] == [0, 0, 0, 0, 1]
    (note,) = notes
    assert note.startswith(f"Damaged lines at {names[1]} are ignored: 2; the first: {names[1]}:old/records.jsonl:3: ")


def test_a_commit_that_cannot_be_read_is_left_out(build: ModuleType, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    folder = build.write(tmp_path / "spoilt", rows(build))
    commit(tmp_path, "Good rows")
    (folder / "records.jsonl").write_text("{}\n{}\n")
    name = commit(tmp_path, "Spoilt rows")
    points, notes = points_of(folder)
    assert [one.title for one in points] == ["Good rows"]
    assert [note.partition(" is not")[0] for note in notes] == [f"Left out: {name}:spoilt/records.jsonl:1:"]


def test_the_newest_points_alone(repository: Path) -> None:
    points, notes = points_of(repository / "bäse line", last=2)
    assert [one.title[:5] for one in points] == ["Anoth", "Merge"]
    assert notes == []


def test_a_shallow_clone_says_so(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", repository.as_uri(), "clone")
    points, notes = points_of(tmp_path / "clone" / "bäse line")
    assert len(points) == 1
    assert notes == ["This clone is shallow, so older commits are not known: fetch them all (`fetch-depth: 0`)."]


def test_dated_folders_are_points_in_the_order_of_their_rows(build: ModuleType, tmp_path: Path) -> None:
    for name, day, lost in (("b", 1, 0), ("a", 2, 0), ("c", 3, 50)):
        own = [row | {"finished": f"2026-02-{day:02d}T10:00:00+00:00"} for row in rows(build, flip(lost, 0))]
        build.write(tmp_path / name, own)
    (tmp_path / "notes").mkdir()
    found = history(tmp_path)
    assert [one.name for one in found.points] == ["b", "a", "c"]
    assert [(found.points[step.point].name, step.worse) for step in found.found] == [("c", True)]
    assert found.notes == ["3 points, from b (2026-02-01) to c (2026-02-03)."]


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("nowhere", "{0}: no such folder."),
        ("empty", "{0}: has no history: it lies in no git repository (*), and holds no folders with records.jsonl."),
        ("suites", "{0}: holds results of several suites, demo, other; expected those of one."),
        ("damaged", "{0}: none of its results can be read; the first: Left out: {0}/one/records.jsonl:1: *again."),
    ],
)
def test_what_has_no_history_is_one_sentence(
    folder: str, said: str, build: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    build.write(tmp_path / "suites" / "one", rows(build))
    build.write(tmp_path / "suites" / "two", [row | {"suite": "other"} for row in rows(build)])
    build.write(tmp_path / "damaged" / "one", [])
    (tmp_path / "damaged" / "one" / "records.jsonl").write_text("{}\n{}\n")
    before, after = said.format(tmp_path / folder).split("*") if "*" in said else (said.format(tmp_path / folder), "")
    told = call(capsys, "history", tmp_path / folder, "--out", tmp_path / "out")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"error: {before}")
    assert told.err.endswith(f"{after}\n")
    assert told.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_records_that_no_commit_has(repository: Path) -> None:
    with pytest.raises(FinefuseError, match=r"mine: has no history: no commit has its records.jsonl\.$"):
        points_of(repository / "mine")


# --------------------------------------------------------------------------------------------------- what is told


def test_the_verb_prints_the_steps_and_writes_a_page_and_a_picture(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = call(capsys, "history", repository / "bäse line", "--out", tmp_path / "out", "--measure", "accuracy")
    assert told.code == 0
    assert "bäse line: 1 step, 1 for the worse" in told.out
    head = git(repository, "rev-parse", "--short", ":/Merge")
    (row,) = [line for line in told.out.splitlines() if "digits/cnn-s/full" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == head
    assert cells[2:8] == ["digits/cnn-s/full", "accuracy ↑", "0.9000", "0.8600", "-0.04", "worse"]
    files = [tmp_path / "out" / name for name in ("history.html", "history.svg")]
    assert told.err == f"written: {files[0]}, {files[1]}\n"
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--measure", "acuracy"], "nothing is measured that is called 'acuracy'; did you mean 'accuracy'?"),
        (["--alpha", "0"], "alpha must lie between 0 and 1"),
        (["--last", "0"], "--last"),
        (["--out", "{}/records.jsonl"], "records.jsonl: can't be written: "),
    ],
)
def test_bad_options_are_refused(
    options: list[str], said: str, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = repository / "bäse line"
    given = [option.format(folder) for option in options]
    given = given if "--out" in given else [*given, "--out", str(tmp_path / "out")]
    told = call(capsys, "history", folder, *given)
    assert (told.code, told.out) == (2, "")
    assert said in told.err
    assert not (tmp_path / "out").exists()


def test_one_point_has_no_steps(build: ModuleType) -> None:
    found = look([rows(build)])
    assert found.to_markdown() == "# results: no steps\n\n- One point only, 0."
    assert "One point only" in page(found)


def test_a_terminal_gets_no_wider_lines(build: ModuleType) -> None:
    found = look([rows(build), rows(build, flip(90, 0))])
    assert max(map(len, found.to_text(60).splitlines())) <= 60


class Tags(HTMLParser):
    """The tags of a page, with their attributes, and those that are open at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_asks_for_nothing_and_shows_text_as_text(build: ModuleType) -> None:
    made = [point(str(at), rows(build, flip(lost, 0), HOSTILE)) for at, lost in enumerate((0, 0, 50))]
    found = steps_of(made[0].side.folder, made)
    text = page(found)
    tags = Tags(text).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "img", "iframe", "a"})
    assert not any(name.startswith(("on", "href", "src")) for _, attributes in tags for name in attributes)
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    opened = [attributes for tag, attributes in tags if tag == "details"]
    assert [("open" in attributes) for attributes in opened] == [True]


def test_the_picture_is_a_whole_svg_of_the_charts_with_steps(build: ModuleType) -> None:
    made = [point(str(at), rows(build, flip(lost, 0), HOSTILE)) for at, lost in enumerate((0, 0, 50))]
    drawn = ElementTree.fromstring(picture(steps_of(made[0].side.folder, made)))
    names = [text.text or "" for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert [name for name in names if name in ("accuracy ↑", "nll ↓", "flops ↓")] == ["accuracy ↑"]
    kinds = [circle.get("class") for circle in drawn.iter("{http://www.w3.org/2000/svg}circle")]
    assert kinds == ["value", "value", "worse"]
    ways = [line.get("points") or "" for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    heights = [float(pair.split(",")[1]) for pair in ways[0].split()]
    assert heights[0] == heights[1] < heights[2]  # down is worse


def test_without_steps_the_picture_has_what_ranks(build: ModuleType) -> None:
    drawn = ElementTree.fromstring(picture(look([rows(build), rows(build)])))
    names = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "accuracy ↑" in names
    assert "flops ↓" not in names


def test_what_cannot_be_compared_is_not_joined(build: ModuleType) -> None:
    other = [row | {"parts": {"core": "9"}} for row in rows(build)]
    drawn = ElementTree.fromstring(picture(look([rows(build), rows(build), other, other])))
    ways = [line.get("points") or "" for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(way.split()) for way in ways] == [2, 2]
