"""Last, best on val and a peek at test: what is stored, what counts, and that looking changes nothing."""

from __future__ import annotations

import pytest
import torch

from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.engine.order import Order
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.train.checkpoints import Curve
from finefuse.engine.work.job import carry_out


def watched(lab, count=5, keep=False, epochs=12):
    net, splits = lab.cnn(), lab.splits(lab.IMAGES)
    trainer = lab.trainer(lab.IMAGES, splits.train, epochs)
    curve = Curve(net, splits, trainer.outputs, keep)
    trainer.watch_with(curve, count)
    return net, trainer, curve


def test_looking_changes_no_bit_of_the_training(lab):
    net, trainer, _ = watched(lab)
    plain = lab.cnn()
    trainer.fit(net, [{"params": net.parameters()}])
    lab.trainer(lab.IMAGES, lab.splits(lab.IMAGES).train, 12).fit(plain, [{"params": plain.parameters()}])
    assert lab.changed(lab.state(plain), net) == set()
    assert trainer.bill.off > 0


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_looks_are_spread_over_all_phases_and_include_the_last_step(lab, count):
    net, trainer, curve = watched(lab, count)
    steps = []
    curve.look = lambda model, step: steps.append(step)
    for share in (10, None):
        trainer.fit(net, [{"params": net.parameters()}], steps=share)
    assert steps[-1] == trainer.budget
    assert len(steps) == min(count, trainer.budget)


class Twice(torch.optim.SGD):
    """Two gradients a step."""

    def step(self, closure):
        closure()
        return super().step(closure)


@pytest.mark.parametrize("count", [1, 5, 9])
def test_schemes_that_take_two_gradients_a_step_are_looked_at_as_often(lab, count):
    net, trainer, curve = watched(lab, count)
    steps = []
    curve.look = lambda model, step: steps.append(step)
    groups = [{"params": net.parameters()}]
    half = trainer.budget // 2
    trainer.fit(net, groups, steps=half, optimizer=lambda groups: Twice(groups, lr=0.1))
    assert trainer.spent == 2 * half
    wanted = [round(trainer.budget * i / count) for i in range(1, count + 1)]
    assert steps == [step + step % 2 for step in wanted if step <= 2 * half]


def test_the_earliest_of_equally_good_ones_is_kept(lab):
    _, _, curve = watched(lab)
    splits = curve.splits
    right = torch.nn.functional.one_hot(splits.val.y, 3).float(), torch.nn.functional.one_hot(splits.test.y, 3).float()
    wrong = right[0].roll(1, 1), right[1].roll(1, 1)
    curve.note(1, wrong[0], right[1])
    curve.note(2, right[0], wrong[1])
    curve.note(3, right[0], right[1])
    assert (curve.best.step, curve.peek.step) == (2, 1)
    assert curve.best.on_val == curve.peek.on_test == 1.0


def test_weights_of_the_best_are_kept_if_asked_for(lab):
    net, trainer, curve = watched(lab, keep=True)
    trainer.fit(net, [{"params": net.parameters()}])
    again = lab.cnn()
    again.load_state_dict(curve.weights)
    assert torch.equal(trainer.outputs(again, curve.splits.val.x), curve.best.val)


def test_other_networks_and_other_heads_are_passed_over(lab):
    net, trainer, curve = watched(lab)
    trainer.fit(lab.cnn(), [], steps=1)
    curve.look(lab.cnn(), 1)
    assert curve.best is None
    net.replace_head(8)
    curve.look(net, 2)
    assert curve.best is None


@pytest.fixture
def rows(fixture_module, tmp_path):
    registry = Registry(("finefuse_zoo.hooks", fixture_module("plugins/tiny")), entry_points=False)

    def run(store, **suite):
        base = {"name": "t", "datasets": ["points"], "backbones": ["tiny"], "schemes": ["full"], "latency": []}
        parsed = load_suite({**base, "budget": {"epochs": 12}, **suite}, registry)
        jobs = make_plan(parsed, registry).jobs
        args = (parsed.settings, (), "cpu", str(tmp_path / store), registry.doors)
        return [carry_out(Order(job, "t", *args)) for job in jobs], Artifacts(tmp_path / store), jobs

    return run


def test_all_three_are_stored_and_the_last_counts(rows):
    (_, row), store, _ = rows("a")
    kept = store.outputs(row["artifact"])
    assert row["peek.test.accuracy"] >= max(row["test.accuracy"], row["best.test.accuracy"])
    assert "last.test.accuracy" not in row
    (_, plain), _, _ = rows("b", checkpoints=0)
    assert plain["outputs"] == row["outputs"]
    assert "peek.test.accuracy" not in plain
    assert {"val", "test", "best.val", "best.test", "peek.test"} == set(kept)


def test_best_on_val_counts_where_the_suite_says_so(rows):
    (_, last), _, _ = rows("a")
    (_, best), _, _ = rows("b", selection="best-val")
    assert best["test.accuracy"] == last["best.test.accuracy"]
    assert best["last.test.accuracy"] == last["test.accuracy"]
    assert best["peek.test.accuracy"] == last["peek.test.accuracy"]
    assert best["val.accuracy"] >= last["val.accuracy"]


def test_selection_is_part_of_a_tunings_key_but_not_of_the_pretrainings(rows):
    _, _, one = rows("a")
    _, _, other = rows("a", selection="best-val")
    assert one[0].key == other[0].key
    assert one[1].key != other[1].key
