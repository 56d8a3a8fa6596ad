"""Each scheme at its defaults against a small search, by backbone: `python table.py BACKBONE [WEIGHTS] [SCHEME ...]`.

BACKBONE is `cnn-s`, `vit-t`, or a model of torchvision's with WEIGHTS for ImageNet. Rates are tried one by one; the
best on val is chosen, and its accuracy on test stands beside that of the defaults.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

import finefuse

DATA = {"use": "digits", "shots": 10}
SMALL = ("cnn-s", "vit-t")
"""They have three seeds, 30 epochs and five rates; others have one, 15 and three, because they are slow."""
SCHEMES = [
    "auto-rgn", "bitfit", "bss", "co-tuning", "delta", "discriminative", "dora", "elastic", "ema", "feature-map",
    "feature-tune", "full", "gradual-unfreeze", "head-sgd", "ia3", "l1", "l1-sp", "l2", "l2-sp", "layer-decay", "loha",
    "lora", "lp-ft", "lwf", "norm-tune", "rslora", "sam", "scratch", "selective", "side-tune", "source-replay",
    "stochnorm", "two-rate",
]  # fmt: skip


def suite(backbone: dict[str, Any], schemes: list[str]) -> dict[str, Any]:
    """The probe, each scheme as it is, and each at all rates."""
    small = backbone["use"] in SMALL
    rates = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1) if small else (1e-3, 3e-3, 3e-2)
    tried = [{"use": name, "lr": rate, "as": f"{name} {rate:g}"} for name in schemes for rate in rates]
    return {
        "name": "defaults",
        "datasets": [DATA],
        "backbones": [backbone],
        "schemes": ["linear-probe", *schemes, *tried],
        "seeds": [0, 1, 2] if small else [0],
        "budget": {"epochs": 30 if small else 15, "batch_size": 32},
        "checkpoints": 0,
        "latency": [],
    }


def table(rows: pd.DataFrame, schemes: list[str]) -> pd.DataFrame:
    """A line per scheme: at its defaults, the rate that is best on val, and there; means over seeds."""
    means = rows.groupby("label")[["test.accuracy", "val.accuracy"]].mean()
    lines = []
    for name in [name for name in schemes if name in means.index]:
        tried = means[means.index.str.startswith(f"{name} ")]
        best = tried["val.accuracy"].idxmax()
        lines.append((name, means["test.accuracy"][name], best.split()[1], tried["test.accuracy"][best]))
    return pd.DataFrame(lines, columns=["scheme", "default", "rate chosen", "tuned"])


def main(name: str, weights: str | None = None, *schemes: str) -> None:
    """One backbone."""
    backbone: dict[str, Any] = {"use": name}
    if weights:
        backbone = {"use": "torchvision", "model": name, "file": weights, "normalise": "half", "side": 33}
    chosen = list(schemes) or SCHEMES
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        done = finefuse.run(suite(backbone, chosen), device="cpu", workers=1, quiet=True, out=Path(folder), store=store)
    rows = done.records[(done.records.kind == "tune") & (done.records.status == "ok")]
    print(f"{name}: linear probe {rows[rows.label == 'linear-probe']['test.accuracy'].mean():.3f}")
    print(table(rows, chosen).to_markdown(index=False, floatfmt=".3f", disable_numparse=[2]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
