"""The same comparisons as studies/perf/measure.py: pytest -m perf --benchmark-enable -n 0 tests/perf."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from contests import Contest, fusing, loops, training
from contests.training import digits, small

from finefuse.types import Budget

CONTESTS = {
    "full fine-tuning, cnn-s": lambda: training.full_fine_tuning("cnn-s"),
    "full fine-tuning, vit-t": lambda: training.full_fine_tuning("vit-t"),
    "linear probe": lambda: training.linear_probe(epochs=1),
    "head alone": lambda: training.frozen_prefix(0),
    "last stage and head": lambda: training.frozen_prefix(1),
    "last stage and head, resnet18": lambda: training.frozen_prefix(1, large=True, epochs=2),
    "scoring": fusing.scoring,
    "averaging": fusing.averaging,
}
"""What is compared, by group; `linear probe` and `resnet18` with fewer epochs than the figures have."""
WAYS = {
    "full fine-tuning, cnn-s": ("finefuse", "bare loop"),
    "full fine-tuning, vit-t": ("finefuse", "bare loop"),
    "linear probe": ("finefuse", "careful frozen loop", "usual frozen loop"),
    "head alone": ("finefuse", "careful frozen loop", "usual frozen loop", "loop over features"),
    "last stage and head": ("finefuse", "careful frozen loop", "usual frozen loop"),
    "last stage and head, resnet18": ("finefuse", "careful frozen loop", "usual frozen loop"),
    "scoring": ("mean of probabilities", "mean-probs", "vote", "stacking, fitted on 1,000"),
    "averaging": ("finefuse", "float32"),
}
NEED_TORCHVISION = {"linear probe", "last stage and head, resnet18", "averaging"}

pytestmark = pytest.mark.perf


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("group", "way"), [(group, way) for group, ways in WAYS.items() for way in ways])
def test_contest(benchmark, group, way):
    if group in NEED_TORCHVISION:
        pytest.importorskip("torchvision")
    contest: Contest = CONTESTS[group]()
    benchmark.group = group
    rounds = 2 if "resnet18" in group or group == "linear probe" else 5
    benchmark.pedantic(contest.ways[way], setup=lambda: ((contest.fresh(),), {}), rounds=rounds, warmup_rounds=1)


@pytest.mark.parametrize("backbone", training.BACKBONES)
def test_the_bare_loop_leaves_the_same_bits(backbone):
    contest = training.full_fine_tuning(backbone, epochs=2)
    states = []
    for way in contest.ways.values():
        net = contest.fresh()
        way(net)
        states.append(net.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert not torch.equal(states[0]["head.weight"], small(backbone).head.weight)


@pytest.mark.parametrize("stages", [0, 1])
def test_frozen_loops_do_the_same_work(stages):
    contest = training.frozen_prefix(stages, epochs=3)
    ended = {}
    for name, way in contest.ways.items():
        net = contest.fresh()
        way(net)
        ended[name] = net.state_dict()
    first = ended["finefuse"]
    for name in set(ended) - {"loop over features"}:
        assert all(torch.allclose(t.float(), first[k].float(), atol=1e-4) for k, t in ended[name].items()), name


def test_batches_are_those_of_the_engine():
    from finefuse.engine.train.trainer import SuiteTrainer

    splits = digits()
    trainer = SuiteTrainer(splits.task, splits.train, Budget(3, 32), seed=training.SEED)
    ours = [next(trainer._order) for _ in range(trainer.budget)]
    theirs = loops.batches(len(splits.train), trainer.budget, 32, training.SEED)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
