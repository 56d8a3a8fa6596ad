"""Why averaged networks need their BatchNorm statistics renewed: five good networks, and what becomes of their mean.

The members come from different random starts, so that their mean is no good network either; but how bad it looks is for
the larger part the doing of statistics that describe none of its activations.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from finefuse import Classification, nets
from finefuse.engine.randomness import seeded
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.types import Budget, Data, Fusing, Member, Recipe
from finefuse_zoo.fusions.mean_probs import MeanProbs
from finefuse_zoo.fusions.soup import Soup

TASK = Classification(10, "image", (1, 8, 8))
CHANCE = 0.1


def digits() -> tuple[Data, Data]:
    """1,200 digits to train on and 597 to test, whoever wrote them."""
    found = load_digits()
    x, y = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16, torch.tensor(found.target)
    train, test = torch.randperm(len(y), generator=torch.Generator().manual_seed(0)).split([1200, len(y) - 1200])
    return Data(x[train], y[train]), Data(x[test], y[test])


def trained(seed: int, train: Data) -> nets.Net:
    """A perceptron with BatchNorm, from random weights of its own."""
    with seeded(seed):
        stages = [
            nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU()),
            nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU()),
        ]
        net = nets.Net(stages, nn.Linear(32, 10), Recipe("sgd", lr=0.1))
    SuiteTrainer(TASK, train, Budget(epochs=5), seed=seed).fit(net, [{"params": net.parameters()}])
    return net.eval()


@pytest.fixture(scope="module")
def of() -> Fusing:
    members = [trained(seed, digits()[0]) for seed in range(5)]
    loads = [Member(f"m{i}", 0.0, torch.empty(0), lambda net=net: net) for i, net in enumerate(members)]  # type: ignore[misc]
    return Fusing(TASK, loads, torch.Generator(), train=digits()[0])


def accuracy(model: nn.Module) -> float:
    test = digits()[1]
    with nets.evaluation(model):
        return TASK.quality(model(test.x), test)


def test_every_member_is_good_and_so_is_their_ensemble(of: Fusing) -> None:
    assert min(accuracy(member.net) for member in of.members) > 0.95
    assert accuracy(MeanProbs().fuse(of)) > 0.95


def test_averaged_statistics_hide_what_averaged_weights_can_do(of: Fusing) -> None:
    stale, renewed = accuracy(Soup(recalibrate=False).fuse(of)), accuracy(Soup().fuse(of))
    assert stale < 2 * CHANCE
    assert renewed > stale + 0.3
    assert renewed < 0.9  # what remains is not BatchNorm's doing: networks of different starts don't average


def test_statistics_of_one_member_are_as_bad(of: Fusing) -> None:
    soup: Any = Soup(recalibrate=False).fuse(of)
    left = {name: tensor for name, tensor in of.members[0].net.state_dict().items() if "running" in name}
    soup.load_state_dict(soup.state_dict() | left)
    assert accuracy(soup) < 3 * CHANCE


def test_statistics_that_were_added_up_are_as_bad_and_counters_are_not_added(of: Fusing) -> None:
    soup: Any = Soup(recalibrate=False).fuse(of)
    states = [member.net.state_dict() for member in of.members]
    counts = [state["stages.0.2.num_batches_tracked"] for state in states]
    assert soup.state_dict()["stages.0.2.num_batches_tracked"] == counts[0] == 188
    added = {name: torch.stack([state[name] for state in states]).sum(0) for name in states[0] if "running" in name}
    soup.load_state_dict(soup.state_dict() | added)
    assert accuracy(soup) < 3 * CHANCE


def test_one_network_averaged_with_itself_needs_nothing(of: Fusing) -> None:
    same = Fusing(TASK, [of.members[0]] * 3, torch.Generator(), train=of.train)
    assert accuracy(Soup().fuse(same)) == accuracy(Soup(recalibrate=False).fuse(same)) == accuracy(of.members[0].net)
