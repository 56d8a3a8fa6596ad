from __future__ import annotations

import math
import random
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from finefuse.errors import StoreError
from finefuse.judge.leaderboard import Leaderboard, make_leaderboard
from finefuse.judge.statistics import mean_interval
from finefuse.types import Board, Record


def line(board: Leaderboard, strategy: str, pool: str = "", **where: str) -> dict[str, Any]:
    """The one line of a strategy."""
    lines = board.lines
    for name, value in {"strategy": strategy, "pool": pool, **where}.items():
        lines = lines[lines[name] == value]
    assert len(lines) == 1
    return {str(name): value for name, value in lines.iloc[0].items()}


def runs(build: ModuleType, label: str, accuracies: list[float], kind: str = "tune", **fields: Any) -> list[Record]:
    """One ok row per seed with these accuracies."""
    return [
        build.row(kind, label, seed=seed, **{"test.accuracy": accuracy} | fields)
        for seed, accuracy in enumerate(accuracies)
    ]


def ranks(board: Leaderboard) -> dict[str, str]:
    """The ranks as drawn, from the top."""
    lines = board.lines
    drawn = ["" if pd.isna(rank) else f"{rank}{'=' if tied else ''}" for rank, tied in lines[["rank", "tied"]].values]
    return dict(zip(lines["strategy"], drawn, strict=True))


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
    assert "| 1=     | best " in text
    assert "| 5      | worst" in text


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
    missing = ["tune/digits/cnn-s/lp-ft//s0/m0/r0", "tune/digits/cnn-s/full//s3/m0/r0", "pretrain//cnn-s///s0/m0/r0"]
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


def test_cells_whose_names_hold_slashes(build: ModuleType) -> None:
    cells = [
        "fuse/folder(path=/data/x)/net(a=1/2, b=3)/soup(w=1/2)/all/s1/m0/r0",
        "no cell at all",
        "tune/a/b/c/s0/m0/r0",
    ]
    board = make_leaderboard("demo", [], cells)
    assert line(board, "soup(w=1/2)", "all", dataset="folder(path=/data/x)", backbone="net(a=1/2, b=3)")["planned"] == 1
    assert len(board.lines) == 1
    assert all(cell in board.notes[1] for cell in cells)


def test_many_missing_cells_are_counted(build: ModuleType) -> None:
    board = make_leaderboard("demo", [], [f"tune/d/b/full//s{seed}/m0/r0" for seed in range(9)])
    assert "s4/m0/r0 and 4 more." in board.notes[1]
    assert "s5/m0/r0" not in board.notes[1]


def test_an_empty_board_can_be_drawn() -> None:
    board = make_leaderboard("demo", [])
    assert board.to_markdown().startswith("# demo\n\n- This board rests on 0 of 0 planned cells.")
    assert len(board.scores()) == len(board.costs()) == 0
    assert board._repr_html_().startswith("<h1>demo</h1>")


# ---------------------------------------------------------------------------------------------- as it is read


def quick(build: ModuleType) -> list[Record]:
    """The shape of the quick suite: 5 schemes and 6 fusions of 2 pools, 2 backbones, 3 seeds."""
    rng = random.Random(0)
    schemes = ["full", "linear-probe", "head-sgd", "gradual-unfreeze", "lp-ft"]
    fusions = ["vote", "mean-probs", "weighted", "stacking", "soup", "greedy-soup"]
    spots = [("tune", label, "") for label in schemes]
    spots += [("fuse", label, pool) for label in fusions for pool in ("same-scheme", "schemes")]
    return [
        build.row(kind, label, pool=pool, seed=seed, backbone=net, **({} if kind == "time" else
                  {"test.accuracy": rng.random(), "seconds": rng.random() * 10}))
        for kind_of, label, pool in spots for kind in (kind_of, "time")
        for seed in range(3) for net in ("cnn-s", "vit-t")
    ]  # fmt: skip


def test_the_quick_board_fits_a_terminal(build: ModuleType) -> None:
    text = make_leaderboard("quick", quick(build)).to_markdown()
    tables = [text_line for text_line in text.splitlines() if text_line.startswith("|")]
    assert len(tables) == 2 * 2 * (2 + 17)
    assert max(map(len, tables)) <= 150
    assert len({len(text_line) for text_line in tables}) <= 4


def test_scores_have_the_same_bits_whatever_the_order_and_the_clock(build: ModuleType) -> None:
    rows = quick(build)
    again = [row | {"seconds": 99.0, "machine": "other", "contended": True, "latency.1.p50": 1.0} for row in rows]
    random.Random(1).shuffle(again)
    scores, others = (make_leaderboard("quick", each).scores().to_csv() for each in (rows, again))
    assert scores == others
    assert not {"seconds", "latency.1.p50", "contended", "reason"} & {*make_leaderboard("quick", rows).scores()}


def test_costs_are_apart(build: ModuleType) -> None:
    board = make_leaderboard("quick", quick(build))
    assert {*board.scores()} & {*board.costs()} == {"dataset", "backbone", "strategy", "pool"}
    assert {*board.scores(), *board.costs()} - {"metric"} == {*board.lines} - {
        "metrics",
        "reason",
        "label",
        "round",
        "rounds",
    }


def test_it_is_what_a_reporter_gets(build: ModuleType) -> None:
    board: Board = make_leaderboard("quick", quick(build))
    assert board.suite == "quick"


def test_machines_are_named(build: ModuleType) -> None:
    one = make_leaderboard("demo", runs(build, "full", [0.9, 0.9]))
    two = make_leaderboard("demo", [build.row(), build.row(seed=1, machine="m2")])
    assert one.notes[-1] == "Machine: m1."
    assert two.notes[-1] == "Machines: m1, m2; their seconds can't be compared."


def test_hostile_text_breaks_no_table(build: ModuleType) -> None:
    reason = "a | b\n<script>alert(1)</script> \udc80 \x1b[31m"
    rows = [build.row(label="<b>|x"), build.row(label="bad", status="failed", reason=reason)]
    board = make_leaderboard("de\nmo", rows)
    text, html = board.to_markdown(), board._repr_html_()
    assert text.startswith("# de mo\n")
    assert "<b>\\|x" in text
    assert "\\udc80 \\x1b[31m" in text
    text.encode()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<b>|x" not in html
    assert board._repr_markdown_() == text


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"seconds": 0.0, "flops": 999}, [" 0 |", " 999 |"]),
        ({"seconds": 0.012345, "flops": 1_000}, ["0.0123 |", "1.00k |"]),
        ({"seconds": 1234.5, "flops": 25_600_000}, ["1230 |", "25.6M |"]),
        ({"seconds": 9.999, "flops": 4.1e9}, ["10.0 |", "4.10G |"]),
        ({"seconds": 12.34, "flops": 2.5e12}, ["12.3 |", "2.50T |"]),
    ],
)
def test_numbers_have_three_digits(build: ModuleType, fields: dict[str, float], texts: list[str]) -> None:
    text = make_leaderboard("demo", [build.row(**fields)]).to_markdown()
    for expected in texts:
        assert expected in text


def test_large_scores_are_short(build: ModuleType) -> None:
    text = make_leaderboard("demo", runs(build, "full", [123456.789, 123456.789])).to_markdown()
    assert "1.2346e+05 ± 0.0000" in text


def test_costs_that_nobody_has_are_left_out(build: ModuleType) -> None:
    text = make_leaderboard("demo", [build.row(flops=None)]).to_markdown()
    assert "FLOPs" not in text
    assert "trainable" in text


def test_every_field_and_column_is_documented(build: ModuleType) -> None:
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    board = make_leaderboard("demo", quick(build))
    fields = {field for row in [*quick(build), build.row(status="failed")] for field in row}
    for name in fields | {*board.lines, *board.scores(), *board.costs()}:
        general = re.sub(r"\b(accuracy|nll)\b", "<metric>", re.sub(r"\.\d+\.", ".<batch>.", str(name)))
        assert f"`{general}`" in text, general


def test_a_metric_with_a_pipe_breaks_no_table(build: ModuleType) -> None:
    fields = {"metrics": ["a|b"], "test.a|b": 0.5, "better.a|b": "higher"}
    assert "a\\|b ↑ |" in make_leaderboard("demo", [build.row(**fields)]).to_markdown()


def test_a_search_shows_default_beside_tuned_and_warns_of_edges(build: ModuleType) -> None:
    found = {"trials": 8, "default.test.accuracy": 0.7}
    searched = [
        build.row(label="tuned", seed=s, **found, at_edge=["lr"] * (s == 1), **{"test.accuracy": 0.9}) for s in (0, 1)
    ]
    board = make_leaderboard("demo", [*searched, *runs(build, "full", [0.8, 0.8])])
    assert list(board.lines["trials"]) == [8, 0]
    assert list(board.scores()["edge"]) == ["lr", ""]
    assert board.lines["default.accuracy.mean"][0] == 0.7
    table = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in board.to_markdown().splitlines() if "|" in line
    ]
    assert table[0][-3:] == ["default", "trials", "runs"]
    assert table[2][-3:] == ["0.7000", "8", "2/2"]
    assert table[3][-3:] == ["", "", "2/2"]
    assert any("tuned on cnn-s (lr)" in note and "edge of its range" in note for note in board.notes)


def test_without_a_search_there_are_no_columns_for_one(build: ModuleType) -> None:
    board = make_leaderboard("demo", runs(build, "full", [0.8, 0.8]))
    assert "trials" not in board.to_markdown()
    assert not any(name.startswith("default.") for name in board.lines)


def test_last_best_and_peek_stand_side_by_side_and_peek_never_ranks(build: ModuleType) -> None:
    one = [
        build.row(label="a", seed=s, **{"test.accuracy": 0.8, "best.test.accuracy": 0.81, "peek.test.accuracy": 0.99})
        for s in (0, 1)
    ]
    board = make_leaderboard("demo", [*one, *runs(build, "b", [0.9, 0.9])])
    assert list(board.lines["strategy"]) == ["b", "a"]
    header, _, first, second = [
        [c.strip() for c in line.split("|")[1:-1]] for line in board.to_markdown().splitlines() if "|" in line
    ][:4]
    assert header[-3:] == ["best-val", "peek", "runs"]
    assert first[-3:] == ["", "", "2/2"]
    assert second[-3:] == ["0.8100", "0.9900", "2/2"]
    assert any("never ranks" in note for note in board.notes)


def test_figures_are_told_beside_the_scores(build: ModuleType) -> None:
    rows = [build.row(label="logme", seed=seed, **{"figure.logme": value}) for seed, value in enumerate((0.25, 0.75))]
    rows += [build.row(label="leep(T=2)", seed=0, **{"figure.leep": -1.5}), build.row(label="leep(T=2)", seed=1)]
    board = make_leaderboard("demo", [*rows, *runs(build, "full", [0.8, 0.8])])
    assert line(board, "logme")["figure.logme"] == 0.5
    assert math.isnan(line(board, "full")["figure.logme"])
    assert {"figure.leep", "figure.logme"} <= {*board.scores()}
    assert not {"figure.leep", "figure.logme"} & {*board.costs()}
    told = "Figures reported, means over seeds: leep -1.5000 (leep(T=2)); logme 0.5000"
    assert f"\n- {told}\n" in board.to_markdown()
    assert f"<li>{told}</li>" in board._repr_html_()


def test_each_backbone_has_its_own_figures(build: ModuleType) -> None:
    rows = [
        build.row(label="logme", backbone=net, **{"figure.logme": value}) for net, value in (("a", 1.0), ("b", 2.0))
    ]
    text = make_leaderboard("demo", rows).to_markdown()
    assert text.index("## digits · a") < text.index("logme 1.0000") < text.index("## digits · b")
    assert text.index("## digits · b") < text.index("logme 2.0000")


def test_without_figures_nothing_is_said_of_them(build: ModuleType) -> None:
    board = make_leaderboard(
        "demo", [*runs(build, "full", [0.8, 0.8]), build.row(label="nan", **{"figure.x": math.nan})]
    )
    assert "Figures" not in board.to_markdown()


def test_a_figure_that_is_no_number_is_refused(build: ModuleType) -> None:
    with pytest.raises(StoreError, match=r"a number as figure\.logme, not 'high'"):
        make_leaderboard("demo", [build.row(**{"figure.logme": "high"})])
