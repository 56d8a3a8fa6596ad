"""Kinds of task: what each knows, and that nothing else asks which it is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import finefuse
from finefuse import Classification, Data, Regression, nets
from finefuse.errors import PluginError
from finefuse.types import Task

ROOT = Path(__file__).parents[2]
CLASSES = Classification(3, "tabular", (4,))
NUMBERS = Regression(2, "tabular", (4,))
KINDS = [pytest.param(CLASSES, id="classification"), pytest.param(NUMBERS, id="regression")]
ASKS = re.compile(r"task\w*\.kind\s*(==|!=)|kind\s*(==|!=)\s*[\"'](classification|regression)|isinstance\([^)]*task")


def drawn(task: Task, members: int = 4, n: int = 50):
    rng = torch.Generator().manual_seed(3)
    data = task.example(n, seed=1)
    return torch.randn(members, n, task.outputs, generator=rng), data.y


@pytest.mark.parametrize("folder", ["benchmark", "plugins"])
def test_nothing_outside_the_tasks_asks_which_kind_it_is(folder: str) -> None:
    files = [f for f in (ROOT / folder).rglob("*.py") if f.parent.name != "tasks"]
    assert len(files) > 50
    found = [
        f"{file.name}: {line.strip()}" for file in files for line in file.read_text().splitlines() if ASKS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line", ['if of.task.kind == "regression":', "if kind != 'classification':", "isinstance(on.task, Regression)"]
)
def test_that_test_would_notice(line: str) -> None:
    assert ASKS.search(line)


def test_kinds_are_read_without_torch() -> None:
    code = "import sys, finefuse.tasks; finefuse.tasks.Classification(3, 'image', (8,)); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("task", KINDS)
def test_a_kind_is_a_task_and_equal_ones_are_the_same(task: Task) -> None:
    assert isinstance(task, Task)
    assert {task, task.resized(9).resized(task.outputs)} == {task}
    assert task.resized(9).outputs == 9


def test_what_is_gone_says_what_to_write_instead() -> None:
    with pytest.raises(PluginError, match=r"write Regression\(outputs=.*from finefuse.tasks$"):
        finefuse.Task("regression", outputs=1, modality="tabular", input_shape=(4,))
    with pytest.raises(PluginError, match=r"write Regression\(outputs=.*from finefuse.tasks$"):
        finefuse.Task(kind="regression", outputs=1, modality="tabular", input_shape=(4,))
    with pytest.raises(PluginError, match=r"of\.task\.quality\(outputs, data\)$"):
        nets.quality(CLASSES, None, None)
    with pytest.raises(AttributeError, match="nothing"):
        _ = nets.nothing


@pytest.mark.parametrize("task", KINDS)
def test_the_loss_is_the_mean_of_the_losses_and_quality_follows_it(task: Task) -> None:
    outputs, y = drawn(task)
    each = task.losses(outputs, y)
    assert each.shape == outputs.shape[:2]
    for one, losses in zip(outputs, each, strict=True):
        assert torch.allclose(task.loss(one, y), losses.mean())
        assert torch.equal(task.losses(one, y), losses)
    assert task.taught(outputs, 2.0).shape == outputs.shape[1:]


def test_the_losses_are_torch_s_own() -> None:
    outputs, y = drawn(CLASSES)
    assert torch.equal(CLASSES.loss(outputs[0], y), functional.cross_entropy(outputs[0], y))
    assert torch.allclose(CLASSES.losses(outputs[0], y), functional.cross_entropy(outputs[0], y, reduction="none"))
    outputs, y = drawn(NUMBERS)
    assert torch.equal(NUMBERS.loss(outputs[0], y), functional.mse_loss(outputs[0], y))
    data = Data(torch.zeros(2, 4), torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    assert NUMBERS.quality(torch.tensor([[1.0, 0.0], [4.0, 2.0]]), data) == -9 / 4


def test_what_is_right_is_of_classes_only() -> None:
    outputs, y = drawn(CLASSES)
    assert torch.equal(CLASSES.right(outputs, y), outputs.argmax(-1) == y)
    assert NUMBERS.right(*drawn(NUMBERS)) is None
    assert (CLASSES.classes, NUMBERS.classes) == (3, 0)
    assert (CLASSES.mixes, NUMBERS.mixes) == (True, False)


@pytest.mark.parametrize("task", KINDS)
def test_weights_that_are_equal_give_the_mean(task: Task) -> None:
    outputs, _ = drawn(task)
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    assert torch.allclose(task.averaged(outputs, weights), task.averaged(outputs), atol=1e-6)
    assert torch.allclose(task.by_rule(outputs[:1], lambda z: z[0]).softmax(-1), outputs[0].softmax(-1), atol=1e-6)


@pytest.mark.parametrize("task", KINDS)
def test_directions_of_one_draw_have_the_same_second_moment(task: Task) -> None:
    outputs = drawn(task)[0][0][:1].expand(20_000, -1)
    exact = torch.einsum(
        "nk,nka,nkb->ab",
        *reversed([t[:1] for t in task.directions(outputs, None)]),
        task.directions(outputs[:1], None)[0],
    )
    v, q = task.directions(outputs, torch.Generator().manual_seed(0))
    estimate = torch.einsum("nk,nka,nkb->ab", q, v, v) / len(v)
    assert torch.allclose(estimate, exact, atol=0.03)


@pytest.mark.parametrize("task", KINDS)
def test_outputs_must_have_the_shape_and_be_finite(task: Task) -> None:
    outputs = drawn(task)[0][0].clone()
    assert task.bad_outputs(outputs, 50) == ""
    assert (
        task.bad_outputs(outputs, 49)
        == f"outputs have the shape {(50, task.outputs)}, {(49, task.outputs)} was expected"
    )
    outputs[3, 0], outputs[3, 1], outputs[7, 0] = float("nan"), float("inf"), float("-inf")
    assert task.bad_outputs(outputs, 50) == "outputs are not finite for 2 of 50 examples"


@pytest.mark.parametrize(
    ("task", "y", "told"),
    [
        (CLASSES, torch.tensor([0, 2]), ""),
        (CLASSES, torch.tensor([0, 3]), "class numbers must lie between 0 and 2, not 0 and 3"),
        (CLASSES, torch.tensor([-1, 1]), "class numbers must lie between 0 and 2, not -1 and 1"),
        (CLASSES, torch.tensor([0.0, 1.0]), "targets must be class numbers of shape (N,), not torch.float32 (2,)"),
        (NUMBERS, torch.zeros(5, 2), ""),
        (NUMBERS, torch.zeros(5), "targets must be floating-point numbers of shape (N, 2), not torch.float32 (5,)"),
        (NUMBERS, torch.full((5, 2), float("inf")), "targets are not finite"),
    ],
)
def test_targets_must_fit(task: Task, y: torch.Tensor, told: str) -> None:
    assert task.bad_targets(y) == told
