"""What inputs stand for: said by a data set that knows it, for networks that have to and for those who deploy one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vocabulary:
    """What token numbers stand for: `size` numbers from 0 on, by the tokeniser `name`.

    `padding` is the number of padding, None where it isn't known. Equal digests are equal tokens; "" is one that isn't
    known.
    """

    name: str
    size: int
    padding: int | None = 0
    digest: str = ""
