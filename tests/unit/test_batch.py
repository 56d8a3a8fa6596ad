"""What a loss and a penalty are told of a batch: the inputs as the network that is trained sees them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from finefuse.errors import PluginError
from finefuse.types import Batch, Tuning
from finefuse_zoo.fusions.distill import Distill
from finefuse_zoo.schemes.chain import Chain
from finefuse_zoo.schemes.delta import Delta
from finefuse_zoo.schemes.feature_map import FeatureMap
from finefuse_zoo.schemes.full import Full
from finefuse_zoo.schemes.lwf import Lwf


def mirrored(x, y):
    """A change that draws, as an augmentation does."""
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x + 0.25), y


def seen_by(module: nn.Module, kept: list) -> torch.utils.hooks.RemovableHandle:
    return module.register_forward_pre_hook(lambda _, args: kept.append(args[0].detach().clone()))


def test_it_has_the_inputs_where_nothing_is_frozen_and_where_features_are_cached(lab):
    for whole in (True, False):
        net, data, checked = lab.cnn(), lab.splits(lab.IMAGES).train, []

        def loss(outputs, batch, data=data, checked=checked):
            assert torch.equal(batch.x, data.x[batch.rows])
            assert torch.equal(batch.y, data.y[batch.rows])
            checked.append(len(batch.rows))
            return nn.functional.cross_entropy(outputs, batch.y)

        trained = net.parameters() if whole else net.head.parameters()
        lab.trainer(lab.IMAGES, train=data).fit(net, [{"params": trained}], loss=loss, steps=3)
        assert checked == [16, 16, 16]


@pytest.mark.parametrize("whole", [True, False])
def test_under_augmentation_it_has_what_the_network_was_given(lab, whole):
    net, given, told = lab.cnn(), [], []
    first = seen_by(net if whole else net.stages[0], given)

    def loss(outputs, batch):
        told.append(batch.x.clone())
        return nn.functional.cross_entropy(outputs, batch.y)

    trained = net.parameters() if whole else net.head.parameters()
    trainer = lab.trainer(lab.IMAGES, augment=mirrored)
    assert trainer.augments
    assert not lab.trainer(lab.IMAGES).augments
    trainer.fit(net, [{"params": trained}], loss=loss, penalty=lambda _, batch: 0 * batch.x.sum(), steps=3)
    first.remove()
    looked = given[:-3]  # whether a frozen prefix can be cached is seen from one example, and from two
    assert (len(told), [len(x) for x in looked]) == (3, [] if whole else [1, 2])
    assert all(torch.equal(a, b) for a, b in zip(given[-3:], told, strict=True))


def test_inputs_are_read_when_they_are_asked_for_and_once():
    reads = []
    batch = Batch(torch.arange(4), torch.arange(4) + 10, lambda: reads.append(1) or torch.arange(8.0).view(4, 2))
    half = batch.part(slice(2, 4))
    assert (half.y.tolist(), half.rows.tolist(), reads) == ([2, 3], [12, 13], [])
    assert half.x.tolist() == [[4.0, 5.0], [6.0, 7.0]]
    assert half.x is half.x
    assert batch.x.shape == (4, 2)
    assert reads == [1]


def test_half_a_batch_has_the_inputs_of_that_half(lab):
    net, data, seen = lab.mlp(), lab.data(n=60, seed=1), []
    trainer = lab.trainer(train=data, accumulate=True)
    trainer.pieces = 2

    def loss(outputs, batch):
        assert torch.equal(batch.x, data.x[batch.rows])
        seen.append(len(batch.rows))
        return nn.functional.cross_entropy(outputs, batch.y)

    trainer.fit(net, [{"params": net.parameters()}], loss=loss, steps=2)
    assert seen == [8, 8, 8, 8]


# --------------------------------------------------------------------------------------------------------- teachers


@pytest.mark.parametrize("scheme", [FeatureMap(), Delta(examples=8), Lwf()], ids=lambda one: type(one).__name__)
def test_a_teacher_sees_the_images_that_its_student_sees(lab, scheme):
    on = lab.tuning(lab.IMAGES)
    on = replace(on, trainer=lab.trainer(lab.IMAGES, train=on.train, augment=mirrored, epochs=1))
    taught, learnt = [], []
    hooks = [seen_by(on.pretrained, taught), seen_by(on.model, learnt)]
    scheme.tune(on)
    for hook in hooks:
        hook.remove()
    assert len(learnt) == on.trainer.budget
    assert all(torch.equal(a, b) for a, b in zip(taught[-len(learnt) :], learnt, strict=True))
    assert not any(torch.equal(x, on.train.x[: len(x)]) for x in learnt)


def test_members_see_the_images_that_the_student_they_teach_sees(lab):
    of = lab.fusing(lab.tuned(lab.IMAGES, 2), lab.IMAGES)
    of = replace(of, trainer=lab.trainer(lab.IMAGES, train=of.train, augment=mirrored, epochs=1))
    taught, drawn = [], []

    def change(x, y):
        x, y = mirrored(x, y)
        drawn.append(x.clone())
        return x, y

    of.trainer._augment = change
    hook = seen_by(of.members[0].net, taught)
    Distill().fuse(of)
    hook.remove()
    assert len(taught) == len(drawn) == of.trainer.budget
    assert all(torch.equal(a, b) for a, b in zip(taught, drawn, strict=True))


# --------------------------------------------------------------------------------------------- functions as they were

OLD_LOSS = (
    "loss is called as loss(outputs, batch), where a batch has x, y and rows, and this one takes (outputs, y, rows)"
)
OLD_PENALTY = "penalty is called as penalty(model, batch), where a batch has x, y and rows, and this one takes (model)"


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"loss": lambda outputs, y, rows: outputs.sum()}, OLD_LOSS),
        ({"penalty": lambda model: model.head.weight.sum()}, OLD_PENALTY),
    ],
)
def test_a_function_of_other_arguments_is_refused_before_training(lab, how, sentence):
    net, trainer = lab.mlp(), lab.trainer()
    before = lab.state(net)
    with pytest.raises(PluginError, match=f"^{re.escape(sentence)}$"):
        trainer.fit(net, [{"params": net.parameters()}], **how)
    assert trainer.spent == 0
    assert lab.changed(before, net) == set()


def test_a_function_of_any_arguments_is_called(lab):
    net = lab.mlp()
    lab.trainer().fit(net, [{"params": net.parameters()}], penalty=lambda *told: 0 * told[1].x.sum(), steps=1)


@dataclass(frozen=True)
class OldPenalty:
    """A scheme as they were written."""

    def tune(self, on: Tuning) -> None:
        on.trainer.fit(on.model, [{"params": on.model.parameters()}], penalty=lambda model: model.head.weight.sum())


@pytest.mark.parametrize("chain", [Chain(of=("old",)), Chain(of=("full",), plus=("old",))])
def test_a_chain_refuses_it_as_well(lab, chain):
    on = replace(lab.tuning(), scheme={"old": OldPenalty(), "full": Full()}.__getitem__)
    before = lab.state(on.model)
    with pytest.raises(PluginError, match=re.escape(OLD_PENALTY)):
        chain.tune(on)
    assert lab.changed(before, on.model) == set()
