"""Plugins that raise, hang, exit, crash and eat memory: each costs its own row, with the reason, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

HOSTILE = Path(__file__).parents[1] / "fixtures" / "plugins" / "hostile_schemes.py"
SUITE = """
name      = "siege"
seeds     = [0]
budget    = { epochs = 2, batch_size = 16 }
datasets  = ["points"]
backbones = ["tiny"]
metrics   = ["accuracy", "nll"]
schemes   = ["full", "raises", "hangs", "exits", "exits-politely", "segfaults", "eats-memory", "chatters", "head-sgd"]
fusions   = ["first", "mean-probs"]
latency   = [1]

[pools]
good = { of = ["full", "head-sgd", "chatters"] }
bad  = { of = ["full", "segfaults"] }

[limits]
seconds = 30
memory  = 1.5
"""
EXPECTED = {
    "raises": ("failed", r"Odd: a broken heart and a .*nose"),
    "hangs": ("timeout", r"TimeoutError: took longer than 30 s"),
    "exits": ("failed", r"WorkerDied: the worker process ended with exit code 0"),
    "exits-politely": ("failed", r"SystemExit: enough"),
    "segfaults": ("failed", r"WorkerDied: the worker process ended by SIGSEGV"),
    "eats-memory": ("oom", r"MemoryExceeded: took more than 1.5 GiB of memory"),
}
WITH_TRACEBACK = {"raises", "exits-politely"}


def test_a_siege_costs_each_attacker_its_row_and_others_nothing(place: Any, tiny: str) -> None:
    place.write("siege.toml", SUITE)
    command = ("run", "siege.toml", "--plugin", tiny, "--plugin", HOSTILE, "--device", "cpu", "--workers", "2")
    outcome = place.run(*command)
    assert outcome.code == 1, outcome.err
    rows = place.rows("results/siege")
    each_attacker_has_its_row(rows, place.folder / "results" / "siege")
    all_others_are_fine(rows)
    what_needs_a_failed_member_is_blocked(rows)
    the_board_counts(outcome.out)
    the_summary_tells(outcome.err, place.folder)
    assert place.empty(), place.processes()
    nothing_is_tried_again_unasked(place, command)


def each_attacker_has_its_row(rows: list[dict[str, Any]], folder: Path) -> None:
    found = {row["label"]: row for row in rows if row["kind"] == "tune" and row["status"] != "ok"}
    assert found.keys() == EXPECTED.keys()
    for label, (status, reason) in EXPECTED.items():
        row = found[label]
        assert row["status"] == status, row
        assert re.fullmatch(reason, row["reason"]), row["reason"]
        assert row["error"] == row["reason"].partition(":")[0]
        if label in WITH_TRACEBACK:
            text = (folder / row["traceback"]).read_text()
            assert "hostile_schemes.py" in text
            assert "in tune" in text
        else:
            assert not row["traceback"]


def all_others_are_fine(rows: list[dict[str, Any]]) -> None:
    fine = {(row["kind"], row["label"], row["pool"]) for row in rows if row["status"] == "ok"}
    both = {(kind, label, "") for kind in ("tune", "time") for label in ("full", "chatters", "head-sgd")}
    fused = {(kind, label, "good") for kind in ("fuse", "time") for label in ("first", "mean-probs")}
    assert fine == both | fused | {("pretrain", "", ""), ("pool", "", "good")}


def what_needs_a_failed_member_is_blocked(rows: list[dict[str, Any]]) -> None:
    cause = "needs tune/points/tiny/segfaults//s0/m0/r0, which failed: WorkerDied: the worker process ended by SIGSEGV"
    blocked = [row for row in rows if row["pool"] == "bad"]
    assert [(row["kind"], row["status"], row["reason"]) for row in blocked] == [
        ("pool", "blocked", cause),
        *[("fuse", "blocked", cause)] * 2,
        *[("time", "blocked", cause)] * 2,
    ]
    assert {row["status"] for row in rows if row["kind"] == "time" and row["label"] in EXPECTED} == {"blocked"}


def the_board_counts(board: str) -> None:
    assert "This board rests on 12 of 29 planned cells (11 blocked, 4 failed, 1 oom, 1 timeout)." in board
    assert "forged" not in board
    assert "belong to us" not in board
    assert "\x1b" not in board
    for label, (status, _) in EXPECTED.items():
        assert re.search(rf"\| *{label} .*{status}", board), label


def the_summary_tells(err: str, folder: Path) -> None:
    assert "17 of 29 rows are not ok: 11 blocked, 4 failed, 1 timeout, 1 oom" in err
    assert "tune/points/tiny/segfaults//s0/m0/r0: failed: WorkerDied" in err
    told = re.findall(r"\(traceback: (.*)\)", err)
    assert len(told) == len(WITH_TRACEBACK)
    assert all((folder / path).is_file() for path in told)
    assert "finefuse_job_done raised ValueError: no ink left" in err


def nothing_is_tried_again_unasked(place: Any, command: tuple[object, ...]) -> None:
    before = place.rows("results/siege")
    again = place.run(*command)
    assert (again.code, place.rows("results/siege")) == (1, before)
    assert "--retry runs them again" in again.err
