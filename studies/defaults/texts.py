"""Each scheme at its defaults on networks of texts: `python texts.py BACKBONE [--rates] [SCHEME ...]`.

BACKBONE is `text-cnn` or `text-transformer`; the texts to pretrain on and to tune for are drawn. `--rates` tries some.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import table

import finefuse

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
WORDS, CUES, LONG = 400, 40, 12
"""Different words, pairs of words that mean something, and other words in a sentence."""
THEMES, MOODS = 8, 5
"""Classes of the source and of the target: pair i is of theme i mod 8 and of mood i mod 5, so no theme is a mood."""


def write_texts(folder: Path, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two data sets of sentences, the source and the target with ten labels per class, as a suite has them.

    A sentence has words at random, and two pairs of its class. The words of a pair stand in other sentences too, so
    that it is their neighbourhood that means something.
    """
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(WORDS)[: 2 * CUES].reshape(CUES, 2)
    for name, classes, count in (("source", THEMES, 400), ("target", MOODS, 60), ("test", MOODS, 150)):
        lines = ["label\ttext"]
        for label in np.repeat(np.arange(classes), count):
            own = rng.choice(np.flatnonzero(np.arange(CUES) % classes == label), 2, replace=False)
            words = [[word] for word in (*rng.integers(WORDS, size=LONG), *rng.choice(pairs.ravel(), 4))]
            parts = [*words, *pairs[own].tolist()]
            lines.append(f"{label}\t{' '.join(f'w{word}' for i in rng.permutation(len(parts)) for word in parts[i])}")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    same = {"use": "csv", "target": "label", "text": "text", "max_tokens": LONG + 8, "vocabulary": 1000}
    target = same | {"train": str(folder / "target.tsv"), "test": str(folder / "test.tsv"), "shots": 10, "val": 30}
    return same | {"train": str(folder / "source.tsv")}, target


def main(name: str, *given: str) -> None:
    """One backbone."""
    rates = RATES if "--rates" in given else ()
    chosen = [one for one in given if one != "--rates"] or table.SCHEMES
    tried = [{"use": one, "lr": rate, "as": f"{one} {rate:g}"} for one in chosen for rate in rates]
    with tempfile.TemporaryDirectory() as folder:
        source, target = write_texts(Path(folder))
        backbone = {"use": name, "vocabulary": 1000, "pretrained_on": source, "pretrain_epochs": 15}
        suite = {
            "name": "texts",
            "datasets": [target],
            "backbones": [backbone],
            "schemes": ["linear-probe", "zero-step", *chosen, *tried],
            "seeds": [0, 1, 2],
            "budget": {"epochs": 30, "batch_size": 32},
            "checkpoints": 0,
            "latency": [],
        }
        store = Path(folder) / "store"
        done = finefuse.run(suite, device="cpu", workers=0, quiet=True, out=Path(folder) / "out", store=store)
    rows = done.records[(done.records.kind == "tune") & (done.records.status == "ok")]
    scores = rows.groupby("label")["test.accuracy"]
    for label in scores.groups:
        print(f"{label:24} {scores.mean()[label]:.3f} ± {scores.std()[label]:.3f}")
    if rates:
        print(table.table(rows, chosen).to_markdown(index=False, floatfmt=".3f", disable_numparse=[2]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
