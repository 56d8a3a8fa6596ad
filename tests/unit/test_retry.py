"""A step that ran out of memory, tried once more in halves."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from finefuse.engine.order import status_of
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.memory import leave_given, leave_to_divide, release
from finefuse.nets import norm_layers, recalibrate
from finefuse.types import Budget


class Greedy(torch.nn.Module):
    """Runs out of memory with more than nine examples at a time."""

    def forward(self, x):
        if torch.is_grad_enabled() and len(x) > 9:
            raise torch.OutOfMemoryError("no more")
        return x


def greedy(lab):
    net = lab.network(lab.POINTS)
    net.stages[1] = Greedy()
    net.stages[2] = torch.nn.Linear(8, 6)
    return net


def test_out_of_memory_is_tried_once_more_in_halves(lab):
    net, plain = greedy(lab), greedy(lab)
    plain.stages[1] = torch.nn.Identity()
    plain.load_state_dict(net.state_dict())
    trainer = lab.trainer(accumulate=True)
    trainer.fit(net, [{"params": net.parameters()}])
    lab.trainer().fit(plain, [{"params": plain.parameters()}])
    assert (trainer.pieces, trainer.spent) == (2, trainer.budget)
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


class Failing(torch.autograd.Function):
    """Runs out of memory on the way back, with more than nine examples at a time."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        if len(grad) > 9:
            raise torch.OutOfMemoryError("no more")
        return grad


class Clumsy(torch.nn.Module):
    """Fails in the middle of a pass, keeps the error as some code does, and looks at what it left behind."""

    def __init__(self, where="forward"):
        super().__init__()
        self.where, self.activations, self.error, self.alive = where, [], None, []

    def forward(self, x):
        self.alive += [activation() is not None for activation in self.activations]
        self.activations = []
        if torch.is_grad_enabled() and len(x) > 9:
            activation = x * 2
            self.activations = [weakref.ref(x), weakref.ref(activation)]
            if self.where == "forward":
                try:
                    raise torch.OutOfMemoryError("no more")
                except torch.OutOfMemoryError as error:
                    self.error = error
                    raise
        return Failing.apply(x)


def dropping(clumsy, lab):
    net = lab.cnn()
    net.stages[0].append(nn.Dropout(0.5))
    net.stages[1] = nn.Sequential(clumsy, *net.stages[1])
    return net


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_step_in_halves_has_nothing_of_the_one_that_failed(lab, where):
    """Neither random numbers nor statistics nor gradients: it has the bits of halves from the start."""
    nets, trainers = [], []
    for pieces in (1, 2):
        net, own = dropping(Clumsy(where), lab), torch.Generator().manual_seed(1)

        def scale(net, inputs, own=own):
            return inputs[0] * torch.rand((), generator=own)

        net.stages[0].register_forward_pre_hook(scale)
        nets.append(net)
        trainers.append(lab.trainer(lab.IMAGES, lab.data(lab.IMAGES, 60, 1), accumulate=True))
        trainers[-1].pieces, trainers[-1].generators = pieces, (own,)
        trainers[-1].fit(net, [{"params": net.parameters()}])
    assert [trainer.pieces for trainer in trainers] == [2, 2]
    assert not lab.changed(lab.state(nets[0]), nets[1])


def test_what_the_failed_step_held_is_gone_before_the_next_try(lab):
    clumsy = Clumsy()
    net = dropping(clumsy, lab)
    gc.disable()
    try:
        lab.trainer(lab.IMAGES, lab.data(lab.IMAGES, 60, 1), accumulate=True).fit(net, [{"params": net.parameters()}])
    finally:
        gc.enable()
    assert clumsy.alive == [False, False]


def test_a_gpu_s_cache_is_emptied_before_the_next_try(monkeypatch):
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    optimizer, calls = torch.optim.SGD([weight]), []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append(weight.grad))
    for device, emptied in (("cpu", []), ("cuda:0", [None])):
        release(torch.OutOfMemoryError("no more"), optimizer, torch.device(device))
        assert calls == emptied
        assert weight.grad is None


def test_out_of_memory_is_an_error_unless_the_suite_allows_halves(lab):
    net = greedy(lab)
    with pytest.raises(torch.OutOfMemoryError):
        lab.trainer().fit(net, [{"params": net.parameters()}])


def test_out_of_memory_in_halves_as_well_is_an_error(lab):
    net = greedy(lab)
    trainer = SuiteTrainer(lab.POINTS, lab.data(), Budget(1, 40), seed=0, accumulate=True)
    with pytest.raises(torch.OutOfMemoryError):
        trainer.fit(net, [{"params": net.parameters()}])


NAMES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("HIP error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: 4 bytes"),
    MemoryError(),
]


class Narrow(torch.nn.Module):
    """Fails with one error with more than so many examples at a time, in training or in evaluation."""

    def __init__(self, error, most, training):
        super().__init__()
        self.error, self.most, self.when = error, most, training

    def forward(self, x):
        if torch.is_grad_enabled() == self.when and len(x) > self.most:
            raise self.error
        return x


def narrow(lab, error, most=9, training=True):
    net = lab.network(lab.POINTS)
    net.stages[1] = Narrow(error, most, training)
    net.stages[2] = torch.nn.Linear(8, 6)
    return net


@pytest.mark.parametrize("error", NAMES, ids=lambda error: str(error)[:40])
def test_memory_that_runs_out_by_any_name_is_tried_again(lab, error):
    assert status_of(error) == "oom"
    net, trainer = narrow(lab, error), lab.trainer(accumulate=True)
    trainer.fit(net, [{"params": net.parameters()}])
    assert (trainer.pieces, trainer.spent) == (2, trainer.budget)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: device-side assert triggered"), ValueError("out of patience")]
)
def test_other_errors_are_not(lab, error):
    assert status_of(error) == "failed"
    net, trainer = narrow(lab, error), lab.trainer(accumulate=True)
    with pytest.raises(type(error), match=r"assert|patience"):
        trainer.fit(net, [{"params": net.parameters()}])
    assert trainer.pieces == 1


def test_an_evaluation_is_done_in_smaller_parts_where_that_is_allowed(lab):
    net, x = narrow(lab, NAMES[1], 100, training=False), torch.randn(900, 4)
    plain = copy.deepcopy(net)
    plain.stages[1] = torch.nn.Identity()
    assert torch.allclose(lab.trainer(accumulate=True).outputs(net, x), lab.trainer().outputs(plain, x), atol=1e-6)
    with pytest.raises(RuntimeError, match="out of memory"):
        lab.trainer().outputs(net, x)


def test_a_prefix_that_can_not_be_kept_is_gone_through_batch_by_batch(lab, monkeypatch):
    net, plain = (lab.network(lab.POINTS) for _ in range(2))
    real = SuiteTrainer._eased
    many = len(lab.trainer()._data)

    def eased(self, call, x, size):
        if len(x) == many:
            raise RuntimeError("CUDA error: out of memory")
        return real(self, call, x, size)

    lab.trainer().fit(plain, [{"params": plain.head.parameters()}])
    monkeypatch.setattr(SuiteTrainer, "_eased", eased)
    trainer = lab.trainer(accumulate=True)
    trainer.fit(net, [{"params": net.head.parameters()}])
    assert torch.allclose(net.head.weight, plain.head.weight, atol=1e-5)
    with pytest.raises(RuntimeError, match="out of memory"):
        lab.trainer().fit(net, [{"params": net.head.parameters()}])


class Stateful(torch.optim.SGD):
    """Finds no memory for its state while the gradient is that of a whole batch, which it keeps; `late` after it has
    changed a weight."""

    def __init__(self, groups, sizes, late=False):
        super().__init__(groups, lr=0.05, momentum=0.9)
        self.sizes, self.late = sizes, late

    def step(self, closure=None):
        del self.sizes[:]
        closure()
        if len(self.sizes) == 1:
            self.state[self.param_groups[0]["params"][0]]["step"] = 0
            if self.late:
                with torch.no_grad():
                    self.param_groups[0]["params"][0].mul_(2)
            raise torch.OutOfMemoryError("no room for the state")
        return super().step()


@pytest.mark.parametrize("late", [False, True])
def test_a_first_step_whose_state_finds_no_memory_is_tried_in_halves_unless_weights_have_changed(lab, late):
    sizes = []
    net = lab.network(lab.POINTS)
    net.stages[0].register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    trainer = lab.trainer(accumulate=True)

    def fit():
        trainer.fit(net, [{"params": net.parameters()}], optimizer=lambda groups: Stateful(groups, sizes, late))

    if late:
        with pytest.raises(torch.OutOfMemoryError, match="no room"):
            fit()
    else:
        fit()
        assert (trainer.pieces, trainer.spent) == (2, trainer.budget)
        assert len(sizes) == 2


@pytest.mark.parametrize("error", [NAMES[0], NAMES[3]], ids=lambda error: str(error)[:20])
def test_statistics_are_renewed_in_smaller_batches_where_that_is_allowed(lab, error):
    net, plain, x = lab.cnn(), lab.cnn(), lab.data(lab.IMAGES, 60, 1).x
    plain.load_state_dict(net.state_dict())
    net.stages[0] = torch.nn.Sequential(Narrow(error, 9, training=False), *net.stages[0])
    with pytest.raises(type(error)):
        recalibrate(copy.deepcopy(net), x, batch_size=16)
    with leave_to_divide(True) as leave:
        recalibrate(net, x, batch_size=16)
        assert leave.pieces == 2
    recalibrate(plain, x, batch_size=8)
    assert leave_given().pieces == 1
    statistics = [list(one.buffers()) for one in (net, plain)]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*statistics, strict=True))
    assert any(layer.momentum is not None for layer in norm_layers(net))


def test_statistics_are_not_renewed_in_batches_of_one_nor_after_other_errors(lab):
    for error, tries in ((NAMES[0], 4), (ValueError("out of patience"), 1)):
        net = lab.cnn()
        net.stages[0] = torch.nn.Sequential(failing := Narrow(error, 0, training=False), *net.stages[0])
        failing.register_forward_pre_hook(lambda _, given, sizes=(sizes := []): sizes.append(len(given[0])))
        with leave_to_divide(True), pytest.raises(type(error)):
            recalibrate(net, lab.data(lab.IMAGES, 60, 1).x, batch_size=16)
        assert len(sizes) == tries
        assert min(sizes) >= 2
