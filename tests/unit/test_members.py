"""What a fusion is given of its members; bodies with a head for each task; weights that are tied."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from finefuse import Classification, Regression, nets
from finefuse.errors import NotApplicable, PluginError
from finefuse.testing import POINTS, small_fusing, small_members, small_net
from finefuse.types import Fusing
from finefuse_zoo.fusions.adamerging import AdaMerging
from finefuse_zoo.fusions.arcee_fusion import ArceeFusion
from finefuse_zoo.fusions.breadcrumbs import Breadcrumbs
from finefuse_zoo.fusions.consensus import Consensus
from finefuse_zoo.fusions.dare import Dare
from finefuse_zoo.fusions.della import Della
from finefuse_zoo.fusions.expo import Expo
from finefuse_zoo.fusions.fisher import Fisher
from finefuse_zoo.fusions.git_rebasin import GitRebasin
from finefuse_zoo.fusions.greedy_soup import GreedySoup
from finefuse_zoo.fusions.iso_c import IsoC
from finefuse_zoo.fusions.iso_cts import IsoCts
from finefuse_zoo.fusions.karcher import Karcher
from finefuse_zoo.fusions.magmax import MagMax
from finefuse_zoo.fusions.model_stock import ModelStock
from finefuse_zoo.fusions.multislerp import MultiSlerp
from finefuse_zoo.fusions.nuslerp import NuSlerp
from finefuse_zoo.fusions.pcb import Pcb
from finefuse_zoo.fusions.regmean import RegMean
from finefuse_zoo.fusions.repair import Repair
from finefuse_zoo.fusions.sce import Sce
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.fusions.svc import Svc
from finefuse_zoo.fusions.task_arithmetic import TaskArithmetic
from finefuse_zoo.fusions.ties import Ties
from finefuse_zoo.fusions.tsv_m import TsvM
from finefuse_zoo.fusions.wise_ft import WiseFt
from finefuse_zoo.fusions.wudi import Wudi
from finefuse_zoo.schemes.lora import Lora
from helpers.tasks import two_tasks

NEEDS = ("val", "train", "base", "trainer", "test inputs")
BY_WEIGHT = [
    *(Soup(), GreedySoup(), Karcher(), WiseFt(a="val"), TaskArithmetic(), Ties(), Dare(), MagMax(), ModelStock()),
    *(TsvM(), IsoC(), Fisher(samples=20), RegMean(samples=20), AdaMerging(steps=3)),
    *(
        ArceeFusion(),
        Breadcrumbs(),
        Consensus(strictness=0.1),
        Della(),
        Expo(),
        IsoCts(),
        MultiSlerp(),
        NuSlerp(),
        Pcb(),
    ),
    *(Pcb(), Sce(k=0.5), Svc(), Wudi()),
]


def read(of: Fusing, name: str) -> Any:
    return getattr(of, name)


# ----------------------------------------------------------------------------------------------- undeclared


@pytest.mark.parametrize(
    "use",
    [
        lambda it: it.x,
        lambda it: len(it),
        lambda it: it[0],
        lambda it: it(torch.zeros(1)),
        lambda it: bool(it),
        lambda it: list(it),
        lambda it: copy.deepcopy(it),
        lambda it: torch.stack([torch.zeros(2), it]),
        lambda it: nn.functional.relu(it),
        lambda it: torch.zeros(2) + it,
        lambda it: it @ torch.zeros(2),
    ],
)
@pytest.mark.parametrize("name", ["val", "train", "base", "trainer", "test_inputs"])
def test_what_was_not_asked_for_says_so_whatever_is_done_with_it(name: str, use: Any) -> None:
    need = name.replace("_", " ")
    of = small_fusing(small_members(POINTS, 2), POINTS, needs=())
    with pytest.raises(PluginError, match=rf"^the fusion reads `of\.{name}` and its `needs` don't name '{need}'$"):
        use(read(of, name))
    if name not in ("base", "trainer"):
        with pytest.raises(
            PluginError, match=rf"^the fusion reads `member\.{name}` and its `needs` don't name '{need}'$"
        ):
            use(getattr(of.members[0], name))


def test_it_can_be_copied_along_and_printed() -> None:
    of = small_fusing(small_members(POINTS, 2), POINTS, needs=("train",))
    again = replace(of, rng=torch.Generator())
    assert again.train is of.train
    assert "val=<undeclared>" in repr(again)
    with pytest.raises(PluginError, match=r"`member\.val_outputs`"):
        torch.stack([member.val_outputs for member in again.members])


def test_members_of_one_data_set_have_the_very_same_objects() -> None:
    of = small_fusing(small_members(POINTS), POINTS, NEEDS)
    for member in of.members:
        assert member.task is of.task
        assert (member.val, member.train) == (of.val, of.train)
        assert member.test_inputs is of.test_inputs
    assert nets.share_a_task(of.members)
    assert of.members[0].score == of.task.quality(of.members[0].val_outputs, of.val)


# --------------------------------------------------------------------------------- one body, a head for each


def test_bodies_merge_and_every_member_keeps_its_head() -> None:
    of = two_tasks()
    with torch.random.fork_rng():
        net = nets.averaged(of.members, [0.5, 0.5], None)
    assert isinstance(net, nets.ManyHeads)
    a, b = (member.net for member in of.members)
    for name, p in net.stages.named_parameters():
        assert torch.allclose(p, (a.stages.get_parameter(name) + b.stages.get_parameter(name)) / 2, atol=1e-6)
    for member in of.members:
        one = nets.for_member(net, member)
        assert one.head.out_features == member.task.outputs
        assert torch.equal(one.head.weight, member.net.head.weight)
        assert one.stages[0] is net.stages[0]
        assert one(of.train.x).shape == (len(of.train), member.task.outputs)
    with pytest.raises(PluginError, match=r"heads for of 3, of 5; take one with nets\.for_member"):
        net(of.train.x)
    assert len(net.state_dict()) == len(a.state_dict()) + 2
    shared = nets.merged([of.members[0]] * 2, lambda _, t: t[0], None)
    assert nets.for_member(shared, of.members[0]) is shared


def test_tasks_of_one_shape_are_still_two() -> None:
    net = nets.averaged(two_tasks(Classification(3, "tabular", (4,))).members, [0.5, 0.5], None)
    assert isinstance(net, nets.ManyHeads)


@pytest.mark.parametrize("fusion", BY_WEIGHT, ids=lambda fusion: type(fusion).__name__)
def test_methods_on_weights_serve_members_of_two_tasks(fusion: Any) -> None:
    of = two_tasks()
    net = fusion.fuse(of)
    if isinstance(fusion, GreedySoup) and not isinstance(net, nets.ManyHeads):
        assert net in [member.net for member in of.members]
        return
    for member in of.members:
        one = nets.for_member(net, member)
        assert torch.equal(one.head.weight, member.net.head.weight)
        outputs = one(member.val.x).detach()
        assert member.task.bad_outputs(outputs, len(member.val)) == ""
        matrices = {name for name, p in one.stages.named_parameters() if p.ndim > 1}
        assert not any(torch.equal(one.stages.get_parameter(n), of.base.stages.get_parameter(n)) for n in matrices)
        if isinstance(fusion, Soup | Fisher | RegMean):
            assert member.task.quality(outputs, member.val) > 1 / member.task.outputs


def test_methods_per_member_use_what_is_the_members_own() -> None:
    of = two_tasks(Regression(2, "tabular", (4,)))
    first, second = of.members
    elsewhere = replace(second, train=replace(second.train, x=second.train.x * 10))
    for fusion in (Fisher(samples=30), RegMean(samples=30)):
        nets_ = [fusion.fuse(replace(two_tasks(), members=[first, other])) for other in (second, elsewhere)]
        assert not torch.equal(*(net.stages[1][0].weight for net in nets_))


def test_units_are_matched_with_the_heads_that_read_them() -> None:
    of = two_tasks()
    net = GitRebasin().fuse(of)
    assert isinstance(net, nets.ManyHeads)
    assert not torch.equal(nets.for_member(net, of.members[1]).head.weight, of.members[1].net.head.weight)
    for member in of.members:
        outputs = nets.for_member(net, member)(member.val.x).detach()
        assert member.task.quality(outputs, member.val) > 1 / member.task.outputs


def test_repair_refuses_several_tasks() -> None:
    with pytest.raises(NotApplicable, match="on the inputs of one task"):
        Repair().fuse(two_tasks())


def test_bodies_of_other_shapes_are_refused() -> None:
    of = two_tasks()
    odd = replace(of.members[1], load=lambda: small_net(Classification(5, "tabular", (6,))))
    with pytest.raises(NotApplicable, match="members of 3 and of 5 differ in architecture"):
        nets.averaged([of.members[0], odd], [0.5, 0.5], None)


# ------------------------------------------------------------------------------------------------------ ties


def tied_net(seed: int = 0) -> nets.Net:
    """Two stages of one and the same weight."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        one, two = nn.Linear(4, 4), nn.Linear(4, 4)
        two.weight = one.weight
        return nets.Net([nn.Sequential(one, nn.Tanh()), two], nn.Linear(4, 3)).eval()


@pytest.mark.parametrize("fusion", BY_WEIGHT, ids=lambda fusion: type(fusion).__name__)
def test_tied_weights_stay_tied(fusion: Any) -> None:
    of = replace(small_fusing([tied_net(1), tied_net(2)], POINTS, NEEDS), base=tied_net())
    net = fusion.fuse(of)
    assert net.stages[0][0].weight is net.stages[1].weight
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in tied_net().parameters())


def test_units_of_tied_weights_are_not_matched() -> None:
    with pytest.raises(NotApplicable, match="units of this network can't be followed"):
        GitRebasin().fuse(small_fusing([tied_net(1), tied_net(2)], POINTS, NEEDS))


def test_a_rule_is_asked_once_for_a_tied_weight_and_twice_where_one_member_has_two() -> None:
    asked: list[str] = []

    def rule(name: str, tensors: list[torch.Tensor]) -> torch.Tensor:
        asked.append(name)
        return tensors[0] + tensors[1]

    of = small_fusing([tied_net(1), tied_net(2)], POINTS, NEEDS)
    nets.merged(of.members, rule, None)
    assert asked.count("stages.0.0.weight") == 1
    assert "stages.1.weight" not in asked
    loose = tied_net(2)
    loose.stages[1].weight = nn.Parameter(loose.stages[1].weight.detach() * 2)
    net = nets.merged(small_fusing([tied_net(1), loose], POINTS, NEEDS).members, rule, None)
    assert asked.count("stages.1.weight") == 1
    assert not torch.equal(net.stages[0][0].weight, net.stages[1].weight)


def test_adapters_leave_weights_alone_that_layers_share(lab: Any) -> None:
    pytest.importorskip("peft")
    on = replace(lab.tuning(POINTS), model=tied_net())
    with pytest.raises(NotApplicable, match=r"stages\.0\.0, stages\.1: .* weights that layers share"):
        Lora().tune(on)


def test_inputs_of_different_types_are_not_put_together() -> None:
    of = two_tasks()
    first, second = of.members
    stored = replace(second.train, x=(second.train.x * 10).to(torch.uint8))
    mixed = replace(of, members=[first, replace(second, train=stored)], statistics="shared")
    assert len(nets.train_inputs(replace(of, statistics="shared"))) == len(first.train) + len(second.train)
    with pytest.raises(NotApplicable, match=r"^the inputs of the tasks are of different types: float32, uint8$"):
        nets.train_inputs(mixed)
    assert nets.train_inputs(replace(mixed, statistics="per-task"))[second.name].dtype == torch.uint8
