"""`task-gate`: which body an input takes, what that gives, and what it carries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from finefuse import nets
from finefuse.deploy.formats import write
from finefuse.engine.measure.flops import flops_per_example
from finefuse.types import Data, Fusing
from finefuse_zoo.fusions.own_members import OwnMembers
from finefuse_zoo.fusions.task_gate import TaskGate
from helpers.tasks import two_tasks


def apart(of: Fusing, by: float) -> Fusing:
    """The same members, with the second task's inputs moved away from the first's."""
    one, other = of.members
    moved = {name: Data(getattr(other, name).x + by, getattr(other, name).y) for name in ("train", "val")}
    return replace(of, members=[one, replace(other, **moved, test_inputs=other.test_inputs + by)])


@pytest.fixture(scope="module")
def mixed() -> Fusing:
    """Two tasks whose inputs look alike."""
    return two_tasks()


@pytest.fixture(scope="module")
def distinct(mixed: Fusing) -> Fusing:
    return apart(mixed, 20.0)


def outputs(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net.eval()(x)


def test_inputs_that_are_told_apart_get_the_answers_of_their_own_member(distinct):
    made, own = TaskGate().fuse(distinct), OwnMembers().fuse(distinct)
    for member in distinct.members:
        expected = outputs(nets.for_member(own, member), member.test_inputs)
        assert torch.allclose(outputs(nets.for_member(made, member), member.test_inputs), expected, atol=1e-5)


def test_an_input_takes_the_body_of_the_task_it_looks_like_and_the_head_of_the_one_that_is_asked(distinct):
    one, other = distinct.members
    made = TaskGate().fuse(distinct)
    expected = one.net.head(other.net.features(other.test_inputs)).detach()
    assert torch.allclose(outputs(nets.for_member(made, one), other.test_inputs), expected, atol=1e-5)


def test_the_gate_is_the_regression_of_scikit_learn_with_the_shares_of_the_tasks_taken_off(mixed):
    one, other = mixed.members
    few = replace(other, train=Data(other.train.x[:12], other.train.y[:12]))
    of = replace(mixed, members=[one, few])
    seen = [of.trainer.features(of.base, member.train.x).double().numpy() for member in of.members]
    y = np.repeat([0, 1], [len(part) for part in seen])
    # of two classes scikit-learn has one vector, the difference: at the same C it is penalised twice as much
    fitted = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(np.concatenate(seen), y)
    told = of.trainer.features(of.base, mixed.test_inputs).double().numpy()
    odds = fitted.decision_function(told) + np.log(len(seen[0]) / len(seen[1]))
    shares = torch.from_numpy(1 / (1 + np.exp(-odds)))[:, None]
    bodies = [member.net.features(mixed.test_inputs).detach().double() for member in of.members]
    soft = nets.for_member(TaskGate(routing="soft").fuse(of), one)
    expected = one.net.head(((1 - shares) * bodies[0] + shares * bodies[1]).float()).detach()
    assert torch.allclose(outputs(soft, mixed.test_inputs), expected, atol=1e-3)
    hard = nets.for_member(TaskGate().fuse(of), one)
    chosen = torch.where(shares > 0.5, bodies[1], bodies[0]).float()
    assert torch.allclose(outputs(hard, mixed.test_inputs), one.net.head(chosen).detach(), atol=1e-5)
    assert 0 < int((shares > 0.5).sum()) < len(shares)


def test_what_it_carries_and_what_runs_is_counted(mixed):
    one = mixed.members[0]
    body, gate = sum(p.numel() for p in one.net.stages.parameters()), 2 * (one.net.head.in_features + 1)
    heads = sum(p.numel() for member in mixed.members for p in member.net.head.parameters())
    passes = {"hard": 2, "soft": 3}
    own = {member.name: flops_per_example(member.net, member.test_inputs) for member in mixed.members}
    head = 2 * one.net.head.in_features * one.task.outputs
    for routing, bodies in passes.items():
        made = TaskGate(routing=routing).fuse(mixed)
        assert sum(p.numel() for p in made.parameters()) == 3 * body + gate + heads
        found = flops_per_example(nets.for_member(made, one), one.test_inputs)
        assert found == bodies * (own[one.name] - head) + head + 2 * one.net.head.in_features * 2


def test_the_best_member_on_val_stands_for_its_task(distinct):
    one, other = distinct.members
    worse = replace(other, name="worse", score=other.score - 0.1, load=lambda: one.net)
    made = TaskGate().fuse(replace(distinct, members=[one, worse, other]))
    assert nets.for_member(made, worse) is nets.for_member(made, other)
    assert made.names == (one.name, "worse", other.name)
    only = TaskGate().fuse(replace(distinct, members=[replace(one, score=0.0, load=lambda: other.net), one]))
    assert only is one.net


@pytest.mark.parametrize("routing", ["hard", "soft"])
def test_a_graph_routes_as_the_module_does(mixed, tmp_path: Path, routing: str) -> None:
    network = nets.for_member(TaskGate(routing=routing).fuse(mixed), mixed.members[0]).eval()
    written = write(network, mixed.test_inputs[:8], tmp_path / "gate.pt2")
    assert not written.fixed
    program = torch.export.load(tmp_path / "gate.pt2").module()
    x = mixed.test_inputs
    assert torch.allclose(program(x), outputs(network, x), atol=1e-5)
