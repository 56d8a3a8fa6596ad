"""Test examples that are also among those for training or selection."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from torch import Tensor

from finefuse.types import Splits

CHUNK = 1024
"""Examples brought to the processor at once."""


def repeated(splits: Splits) -> int:
    """How many test examples have the same inputs, byte by byte, as one of train or val; targets don't matter."""
    seen = {*_digests(splits.train.x), *_digests(splits.val.x)}
    return sum(digest in seen for digest in _digests(splits.test.x))


def _digests(x: Tensor) -> Iterator[bytes]:
    for first in range(0, len(x), CHUNK):
        for one in x[first : first + CHUNK].cpu().contiguous().numpy():
            yield blake2b(one.tobytes(), digest_size=16).digest()
