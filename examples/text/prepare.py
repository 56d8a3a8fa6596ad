"""Turn TREC's files of questions into tab-separated ones that the data set `csv` reads.

python prepare.py train_5500.label data/trec/train.tsv
python prepare.py TREC_10.label data/trec/test.tsv
"""

from __future__ import annotations

import sys
from pathlib import Path


def table(raw: bytes) -> str:
    r"""Lines such as `DESC:manner How did ...`, in latin-1, as three columns: coarse label, fine label and sentence.

    Raises:
        ValueError: with its number, if a line is of another form.
    """
    rows = ["label\tfine\tsentence"]
    for number, line in enumerate(raw.decode("latin-1").split("\n"), 1):
        if not line.strip():
            continue
        labels, _, sentence = line.strip().partition(" ")
        coarse, colon, fine = labels.partition(":")
        if not (coarse and colon and fine and sentence):
            raise ValueError(f"line {number} is not of the form LABEL:fine question: {line.strip()[:60]!r}")
        rows.append("\t".join([coarse, fine, " ".join(sentence.split())]))
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(table(source.read_bytes()), encoding="utf-8")
