"""Make the boards of this folder anew: python results/regenerate.py [BOARD ...]; --help tells the options.

Each board's suite is run into the board's folder, where a former run is carried on: nothing is lost by stopping it. The
rows stay there, uncommitted. `--records DIR` runs nothing and takes the rows of each board from DIR/BOARD.
`--from-scores` runs nothing either: boards whose rows were not kept get ranks by the present rule from their means.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import finefuse
from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError, did_you_mean
from finefuse.files import write_whole
from finefuse.judge.board.from_means import ranked_from_means
from finefuse.judge.board.leaderboard import Leaderboard
from finefuse.judge.board.saved import kept_alone, saved_board
from finefuse.judge.reports import report_folder
from finefuse.records import read_results
from finefuse.types import Record, Ref

HERE = Path(__file__).parent
ROOT = HERE.parent
REPORTERS = ("markdown", "csv", "json")
FIGURES = ("quick",)
"""Boards whose figures are here too."""
PLUGINS = {"cifar10-jpeg": "cifar_resnets.py"}
"""Plugins that lie beside a suite, by its folder."""
BY_ROWS, BY_SCORES = "error rate", "from means"
"""What README.md says ranks rest on."""
RANKS = ("rank", "rank.lowest", "tied")
TABLE = "| rank"
"""How a table of ranks begins in Markdown."""
ROW = re.compile(
    r"^\| \[(?P<board>[\w-]+)\]\((?P<page>.+?)\) \| `(?P<suite>.+?)` \| (?P<ranks>[^|]+?) \|(?P<made>.*)\|$",
    re.MULTILINE,
)
"""A board in the table of README.md, which says what suite it is of."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the boards; the exit code is 1 if a job failed or a report could not be written, 2 for a mistaken option."""
    asked = _parser().parse_args(arguments)
    page = HERE / "README.md"
    suites = {row["board"]: row["suite"] for row in ROW.finditer(page.read_text(encoding="utf-8"))}
    boards = asked.boards or (_without_rows(suites) if asked.from_scores else _all(suites, asked.records))
    if not boards:
        print(f"error: {asked.records}: no board has records there", file=sys.stderr)
    code = 0 if boards else 2
    for board in boards:
        try:
            if board not in suites:
                raise FinefuseError(f"no board is called {board!r}{did_you_mean(board, suites) or '.'}")
            rows, complaints = _ranked_anew(board, asked) if asked.from_scores else _made(board, suites[board], asked)
        except FinefuseError as error:
            complaints, code = (f"error: {error}",), 2
        else:
            code = max(code, bool(complaints))
            if not asked.into:
                text = page.read_text(encoding="utf-8")
                write_whole(page, from_scores(text, board) if asked.from_scores else noted(text, board, rows))
        for complaint in complaints:
            print(f"{board}: {complaint}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make the boards of this folder anew.")
    parser.add_argument("boards", nargs="*", metavar="BOARD", help="folders of boards; all of them if none is named")
    parser.add_argument("--data", type=Path, help="folder that has the data of each example in a folder of its name")
    parser.add_argument("--records", type=Path, help="run nothing: the rows of each board are in a folder of its name")
    parser.add_argument("--from-scores", action="store_true", help="run nothing: rank anew what was kept without rows")
    parser.add_argument("--into", type=Path, help="another folder for the boards, to try it out")
    parser.add_argument("--store", type=Path, help="folder of the artifacts, as for finefuse run")
    parser.add_argument("--workers", type=int, help="jobs at a time, as for finefuse run")
    parser.add_argument("--device", default="auto", help="as for finefuse run")
    return parser


def _all(suites: Mapping[str, str], records: Path | None) -> list[str]:
    """All boards, or those that have records."""
    return [board for board in suites if records is None or (records / board / "records.jsonl").exists()]


def _without_rows(suites: Mapping[str, str]) -> list[str]:
    """The boards whose ranks don't rest on rows."""
    page = (HERE / "README.md").read_text(encoding="utf-8")
    return [found["board"] for found in ROW.finditer(page) if found["ranks"] != BY_ROWS and found["board"] in suites]


def _ranked_anew(board: str, asked: argparse.Namespace) -> tuple[Sequence[Record], Sequence[str]]:
    """Write a board of which only the reports were kept, with ranks from its means; no rows, and what wasn't written.

    Raises:
        FinefuseError: if there is no such board.
    """
    folder = HERE / board
    if (file := kept_alone(folder)) is None:
        raise FinefuseError(f"{folder}: has rows, or no board: --from-scores is for boards without rows.")
    ranked, target = ranked_from_means(saved_board(file)), (asked.into or HERE) / board
    target.mkdir(parents=True, exist_ok=True)
    for name, renewed in (("leaderboard.json", _json), ("leaderboard.md", _markdown), ("scores.csv", _scores)):
        write_whole(target / name, renewed((folder / name).read_text(encoding="utf-8"), ranked))
    return (), ()


def _json(text: str, ranked: Leaderboard) -> str:
    """leaderboard.json with these ranks and notes; all other numbers as they were."""
    content = json.loads(text)
    lines = ranked.lines[list(RANKS)].astype(object).to_dict("records")
    for line, ranks in zip(content["lines"], lines, strict=True):
        line |= {name: None if pd.isna(rank) else rank for name, rank in ranks.items()}
    return json.dumps(content | {"notes": list(ranked.notes)}, indent=1, allow_nan=False) + "\n"


def _markdown(text: str, ranked: Leaderboard) -> str:
    """leaderboard.md with these tables of ranks and notes; all else as it was."""
    *blocks, _ = text.rstrip("\n").split("\n\n")
    *new, notes = ranked.to_markdown().split("\n\n")
    tables = iter([block for block in new if block.startswith(TABLE)])
    return "\n\n".join([*(next(tables) if block.startswith(TABLE) else block for block in blocks), notes]) + "\n"


def _scores(text: str, ranked: Leaderboard) -> str:
    """scores.csv with these ranks; all other numbers as they were."""
    rows, out = list(csv.reader(io.StringIO(text))), io.StringIO()
    columns = {rows[0].index(name): ranked.lines[name] for name in ("rank", "tied")}
    for number, row in enumerate(rows[1:]):
        for at, values in columns.items():
            row[at] = "" if pd.isna(values.iloc[number]) else str(values.iloc[number])
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _made(board: str, suite: str, asked: argparse.Namespace) -> tuple[Sequence[Record], Sequence[str]]:
    """Write one board; its rows, and what could not be written.

    Raises:
        FinefuseError: if there are no records, or the suite can't be run.
    """
    reporters = [*REPORTERS, *(["figures"] if board in FIGURES else [])]
    folder = (asked.into or HERE) / board
    if asked.records:
        read_results(asked.records / board)
        folder.mkdir(parents=True, exist_ok=True)
        found = report_folder(asked.records / board, Registry(), tuple(map(Ref, reporters)), folder)
        return found.rows, found.complaints
    source, plugins = _source(suite, asked.data)
    given = {"device": asked.device, "workers": asked.workers, "store": asked.store, "plugins": plugins}
    result = finefuse.run(source, out=folder, reporters=reporters, **given)
    failed = [f"{len(result.bad)} of {len(result.rows)} jobs failed"] if result.bad else []
    return result.rows, [*failed, *result.complaints]


def _source(suite: str, data: Path | None) -> tuple[str | Path | dict[str, Any], list[str]]:
    """A suite that `finefuse.run` takes, and the plugins that it needs."""
    path = ROOT / suite
    if not path.is_file():
        return suite, []
    name = path.parent.name
    plugins = [str(path.parent / PLUGINS[name])] if name in PLUGINS else []
    if data is None:
        return path, plugins
    return moved(tomllib.loads(path.read_text(encoding="utf-8")), str((data / name).resolve())), plugins


def moved(value: Any, data: str) -> Any:
    """A suite whose paths in `data` are in another folder."""
    if isinstance(value, dict):
        return {key: moved(one, data) for key, one in value.items()}
    if isinstance(value, list):
        return [moved(one, data) for one in value]
    return data + value.removeprefix("data") if isinstance(value, str) and value.startswith("data/") else value


def noted(page: str, board: str, rows: Sequence[Record]) -> str:
    """README.md with when a board's rows were measured, and by which version of results."""
    days = sorted({str(row["finished"])[:10] for row in rows if row.get("finished")})
    versions = sorted({row["parts"]["core"] for row in rows if "core" in (row.get("parts") or {})})
    when = " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""

    def row(found: re.Match[str]) -> str:
        if found["board"] != board:
            return found[0]
        told = BY_ROWS, when, ", ".join(versions)
        return f"| [{board}]({found['page']}) | `{found['suite']}` | {' | '.join(told)} |"

    return ROW.sub(row, page)


def from_scores(page: str, board: str) -> str:
    """README.md with the ranks of a board said to be computed from its means."""

    def row(found: re.Match[str]) -> str:
        if found["board"] != board:
            return found[0]
        return f"| [{board}]({found['page']}) | `{found['suite']}` | {BY_SCORES} |{found['made']}|"

    return ROW.sub(row, page)


if __name__ == "__main__":
    sys.exit(main())
