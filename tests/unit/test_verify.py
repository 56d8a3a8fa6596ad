"""Which cells are drawn, when a row that was run again is the same, and what a certificate is worth."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import finefuse
from finefuse.errors import FinefuseError, SuiteError
from finefuse.judge.certificates import FILE, Certificate, read_certificate
from finefuse.repeat.alike import alike
from finefuse.repeat.verify import draw, drawable
from finefuse.types import Cell, Record
from helpers.calling import call

TOYS = str(Path(__file__).parents[1] / "fixtures" / "toys.py")
HERE = {"torch": "2.14.1", "core": "3", "instruction set of torch": "AVX2", "source scheme.py": "0123456789abcdef"}
THERE = HERE | {"instruction set of torch": "AVX-512"}


# ------------------------------------------------------------------------------------------------- which cells


def cells(build: ModuleType) -> dict[Cell, Record]:
    rows = [build.row(label=label, seed=seed, member=member) for label in "abc" for seed in (0, 1) for member in (0, 1)]
    rows += [build.row("fuse", "soup", pool="p"), build.row("pool", "", pool="p"), build.row("time", "a")]
    rows += [build.row(label=status, status=status) for status in ("failed", "timeout", "oom", "blocked", "skipped")]
    return {Cell.of(row): row for row in rows}


def test_what_a_board_shows_can_be_drawn(build: ModuleType) -> None:
    found = drawable(cells(build))
    assert {(cell.kind, cell.label) for cell in found} == {
        *(("tune", label) for label in ("a", "b", "c", "failed")),
        ("fuse", "soup"),
        ("pool", ""),
    }
    assert not any(cell.member for cell in found)


def test_a_seed_draws_the_same_cells_in_whatever_order_they_stand(build: ModuleType) -> None:
    rows = cells(build)
    backwards = dict(reversed(rows.items()))
    assert draw(rows, 3, 7) == draw(backwards, 3, 7)
    assert draw(rows, 4, 7)[:3] == draw(rows, 3, 7)
    assert len({tuple(draw(rows, 3, seed)) for seed in range(20)}) > 15
    assert set(draw(rows, 1000, 7)) == set(drawable(rows))


def test_every_cell_is_drawn_as_often(build: ModuleType) -> None:
    rows = cells(build)
    counts = [sum(cell in draw(rows, 3, seed) for seed in range(900)) for cell in drawable(rows)]
    assert 240 < min(counts) <= max(counts) < 360  # 300 each, in the mean


@pytest.mark.parametrize("sample", [0, -1])
def test_a_sample_of_nothing_certifies_nothing(build: ModuleType, sample: int) -> None:
    with pytest.raises(FinefuseError, match="1 cell or more"):
        draw(cells(build), sample, 7)
    with pytest.raises(FinefuseError, match="no row"):
        draw({}, 3, 7)


# ------------------------------------------------------------------------------------------------- the same or not


def row(build: ModuleType, right: Any = None, parts: Mapping[str, str] = HERE, **fields: Any) -> Record:
    right = np.arange(400) < 360 if right is None else right
    made: Record = build.row(
        parts=dict(parts), key=f"key {parts['instruction set of torch']}", **build.scores(np.asarray(right).tolist())
    )
    return made | {"bytes": 1000, "level": "weight", "needs": []} | fields


def flipped(lost: int, won: int) -> Any:
    right = np.arange(400) < 360
    right[:lost], right[360 : 360 + won] = False, True
    return right


def test_clocks_and_machines_are_no_difference(build: ModuleType) -> None:
    other = {
        "seconds": 9.0,
        "peak_memory": 5,
        "machine": "m2",
        "finished": "later",
        "energy.gpu": 3.0,
        "no_energy": "x",
    }
    assert alike(row(build), row(build, **other)) == ("same", "")
    assert alike(row(build), row(build, parts=THERE, machine="m2")) == ("same", "")


@pytest.mark.parametrize(
    "tampered",
    [
        {"test.nll": 0.2},
        {"val.accuracy": 0.6},
        {"flops": 1},
        {"parameters": 1},
        {"trainable": 1},
        {"outputs": "others"},
        {"steps": 10},
        {"test.more": 1.0},
        {"needs": ["labels"]},
        {"level": "output"},
    ],
)
def test_on_the_same_kind_of_machine_every_result_counts(build: ModuleType, tampered: Record) -> None:
    found, said = alike(row(build) | tampered, row(build))
    assert found == "different"
    assert next(iter(tampered)) in said


def test_one_answer_that_was_made_right_is_seen_though_score_and_bits_agree(build: ModuleType) -> None:
    found, said = alike(row(build, flipped(0, 1)), row(build))
    assert found == "different"
    assert said.startswith("test.accuracy was 0.9025 and is 0.9")


@pytest.mark.parametrize("lacking", ["correct", "outputs", "n_test", "flops", "test.nll"])
def test_evidence_that_was_left_out_is_missed(build: ModuleType, lacking: str) -> None:
    old = {name: value for name, value in row(build).items() if name != lacking}
    assert alike(old, row(build))[0] == "different"


def test_a_field_that_rows_did_not_have_once_is_not_missed(build: ModuleType) -> None:
    old = {name: value for name, value in row(build).items() if name != "bytes"}
    assert alike(old, row(build, predicted="digest")) == ("same", "")
    assert alike(old, row(build, flipped(1, 1), THERE, predicted="digest"))[0] == "close"


@pytest.mark.parametrize(
    ("lost", "won", "expected"),
    [(4, 4, "close"), (22, 0, "close"), (24, 0, "different"), (0, 15, "close"), (0, 16, "different")],
)
def test_another_machine_may_differ_by_what_the_examples_leave_open(
    build: ModuleType, lost: int, won: int, expected: str
) -> None:
    """Three standard errors of the accuracy that it has now, 22 answers at 0.84 and 14 at 0.94, and one answer more."""
    new = row(build, flipped(lost, won), THERE, outputs="others", artifact="other")
    found, said = alike(row(build), new)
    assert found == expected, said
    assert ("answers differ" in said) == (expected == "close")


def test_a_gain_beyond_the_tolerance_is_seen_on_another_machine(build: ModuleType) -> None:
    assert alike(row(build, flipped(0, 30)), row(build, parts=THERE, outputs="others"))[0] == "different"


def test_made_up_bits_of_the_right_score_are_seen_on_another_machine(build: ModuleType) -> None:
    right = np.arange(400) < 360
    np.random.default_rng(0).shuffle(right)
    found, said = alike(row(build, right), row(build, parts=THERE, outputs="others"))
    assert found == "different"
    assert "correlate by" in said


@pytest.mark.parametrize("tampered", [{"flops": 1}, {"parameters": 5}, {"test.nll": 0.1}, {"n_test": 399}])
def test_what_no_machine_changes_is_exact_on_another_too(build: ModuleType, tampered: Record) -> None:
    new = row(build, flipped(1, 1), THERE, outputs="others")
    assert alike(row(build), new)[0] == "close"
    found, said = alike(row(build) | tampered, new)
    assert found == "different"
    assert next(iter(tampered)) in said


def test_drawn_examples_may_have_other_digits_where_results_tell_which_they_are(build: ModuleType) -> None:
    new = row(build, flipped(4, 4), THERE, outputs="others", examples="others")
    assert alike(row(build), new)[1].endswith("8 of 400 answers differ; test examples with other digits")
    without = {"correct": None}
    found, said = alike(row(build) | without, new | without)
    assert (found, said) == ("different", "examples was 'digest of examples' and is 'others'")
    assert alike(row(build, examples="mine"), row(build))[0] == "different"


def test_losses_are_held_to_their_own_errors(build: ModuleType) -> None:
    rng = np.random.default_rng(0)
    loss = rng.exponential(1.0, 400)

    def regression(values: Any, parts: Mapping[str, str]) -> Record:
        packed = values.astype("<f4").tobytes()
        scores = {"test.accuracy": float(values.mean()), "correct": None, "losses": base64.b64encode(packed).decode()}
        return row(build, parts=parts) | scores | {"outputs": f"{values.sum()}"}

    old = regression(loss, HERE)
    assert alike(old, regression(loss * 1.01, THERE))[0] == "close"
    assert alike(old, regression(loss * 1.3, THERE))[0] == "different"
    assert alike(old, regression(rng.permutation(loss), THERE))[0] == "different"
    assert alike(old, regression(np.where(loss > 3, np.inf, loss), THERE))[0] == "different"


def test_bounds_without_results_by_example_are_held_to_the_number_of_these(build: ModuleType) -> None:
    bounds = {"metrics": ["accuracy"], "single.test.accuracy": 0.9, "better.accuracy": "higher", "correct": None}
    old, new = (row(build, parts=parts, n_test=None) | bounds for parts in (HERE, THERE))
    new["single.test.accuracy"] = 0.8
    assert alike(old, new, 400)[0] == "close"
    new["single.test.accuracy"] = 0.6
    assert alike(old, new, 400)[0] == "different"


def test_another_experiment_is_not_excused_by_another_machine(build: ModuleType) -> None:
    one = flipped(0, 1)  # of 400 answers, well within the tolerance
    said = "test.accuracy was 0.9 and is 0.9025; correct differ"
    code = row(build, one, THERE | {"source scheme.py": "f" * 16})
    assert alike(row(build), code) == ("different", f"source scheme.py changed; {said}")
    core = row(build, one, THERE | {"core": "2"})
    assert alike(row(build), core) == ("different", f"core was 3 and is 2; {said}")
    above = row(build, one, HERE | {"members": "f" * 32}, key="another")
    assert alike(row(build), above) == ("different", f"what it is made of changed; {said}")
    assert alike(row(build), row(build, one, THERE))[0] == "close"
    assert alike(row(build), row(build, parts=THERE | {"members": "f" * 32})) == ("same", "")
    assert alike(row(build, key="forged"), row(build)) == (
        "different",
        "its key is not that of what it was made with",
    )
    assert alike(row(build, key="old") | {"parts": {}}, row(build, one))[0] == "different"


def test_code_that_was_changed_and_gives_the_same_bits_is_told(build: ModuleType) -> None:
    code = row(build, parts=HERE | {"source scheme.py": "f" * 16}, key="other", artifact="other", fused={"a": "b"})
    assert alike(row(build, fused={"a": "c"}), code) == ("same", "though source scheme.py changed")


def test_a_failure_must_fail_again(build: ModuleType) -> None:
    failed = build.row(status="failed", parts=HERE, key=row(build)["key"])
    assert alike(failed, failed) == ("same", "failed both times")
    assert alike(failed, row(build)) == ("different", "was failed (ValueError: it broke) and is ok")
    assert alike(row(build), failed)[0] == "different"


# ------------------------------------------------------------------------------------------------- run again


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toys: two tunings of three copies, a fusion, on two seeds."""
    folder = tmp_path_factory.mktemp("honest")
    how = {"plugins": TOYS, "device": "cpu", "workers": 0, "quiet": True, "store": folder / "store"}
    finefuse.run("toy", out=folder / "out", **how)
    return folder / "out"


def copied(honest: Path, folder: Path, change: Any = None) -> Path:
    folder.mkdir()
    (folder / "plan.json").write_text((honest / "plan.json").read_text())
    rows = [json.loads(line) for line in (honest / "records.jsonl").read_text().splitlines()]
    for one in rows:
        if change:
            change(one)
    (folder / "records.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder


def again(folder: Path, **options: Any) -> Certificate:
    how = {"sample": 99, "seed": 1, "plugins": TOYS, "workers": 0, "quiet": True}
    return finefuse.verify(folder, **{**how, **options})


def test_honest_rows_are_verified_and_row_by_row(honest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--sample", 1, "--seed", 3, "--workers", 0, "--plugin", TOYS, "-q")
    outcome = call(capsys, "verify", honest, *how, "--by", "Jane Doe")
    assert outcome.code == 0, outcome
    assert outcome.out.startswith("# verified: toy")
    found = read_certificate(honest)
    assert found is not None
    assert {one.found for one in found.checked} == {"same"}
    assert len(found.drawn) == 1 < len(found.checked)
    assert any("Verified: 1 of 6 cells" in note for note in finefuse.report(honest, reporters=()).board.notes)


def test_a_row_made_better_in_keeping_with_its_own_bits_is_caught(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def better(one: Record) -> None:
        if one["kind"] == "tune" and one["seed"] == 1 and not one["member"]:
            n = one["n_test"]
            packed = np.packbits(np.arange(n) < n)
            one |= {"correct": base64.b64encode(packed.tobytes()).decode(), "test.hits": 1.0}

    folder = copied(honest, tmp_path / "forged", better)
    boards = [finefuse.report(one, reporters=()).board.lines["test.hits.mean"].max() for one in (folder, honest)]
    assert boards[0] > boards[1]  # nothing else sees it
    outcome = call(capsys, "verify", folder, "--sample", 99, "--workers", 0, "--plugin", TOYS, "-q", "--json")
    assert outcome.code == 1
    told = json.loads(outcome.out)
    assert not told["passed"]
    (wrong,) = [one for one in told["checked"] if one["found"] == "different"]
    assert "/s1/m0/" in wrong["cell"]
    assert "test.hits was 1.0 and is 0." in wrong["said"]
    assert not (folder / FILE).exists()
    assert "--by NAME" in outcome.err


def test_a_row_that_a_drawn_cell_needs_can_not_be_left_out(honest: Path, tmp_path: Path) -> None:
    folder = copied(honest, tmp_path / "less")
    lines = (folder / "records.jsonl").read_text().splitlines()
    (folder / "records.jsonl").write_text(
        "".join(f"{line}\n" for line in lines if '"kind":"pretrain"' not in line.replace(" ", ""))
    )
    found = again(folder, sample=1)
    assert [one.said for one in found.differing] == ["has no row, and a cell that was drawn needs it"]


def test_a_plugin_that_only_the_plan_names_is_not_imported(honest: Path) -> None:
    with pytest.raises(FinefuseError, match=r"was made with --plugin .*toys\.py; look at what that is"):
        again(honest, plugins=())


def test_the_suite_is_kept_with_the_results(honest: Path, tmp_path: Path) -> None:
    """Its name says nothing elsewhere."""
    folder = copied(honest, tmp_path / "copy")
    plan = json.loads((folder / "plan.json").read_text())
    plan["run"]["suite"] = "no-such-suite"
    (folder / "plan.json").write_text(json.dumps(plan))
    assert again(folder, sample=1).passed
    del plan["run"]["table"]
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(SuiteError, match="doesn't keep its suite, and none is called 'no-such-suite' here"):
        again(folder)


def test_cells_that_the_suite_has_not_are_told(honest: Path) -> None:
    found = again(honest, suite={**json.loads((honest / "plan.json").read_text())["run"]["table"], "seeds": [2]})
    assert not found.passed
    assert len(found.differing) == len(found.drawn) == 6
    assert {one.said for one in found.differing} == {"is not in the suite"}
