"""Frozen stages, evaluated once or not: the network that is trained is always the network itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from finefuse.engine.train.batches import batch_order
from finefuse.nets import Net
from finefuse.types import Recipe

STEPS = 15


def network(net=Net, stages=None, seed=0):
    torch.manual_seed(seed)
    stages = stages or [nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6)]
    return net(stages, nn.Linear(6, 3), Recipe("sgd", lr=0.1))


def by_hand(net, data, trained):
    """A plain loop through the whole network, frozen parts in evaluation mode."""
    wanted = {id(p) for part in trained for p in part.parameters()}
    for p in net.parameters():
        p.requires_grad_(id(p) in wanted)
    net.eval()
    for part in trained:
        part.train()
    recipe, order = net.recipe, batch_order(len(data), 16, 7)
    optimizer = torch.optim.SGD(
        [p for p in net.parameters() if p.requires_grad],
        recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        rows = next(order)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data.x[rows]), data.y[rows]).backward()
        optimizer.step()


def assert_trained_as_by_hand(lab, make, trained, **options):
    data, ours, theirs = lab.data(n=60, seed=1), make(), make()
    trainer = lab.trainer(train=data, **options)
    groups = [{"params": part.parameters()} for part in trained(ours)]
    trainer.fit(ours, groups, steps=STEPS)
    before = lab.state(make())
    by_hand(theirs, data, trained(theirs))
    for (name, one), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-5), name
    assert lab.changed(before, ours)


def last(net):
    return [net.stages[-1], net.head]


class OwnForward(Net):
    """Scales what the head gives."""

    def forward(self, x):
        return 3 * super().forward(x)


class OwnFeatures(Net):
    """Has something beside its stages."""

    def features(self, x):
        return super().features(x) + x.mean(1, keepdim=True)


class OnlyInTraining(Net):
    """Looks like its stages in evaluation mode."""

    def forward(self, x):
        out = super().forward(x)
        return out * 2 if self.training or self.head.training else out


def hooked(how):
    def make():
        net = network()
        if how == "forward":
            net.register_forward_hook(lambda _net, _x, out: out * 3)
        elif how == "before":
            net.register_forward_pre_hook(lambda _net, x: (x[0] * 2,))
        else:
            plain = net.forward
            net.forward = lambda x: plain(2 * x)
        return net

    return make


@pytest.mark.parametrize("cache_bytes", [2**30, 0])
@pytest.mark.parametrize("net", [Net, OwnForward, OwnFeatures, OnlyInTraining])
def test_a_network_that_does_more_than_its_stages(lab, net, cache_bytes):
    assert_trained_as_by_hand(lab, lambda: network(net), last, cache_bytes=cache_bytes)
    assert_trained_as_by_hand(lab, lambda: network(net), lambda net: [net.head], cache_bytes=cache_bytes)


@pytest.mark.parametrize("how", ["forward", "before", "object"])
def test_a_network_with_hooks_or_a_forward_of_its_own(lab, how):
    assert_trained_as_by_hand(lab, hooked(how), last)


def test_hooks_that_only_watch_the_network_are_called(lab):
    net, seen = network(), []
    net.register_forward_hook(lambda *_: seen.append(1))
    lab.trainer().fit(net, [{"params": net.head.parameters()}], steps=STEPS)
    assert len(seen) == STEPS


class Swapped(nn.Module):
    """(N, 4) to (4, N, 1)."""

    def forward(self, x):
        return x.T.unsqueeze(-1)


class Back(nn.Module):
    """(4, N, 1) to (N, 4)."""

    def forward(self, x):
        return x.squeeze(-1).T


class Two(nn.Module):
    """A tuple of numbers and twice these."""

    def forward(self, x):
        return x, 2 * x


class Added(nn.Module):
    """Their sum."""

    def forward(self, pair):
        return pair[0] + pair[1]


class Relative(nn.Module):
    """Numbers less their mean over the batch: examples depend on those beside them."""

    def forward(self, x):
        return x - x.mean(0)


class Rows(nn.Module):
    """Every number an example of its own."""

    def forward(self, x):
        return x.flatten()[:, None]


class Whole(nn.Module):
    """Examples again."""

    def forward(self, x):
        return x.view(-1, 4)


@pytest.mark.parametrize("cache_bytes", [2**30, 0])
@pytest.mark.parametrize(
    "first",
    [[Swapped(), Back()], [Two(), Added()], [Relative(), nn.Identity()], [Rows(), Whole()]],
    ids=["batch second", "tuple", "not one by one", "split"],
)
def test_stages_that_give_no_row_for_each_example(lab, first, cache_bytes):
    def make():
        torch.manual_seed(0)
        a, b = first
        return network(stages=[a, nn.Sequential(b, nn.Linear(4, 6))])

    assert_trained_as_by_hand(lab, make, last, cache_bytes=cache_bytes)


class Tripled(nn.Module):
    """Stands for a Dropout, without its randomness: three times as much in training mode."""

    def forward(self, x):
        return 3 * x if self.training else x


@pytest.mark.parametrize("cache_bytes", [2**30, 0])
@pytest.mark.parametrize("as_a_stage", [True, False])
@pytest.mark.parametrize("frozen_first", [True, False])
def test_a_module_that_a_frozen_and_a_trained_stage_share(lab, as_a_stage, frozen_first, cache_bytes):
    def make(shared=True):
        torch.manual_seed(0)
        one = Tripled()
        other = one if shared else Tripled()
        first = one if as_a_stage else nn.Sequential(nn.Linear(4, 4), one)
        stages = [first, nn.Sequential(nn.Linear(4, 6), other)]
        return network(stages=stages if frozen_first else [stages[1], nn.Sequential(nn.Linear(6, 6), one)])

    def trained(net):
        return [net.stages[1], net.head] if frozen_first else [net.stages[0]]

    fits = []
    for shared in (True, False):
        net = make(shared)
        before = list(net.modules())
        groups = [{"params": part.parameters()} for part in trained(net)]
        lab.trainer(cache_bytes=cache_bytes).fit(net, groups, steps=STEPS)
        assert list(net.modules()) == before
        fits.append(lab.state(net))
    assert fits[0].keys() == fits[1].keys()
    assert all(torch.equal(fits[0][name], fits[1][name]) for name in fits[0])


class Hungry(nn.Module):
    """Runs out of memory with more than `most` examples at a time, also without gradients."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("no more")
        return x


@pytest.mark.parametrize("cache_bytes", [2**30, 0])
def test_memory_may_run_out_in_the_prefix_too(lab, cache_bytes):
    def make(most):
        return network(stages=[Hungry(most), nn.Linear(4, 6)])

    def groups(net):
        return [{"params": part.parameters()} for part in last(net)]

    net, plain = make(5), make(1000)
    with pytest.raises(torch.OutOfMemoryError):
        lab.trainer(cache_bytes=cache_bytes).fit(net, groups(net), steps=STEPS)
    lab.trainer(cache_bytes=cache_bytes, accumulate=True).fit(net, groups(net), steps=STEPS)
    lab.trainer().fit(plain, groups(plain), steps=STEPS)
    assert lab.changed(lab.state(plain), net) == set()


@pytest.mark.parametrize("n", [2, 3, 5])
def test_batch_norm_never_gets_one_example_of_a_divided_batch(lab, n):
    sizes = []

    def make():
        net = network(stages=[nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))])
        net.stages[0].register_forward_pre_hook(lambda _, x: sizes.append(len(x[0])))
        return net

    trainer = lab.trainer(accumulate=True)
    trainer.pieces = 2
    net = make()
    trainer.fit(net, [{"params": net.parameters()}], steps=4, rows=torch.arange(n))
    assert min(sizes) >= 2
    assert sum(sizes) == 4 * n
