"""Members of two tasks, from one network."""

from __future__ import annotations

import copy
from typing import Any

import torch

from finefuse import Classification
from finefuse.testing import POINTS, small_net, small_splits, small_trainer
from finefuse.types import Fusing, Member


def two_tasks(task: Any = None) -> Fusing:
    """Two members, of 3 and 5 classes, from one network."""
    tasks, base, members = [POINTS, task or Classification(5, "tabular", (4,))], small_net(POINTS), []
    for task in tasks:
        net, splits = copy.deepcopy(base), small_splits(task)
        torch.manual_seed(0)
        net.replace_head(task.outputs)
        small_trainer(task, epochs=30).fit(net, [{"params": net.parameters()}])
        outputs = net.eval()(splits.val.x).detach()
        given = {"val": splits.val, "train": splits.train, "test_inputs": splits.test.x}
        score = task.quality(outputs, splits.val)
        members.append(Member(f"of {task.outputs}", score, outputs, lambda net=net: net, task, **given))
    one = small_splits(POINTS)
    made = {"base": base, "trainer": small_trainer(POINTS), "test_inputs": one.test.x}
    return Fusing(POINTS, members, torch.Generator().manual_seed(0), one.val, one.train, **made)
