"""Carrying out jobs, one by one, in this process."""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from finefuse import Entry, NotApplicable, hookimpl
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.work import ensembles, job
from finefuse.engine.work.attempt import attempt
from finefuse.engine.work.deployed import deployed
from finefuse.engine.work.ensembles import _counted
from finefuse.engine.work.job import carry_out
from finefuse.engine.work.workbench import Workbench
from finefuse.errors import PluginError
from finefuse.nets import CombineOutputs


def test_every_job_gives_an_ok_row_with_what_it_measured(workshop):
    shop = workshop()
    rows = shop.run()
    assert [r["status"] for r in rows] == ["ok"] * len(shop.jobs)
    assert {r["kind"] for r in rows} == {"pretrain", "tune", "pool", "fuse", "time"}
    for r in (r for r in rows if r["kind"] in ("tune", "fuse")):
        assert 0 <= r["test.accuracy"] <= 1
        assert r["better.accuracy"] == "higher"
        assert r["better.nll"] == "lower"
        assert r["metrics"] == ["accuracy", "nll"]
        assert r["n_test"] == 90
        assert r["seconds"] > 0
        bits = np.unpackbits(np.frombuffer(base64.b64decode(r["correct"]), np.uint8))[:90]
        assert bits.mean() == pytest.approx(r["test.accuracy"])


def test_costs_are_the_strategys_own(workshop):
    rows = workshop().run()
    full = next(r for r in rows if r["label"] == "full" and r["kind"] == "tune")
    probe = next(r for r in rows if r["label"] == "linear-probe" and r["kind"] == "tune")
    vote = next(r for r in rows if r["label"] == "vote" and r["kind"] == "fuse")
    soup = next(r for r in rows if r["label"] == "soup" and r["kind"] == "fuse")
    assert full["steps"] == 9
    assert full["trainable"] == full["parameters"] == soup["parameters"]
    assert probe["steps"] == 0
    assert probe["trainable"] == 6 * 3 + 3
    assert vote["parameters"] == 2 * full["parameters"]
    assert vote["flops"] == 2 * full["flops"]
    assert soup["flops"] == full["flops"]
    members = [r["seconds"] for r in rows if r["label"] == "full" and r["kind"] == "tune"]
    assert vote["seconds_members"] == pytest.approx(sum(members))
    timed = next(r for r in rows if r["kind"] == "time")
    assert 0 < timed["latency.1.p50"] <= timed["latency.1.p95"]
    assert timed["latency.4.p50"] > 0
    assert full["bytes"] == soup["bytes"] == 4 * full["parameters"]
    assert vote["bytes"] == 2 * full["bytes"]
    assert {"energy.processors", "energy.gpu", "no_energy"} <= full.keys() & vote.keys()


def test_what_was_counted_otherwise_is_counted_again_and_not_made_again(workshop, monkeypatch):
    search = {"use": "search", "of": "full", "trials": 2, "sampler": "random"}
    shop = workshop(schemes=["full", "linear-probe", search])
    with monkeypatch.context() as former:
        former.setattr(job, "COUNTING", "former")
        former.setattr(ensembles, "flops_per_example", lambda *_: 1)
        before = shop.run()
    after = shop.run()
    counted = [row["kind"] for row in before if row.get("flops")]
    assert {"pretrain", "trial", "tune", "fuse"} == set(counted)
    for old, new in zip(before, after, strict=True):
        assert old.get("flops") in (None, 1)
        assert (new.get("flops") or 0) > (1 if old.get("flops") else -1)
        assert (old.get("seconds"), old.get("outputs")) == (new.get("seconds"), new.get("outputs")) or old[
            "kind"
        ] == "time"
        assert "counting" not in new
    full = next(row for row in after if row["label"] == "full")
    assert next(row for row in after if row["label"] == "vote")["flops"] == 2 * full["flops"]


@pytest.mark.parametrize("scheme", ["needy", {"use": "chain", "of": ["watch", "needy"]}], ids=str)
def test_what_an_entry_requires_is_imported_before_the_clock_runs(workshop, tmp_path, monkeypatch, scheme):
    (tmp_path / "slow_to_import.py").write_text("READY = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_to_import", raising=False)
    seen = []

    @dataclass(frozen=True)
    class Watch:
        """Looks whether the module is there."""

        def tune(self, on) -> None:
            seen.append("slow_to_import" in sys.modules)

    class Plugin:
        @hookimpl
        def finefuse_schemes(self):
            yield Entry("watch", Watch)
            yield Entry("needy", Watch, requires=("slow_to_import",))

    shop = workshop((Plugin(),), schemes=[scheme], fusions=[], pools={})
    assert "slow_to_import" not in sys.modules
    assert [r["status"] for r in shop.run("tune")] == ["ok"]
    assert len(seen) == (1 if scheme == "needy" else 2)
    assert all(seen)


def test_out_of_memory_while_evaluating_is_a_row_that_says_so(workshop, monkeypatch):
    """Chunks have one size, because another may give other bits; so there are no halves to try, allowed or not."""

    forward = torch.nn.Linear.forward

    def full(layer, x):
        if not torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(layer, x)

    shop = workshop(schemes=["full"], fusions=[], pools={}, accumulate=True)
    pretraining, job, *_ = shop.jobs
    assert carry_out(shop.order(pretraining))["status"] == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Linear, "forward", full)
        row = attempt(shop.order(job))
    assert (row["kind"], row["status"], row["error"]) == ("tune", "oom", "OutOfMemoryError")
    assert "peak_memory" in row
    assert carry_out(shop.order(job))["status"] == "ok"


def test_two_stores_same_bits(workshop, tmp_path):
    first, second = (
        workshop(datasets=[{"use": "points", "images": True}], backbones=[{"use": "tiny", "images": True}]),
        None,
    )
    rows = first.run()
    first.store = tmp_path / "another"
    second = first.run()
    same = ("outputs", "correct", "test.accuracy", "test.nll", "examples")
    for one, two in zip(rows, second, strict=True):
        assert [one.get(k) for k in same] == [two.get(k) for k in same]


def test_schemes_of_one_seed_share_split_and_start_and_members_differ(workshop):
    rows = workshop(schemes=["full", "head-sgd"], seeds=[0, 1]).run("tune")
    by_seed = {seed: {r["examples"] for r in rows if r["seed"] == seed} for seed in (0, 1)}
    assert all(len(examples) == 1 for examples in by_seed.values())
    assert by_seed[0] != by_seed[1]
    members = [r["outputs"] for r in rows if r["label"] == "full" and r["seed"] == 0]
    assert len(set(members)) == len(members) == 2


def test_adding_a_scheme_moves_no_other_numbers(workshop, tmp_path):
    alone = workshop(schemes=["full"], fusions=[], pools={}).run("tune")
    shop = workshop(schemes=["head-sgd", "full", "lp-ft"], fusions=[], pools={})
    shop.store = tmp_path / "other"
    assert alone[0]["outputs"] == shop.run("tune", "full")[0]["outputs"]


def test_what_is_in_the_store_is_not_computed_again(workshop):
    shop = workshop()
    first = shop.run("tune", "full")
    again = shop.run("tune", "full")
    for name in ("seconds", "contended"):
        assert [r[name] for r in first] == [r[name] for r in again]


def test_a_new_metric_scores_stored_outputs(workshop):
    first = workshop().run("tune", "full")
    again = workshop(metrics=["accuracy", "ece"]).run("tune", "full")
    assert again[0]["seconds"] == first[0]["seconds"]
    assert "test.ece" in again[0]
    assert again[0]["key"] != first[0]["key"]


def test_rows_are_left_in_the_store_for_a_driver_that_was_killed(workshop):
    shop = workshop(fusions=[], pools={}, latency=[])
    rows = shop.run("tune")
    assert Artifacts(shop.store).row(rows[0]["key"]) == rows[0]


def test_a_backbone_without_source_starts_from_random_weights(workshop):
    rows = workshop(backbones=[{"use": "tiny", "pretrained": False}]).run()
    assert {r["status"] for r in rows} == {"ok"}


def test_inputs_of_another_shape_are_skipped_with_the_reason(workshop):
    shop = workshop(datasets=[{"use": "points", "images": True}], fusions=[], pools={}, latency=[])
    rows = [carry_out(shop.order(job)) for job in shop.jobs]
    assert [r["status"] for r in rows] == ["ok", "skipped", "skipped"]
    assert "was pretrained on tabular inputs of shape (4,)" in rows[1]["reason"]


def test_regression_runs_through_the_same_path(workshop):
    shop = workshop(datasets=["line"], metrics=["accuracy", "mse"])
    rows = [carry_out(shop.order(job)) for job in shop.jobs if job.kind != "time" and not job.skip]
    by_label = {(r["kind"], r["label"]): r for r in rows}
    assert by_label["tune", "full"]["status"] == "ok"
    assert by_label["tune", "full"]["metrics"] == ["mse"]
    assert by_label["tune", "full"]["better.mse"] == "lower"
    assert "correct" not in by_label["tune", "full"]
    skipped = {job.skip for job in shop.jobs if job.label == "vote" and job.kind == "fuse"}
    assert skipped == {"vote is for classification, and line is regression"}
    assert by_label["fuse", "soup"]["status"] == "ok"


class Liar(CombineOutputs):
    """Combines outputs in one way and computes them in another."""

    def forward(self, x):
        return super().forward(x) + 1


def fusion_plugin(fuse, level="output", needs=()):
    """A plugin with one fusion "odd"."""
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Odd:
        def fuse(self, of):
            return fuse(of)

    Odd.level, Odd.needs = level, needs

    class Plugin:
        @hookimpl
        def finefuse_fusions(self):
            yield Entry("odd", Odd)

    return Plugin()


def fuse_with(workshop, fuse, **kwargs):
    shop = workshop(doors=(fusion_plugin(fuse, **kwargs),), fusions=["odd"], latency=[])
    return [carry_out(shop.order(job)) for job in shop.jobs][-1]


def test_an_ensemble_must_agree_with_its_members_stored_outputs(workshop):
    with pytest.raises(PluginError, match="the ensemble's outputs differ"):
        fuse_with(workshop, lambda of: Liar(of.members, lambda z: z.mean(0)))


def test_members_give_their_first_outputs_once_for_all_ensembles(workshop, monkeypatch):
    """Each member is run for the first of its fusions only; what is counted is what the whole module has."""
    fusions = ["vote", "mean-logits", "mean-probs", "stacking", "greedy-ensemble"]
    shop = workshop(fusions=fusions, latency=[])
    read = []
    tuned = Workbench.tuned
    monkeypatch.setattr(Workbench, "tuned", lambda bench, artifact: read.append(artifact) or tuned(bench, artifact))
    orders = [shop.order(job) for job in shop.jobs]
    rows = [carry_out(order) for order in orders]
    fused = [(order, row) for order, row in zip(orders, rows, strict=True) if row["kind"] == "fuse"]
    assert [row["status"] for _, row in fused] == ["ok"] * 5
    assert len(read) == len(set(read)) == 2
    for order, row in fused:
        bench = Workbench(order)
        whole = _counted(deployed(bench), bench.splits.test.inputs(slice(1)))
        assert {name: row[name] for name in whole} == whole


@pytest.mark.parametrize("seen", [False, True], ids=["for the first time", "as seen before"])
def test_a_member_that_gives_something_else_than_is_stored_is_noticed(workshop, monkeypatch, seen):
    shop = workshop(fusions=["mean-logits"], latency=[])
    *first, last = [shop.order(job) for job in shop.jobs]
    for order in first:
        carry_out(order)
    if seen:
        for _, artifact in last.job.fused:
            bench = Workbench(last)
            ensembles._first_outputs(bench, artifact, bench.splits.test.x[: ensembles.CHECKED])
    outputs = Artifacts.outputs
    monkeypatch.setattr(Artifacts, "outputs", lambda *of: {p: t + 1e-3 for p, t in outputs(*of).items()})
    with pytest.raises(PluginError, match="the ensemble's outputs differ"):
        carry_out(last)


def test_a_fusion_that_changed_a_member_is_held_against_what_it_made_of_it(workshop):
    def spoil(of):
        with torch.no_grad():
            of.members[0].net.head.bias += 1
        return CombineOutputs(of.members, lambda z: z.mean(0))

    with pytest.raises(PluginError, match="the ensemble's outputs differ"):
        fuse_with(workshop, spoil)


def test_an_ensemble_agrees_with_its_members_in_mixed_precision(workshop):
    shop = workshop(precision="bf16", fusions=["vote", "mean-probs", "stacking", "concat-features"], latency=[])
    assert [row["status"] for row in shop.run("fuse")] == ["ok"] * 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_no_result(workshop, bad):
    def spoilt(z):
        return torch.where(torch.arange(z.shape[1])[:, None] == 2, bad, z.mean(0))

    with pytest.raises(FloatingPointError, match="on val, outputs are not finite for 1 of 42 examples"):
        fuse_with(workshop, lambda of: CombineOutputs(of.members, spoilt))


def test_outputs_of_the_wrong_shape_are_refused(workshop):
    with pytest.raises(PluginError, match=r"on val, outputs have the shape \(42, 6\), \(42, 3\) was expected"):
        fuse_with(workshop, lambda of: CombineOutputs(of.members, lambda z: torch.cat(list(z), -1)))


def test_a_fusion_may_leave_members_out_or_put_others_in(workshop):
    only = fuse_with(workshop, lambda of: CombineOutputs(of.members[1:], lambda z: z[0]))
    assert only["status"] == "ok"


def test_a_fusion_of_other_modules_is_evaluated_as_it_is(workshop):
    rows = fuse_with(workshop, lambda of: CombineOutputs([of.members[0].net, of.members[1]], lambda z: z.mean(0)))
    assert rows["status"] == "ok"


@pytest.mark.parametrize(
    "needs", [(), ("val",), ("train",), ("base",), ("trainer",), ("val", "train", "base", "trainer")]
)
def test_a_fusion_gets_what_it_declares_and_nothing_else(workshop, needs):
    seen = {}

    def fuse(of):
        seen.update(val=of.val, train=of.train, base=of.base, trainer=of.trainer, scores=[m.score for m in of.members])
        return of.members[0].net

    fuse_with(workshop, fuse, needs=needs)
    given = {name for name in ("val", "train", "base", "trainer") if repr(seen[name]) != "<undeclared>"}
    assert given == set(needs)
    assert all((score == score) == ("val" in needs) for score in seen["scores"])  # NaN without val


def test_a_strategy_can_decline_with_a_reason(workshop):
    def decline(of):
        raise NotApplicable("not today")

    row = fuse_with(workshop, decline)
    assert (row["status"], row["reason"]) == ("skipped", "not today")


def test_what_goes_wrong_is_raised(workshop):
    def fail(of):
        raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError):
        fuse_with(workshop, fail)


def scheme_plugin():
    """A plugin with a scheme that adds a stage to the network and reports a figure."""
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Deeper:
        def prepare(self, model):
            model.stages.append(torch.nn.Linear(6, 6))

        def tune(self, on):
            on.figures["depth"] = float(len(on.model.stages))
            on.trainer.fit(on.model, [{"params": on.model.stages[-1].parameters()}])

    class Plugin:
        @hookimpl
        def finefuse_schemes(self):
            yield Entry("deeper", Deeper)

    return Plugin()


def test_a_scheme_may_add_modules_which_are_there_when_its_weights_are_read_back(workshop):
    pools = {"deep": {"of": ["deeper"], "copies": 2}, "mixed": {"of": ["deeper", "full"]}}
    shop = workshop(doors=(scheme_plugin(),), schemes=["deeper", "full"], pools=pools)
    rows = shop.run()
    status = {(r["kind"], r["label"], r["pool"]): r["status"] for r in rows}
    assert status.pop(("fuse", "soup", "mixed")) == status.pop(("time", "soup", "mixed")) == "skipped"
    assert set(status.values()) == {"ok"}
    tuned = next(r for r in rows if r["kind"] == "tune")
    assert tuned["figure.depth"] == 3.0
    assert tuned["trainable"] == 6 * 6 + 6


@pytest.mark.parametrize(
    ("scheme", "what"), [("source-replay", "source"), ("lwf", "source head"), ("leep", "source head")]
)
def test_what_needs_the_pretraining_is_skipped_where_there_was_none(workshop, scheme, what):
    fresh = [{"use": "tiny", "pretrained": False}]
    chain = {"use": "chain", "of": [scheme], "as": "chained"}
    rows = workshop(backbones=fresh, schemes=[scheme, chain], fusions=[], pools={}, latency=[]).run("tune")
    assert [r["status"] for r in rows] == ["skipped", "skipped"]
    assert {r["reason"] for r in rows} == {f"tiny(pretrained=false) comes without a {what}"}
