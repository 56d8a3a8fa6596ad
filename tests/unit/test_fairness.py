"""What makes lines of one table unlike in more than their strategies is told on the board."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import pytest

from finefuse.judge.board.fairness import fairness_notes
from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.judge.board.parts import Noted
from finefuse.types import Record
from helpers.boards import line, runs


def notes(rows: list[Record]) -> str:
    return "\n".join(make_leaderboard("demo", rows).notes)


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ({"precision": "fp32"}, {"precision": "bf16"}, "precision (bf16: 2, fp32: 2)"),
        ({"device": "cuda:0"}, {"device": "cpu"}, "device (cpu: 2, cuda: 2)"),
        ({"threads": 1}, {"threads": 4}, "threads (1: 2, 4: 2)"),
        ({"parts": {"torch": "2.6"}}, {"parts": {"torch": "2.7"}}, "torch (2.6: 2, 2.7: 2)"),
        ({"parts": {"budget: epochs": "3"}}, {"parts": {"budget: epochs": "30"}}, "epochs (3: 2, 30: 2)"),
        (
            {"parts": {"budget: selection": '"last"'}},
            {"parts": {"budget: selection": '"best-val"'}},
            "selection (best-val: 2, last: 2)",
        ),
        ({"parts": {"budget: steps": "20"}}, {"parts": {"budget: steps": "30"}}, "steps (20: 2, 30: 2)"),
        (
            {"parts": {"budget: augment": "[]"}},
            {"parts": {"budget: augment": '["flip"]'}},
            'augment (["flip"]: 2, []: 2)',
        ),
        ({"parts": {"accumulate": "false"}}, {"parts": {"accumulate": "true"}}, "accumulate (false: 2, true: 2)"),
        (
            {"parts": {"dataset digits: content": "a"}},
            {"parts": {"dataset digits: content": "b"}},
            "content of the data set (a: 2, b: 2)",
        ),
        ({"parts": {"core": "2"}}, {"parts": {"core": "3"}}, "version of results (2: 2, 3: 2)"),
        (
            {"parts": {"instruction set of MKL": "AVX2"}},
            {"parts": {"instruction set of MKL": "AVX512"}},
            "instruction set of MKL (AVX2: 2, AVX512: 2)",
        ),
    ],
)
def test_settings_in_which_rows_differ(
    build: ModuleType, ours: dict[str, Any], theirs: dict[str, Any], told: str
) -> None:
    rows = runs(build, "a", [0.9, 0.8], **ours) + runs(build, "b", [0.7, 0.6], **theirs)
    assert f"Rows of one table differ in {told}: digits · cnn-s." in notes(rows)
    apart = runs(build, "a", [0.9, 0.8], **ours) + runs(build, "a", [0.7, 0.6], backbone="vit-t", **theirs)
    assert "differ in" not in notes(apart)


def test_what_is_kept_of_many_rows_is_told_alike(build: ModuleType) -> None:
    parts = {"core": "3", "counting of FLOPs": "2", "dataset digits: content": "x", "budget: augment": "[]"}
    rows = runs(build, "a", [0.9, 0.8, 0.7], parts=parts, flops=7.0)
    rows += [row | {"label": "b", "parts": parts | {name: "1"}} for row, name in zip(rows, parts, strict=False)]
    noted = Noted()
    noted.add([*rows, *runs(build, "c", [0.9], precision="bf16", parts=parts | {"counting of FLOPs": "1"}, flops=5.0)])
    board = make_leaderboard("demo", rows)
    told = list(fairness_notes(noted.records, board.lines))
    assert sum(note.startswith("Rows of one table differ in") for note in told) == 3
    assert "FLOPs of 2 rows were measured by an older protocol and are left out; those shown are of version 2." in told


def test_several_gpus_of_one_kind_and_unknown_settings_are_no_difference(build: ModuleType) -> None:
    rows = runs(build, "a", [0.9], device="cuda:0") + runs(build, "b", [0.9], device="cuda:1", precision=None)
    assert "differ in" not in notes(rows)


def test_many_tables_are_counted(build: ModuleType) -> None:
    rows = [
        build.row(label=label, dataset=f"d{d}", precision=precision)
        for d in range(9)
        for label, precision in (("a", "fp32"), ("b", "bf16"))
    ]
    assert "differ in precision (bf16: 1, fp32: 1): d0 · cnn-s; d1 · cnn-s; d2 · cnn-s and 6 other tables." in notes(
        rows
    )


def test_unequal_tuning(build: ModuleType) -> None:
    rows = runs(build, "a", [0.9, 0.8], trials=8) + runs(build, "b", [0.7, 0.6]) + runs(build, "c", [0.7, 0.6])
    assert "Unequal tuning on digits · cnn-s: trials of a 8; none of 2 others." in notes(rows)
    equal = runs(build, "a", [0.9, 0.8], trials=8) + runs(build, "b", [0.7, 0.6], trials=8)
    assert "Unequal" not in notes(equal)
    both = runs(build, "a", [0.9, 0.8], trials=8) + runs(build, "b", [0.7, 0.6], trials=20)
    assert "trials of a 8, b 20." in notes(both)


def test_costs_of_an_older_protocol_are_left_out(build: ModuleType) -> None:
    new, old = runs(build, "new", [0.9, 0.8], costs=2), runs(build, "old", [0.7, 0.6], contended=True)
    timed = [build.row("time", "old"), build.row("time", "new", costs=2)]
    board = make_leaderboard("demo", [*new, *old, *timed])
    assert line(board, "new")["seconds"] == 1.5
    assert math.isnan(line(board, "old")["seconds"])
    assert math.isnan(line(board, "old")["latency.1.p50"])
    assert line(board, "old")["test.accuracy.mean"] == pytest.approx(0.65)
    assert {row.get("seconds") for row in board.records if row["label"] == "old"} == {None}  # nor are they in a page
    assert (
        "Costs of 2 rows were measured by an older protocol and are left out; those shown are of version 2."
        in board.notes
    )
    assert (
        "Latencies of 1 row were measured by an older protocol and are left out; those shown are of version 2."
        in board.notes
    )
    assert "older protocol" not in notes([*old, *runs(build, "b", [0.1], costs=1)])


def test_flops_that_were_counted_otherwise_are_left_out(build: ModuleType) -> None:
    now, before = ({"parts": {"counting of FLOPs": version}, "flops": 7.0} for version in ("2", "1"))
    board = make_leaderboard(
        "demo", [*runs(build, "new", [0.9, 0.8], **now), *runs(build, "old", [0.7, 0.6], **before)]
    )
    assert line(board, "new")["flops"] == 7.0
    assert math.isnan(line(board, "old")["flops"])
    assert line(board, "old")["front.flops"] == ""
    assert line(board, "old")["seconds"] == 1.5
    told = "FLOPs of 2 rows were measured by an older protocol and are left out; those shown are of version 2."
    assert told in board.notes


def test_latency_has_a_protocol_of_its_own(build: ModuleType) -> None:
    """One that changes takes nothing from the seconds of training."""
    rows = [*runs(build, "a", [0.9, 0.8], costs=1), build.row("time", "a", costs=2)]
    board = make_leaderboard("demo", rows)
    assert line(board, "a")["seconds"] == 1.5
    assert line(board, "a")["latency.1.p50"] == 0.001
    assert "older protocol" not in "\n".join(board.notes)


def test_rows_without_costs_are_of_no_older_protocol(build: ModuleType) -> None:
    new = runs(build, "new", [0.9, 0.8], costs=2)
    assert "older protocol" not in notes([*new, build.row("pool", label="", pool="p")])
    oom = build.row(label="big", status="oom", reason="too large", peak_memory=5 * 2**30)
    assert line(make_leaderboard("demo", [*new, oom]), "big")["reason"].endswith("too large, peak 5 GiB")


def test_days_of_measurement(build: ModuleType) -> None:
    rows = [build.row(seed=s, finished=f"2026-0{s + 1}-01T10:00:00+00:00") for s in range(3)]
    assert "Rows were measured on 3 days, from 2026-01-01 to 2026-03-01." in notes(rows)
    assert "days" not in notes(rows[:1])


def test_latencies_that_are_not_known_well_or_are_those_of_others(build: ModuleType) -> None:
    def timed(label: str, within: float, of: str = "") -> Record:
        row = build.row("time", label)
        return row | {"latency.1.within": within, "latency_of": [of or row["cell"]]}

    rows = [build.row(label=label) for label in "abc"]
    rows += [timed("a", 0.02), timed("b", 0.0912), timed("c", float("inf"), of=timed("b", 1)["cell"])]
    said = notes(rows)
    assert "Latencies whose median is not known to 2%: b on cnn-s (b1 ± 9%), c on cnn-s (b1 ± inf%)." in said
    assert "Networks of one structure are timed once: 1 of 3 latencies are those of another cell." in said
    assert "Latencies whose" not in notes(rows[:4])
    assert "structure" not in notes([*rows[:3], build.row("time", "a")])


# ------------------------------------------------------------------------------------------------- what lines rest on


def test_means_over_fewer_seeds(build: ModuleType) -> None:
    failed = build.row(label="b", seed=2, status="failed")
    fused = runs(build, "soup", [0.9], "fuse", pool="p")
    rows = [*runs(build, "a", [0.9, 0.8, 0.7]), *runs(build, "b", [0.7, 0.6]), failed, *fused]
    said = notes(rows)
    assert "Means over fewer seeds than others in their table: soup of p on digits · cnn-s (1 of 3); b on" in said
    assert "b on digits · cnn-s (2 of 3)." in said
    assert "fewer seeds" not in notes([*rows[:3], *runs(build, "b", [0.7], backbone="vit-t")])
    many = [row for i in range(9) for row in runs(build, f"x{i}", [0.5])]
    assert "(1 of 3) and 4 more." in notes([*rows[:3], *many])


def test_other_test_examples_of_one_seed(build: ModuleType) -> None:
    rows = [*runs(build, "a", [0.9, 0.8]), *runs(build, "b", [0.7, 0.6])]
    said = "Rows of one table and seed were scored on different test examples, so their scores can't be compared: "
    assert said not in notes(rows)
    rows[3] = rows[3] | {"examples": "others"}
    assert f"{said}digits · cnn-s." in notes(rows)
    by_seed = [row | {"examples": f"of seed {row['seed']}"} for row in rows]
    assert said not in notes(by_seed)
    assert said not in notes([rows[0], rows[3] | {"seed": 0, "backbone": "vit-t"}])


def test_seconds_of_several_machines(build: ModuleType) -> None:
    apart = [*runs(build, "a", [0.9, 0.8]), *runs(build, "a", [0.7, 0.6], backbone="vit-t", machine="m2")]
    said = "Seconds in one table are of several machines, and say nothing about its lines: "
    assert said not in notes(apart)
    assert f"{said}digits · cnn-s (2)." in notes([*apart, *runs(build, "b", [0.9], machine="m2")])


def test_seconds_beside_other_work(build: ModuleType) -> None:
    rows = [*runs(build, "a", [0.9, 0.8], contended=True), *runs(build, "b", [0.7])]
    assert "The seconds of 2 of 3 rows were taken beside other work on the machine." in notes(rows)
    assert "beside other work on" not in notes(rows[2:])


def test_why_energy_is_not_known(build: ModuleType) -> None:
    rows = runs(build, "a", [0.9, 0.8], no_energy="no counters") + runs(build, "b", [0.7], no_energy="other work")
    said = "Energy that is not known: no counters (2 of 4 rows); other work (1 of 4 rows)."
    assert said in notes([*rows, *runs(build, "c", [0.6], no_energy="")])
    assert "Energy" not in notes(runs(build, "c", [0.6], **{"no_energy": "", "energy.processors": 3.0}))
