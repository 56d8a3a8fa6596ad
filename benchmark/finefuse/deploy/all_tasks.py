"""One file for all tasks of a fusion: a module whose outputs for every task stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from finefuse.engine.work.crossing import Model, network
from finefuse.engine.work.workbench import Workbench
from finefuse.errors import FinefuseError
from finefuse.manyheads import AllHeads, ManyHeads
from finefuse.nets import Net
from finefuse.types import Description, Record


class Part(NamedTuple):
    """What a file holds for one task: its name and bench, the columns of its outputs, and those that are stored."""

    name: str
    bench: Workbench
    start: int
    stop: int
    stored: str


class SideBySide(nn.Module):
    """The outputs of several networks for the same inputs, side by side; they may share weights."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, outputs of all tasks)."""
        return torch.cat([net(x) for net in self.networks], -1)


class Columns(nn.Module):
    """Some of the outputs of a module."""

    def __init__(self, model: nn.Module, start: int, stop: int) -> None:
        super().__init__()
        self.model, self.start, self.stop = model, start, stop

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, stop - start)."""
        outputs: Tensor = self.model(x)[:, self.start : self.stop]
        return outputs


def parts_of(bench: Workbench) -> list[Part]:
    """What a file for all tasks has for each of them, in the order of the pool's data sets."""
    found = list(bench.crossed.items())
    ends = list(accumulate((splits.task.outputs for _, splits in found), initial=0))
    return [Part(str(ref), bench.one(ref), ends[i], ends[i + 1], f"{i}.test") for i, (ref, _) in enumerate(found)]


def joined(bench: Workbench, model: Model, *, weights_alone: bool) -> nn.Module:
    """The module for all tasks, in evaluation mode: one body with all heads, if no task has statistics of its own.

    Raises:
        FinefuseError: if the tasks' inputs differ in type, or weights alone can't say what it computes.
    """
    types = dict.fromkeys(str(splits.test.x.dtype).removeprefix("torch.") for splits in bench.crossed.values())
    if len(types) > 1:
        raise FinefuseError(f"the inputs of its tasks are of different types ({', '.join(types)}); take one by --task.")
    if isinstance(model, ManyHeads) and not len(model.own):
        heads: Any = AllHeads([model.heads[name] for name in model.names])
        return Net(list(model.stages), heads, model.recipe).eval()
    if weights_alone:
        raise FinefuseError("its tasks have more than heads of their own; export it to a .pt2 file, or one by --task.")
    return SideBySide([network(model, ref) for ref in bench.crossed]).eval()


def described(parts: Sequence[Part], each: Sequence[Description]) -> Description:
    """How inputs are made, if for all tasks in the same way, and what the outputs of each task mean."""
    first = each[0]
    same = all((one.encode, one.inputs) == (first.encode, first.inputs) for one in each)
    outputs = {
        part.name: {"columns": [part.start, part.stop], **one.outputs} for part, one in zip(parts, each, strict=True)
    }
    if same:
        return replace(first, outputs=outputs)
    return Description({part.name: dict(one.inputs) for part, one in zip(parts, each, strict=True)}, outputs)


def told(row: Record, parts: Sequence[Part]) -> list[str]:
    """For each task a sentence: where its outputs stand, what they mean, how good they are."""
    lines = []
    for part in parts:
        prefix, task = f"task.{part.name}.own.", part.bench.splits.task
        metrics = [name.removeprefix(prefix) for name in row if name.startswith(prefix)]
        both = ((m, row[f"task.{part.name}.test.{m}"], row[prefix + m]) for m in metrics)
        scores = [f"{m} {score:.4f} on test ({own:.4f} of the task's own model)" for m, score, own in both]
        columns = f"outputs {part.start} to {part.stop - 1}"
        lines.append(f"- **task** {part.name}: {columns}, {task.described()}; {'; '.join(scores)}")
    return lines
