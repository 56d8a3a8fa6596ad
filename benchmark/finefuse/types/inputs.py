"""What inputs mean: declared by a data set, for networks that depend on it and for people who deploy a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Vocabulary:
    """What token numbers mean: `size` numbers from 0 on, made by the tokeniser `name`.

    `padding` is the number of padding, None if unknown. Equal digests mean equal tokens; "" is unknown.
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
    `example` is a made-up raw example. Without these two, a model card describes inputs in words only.
    """

    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    encode: str = ""
    example: Any = None
