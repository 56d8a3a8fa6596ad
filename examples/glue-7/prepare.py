"""Turn GLUE's own files into tab-separated ones that the data set `csv` reads: python prepare.py GLUE data.

GLUE is the folder that its download makes: CoLA/train.tsv, CoLA/dev.tsv, and so on. Its test files have no labels, so
dev is the test here. Two sentences become one text with " | " between them.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

TASKS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "CoLA": (("3",), "1", "dev"),
    "SST-2": (("sentence",), "label", "dev"),
    "MRPC": (("#1 String", "#2 String"), "Quality", "dev"),
    "QQP": (("question1", "question2"), "is_duplicate", "dev"),
    "MNLI": (("sentence1", "sentence2"), "gold_label", "dev_matched"),
    "QNLI": (("question", "sentence"), "label", "dev"),
    "RTE": (("sentence1", "sentence2"), "label", "dev"),
}
"""Columns of the text, that of the label, and the file with labels besides `train`; CoLA's columns have no names."""


def rows(file: Path, text: Sequence[str], label: str) -> Iterator[tuple[str, str]]:
    """Label and text of each line.

    Raises:
        ValueError: with its number, if a line is shorter than it should be.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        names = [str(number) for number in range(4)] if label.isdigit() else next(table)
        places = [names.index(name) for name in (label, *text)]
        for number, cells in enumerate(table, 1 if label.isdigit() else 2):
            if len(cells) <= max(places):
                raise ValueError(f"{file}:{number} has {len(cells)} columns, and {names[max(places)]!r} is missing")
            first, *texts = (" ".join(cells[place].split()) for place in places)
            if first and all(texts):  # a few questions of QQP are empty
                yield first, " | ".join(texts)


def write(glue: Path, out: Path) -> None:
    """All tasks."""
    for task, (text, label, dev) in TASKS.items():
        for part, name in (("train", "train"), ("test", dev)):
            target = out / task / f"{part}.tsv"
            target.parent.mkdir(parents=True, exist_ok=True)
            found = ["label\ttext", *("\t".join(row) for row in rows(glue / task / f"{name}.tsv", text, label))]
            target.write_text("\n".join(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:3]))
