"""Examples that stand in the test and among those that are learned or chosen from."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from torch import Tensor

from finefuse.types import Splits

CHUNK = 1024
"""Examples brought to the processor at once."""


def repeated(splits: Splits) -> int:
    """How many test examples have the very inputs, byte by byte, of one of train or val; their targets don't count."""
    seen = {*_digests(splits.train.x), *_digests(splits.val.x)}
    return sum(digest in seen for digest in _digests(splits.test.x))


def _digests(x: Tensor) -> Iterator[bytes]:
    for first in range(0, len(x), CHUNK):
        for one in x[first : first + CHUNK].cpu().contiguous().numpy():
            yield blake2b(one.tobytes(), digest_size=16).digest()
