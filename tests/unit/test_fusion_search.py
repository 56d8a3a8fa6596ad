"""Searches for the parameters of fusions: known optima are found on val, every trial is paid for, peeks never rank."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

import pandas as pd
import pytest
import torch
from annotated_types import Ge
from torch import nn

import finefuse
from finefuse import Entry, api, hookimpl, nets
from finefuse.cli.show import page
from finefuse.declare import plan as planning
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError
from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.types import Fusing, Level, Need, Space
from helpers.boards import runs
from helpers.crossing import TINY, only
from helpers.crossing import ran as ran_across

BEST = 0.37
SLOPE = torch.linspace(-1, 1, 4)
"""Of the targets of the data set `line` of tests/fixtures/plugins/tiny.py."""


@dataclass(frozen=True)
class Aimed:
    """A network that is without error at a = 0.37: outputs are a / 0.37 times the targets."""

    a: Annotated[float, Ge(0)] = 1.0
    space: ClassVar[Space] = {"a": {"low": 0.07, "high": 0.67}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ()

    def fuse(self, of: Fusing) -> nn.Module:
        net = copy.deepcopy(of.members[0].net)
        torch.optim.SGD(net.parameters()).step()  # of which a bill must tell
        if self.a > 5:
            raise FloatingPointError("too far")
        with torch.no_grad():
            for stage in net.stages:
                stage[0].weight.zero_()
                stage[0].bias.fill_(50.0)  # so that no unit is cut off
                stage[0].weight[:4].copy_(torch.eye(*stage[0].weight[:4].shape))
            net.head.weight.zero_()
            net.head.weight[0, :4] = SLOPE * self.a / BEST
            inner = net.features(torch.zeros(1, 4))[0, :4]
            net.head.bias.copy_(-(net.head.weight[:, :4] @ inner))
        return net


@dataclass(frozen=True)
class Scaled:
    """The members' mean output times `a`."""

    a: float = 1.0
    by: str = "member"
    space: ClassVar[Space] = {"a": {"low": 0.5, "high": 2.0}}
    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()

    def fuse(self, of: Fusing) -> nn.Module:
        return nets.CombineOutputs(of.members, lambda outputs: outputs.mean(0) * self.a)


class Fusions:
    @hookimpl
    def finefuse_fusions(self):
        yield Entry("aimed", Aimed)
        yield Entry("scaled", Scaled)


SUITE: dict[str, Any] = {
    "name": "found",
    "datasets": ["line"],
    "backbones": ["tiny"],
    "budget": {"epochs": 3, "batch_size": 16},
    "schemes": ["full"],
    "fusions": [
        "aimed",
        {"use": "search", "of": "aimed", "trials": 6, "sampler": "grid", "as": "tuned"},
        {"use": "search", "of": "aimed", "trials": 3, "space": {"a": {"choices": [9.0, 0.2]}}, "as": "wild"},
        {"use": "search", "of": {"use": "scaled", "by": "hand"}, "trials": 3, "as": "outputs"},
        {"use": "aimed", "as": "listed", "choose": {"a": [0.4, 1.0]}},
    ],
    "pools": {"pair": {"of": ["full"], "copies": 2}},
    "latency": [],
    "checkpoints": 0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return ran(tmp_path_factory.mktemp("found"))


def ran(folder: Path, **changes: Any) -> SimpleNamespace:
    plugins = [TINY, Fusions()]
    run = finefuse.run(
        SUITE | changes,
        plugins=plugins,
        out=folder / "out",
        store=folder / "store",
        device="cpu",
        workers=0,
        quiet=True,
    )
    return SimpleNamespace(rows=run.rows, board=run.board, folder=folder, plugins=plugins)


def trials(rows: list[dict], label: str) -> list[dict]:
    return [row for row in rows if row["kind"] == "trial" and row["label"] == label]


def test_the_known_best_coefficient_is_found_on_val_and_all_trials_are_billed(run):
    tried, found = trials(run.rows, "tuned"), only(run.rows, kind="fuse", label="tuned")
    assert [row["trial"] for row in tried] == [0, 1, 2, 3, 4, 5]
    assert [row["tried"].get("a") for row in tried] == pytest.approx([None, 0.07, 0.22, 0.37, 0.52, 0.67])
    assert found["chosen"]["a"] == pytest.approx(BEST)
    assert found["test.rmse"] == pytest.approx(0, abs=1e-4)
    assert (found["trials"], found["at_edge"], found["use"]) == (6, [], "aimed")
    for cost in ("seconds", "cpu_seconds", "steps"):
        assert found[cost] == pytest.approx(sum(row[cost] for row in tried))
    assert found["steps"] == 6
    assert found["seconds_members"] == only(run.rows, kind="fuse", label="aimed")["seconds_members"]


def test_a_trial_is_what_a_fusion_with_these_parameters_makes(run):
    tried = trials(run.rows, "tuned")
    assert tried[0]["outputs"] == only(run.rows, kind="fuse", label="aimed")["outputs"]
    assert trials(run.rows, "listed")[1]["outputs"] == tried[0]["outputs"]


def test_default_and_peek_are_those_of_the_trials(run):
    for label in ("tuned", "outputs", "wild"):
        tried, found = trials(run.rows, label), only(run.rows, kind="fuse", label=label)
        scored = [row["test.rmse"] for row in tried if row["quality"] is not None]
        assert found["default.test.rmse"] == tried[0]["test.rmse"]
        assert found["peek_at_test.test.rmse"] == min(scored)
        best = max((row for row in tried if row["quality"] is not None), key=lambda row: row["quality"])
        assert (found["outputs"], found["chosen"]) == (best["outputs"], best["tried"])
    listed = only(run.rows, kind="fuse", label="listed")
    assert listed["default.test.rmse"] == trials(run.rows, "listed")[1]["test.rmse"]
    assert listed["peek_at_test.test.rmse"] == trials(run.rows, "listed")[0]["test.rmse"]


def test_a_trial_that_breaks_off_has_no_quality_and_harms_no_other(run):
    tried = trials(run.rows, "wild")
    lost = [row for row in tried if row["quality"] is None]
    assert {row["status"] for row in tried} == {"ok"}
    assert {row["tried"]["a"] for row in lost} == {9.0}
    assert all("too far" in row["reason"] for row in lost)
    assert only(run.rows, kind="fuse", label="wild")["chosen"] == {"a": 0.2}


def test_what_is_kept_as_outputs_is_made_again_with_what_was_found(run):
    found = only(run.rows, kind="fuse", label="outputs")
    assert found["level"] == "output"
    assert found["chosen"] != {}
    file = run.folder / "found.pt2"
    api.export(run.folder / "out", "outputs", to=file, store=run.folder / "store", plugins=run.plugins)
    member = [row for row in run.rows if row["kind"] == "tune"]
    assert len(member) == 2
    assert "which it was fitted or chosen on" in file.with_name("found.pt2.md").read_text()


def test_the_three_figures_stand_side_by_side_and_the_peek_has_no_rank(run):
    head = next(line for line in run.board.to_markdown().splitlines() if line.startswith("| rank"))
    names = [name.strip() for name in head.split("|")]
    at = names.index("default")
    assert names[at : at + 3] == ["default", "tuned on val", "peek at test"]
    lines = run.board.lines.set_index("strategy")
    assert lines.loc["wild", "chosen"] == "a=0.2"
    column = lines["peek_at_test.rmse.mean"]
    assert column.notna().to_dict() == {name: name not in ("full", "aimed") for name in lines.index}
    scores = run.board.scores().set_index("strategy")
    assert (scores["peek_at_test.rmse.mean"].fillna(-1) == column.fillna(-1)).all()
    assert "never rank" in " ".join(run.board.notes)


def test_a_peek_moves_no_rank_no_tie_and_no_figure(build):
    peeks = {"peek_at_test.test.accuracy": 0.99, "default.test.accuracy": 0.5, "trials": 4}
    rows = [
        *runs(build, "one", [0.7, 0.8, 0.75], "fuse", pool="p", **peeks),
        *runs(build, "other", [0.8, 0.9, 0.84], "fuse", pool="p", **peeks),
        *runs(build, "plain", [0.6, 0.7, 0.64], "fuse", pool="p"),
    ]
    changed = [row | {name: 0.0 for name in row if name.startswith("peek_at_test.")} for row in rows]
    kept = [name for name in make_leaderboard("t", rows).lines if not str(name).startswith("peek_at_test")]
    one, other = (make_leaderboard("t", some).lines[kept] for some in (rows, changed))
    pd.testing.assert_frame_equal(one, other)


def test_a_search_that_keeps_the_default_says_so(build):
    one, other = [{"chosen": chosen, "trials": 3} for chosen in ({}, {"a": 0.5})]
    rows = [*runs(build, "kept", [0.7, 0.8], "fuse", pool="p", **one)]
    rows += [build.row("fuse", "mixed", pool="p", seed=seed, **how) for seed, how in enumerate((other, one))]
    board = make_leaderboard("t", rows)
    assert board.lines.set_index("strategy")["chosen"].to_dict() == {"kept": "default", "mixed": "a=0.5; default"}


def test_trials_that_differ_in_number_are_named(run):
    (said,) = [note for note in run.board.notes if note.startswith("Unequal tuning")]
    assert "pool pair: trials of" in said
    assert all(one in said for one in ("tuned 6", "wild 3", "outputs 3", "listed 2", "none of 1 others"))


def test_an_edge_is_told(tmp_path):
    fusions = [
        {"use": "search", "of": "aimed", "trials": 3, "sampler": "grid", "space": {"a": {"low": 0.4, "high": 0.9}}}
    ]
    row = only(ran(tmp_path, fusions=fusions, latency=[]).rows, kind="fuse")
    assert (row["chosen"], row["at_edge"]) == ({"a": 0.4}, ["a"])


# ------------------------------------------------------------------------------------------------- across data sets


@pytest.fixture(scope="module")
def across(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    fusions = [{"use": "search", "of": "task-arithmetic", "trials": 5, "as": "tuned"}, "vote", "task-gate"]
    return ran_across(tmp_path_factory.mktemp("across"), fusions=fusions, search={"trials": 3, "sampler": "grid"})


def test_across_data_sets_the_best_mean_normalised_score_on_val_is_kept(across):
    tried, found = trials(across.rows, "tuned"), only(across.rows, kind="fuse", label="tuned")
    assert len(tried) == 5
    for row in tried:
        assert row["quality"] == pytest.approx(row["val.normalised"])
    best = max(tried, key=lambda row: row["quality"])
    assert found["outputs"] == best["outputs"]
    assert found["default.test.normalised"] == tried[0]["test.normalised"]
    assert found["peek_at_test.test.normalised"] == max(row["test.normalised"] for row in tried)
    assert found["seconds"] == pytest.approx(sum(row["seconds"] for row in tried))


def test_a_suites_search_covers_fusions_of_several_tasks_and_made_again_they_are_the_same(across):
    gate = only(across.rows, kind="fuse", label="task-gate")
    assert (gate["trials"], gate["status"]) == (3, "ok")
    assert only(across.rows, kind="time", label="task-gate")["status"] == "ok"
    vote = only(across.rows, kind="fuse", label="vote")
    assert vote["reason"] == "vote combines outputs of one task, and these have several"
    timed = only(across.rows, kind="time", label="vote")
    assert (timed["status"], timed["reason"]) == ("skipped", vote["reason"])
    file = across.folder / "gate.pt2"
    api.export(across.folder / "out", "task-gate", to=file, store=across.folder / "store", plugins=TINY, task="points")
    assert file.is_file()


# ------------------------------------------------------------------------------------------------- plans


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(("finefuse_zoo.hooks", TINY, Fusions()), entry_points=False)


def planned(registry: Registry, **changes: Any) -> list[Any]:
    return list(make_plan(load_suite(SUITE | changes, registry), registry).jobs)


def test_one_table_searches_every_fusion_with_a_space_that_is_not_chosen_or_repeated_otherwise(registry):
    fusions = [
        "aimed",
        "mean",
        {"use": "soup", "rounds": 2},
        {"use": "aimed", "as": "own", "choose": {"a": [0.1, 0.2]}},
    ]
    suite = load_suite(SUITE | {"fusions": fusions, "search": {"trials": 3}}, registry)
    assert [(line.label, line.search is not None) for line in suite.fusions] == [
        ("aimed", True),
        ("mean", False),
        ("soup", False),
        ("own", False),
    ]
    jobs = make_plan(suite, registry).jobs
    assert [job.label for job in jobs if job.kind == "trial" and job.fused] == ["aimed"] * 3 + ["own"] * 2


def test_every_part_of_a_search_is_in_the_keys_and_nothing_else(registry):
    def keys(**changes: Any) -> set[str]:
        fusion = {"use": "search", "of": "aimed", "trials": 3, "sampler": "random"} | changes
        return {job.key for job in planned(registry, fusions=[fusion]) if job.kind in ("trial", "fuse")}

    same = keys()
    assert same == keys(**{"as": "another name"})
    for change in ({"trials": 4}, {"sampler": "grid"}, {"space": {"a": {"low": 0.1, "high": 0.2}}}):
        assert not same & keys(**change)
    assert not same & keys(of={"use": "aimed", "a": 0.5}, space={"a": {"low": 0.07, "high": 0.67}})


def test_the_trials_of_fusions_count_among_the_jobs(registry, monkeypatch):
    jobs = len(planned(registry, latency=[])) - 1  # without the pretraining
    monkeypatch.setattr(planning, "MAX_JOBS", jobs)
    planned(registry)
    monkeypatch.setattr(planning, "MAX_JOBS", jobs - 1)
    with pytest.raises(FinefuseError, match=f"asks for {jobs} jobs"):
        planned(registry)


def test_what_the_trials_of_fusions_are_told_is_limited(registry, monkeypatch):
    fusions = [{"use": "search", "of": "aimed", "trials": 6}]
    monkeypatch.setattr(planning, "MAX_TOLD", 4 + 5)
    planned(registry, fusions=fusions)
    monkeypatch.setattr(planning, "MAX_TOLD", 8)
    with pytest.raises(FinefuseError, match="are told 9 times of an earlier one"):
        planned(registry, fusions=fusions)


@pytest.mark.parametrize(
    ("fusion", "why"),
    [
        ({"use": "search"}, "needs a value for 'of'"),
        ({"use": "search", "of": "aimd"}, "did you mean 'aimed'"),
        ({"use": "search", "of": "full"}, "there is no fusion 'full'"),
        ({"use": "search", "of": "aimed", "trials": 1}, "greater than or equal to 2"),
        ({"use": "search", "of": "mean"}, "mean has no space to search; give one"),
        (
            {"use": "search", "of": "aimed", "space": {"b": {"low": 0.1, "high": 1.0}}},
            "fusion 'aimed' has no parameter 'b'",
        ),
        ({"use": "search", "of": "aimed", "space": {"a": {"low": -1.0, "high": 1.0}}}, "greater than or equal to 0"),
        ({"use": "search", "of": "aimed", "rounds": 2}, "doesn't go with a search: which parameters"),
        ({"use": "search", "of": "aimed", "choose": {"trials": [2, 3]}}, "doesn't go with a search, which has its own"),
        ({"use": "search", "of": {"use": "search", "of": "aimed"}}, "there is no fusion 'search'"),
    ],
)
def test_bad_searches_are_found_with_the_suite(registry, fusion, why):
    with pytest.raises(FinefuseError, match=why):
        load_suite(SUITE | {"fusions": [fusion]}, registry)


def test_a_grid_over_the_search_itself_makes_lines(registry):
    suite = load_suite(SUITE | {"fusions": [{"use": "search", "of": "aimed", "grid": {"trials": [2, 3]}}]}, registry)
    assert [line.search.kwargs["trials"] for line in suite.fusions if line.search] == [2, 3]


def test_show_tells_what_is_searched():
    registry = Registry(("finefuse_zoo.hooks", Fusions()), entry_points=False)
    assert page(registry, "fusion", "aimed").splitlines()[-1] == "searched: a from 0.07 to 0.67"
    assert page(registry, "scheme", "full").splitlines()[-1] == "searched: lr from 0.0001 to 0.3, by ratios"
    assert "searched:" not in page(registry, "fusion", "soup")
    assert "searched:" not in page(registry, "backbone", "cnn-s")
