from __future__ import annotations

import math
import random
from types import ModuleType

import pytest

from finefuse.errors import StoreError
from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.judge.statistics import mean_interval
from finefuse.types import Cell
from helpers.boards import line, ranks, runs
from helpers.rows_on_disk import AWKWARD

# ---------------------------------------------------------------------------------------------- what a line holds


def test_a_line_is_the_mean_over_seeds(build: ModuleType) -> None:
    board = make_leaderboard("demo", runs(build, "full", [0.9, 0.8, 0.85]))
    full = line(board, "full")
    mean, half = mean_interval([0.9, 0.8, 0.85])
    assert (full["test.accuracy.mean"], full["test.accuracy.half"]) == (mean, half)
    assert full["test.nll.mean"] == 0.25
    assert (full["ok"], full["planned"], full["status"], full["reason"]) == (3, 3, "3/3", "")
    assert (full["parameters"], full["trainable"], full["flops"]) == (77_000, 77_000, 1_200_000)
    assert board.better == {"accuracy": "higher", "nll": "lower"}


def test_other_members_pretraining_and_later_rounds_are_not_lines(build: ModuleType) -> None:
    others = [
        build.row(member=1, **{"test.accuracy": 0.0}),
        build.row("pretrain", label="", dataset=""),
        build.row(cell="tune of round 2", round=1, **{"test.accuracy": 0.0}),
    ]
    board = make_leaderboard("demo", [*runs(build, "full", [0.9, 0.9]), *others])
    assert list(board.lines["strategy"]) == ["full"]
    assert line(board, "full")["test.accuracy.mean"] == 0.9
    assert "5 of 5 planned cells" in board.notes[0]


def test_rounds_of_a_fusion_are_lines_of_their_own(build: ModuleType) -> None:
    rows = [build.row("fuse", "soup", pool="p", cell=f"round {r}", round=r) for r in (0, 1)]
    assert set(make_leaderboard("demo", rows).lines["strategy"]) == {"soup", "soup round 2"}


def test_a_fusion_carries_its_members_seconds(build: ModuleType) -> None:
    rows = [
        *runs(build, "full", [0.9, 0.9], seconds=2.0),
        *runs(build, "soup", [0.9, 0.9], "fuse", pool="three", seconds=0.5, seconds_members=6.0),
    ]
    board = make_leaderboard("demo", rows)
    full, soup = line(board, "full"), line(board, "soup", "three")
    assert (full["seconds"], full["seconds_with_members"]) == (2.0, 2.0)
    assert (soup["seconds"], soup["seconds_with_members"]) == (0.5, 6.5)


def test_contended_seconds_are_marked_also_for_what_was_fused(build: ModuleType) -> None:
    calm = runs(build, "full", [0.9, 0.9]) + runs(build, "vote", [0.9, 0.9], "fuse", pool="p")
    hurried = [*calm, build.row(member=3, contended=True)]
    assert not make_leaderboard("demo", calm).lines["contended"].any()
    assert "~" not in make_leaderboard("demo", calm).to_markdown()
    board = make_leaderboard("demo", hurried)
    assert (line(board, "full")["contended"], line(board, "vote", "p")["contended"]) == (False, True)
    assert "~1.50" in board.to_markdown()
    assert "~ marks seconds taken while other jobs ran" in board.to_markdown()


def test_latency_comes_from_jobs_of_its_own(build: ModuleType) -> None:
    rows = [
        *runs(build, "full", [0.9, 0.9]),
        build.row("time", "full", seed=0, **{"latency.1.p50": 0.002, "latency.16.p50": 0.5}),
        build.row("time", "full", seed=1, **{"latency.1.p50": 0.004, "latency.16.p50": 0.5}),
        *runs(build, "full", [0.9, 0.9], "fuse", pool="p"),
    ]
    board = make_leaderboard("demo", rows)
    assert line(board, "full")["latency.1.p50"] == pytest.approx(0.003)
    assert math.isnan(line(board, "full", "p")["latency.1.p50"])
    latency = [name for name in map(str, board.costs()) if name.startswith("latency.")]
    assert latency == [f"latency.{n}" for n in ("1.p50", "1.p95", "16.p50", "64.p50", "64.p95")]
    assert "p50 b16" in board.to_markdown()
    assert "3.00" in board.to_markdown()


def test_latency_that_could_not_be_measured_has_a_reason(build: ModuleType) -> None:
    rows = [*runs(build, "full", [0.9, 0.9]), build.row("time", "full", status="oom", reason="17 GiB", error="Big")]
    full = line(make_leaderboard("demo", rows), "full")
    assert (full["status"], full["reason"]) == ("2/2", "not timed, oom: Big: 17 GiB")


def test_what_ran_out_of_memory_says_how_much_it_had(build: ModuleType) -> None:
    peaks = (3 * 1024**3, 5 * 1024**3, None)
    rows = [
        build.row(seed=seed, status="oom", reason="OutOfMemoryError: no", error="", peak_memory=peak)
        for seed, peak in enumerate(peaks)
    ]
    board = make_leaderboard("demo", rows)
    assert line(board, "full")["reason"] == "oom: OutOfMemoryError: no, peak 5 GiB"
    assert math.isnan(line(board, "full")["memory"])


def test_every_data_set_and_backbone_has_a_table_and_its_own_metrics(build: ModuleType) -> None:
    mse = {"metrics": ["mse"], "better.mse": "lower", "test.mse": 2.0}
    rows = [build.row(dataset=d, backbone=b) for d in ("digits", "signs") for b in ("vit-t", "cnn-s")]
    rows += [build.row(label=label, dataset="wine", seed=s, **mse | {"test.mse": v + s / 99}) for label, v in
             (("full", 2.0), ("probe", 1.0)) for s in (0, 1, 2)]  # fmt: skip
    board = make_leaderboard("demo", rows)
    text = board.to_markdown()
    headings = [text_line for text_line in text.splitlines() if text_line.startswith("##")]
    names = ["digits · cnn-s", "digits · vit-t", "signs · cnn-s", "signs · vit-t", "wine · cnn-s"]
    assert headings == [f"## {name}" for name in names]
    assert list(board.lines[board.lines["dataset"] == "wine"]["strategy"]) == ["probe", "full"]
    wine = text[text.index("## wine") :]
    assert "mse ↓" in wine
    assert "accuracy" not in wine
    assert "accuracy ↑" in text[: text.index("## wine")]
    assert list(board.scores()["metric"].unique()) == ["accuracy", "mse"]


# ---------------------------------------------------------------------------------------------- ranks


def test_what_can_not_be_told_from_the_leader_shares_its_rank(build: ModuleType) -> None:
    rows = [
        *runs(build, "best", [0.95, 0.91, 0.93]),
        *runs(build, "near", [0.92, 0.93, 0.92]),
        *runs(build, "worse", [0.851, 0.81, 0.831]),
        *runs(build, "also worse", [0.84, 0.80, 0.84]),
        *runs(build, "worst", [0.5, 0.45, 0.47]),
    ]
    random.Random(0).shuffle(rows)
    board = make_leaderboard("demo", rows)
    assert ranks(board) == {"best": "1=", "near": "1=", "worse": "3=", "also worse": "3=", "worst": "5"}
    text = board.to_markdown()
    assert "| 1=     | 1-2    | best " in text
    assert "| 5      | 5-5    | worst" in text


def test_differences_are_paired_over_seeds(build: ModuleType) -> None:
    """Wide and overlapping intervals, but one is better by the same amount in every seed."""
    rows = runs(build, "up", [0.92, 0.72, 0.52]) + runs(build, "down", [0.91, 0.711, 0.51])
    assert ranks(make_leaderboard("demo", rows)) == {"up": "1", "down": "2"}


def test_only_common_seeds_are_paired(build: ModuleType) -> None:
    up = runs(build, "up", [0.92, 0.72, 0.52, 0.9])
    down = [build.row(label="down", seed=s, **{"test.accuracy": a}) for s, a in [(0, 0.9), (1, 0.7), (2, 0.501)]]
    assert ranks(make_leaderboard("demo", up + down)) == {"up": "1", "down": "2"}
    assert ranks(make_leaderboard("demo", up[3:] + down)) == {"up": "1=", "down": "1="}


def test_lower_may_be_better(build: ModuleType) -> None:
    by_nll = {"metrics": ["nll", "accuracy"]}
    rows = [
        build.row(label=label, seed=seed, **by_nll | {"test.nll": nll + seed / 1000})
        for label, nll in (("high", 0.9), ("low", 0.1))
        for seed in range(3)
    ]
    board = make_leaderboard("demo", rows)
    assert ranks(board) == {"low": "1", "high": "2"}
    assert list(board.scores()["metric"]) == ["nll", "nll"]


def test_one_seed_tells_nothing_apart(build: ModuleType) -> None:
    board = make_leaderboard("demo", runs(build, "good", [0.99]) + runs(build, "bad", [0.1]))
    assert ranks(board) == {"good": "1=", "bad": "1="}
    assert any("nothing can be told apart" in note for note in board.notes)
    assert "0.9900 |" in board.to_markdown()
    assert "±" not in board.to_markdown()


def test_a_direction_must_be_given(build: ModuleType) -> None:
    for row in (build.row(**{"better.nll": None}), build.row(**{"better.nll": "up"})):
        with pytest.raises(StoreError, match="doesn't say whether higher or lower nll is better"):
            make_leaderboard("demo", [row])


def test_nan_ranks_last_and_is_shown(build: ModuleType) -> None:
    rows = [
        *runs(build, "good", [0.9, 0.91, 0.92]),
        *runs(build, "poor", [0.1, 0.11, 0.12]),
        *runs(build, "one nan", [0.9, math.nan, 0.99]),
        *(build.row(label="all null", seed=seed, **{"test.accuracy": None}) for seed in range(3)),
    ]
    board = make_leaderboard("demo", rows)
    assert ranks(board) == {"good": "1", "poor": "2", "all null": "3=", "one nan": "3="}
    assert math.isnan(line(board, "one nan")["test.accuracy.mean"])
    assert "|             nan |" in board.to_markdown()


def test_infinite_scores_rank_where_they_belong(build: ModuleType) -> None:
    by_nll = {"metrics": ["nll"]}
    rows = [build.row(label="inf", seed=s, **by_nll | {"test.nll": math.inf}) for s in range(3)]
    rows += [build.row(label="fine", seed=s, **by_nll | {"test.nll": 1.0 + s}) for s in range(3)]
    board = make_leaderboard("demo", rows)
    assert ranks(board) == {"fine": "1", "inf": "2"}
    assert "inf |" in board.to_markdown()


def test_text_for_a_number_is_an_error(build: ModuleType) -> None:
    with pytest.raises(StoreError, match=r"should have a number as test.accuracy, not ''"):
        make_leaderboard("demo", [build.row(**{"test.accuracy": ""})])


# ---------------------------------------------------------------------------------------------- what is not there


def test_nothing_planned_is_absent(build: ModuleType) -> None:
    rows = [
        *runs(build, "full", [0.9, 0.91]),
        build.row(label="full", seed=2, status="failed", reason="loss is NaN", error="ValueError"),
        build.row("fuse", "soup", pool="mixed", status="skipped", reason="no common\nancestor | at all", error=None),
        build.row("fuse", "vote", pool="mixed", status="blocked", reason="full failed", error=""),
        build.row("fuse", "vote", pool="mixed", seed=1, status="timeout", reason="", error=""),
    ]
    lp = Cell("tune", "digits", "cnn-s", "lp-ft", "", 0, 0, 0, 0)
    missing = [lp, lp._replace(label="full", seed=3), lp._replace(kind="pretrain", dataset="", label="")]
    board = make_leaderboard("demo", rows, missing)
    assert ranks(board) == {"full": "1", "lp-ft": "", "soup": "", "vote": ""}
    assert line(board, "full")["status"] == "2/4: 1 failed, 1 missing"
    assert line(board, "soup", "mixed")["status"] == "0/1: 1 skipped"
    assert line(board, "vote", "mixed")["reason"] == "blocked: full failed; timeout"
    assert line(board, "lp-ft")["reason"] == "missing: planned, but not run yet"
    text = board.to_markdown()
    assert "- full: failed: ValueError: loss is NaN; missing: planned, but not run yet" in text
    assert "- soup of mixed: skipped: no common ancestor | at all" in text
    assert "rests on 2 of 9 planned cells (1 blocked, 1 failed, 1 skipped, 1 timeout, 3 without a row)" in text
    assert f"without a row: {missing[0]}, {missing[1]}, {missing[2]}." in text
    assert "not a number" not in text
    assert math.isnan(line(board, "soup", "mixed")["seconds"])


def test_a_pool_without_bounds_is_told_in_one_line_with_its_fusions(build: ModuleType) -> None:
    fields = {"pool": "mixed", "status": "blocked", "reason": "needs full, which failed", "error": ""}
    rows = [build.row("fuse", label, **fields) for label in ("vote", "soup")] + [build.row("pool", "", **fields)]
    board = make_leaderboard("demo", [build.row(), *rows])
    (pool,) = board.pools.to_dict("records")
    assert (pool["ok"], pool["status"]) == (0, "0/1: 1 blocked")
    assert pool["reason"] == "blocked: needs full, which failed"
    for text in (board.to_markdown(), board._repr_html_()):
        assert text.count("which failed") == 1
        assert "soup, vote and the bounds of mixed: blocked: needs full, which failed" in text
        assert "best single" not in text


def test_a_data_set_where_all_failed_still_has_its_table(build: ModuleType) -> None:
    board = make_leaderboard("demo", [build.row(status="oom", reason="17 GiB")])
    assert "| full       | 0/1: 1 oom |" in board.to_markdown()
    assert "train s" not in board.to_markdown()
    assert list(board.scores()["metric"]) == [""]


@pytest.mark.parametrize("name", AWKWARD)
def test_a_missing_cell_has_its_line_whatever_it_is_called(name: str) -> None:
    cells = [Cell("fuse", name, f"net of {name}", f"soup of {name}", f"all {name}", seed, 0, 0, 0) for seed in (0, 1)]
    board = make_leaderboard("demo", [], cells)
    (found,) = board.lines.to_dict("records")
    shown = [found[field] for field in ("dataset", "backbone", "strategy", "pool", "status")]
    assert shown == [name, f"net of {name}", f"soup of {name}", f"all {name}", "0/2: 2 missing"]
    assert board.notes[1] == f"Planned cells without a row: {cells[0]}, {cells[1]}."


def test_a_cell_of_which_only_the_text_is_known_is_named_and_has_no_line(build: ModuleType) -> None:
    board = make_leaderboard("demo", [build.row()], ["tune/digits/cnn-s/lp-ft//s0/m0/r0"])
    assert ranks(board) == {"full": "1"}
    assert board.notes[:2] == (
        "This board rests on 1 of 2 planned cells (1 without a row).",
        "Planned cells without a row: tune/digits/cnn-s/lp-ft//s0/m0/r0.",
    )


def test_only_what_counts_has_a_line(build: ModuleType) -> None:
    others = [build.row(member=1), build.row(round=1, label="full after soup", pool="p"), build.row("pretrain", "")]
    assert ranks(make_leaderboard("demo", [build.row(), *others, build.row("pool", "", pool="p")])) == {"full": "1"}


def test_many_missing_cells_are_counted(build: ModuleType) -> None:
    board = make_leaderboard("demo", [], [Cell("tune", "d", "b", "full", "", seed, 0, 0, 0) for seed in range(9)])
    assert "s4/m0/r0 and 4 more." in board.notes[1]
    assert "s5/m0/r0" not in board.notes[1]


def test_an_empty_board_can_be_drawn() -> None:
    board = make_leaderboard("demo", [])
    assert board.to_markdown().startswith("# demo\n\n- This board rests on 0 of 0 planned cells.")
    assert len(board.scores()) == len(board.costs()) == 0
    assert board._repr_html_().startswith("<h1>demo</h1>")
