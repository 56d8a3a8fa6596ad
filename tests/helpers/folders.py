"""What splits of a folder of images hold."""

from __future__ import annotations

import torch

from finefuse import Splits

CLASSES = ("ant", "bee", "cow")


def parts(splits: Splits) -> list:
    return [splits.train, splits.val, splits.test]


def ids(data) -> set[bytes]:
    return {x.numpy().tobytes() for x in data.x}


def counts(splits: Splits) -> list[list[int]]:
    return [torch.bincount(part.y, minlength=len(CLASSES)).tolist() for part in parts(splits)]
