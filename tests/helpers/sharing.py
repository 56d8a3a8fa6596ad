"""Networks whose frozen stages are shared, and what says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from finefuse.engine.store.computed import Computed
from finefuse.engine.train.shared import SharedStages
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.nets import Net

CODE = {"torch": "", "helpers": "1"}


class Counting(nn.Linear):
    """Counts in the class how often any of its kind is called."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        return super().forward(x)


def network(seed: int = 0, head: int = 0) -> Net:
    torch.manual_seed(seed)
    stages = [Counting(4, 8), nn.Sequential(nn.Tanh(), nn.BatchNorm1d(8)), nn.Sequential(nn.Linear(8, 6), nn.ReLU())]
    torch.manual_seed(100 + head)
    return Net(stages, nn.Linear(6, 3)).eval()


def shares(root: Path, pretrained: Net | None, **parts: str) -> SharedStages:
    return SharedStages(Computed(root, 10**8), parts, CODE, pretrained)


def trainer_of(lab: Any, shared: SharedStages, **options: Any) -> SuiteTrainer:
    made: SuiteTrainer = lab.trainer(**options)
    made.shared = shared
    return made
