"""What a certificate is worth, and what boards say of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

import finefuse
from finefuse import api
from finefuse.cli import main
from finefuse.errors import StoreError
from finefuse.judge.board.leaderboard import Leaderboard
from finefuse.judge.certificates import FILE, Certificate, Checked, digests, read_certificate, schema, write_certificate


@pytest.fixture
def results(build: ModuleType, tmp_path: Path) -> Path:
    folder: Path = build.write(tmp_path / "results", [build.row(seed=seed) for seed in range(3)], ())
    return folder


def certificate(folder: Path, *checked: Checked, **fields: Any) -> Certificate:
    records, plan = digests(folder)
    made = checked or (Checked("tune/x", "k1", True, "same"), Checked("pretrain/x", "k0", False, "same"))
    known = {"machine": "m1", "environment": {"torch": "2.14.1"}, "versions": {"torch": "2.14.1"}, "tolerance": "t"}
    when = "2026-12-01T00:00:00+00:00"
    about = {"suite": "demo", "records": records, "plan": plan, "seed": 7, "of": 3, "when": when, "by": "Jane Doe"}
    return Certificate(**{**about, **known, "checked": made, **fields})


def notes(folder: Path) -> str:
    board: Leaderboard = finefuse.report(folder, reporters=()).board
    assert board.document()["notes"] == list(board.notes)
    assert all(note in board.to_markdown() for note in board.notes)
    return "\n".join(board.notes)


def test_a_certificate_is_read_as_it_was_written(results: Path) -> None:
    made = certificate(results)
    write_certificate(made, results)
    assert read_certificate(results) == made
    assert json.loads((results / FILE).read_text())["passed"] is True


def test_certificates_are_as_their_schema_says(results: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    lost = Checked("tune/y", "", True, "different", "has no row, and a cell that was drawn needs it")
    for made in (certificate(results), certificate(results, lost, by="", seed=2**70)):
        jsonschema.validate(made.to_dict(), schema())
        for name in made.to_dict():
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate({k: v for k, v in made.to_dict().items() if k != name}, schema())


@pytest.mark.parametrize(
    "wrong", [{"records": "abc"}, {"passed": "yes"}, {"of": -1}, {"schema": 2}, {"checked": [{}]}, {"more": 1}]
)
def test_what_is_no_certificate_breaks_the_schema(results: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(certificate(results).to_dict() | wrong, schema())


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["schema", "--certificate"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == schema()
    with pytest.raises(SystemExit) as ended:
        main(["schema", "--certificate", "--verdict"])
    assert ended.value.code == 2
    assert "one schema at a time" in capsys.readouterr().err


def test_boards_tell_a_certificate_that_still_holds(results: Path) -> None:
    assert "erified" not in notes(results)
    write_certificate(certificate(results), results)
    assert "Verified: 1 of 3 cells were run again with the same bits, by Jane Doe, 2026-12-01." in notes(results)


def test_what_a_board_rests_on_comes_first_and_a_sites_index_tells_both(results: Path, tmp_path: Path) -> None:
    write_certificate(certificate(results), results)
    rests, verified = notes(results).split("\n")[:2]
    assert rests.startswith("This board rests on 3 of 3")
    assert verified.startswith("Verified: 1 of 3")
    told = api.site(results, tmp_path / "site").index.read_text(encoding="utf-8")
    assert f"<td>{rests}<br>{verified}</td>" in told


def test_a_certificate_of_records_that_were_not_kept_can_not_be_checked(results: Path, tmp_path: Path) -> None:
    write_certificate(certificate(results), results)
    api.report(results, reporters="json")
    for name in ("records.jsonl", "plan.json"):
        (results / name).unlink()
    site = api.site(results, tmp_path / "site", reporters="markdown")
    assert site.entries[0].certified == ("verified.json can't be checked: the records are not here.",)
    assert site.entries[0].certified[0] in site.index.read_text(encoding="utf-8").replace("&#x27;", "'")


@pytest.mark.parametrize("file", ["records.jsonl", "plan.json"])
def test_a_certificate_of_other_records_does_not_count(results: Path, build: ModuleType, file: str) -> None:
    write_certificate(certificate(results), results)
    content = (results / file).read_text()
    (results / file).write_text(
        content.replace("key of tune/digits/cnn-s/full//s2", "KEY of tune/digits/cnn-s/full//s2")
    )
    assert (results / file).read_text() != content
    assert "Verified: " not in notes(results)
    assert f"{FILE} is of other records than these" in notes(results)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 1}', "\x00", '{"checked": 3}'])
def test_what_is_no_certificate_is_told_and_costs_no_board(results: Path, content: str) -> None:
    (results / FILE).write_text(content)
    assert f"{FILE}: not a certificate of schema 1" in notes(results)
    with pytest.raises(StoreError, match="not a certificate"):
        read_certificate(results)


def test_a_certificate_of_another_schema_does_not_count(results: Path) -> None:
    write_certificate(certificate(results, schema=2), results)
    assert "not a certificate of schema 1" in notes(results)


def test_one_row_that_differs_is_told_on_the_board(results: Path) -> None:
    wrong = (Checked("tune/x", "k1", True, "same"), Checked("pretrain/x", "k0", False, "different", "outputs"))
    made = certificate(results, *wrong)
    assert not made.passed
    write_certificate(made, results)
    assert "Not verified: 1 of 2 rows that were run again came out differently, by Jane Doe" in notes(results)


def test_rows_within_the_tolerance_are_told_apart_from_the_same_bits(results: Path) -> None:
    close = certificate(
        results, Checked("a", "k", True, "close", "5 of 400 answers differ"), Checked("b", "l", True, "same")
    )
    assert close.passed
    assert "2 of 3 cells were run again (1 on another kind of machine, within the tolerance)" in close.sentence()


def test_nothing_drawn_is_nothing_verified(results: Path) -> None:
    assert not certificate(results, Checked("a", "k", False, "same")).passed
