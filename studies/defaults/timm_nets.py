"""Each scheme at its defaults on small networks of timm: `python timm_nets.py MODEL [--rates] [SCHEME ...]`.

MODEL is one such as `test_resnet`, with random weights and pretrained here on the drawn letters. `--rates` tries some.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import table
from texts import RATES

import finefuse
from finefuse import Entry, Ref, Task, hookimpl
from finefuse.types import Budget, Tuning
from finefuse_zoo.backbones.timm_models import Timm


@dataclass(frozen=True)
class TimmOnLetters:
    """A network of timm at 32 pixels, pretrained with AdamW as long as `cnn-s` is."""

    model: str
    source = Ref("letters")

    def fingerprint(self) -> str:
        """No file is read."""
        return ""

    def budget(self) -> Budget:
        """As `cnn-s`."""
        return Budget(epochs=8, batch_size=64)

    def build(self, task: Task) -> Any:
        """Random weights."""
        return Timm(self.model, weights="none", side=32).build(task)

    def tune(self, on: Tuning) -> None:
        """All of it."""
        on.trainer.fit(on.model, [{"params": on.model.parameters(), "lr": 1e-3}], optimizer="adamw")


class Plugin:
    """The backbone."""

    @hookimpl
    def finefuse_backbones(self) -> Any:
        """By name."""
        yield Entry("timm-on-letters", TimmOnLetters)


def main(model: str, *given: str) -> None:
    """One network."""
    rates = RATES if "--rates" in given else ()
    chosen = [one for one in given if one != "--rates"] or table.SCHEMES
    tried = [{"use": one, "lr": rate, "as": f"{one} {rate:g}"} for one in chosen for rate in rates]
    suite = {
        "name": "timm",
        "datasets": [table.DATA],
        "backbones": [{"use": "timm-on-letters", "model": model}],
        "schemes": ["linear-probe", "zero-step", *chosen, *tried],
        "seeds": [0, 1, 2],
        "budget": {"epochs": 30, "batch_size": 32},
        "checkpoints": 0,
        "latency": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"device": "cpu", "workers": 0, "quiet": True, "plugins": [Plugin()]}
        done = finefuse.run(suite, out=Path(folder) / "out", store=Path(folder) / "store", **how)
    rows = done.records[(done.records.kind == "tune") & (done.records.status == "ok")]
    scores = rows.groupby("label")["test.accuracy"]
    for label in scores.groups:
        print(f"{label:24} {scores.mean()[label]:.3f} ± {scores.std()[label]:.3f}")
    if rates:
        print(table.table(rows, chosen).to_markdown(index=False, floatfmt=".3f", disable_numparse=[2]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
