"""Feature-level and data-driven fusions against scikit-learn, torch and fusion_bench, on random inputs."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from finefuse import Classification
from finefuse.engine.train.batches import batch_order
from finefuse.nets import evaluation
from finefuse_zoo.fusions._curvature import Regression, damped
from finefuse_zoo.fusions.concat_features import ConcatFeatures
from finefuse_zoo.fusions.fisher import weighted
from finefuse_zoo.fusions.swa import Swa

ORACLE = Path(__file__).parent / "oracles" / "fusion_bench_data.npz"


@pytest.fixture(scope="module")
def theirs():
    with np.load(ORACLE) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_weights_by_fisher_information_are_fusion_benchs(theirs):
    ours = weighted(list(theirs["weights"]), list(theirs["fishers"]))
    assert (ours - theirs["fisher"]).abs().max() < 1e-14


@pytest.mark.parametrize("a", [1.0, 0.9, 0.0])
def test_regression_of_layers_is_fusion_benchs(theirs, a):
    layer = Regression(theirs["weights"].mean(0).T)
    for weight, gram in zip(theirs["weights"], theirs["grams"], strict=True):
        layer.add(weight.T, damped(gram, a))
    assert (layer.solved().T - theirs[f"regmean_{a}"]).abs().max() < 1e-7


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_concatenated_features_are_logistic_regression_on_hstack(lab, C):
    of = lab.fusing([lab.cnn(seed=seed) for seed in range(3)], lab.IMAGES)  # BatchNorm, fresh weights
    train, val = (
        np.hstack([of.trainer.features(member.net, x).double().numpy() for member in of.members])
        for x in (of.train.x, of.val.x)
    )
    reference = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(train, of.train.y.numpy())
    fused = ConcatFeatures(C=C).fuse(of)
    with evaluation(fused):
        ours = fused(of.val.x).softmax(-1).numpy()
    assert np.abs(ours - reference.predict_proba(val)).max() < 1e-5


@pytest.mark.parametrize("T", [1.0, 2.0, 7.0])
def test_distillation_is_kl_div(T):
    z, teacher = torch.randn(20, 5, requires_grad=True), torch.randn(20, 5).softmax(-1)
    teacher[0] = nn.functional.one_hot(torch.tensor(2), 5)  # nothing but one class
    theirs = T**2 * nn.functional.kl_div((z / T).log_softmax(-1), teacher, reduction="batchmean")
    ours = Classification(z.shape[-1], "tabular", (1,)).teaching_loss(z, teacher, T)
    assert torch.allclose(ours, theirs, atol=1e-6)
    (expected,), (gradient,) = torch.autograd.grad(theirs, [z]), torch.autograd.grad(ours, [z])
    assert torch.allclose(gradient, expected, atol=1e-6)


def test_swa_is_torchs_averaged_model_with_statistics_by_update_bn(lab):
    of = lab.fusing([lab.cnn()], lab.IMAGES)
    n, first, net = of.trainer.budget, 8, copy.deepcopy(of.base)
    optimizer = torch.optim.SGD(net.parameters(), 0.04, momentum=0.9, weight_decay=5e-4, nesterov=True)
    falling = torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.02, anneal_epochs=first, anneal_strategy="cos")
    average = torch.optim.swa_utils.AveragedModel(net)
    net.train()
    order = batch_order(60, 16, 7)
    for step in range(n):
        rows = next(order)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(of.train.x[rows]), of.train.y[rows]).backward()
        optimizer.step()
        falling.step()
        if step >= first:
            average.update_parameters(net)
    torch.optim.swa_utils.update_bn(of.train.x.split(60), average)
    ours = Swa(start=first / n, lr=0.04, swa_lr=0.02).fuse(of)
    for name, tensor in average.module.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(ours.state_dict()[name], tensor, atol=1e-5), name
