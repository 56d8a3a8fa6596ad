"""What inputs stand for: said by a data set that knows it, for networks that have to and for those who deploy one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True)
class Description:
    """How raw examples become a data set's inputs, and what its outputs mean. All of it can be written as JSON.

    `inputs` holds what the encoding needs, `outputs` names of classes, or units of values. `encode` is the source of a
    Python function `encode(raw, inputs)`, with its imports, that gives the numbers of one example as nested lists, and
    `example` a raw example that was made up. Without these two inputs are said in words alone.
    """

    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    encode: str = ""
    example: Any = None
