"""Which classes a network predicts for the test examples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from finefuse.predictions import Answers
from finefuse.types import Data, Task


def answers(name: str, task: Task, classes: Sequence[str], test: Data, outputs: Tensor) -> list[Answers]:
    """The answers of one task, whose classes are called so; none if it has no classes.

    Where the task decides in another way which answers are right than by the largest output, there are none either.
    """
    if not task.classes or test.y.ndim != 1 or test.y.is_floating_point():
        return []
    predicted, right = outputs.argmax(-1), task.right(outputs, test.y)
    if right is None or not torch.equal(predicted == test.y, right):
        return []
    return [Answers(name, tuple(classes), test.y.cpu().numpy(), predicted.cpu().numpy())]
