"""All that a usual job does, once with a tiny network: copies of this process then needn't do it for the first time.

Torch and Python learn from it: kernels are looked up, code is specialised. Numbers don't depend on it.
"""

from __future__ import annotations

import copy
import tempfile
from functools import partial
from pathlib import Path

from torch import nn

from finefuse.engine.measure.flops import flops_per_example
from finefuse.engine.measure.scores import score_fields
from finefuse.engine.randomness import seeded
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.train.checkpoints import Curve
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.engine.work.made import to_store
from finefuse.nets import Net, merged
from finefuse.tasks import Classification
from finefuse.types import Budget, Member, Recipe, Splits

TASK = Classification(3, "image", (1, 8, 8))
ADDRESS = "rehearsal"


def rehearse() -> None:
    """Train all and the head alone, evaluate, count, keep, read, merge and score."""
    splits = Splits(TASK, *(TASK.example(size, seed) for seed, size in enumerate((64, 32, 32))))
    with seeded(0):
        nets = [_trained(splits, Recipe(optimizer)) for optimizer in ("sgd", "adamw")]
        trainer = SuiteTrainer(TASK, splits.train, Budget(1, 32), seed=0)
        outputs = {"val": trainer.outputs(nets[0], splits.val.x), "test": trainer.outputs(nets[0], splits.test.x)}
        flops_per_example(nets[0], splits.test.x)
        with tempfile.TemporaryDirectory() as folder:
            store = Artifacts(Path(folder))
            store.save(ADDRESS, {}, weights=to_store(nets[0]), outputs=outputs)
            nets[0].load_state_dict(store.weights(ADDRESS))
            score_fields({}, splits, store.outputs(ADDRESS), {})
        members = [Member("", 1.0, outputs["val"], partial(copy.deepcopy, net), TASK) for net in nets]
        merged(members, lambda _, tensors: tensors[0], splits.train.x)


def _trained(splits: Splits, recipe: Recipe) -> Net:
    stages = [
        nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()),
    ]
    net = Net(stages, nn.Linear(8, TASK.outputs), recipe)
    net.replace_head(TASK.outputs)
    trainer = SuiteTrainer(TASK, splits.train, Budget(4, 32), seed=0)
    trainer.watch_with(Curve(net, splits, trainer.outputs, keep=True), 2)
    trainer.fit(net, [{"params": net.parameters()}], steps=trainer.budget // 2)
    trainer.fit(net, [{"params": net.head.parameters()}])
    return net.eval()
