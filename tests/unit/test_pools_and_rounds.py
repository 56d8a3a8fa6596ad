"""Bounds of pools, pools across backbones, and rounds: fine-tune, fuse, and fine-tune again from the fused network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import finefuse
from finefuse import Entry, hookimpl
from finefuse.engine.measure.bounds import bounds, oracle
from finefuse.judge.board.present import pool_table
from finefuse.nets import CombineOutputs
from finefuse.types import Splits
from finefuse.types.undeclared import Undeclared

SAME = {"same": {"of": ["full"], "copies": 3}}


# --------------------------------------------------------------------------------------------------- bounds, by hand


@dataclass(frozen=True)
class Share:
    kinds = ("classification",)
    higher_is_better = True

    def score(self, outputs, y):
        return float((outputs.argmax(-1) == y).double().mean())


def test_the_oracle_takes_a_member_that_is_right(lab):
    y = torch.tensor([0, 1, 2])
    sure_but_wrong = torch.tensor([[0.40, 0.45, 0.15], [0.0, 9.0, 0.0], [9.0, 0.0, 0.0]]).log()
    hardly_right = torch.tensor([[0.36, 0.32, 0.32], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]]).log()
    wise = oracle(lab.POINTS, torch.stack([sure_but_wrong, hardly_right]), y)
    assert torch.equal(wise[0], hardly_right[0])  # though the other gives the right class a greater probability
    assert torch.equal(wise[1], sure_but_wrong[1])


def test_the_oracle_of_values_takes_the_nearest(lab):
    outputs = torch.tensor([[[1.0], [5.0]], [[3.0], [4.5]]])
    assert oracle(lab.LINE, outputs, torch.tensor([[2.5], [4.9]])).flatten().tolist() == [3.0, 5.0]


def test_bounds_are_what_they_say(lab):
    data, torch_rng = lab.splits(lab.POINTS), torch.Generator().manual_seed(0)
    val, test = (torch.randn(4, len(part), 3, generator=torch_rng) for part in (data.val, data.test))
    row = bounds({"share": Share()}, data, val, test)
    each = [Share().score(outputs, data.test.y) for outputs in test]
    best = max(range(4), key=lambda m: data.task.quality(val[m], data.val))
    assert (row["best"], row["single.test.share"]) == (best, each[best])
    assert row["mean.test.share"] == pytest.approx(sum(each) / 4)
    right = (test.argmax(-1) == data.test.y).any(0)
    assert row["oracle.test.share"] == pytest.approx(float(right.double().mean()))


def test_diversity_by_the_table_of_two_members(lab):
    y = torch.zeros(20, dtype=torch.int64)
    right = torch.tensor([[1] * 15 + [0] * 5, [1] * 10 + [0] * 8 + [1] * 2]).bool()
    outputs = torch.stack([right.float(), (~right).float(), torch.full(right.shape, -9.0)], -1)
    both, one, other, none = 10, 5, 2, 3
    found = lab.POINTS.diversity(outputs, y)
    assert found["disagreement"] == pytest.approx((one + other) / 20)
    assert found["q"] == pytest.approx((both * none - one * other) / (both * none + one * other))
    assert found["correlation"] == pytest.approx(np.corrcoef(*right.numpy())[0, 1])


def test_diversity_where_nothing_differs_is_not_defined(lab):
    right = torch.zeros(3, 5, 3)
    right[..., 0] = 1
    assert lab.POINTS.diversity(right, torch.zeros(5, dtype=torch.int64)) == {
        "disagreement": 0.0,
        "q": None,
        "correlation": None,
    }
    assert lab.POINTS.diversity(right[:1], torch.zeros(5, dtype=torch.int64)) == {}


def test_residuals_of_values_correlate(lab):
    outputs = torch.randn(2, 30, 1, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(30, 1)
    expected = np.corrcoef(*outputs[..., 0].numpy())[0, 1]
    assert lab.LINE.diversity(outputs, y)["correlation"] == pytest.approx(expected)


# ------------------------------------------------------------------------------------------------------------ as jobs


def test_a_pool_s_row_bounds_its_fusions(workshop):
    shop = workshop(pools=SAME, fusions=["vote"])
    rows = shop.run()
    pool = next(row for row in rows if row["kind"] == "pool")
    scores = [row["test.accuracy"] for row in rows if row["kind"] == "tune" and row["label"] == "full"]
    assert pool["mean.test.accuracy"] == pytest.approx(sum(scores) / 3)
    assert pool["single.test.accuracy"] in scores
    fused = next(row for row in rows if row["kind"] == "fuse")
    assert max(scores) <= pool["oracle.test.accuracy"] <= 1
    assert fused["test.accuracy"] <= pool["oracle.test.accuracy"]


def test_a_pool_with_a_failed_member_has_neither_bounds_nor_fusions_and_the_board_says_so_once(
    tmp_path, fixture_module
):
    calls = []

    @dataclass(frozen=True)
    class Tired:
        """Works once, for the first seed."""

        def tune(self, on):
            calls.append(on)
            if len(calls) > 1:
                raise RuntimeError("no good")
            on.trainer.fit(on.model, [{"params": on.model.parameters()}])

    class Plugin:
        @hookimpl
        def finefuse_schemes(self):
            yield Entry("tired", Tired)

    suite = fixture_module("workshop").BASE | {
        "budget": {"epochs": 6, "batch_size": 8},
        "schemes": ["full", "tired"],
        "fusions": ["vote", "soup", "fed-avg"],
        "pools": {"two": {"of": ["full", "tired"]}},
        "seeds": [0, 1],
        "latency": [],
    }
    run = finefuse.run(
        suite,
        plugins=[fixture_module("workshop").TINY, Plugin()],
        device="cpu",
        workers=0,
        out=tmp_path / "out",
        store=tmp_path / "run",
        quiet=True,
    )
    ended = {(row["seed"], row["kind"], row["label"]): row["status"] for row in run.rows if row["pool"]}
    names = [("pool", ""), ("fuse", "vote"), ("fuse", "soup"), ("fuse", "fed-avg")]
    assert ended == {(seed, *name): ("ok", "blocked")[seed] for seed in (0, 1) for name in names}
    assert len({row["reason"] for row in run.rows if row["status"] == "blocked"}) == 1
    (two,) = run.board.pools.to_dict("records")
    assert (two["ok"], two["status"]) == (1, "1/2: 1 blocked")
    told = [line for line in run.board.to_markdown().splitlines() if "blocked: needs" in line]
    failed = next(row["cell"] for row in run.rows if row["status"] == "failed")
    cause = f"needs {failed}, which failed: RuntimeError: no good"
    assert len(told) == 1
    assert told[0].endswith(f" and the bounds of two: blocked: {cause}")
    assert set(told[0].removeprefix("- ").split(" and ")[0].split(", ")) == {"vote", "soup", "fed-avg"}
    assert "1/2: 1 blocked" in str(pool_table(run.board.pools)["runs"].iloc[0])


def test_every_round_starts_from_the_fused_network_and_carries_the_bill(workshop):
    shop = workshop(pools=SAME, fusions=[{"use": "soup", "rounds": 3}], schemes=["full"])
    rows = shop.run()
    fused = [row for row in rows if row["kind"] == "fuse"]
    again = [[row for row in rows if row["kind"] == "tune" and row["round"] == n] for n in range(3)]
    assert [row["round"] for row in fused] == [0, 1, 2]
    assert {row["status"] for row in rows} == {"ok"}
    for number in (1, 2):
        before = fused[number - 1]
        spent = before["seconds"] + before["seconds_members"]
        assert {row["seconds_before"] for row in again[number]} == {spent}
        own = sum(row["seconds"] for row in again[number])
        assert fused[number]["seconds_members"] == pytest.approx(spent + own)
    assert len({row["outputs"] for row in [*fused, *again[1], *again[2]]}) == 9


def test_a_tuning_without_steps_of_a_later_round_is_the_fused_network(workshop):
    @dataclass(frozen=True)
    class Still:
        def tune(self, on):
            pass

    class Plugin:
        @hookimpl
        def finefuse_schemes(self):
            yield Entry("still", Still)

    shop = workshop(
        doors=(Plugin(),),
        schemes=["full", "still"],
        pools={"p": {"of": ["full", "still"]}},
        fusions=[{"use": "soup", "rounds": 2}],
    )
    rows = shop.run()
    soup = next(row for row in rows if row["kind"] == "fuse" and row["round"] == 0)
    still = next(row for row in rows if row["label"] == "still after soup")
    assert still["outputs"] == soup["outputs"]


def test_a_fusion_is_given_the_start_of_its_round(workshop):
    @dataclass(frozen=True)
    class Base:
        """The network the members started from."""

        level = "weight"
        needs = ("base",)

        def fuse(self, of):
            return of.base

    class Plugin:
        @hookimpl
        def finefuse_fusions(self):
            yield Entry("base", Base)

    rows = workshop(doors=(Plugin(),), schemes=["full"], pools=SAME, fusions=[{"use": "base", "rounds": 2}]).run()
    first, second = (row for row in rows if row["kind"] == "fuse")
    assert first["outputs"] == second["outputs"]


def test_a_pool_across_backbones_fuses_outputs_and_skips_weights(workshop):
    shop = workshop(
        datasets=[{"use": "points", "images": True}],
        backbones=[{"use": "tiny", "images": True}, {"use": "wide", "as": "wide"}],
        doors=(Wider(),),
        schemes=["full"],
        pools={"mix": {"of": ["full"], "backbones": "*"}},
        fusions=["mean-probs", "soup"],
    )
    rows = shop.run()
    mixed, soup = (row for row in rows if row["kind"] == "fuse")
    assert mixed["status"] == "ok"
    assert mixed["backbone"] == "tiny(images=true) + wide"
    own = [row for row in rows if row["kind"] == "tune"]
    assert mixed["parameters"] == sum(row["parameters"] for row in own)
    assert mixed["flops"] == sum(row["flops"] for row in own)
    assert (soup["status"], "differ in architecture" in soup["reason"]) == ("skipped", True)
    assert next(row for row in rows if row["kind"] == "pool")["oracle.test.accuracy"] >= mixed["test.accuracy"]


class Wider:
    """A door: a backbone of another width."""

    @hookimpl
    def finefuse_backbones(self):
        yield Entry("wide", Wide)


@dataclass(frozen=True)
class Wide:
    source = None

    def fingerprint(self):
        return ""

    def budget(self):
        from finefuse.types import Budget

        return Budget(epochs=1)

    def build(self, task):
        from torch import nn

        from finefuse.nets import Net

        stage = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU())
        return Net([stage], nn.Linear(9, task.outputs))

    def tune(self, on):
        pass


def test_a_weight_level_fusion_must_give_a_network(workshop):
    from finefuse.errors import PluginError

    @dataclass(frozen=True)
    class Liar:
        level = "weight"
        needs = ()

        def fuse(self, of):
            return CombineOutputs(of.members, lambda z: z.mean(0))

    class Plugin:
        @hookimpl
        def finefuse_fusions(self):
            yield Entry("liar", Liar)

    with pytest.raises(PluginError, match="a weight-level fusion gives a Net, and this one gave a CombineOutputs"):
        workshop(doors=(Plugin(),), fusions=["liar"]).run()


def test_methods_are_given_what_they_need_and_nothing_else(workshop):
    seen = {}

    @dataclass(frozen=True)
    class Nosy:
        level = "output"
        needs = ("test inputs",)

        def fuse(self, of):
            seen.update(vars(of))
            return CombineOutputs(of.members, lambda z: z.mean(0))

    class Plugin:
        @hookimpl
        def finefuse_fusions(self):
            yield Entry("nosy", Nosy)

    shop = workshop(doors=(Plugin(),), fusions=["nosy"], latency=[])
    rows = shop.run()
    assert [name for name in ("val", "train", "base", "trainer") if not isinstance(seen[name], Undeclared)] == []
    assert isinstance(seen["test_inputs"], torch.Tensor)
    assert not any(isinstance(value, Splits) for value in seen.values())
    assert np.isnan(seen["members"][0].score)
    assert next(row for row in rows if row["kind"] == "fuse")["needs"] == ["test inputs"]


def test_every_model_is_scored_on_further_test_sets(workshop):
    shop = workshop(
        also_test=[{"use": "points", "centres": 7, "as": "moved"}, {"use": "points", "as": "again"}],
        fusions=["mean-probs", "soup"],
        selection="best-val",
    )
    rows = [row for row in shop.run() if row["kind"] in ("tune", "fuse")]
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        assert row["also.again.accuracy"] == row["test.accuracy"]
        assert row["also.again.nll"] == row["test.nll"]
        assert row["also.moved.nll"] > row["test.nll"]
