"""Fusions that train: distill, swa, snapshot, fed-avg, each against a plain loop."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from finefuse import nets
from finefuse.engine.train.batches import batch_order
from finefuse.errors import NotApplicable, PluginError
from finefuse.types import Recipe
from finefuse_zoo.fusions._rates import cosine, with_rates
from finefuse_zoo.fusions._shards import deal
from finefuse_zoo.fusions.distill import Distill
from finefuse_zoo.fusions.fed_avg import FedAvg
from finefuse_zoo.fusions.snapshot import Snapshot
from finefuse_zoo.fusions.swa import Swa

ALL = [Distill(), Swa(), Snapshot(), FedAvg()]


def predict(model, x):
    with nets.evaluation(model):
        return model(x)


def fusing(lab, task=None, count=3, **changed):
    return replace(
        lab.fusing([lab.network(task or lab.POINTS, seed) for seed in range(count)], task or lab.POINTS), **changed
    )


@pytest.fixture(scope="module")
def tuned(lab):
    return {(task.kind, task.modality): lab.tuned(task, 2) for task in (lab.IMAGES, lab.LINE)}


def plain_run(net, data, rates, order=None, loss=None):
    """SGD with Nesterov momentum at these rates, in the trainer's order; what the network is after every step."""
    recipe, order = net.recipe, order or batch_order(len(data), 16, 7)
    sgd = torch.optim.SGD(
        net.parameters(), 0.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    net.train()
    for rate in rates:
        rows = next(order)
        sgd.param_groups[0]["lr"] = rate
        sgd.zero_grad()
        (loss or (lambda z, y, _: nn.functional.cross_entropy(z, y)))(net(data.x[rows]), data.y[rows], rows).backward()
        sgd.step()
        yield copy.deepcopy(net).eval()


# ------------------------------------------------------------------------------------------------- all four


@pytest.mark.parametrize("fusion", ALL, ids=str)
def test_a_start_that_was_not_asked_for_is_not_there(lab, fusion):
    of = lab.fusing([lab.network(lab.POINTS, seed) for seed in range(3)], needs=("train", "trainer"))
    with pytest.raises(PluginError, match=r"reads `of\.base` and its `needs` don't name 'base'"):
        fusion.fuse(of)


@pytest.mark.parametrize("fusion", ALL, ids=str)
@pytest.mark.parametrize("task", ["IMAGES", "LINE"])
def test_they_learn_the_task_within_the_budget_and_leave_the_start_alone(lab, tuned, fusion, task):
    task = getattr(lab, task)
    of = replace(lab.fusing(tuned[task.kind, task.modality], task), trainer=lab.trainer(task, epochs=20))
    before = lab.state(of.base)
    fused = fusion.fuse(of)
    start, end = (task.quality(predict(net, of.val.x), of.val) for net in (of.base, fused))
    assert end > 0.9 if task.kind == "classification" else end > 0.8 * start
    assert of.trainer.spent <= of.trainer.budget
    assert lab.changed(before, of.base) == set()


@pytest.mark.parametrize("fusion", [Swa(), Snapshot(), FedAvg()], ids=str)
def test_members_that_take_no_part_are_not_read(lab, fusion):
    def unread():
        raise AssertionError("a member was read")

    of = fusing(lab)
    members = [replace(member, load=unread) for member in of.members]
    fusion.fuse(replace(of, members=members))


# ------------------------------------------------------------------------------------------------- rates


def test_rates_are_those_asked_for_whatever_the_schedule(lab):
    for schedule in ("cosine", "constant"):
        net, seen = lab.mlp(), []
        make = with_rates(net.recipe, lambda step: 0.1 / (step + 1))

        def watched(groups, make=make, seen=seen):
            optimizer = make(groups)
            optimizer.register_step_post_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
            return optimizer

        lab.trainer(schedule=schedule).fit(net, [{"params": net.parameters()}], steps=4, optimizer=watched)
        assert seen == [0.1 / (step + 1) for step in range(4)]


def test_half_a_cosine_goes_from_high_to_low():
    assert [cosine(share, 0.4, 0.2) for share in (0, 0.5, 1)] == pytest.approx([0.4, 0.3, 0.2])


# ------------------------------------------------------------------------------------------------- distill


def test_a_student_replays_by_hand(lab):
    of = fusing(lab, lab.IMAGES)
    teacher = torch.stack([(predict(m.net, of.train.x) / 3).softmax(-1) for m in of.members]).mean(0)

    def loss(z, y, rows):
        soft = nn.functional.kl_div((z / 3).log_softmax(-1), teacher[rows], reduction="batchmean")
        return 0.4 * nn.functional.cross_entropy(z, y) + 0.6 * 9 * soft

    n, lr = of.trainer.budget, of.base.recipe.lr
    *_, expected = plain_run(copy.deepcopy(of.base), of.train, [cosine(i / n, lr) for i in range(n)], loss=loss)
    student = Distill(T=3.0, alpha=0.4).fuse(of)
    assert all(
        torch.allclose(p, q, atol=1e-4) for p, q in zip(student.parameters(), expected.parameters(), strict=True)
    )


@pytest.mark.parametrize("task", ["POINTS", "LINE"])
def test_labels_alone_have_the_bits_of_full_fine_tuning(lab, task):
    task = getattr(lab, task)
    of, plain = fusing(lab, task), lab.network(task)
    lab.fusing([plain], task).trainer.fit(plain, [{"params": plain.parameters()}])
    student = Distill(alpha=1.0).fuse(of)
    assert lab.changed(lab.state(plain), student) == set()


def test_a_student_comes_near_the_mean_of_its_teachers(lab):
    of = fusing(lab, trainer=lab.trainer(epochs=60))
    mean = torch.stack([predict(m.net, of.train.x).softmax(-1) for m in of.members]).mean(0)

    def distance(net):
        return (predict(net, of.train.x).softmax(-1) - mean).abs().max()

    assert distance(Distill(T=1.0, alpha=0.0).fuse(of)) < 0.3 * distance(of.base)


def test_regression_is_taught_by_the_mean_value(lab, tuned):
    of = replace(lab.fusing(tuned["regression", "tabular"], lab.LINE), trainer=lab.trainer(lab.LINE, epochs=40))
    mean = torch.stack([predict(m.net, of.train.x) for m in of.members]).mean(0)
    student = Distill(alpha=0.0).fuse(of)
    assert (predict(student, of.train.x) - mean).square().mean() < 0.1 * (mean - mean.mean()).square().mean()


def test_teachers_of_another_architecture_teach_too(lab):
    of = fusing(lab)
    other = lab.mlp()
    other.stages.append(nn.Linear(6, 6))
    Distill().fuse(replace(of, members=[*of.members, lab.member(other.eval())]))


# ------------------------------------------------------------------------------------------------- swa and snapshot


@pytest.mark.parametrize("start", [0.0, 0.5, 0.99])
def test_swa_is_the_mean_of_the_weights_after_every_late_step(lab, start):
    of, n = fusing(lab, lab.IMAGES), 15
    first = min(round(start * n), n - 1)
    rates = [cosine(min(1.0, i / max(1, first)), 0.04, 0.01) for i in range(n)]
    seen = list(plain_run(copy.deepcopy(of.base), of.train, rates))[first:]
    fused = Swa(start=start, lr=0.04, swa_lr=0.01).fuse(of)
    for name, p in fused.named_parameters():
        assert torch.allclose(p, sum(net.get_parameter(name) for net in seen) / len(seen), atol=1e-5)
    renewed = copy.deepcopy(fused)
    nets.recalibrate(renewed, of.train.x)
    assert lab.changed(lab.state(renewed), fused) == set()


@pytest.mark.parametrize("cycles", [1, 2, 4])
def test_snapshots_are_the_networks_at_the_ends_of_cosine_cycles(lab, cycles):
    of = fusing(lab, lab.IMAGES, cycles)
    ends = [15 * (i + 1) // cycles for i in range(cycles)]
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    rates = [0.03 / 2 * (math.cos(math.pi * i / n) + 1) for n in lengths for i in range(n)]
    run = list(plain_run(copy.deepcopy(of.base), of.train, rates))
    fused = Snapshot(lr=0.03).fuse(of)
    expected = torch.stack([predict(run[end - 1], of.val.x).softmax(-1) for end in ends]).mean(0)
    assert len(fused.members) == cycles
    assert torch.allclose(predict(fused, of.val.x).softmax(-1), expected, atol=1e-4)


def test_values_of_snapshots_are_averaged(lab):
    of = fusing(lab, lab.LINE)
    fused = Snapshot().fuse(of)
    mean = torch.stack([predict(net, of.val.x) for net in fused.members]).mean(0)
    assert torch.allclose(predict(fused, of.val.x), mean)


def test_more_cycles_than_steps_are_refused(lab):
    with pytest.raises(NotApplicable, match="a budget of 1 steps has no room for 3 cycles"):
        Snapshot().fuse(fusing(lab, trainer=lab.trainer(train=lab.data(n=5), epochs=1)))


# ------------------------------------------------------------------------------------------------- fed-avg


def test_one_client_in_one_round_is_full_fine_tuning_on_its_shard(lab):
    of = fusing(lab, count=1)
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    plain = copy.deepcopy(of.base)
    lab.trainer().fit(plain, [{"params": plain.parameters()}], rows=rows)
    assert lab.changed(lab.state(plain), FedAvg(exchanges=1).fuse(of)) == set()


def test_rounds_of_clients_replay_by_hand(lab):
    of = fusing(lab, lab.IMAGES, 2, train=lab.data(lab.IMAGES, 61, 1))
    of = replace(of, trainer=lab.trainer(lab.IMAGES, of.train))
    shards, engine = deal(of.train, 2, "iid", torch.Generator().manual_seed(0)), lab.trainer(lab.IMAGES, of.train)
    assert [len(rows) for rows in shards] == [31, 30]
    net = copy.deepcopy(of.base)
    for _ in range(3):
        local = [copy.deepcopy(net) for _ in shards]
        for client, rows in zip(local, shards, strict=True):
            engine.fit(client, [{"params": client.parameters()}], steps=16 // 6, rows=rows)
        with torch.no_grad():
            for name, tensor in net.state_dict().items():
                one, two = (client.state_dict()[name] for client in local)
                tensor.copy_((31 * one + 30 * two) / 61 if tensor.is_floating_point() else one)
    fused = FedAvg(exchanges=3, recalibrate=False).fuse(of)
    assert all(
        torch.allclose(a, b, atol=1e-5)
        for a, b in zip(fused.state_dict().values(), net.state_dict().values(), strict=True)
    )
    assert of.trainer.spent == 12


@pytest.mark.parametrize("how", ["iid", "sorted"])
@pytest.mark.parametrize("task", ["POINTS", "LINE"])
def test_every_example_is_dealt_to_one_client(lab, task, how):
    train = lab.data(getattr(lab, task), 61)
    shards = deal(train, 4, how, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(shards).tolist()) == list(range(61))
    assert max(map(len, shards)) - min(map(len, shards)) <= 2


def test_sorted_shards_see_few_classes_and_random_ones_all(lab):
    train = lab.data(n=120)
    classes = {how: [train.y[rows].unique().numel() for rows in deal(train, 6, how, torch.Generator().manual_seed(0))]
               for how in ("iid", "sorted")}  # fmt: skip
    assert classes["iid"] == [3] * 6
    assert max(classes["sorted"]) <= 2


def test_too_little_for_every_client_is_refused(lab):
    with pytest.raises(NotApplicable, match="8 exchanges with 2 clients take more than the budget of 15 steps"):
        FedAvg(exchanges=8).fuse(fusing(lab, count=2))
    few = lab.data(n=5)
    with pytest.raises(NotApplicable, match="5 training examples are less than two for each of 3 clients"):
        FedAvg(exchanges=1).fuse(fusing(lab, train=few, trainer=lab.trainer(train=few, epochs=20)))


def test_its_own_rate_is_used_everywhere(lab):
    of = fusing(lab)
    of.base.recipe = Recipe("sgd", lr=0.0)
    still = Distill().fuse(replace(of, trainer=lab.trainer()))
    assert lab.changed(lab.state(of.base), still) == set()
    for fusion in (Distill(lr=0.1), Swa(lr=0.1), FedAvg(lr=0.1)):
        assert lab.changed(lab.state(of.base), fusion.fuse(replace(of, trainer=lab.trainer())))
