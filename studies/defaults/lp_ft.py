"""Whether `lp-ft` keeps what its probe has, by rate and by what BatchNorm does: `python lp_ft.py WEIGHTS`.

WEIGHTS is torchvision's mobilenet_v2 for ImageNet. Prints accuracy on test, the mean over seeds, for each backbone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import finefuse

DATA = {"use": "digits", "shots": 10}
TRIED = [
    *((share, "train") for share in (1, 0.3, 0.1, 0.01)),
    *((share, "affine") for share in (1, 0.1)),
    *((share, "eval") for share in (0.03, 0.01)),
]
"""Shares of the recipe's rate, and the policy for BatchNorm."""


def suite(backbone: dict[str, Any], rate: float, seeds: list[int]) -> dict[str, Any]:
    """The probe, and what is tried."""
    tried = [{"use": "lp-ft", "lr": rate * share, "norm": norm, "as": f"{norm} {share:g}"} for share, norm in TRIED]
    return {
        "name": "defaults",
        "datasets": [DATA],
        "backbones": [backbone],
        "schemes": [{"use": "linear-probe", "as": "linear-probe"}, *tried],
        "seeds": seeds,
        "budget": {"epochs": 15, "batch_size": 16},
        "checkpoints": 0,
        "latency": [],
    }


def main(weights: str) -> None:
    """All backbones, one after the other."""
    pretrained = {"use": "torchvision", "model": "mobilenet_v2", "file": weights, "normalise": "half", "side": 33}
    for backbone, rate, seeds in [
        (pretrained, 0.01, [0]),
        ({"use": "cnn-s"}, 0.03, [0, 1, 2]),
        ({"use": "vit-t"}, 3e-3, [0, 1, 2]),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            of, store = suite(backbone, rate, seeds), Path(folder) / "store"
            done = finefuse.run(of, device="cpu", workers=1, quiet=True, out=Path(folder), store=store)
        scores = done.records[done.records.kind == "tune"].groupby("label")["test.accuracy"].mean()
        print(f"\n{backbone.get('model', backbone['use'])}, recipe's rate {rate:g}, seeds {seeds}")
        for label, score in scores.items():
            print(f"{label:22} {score:.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
