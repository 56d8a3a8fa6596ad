"""What the source task's score is measured on: how much of it tuned and merged networks have forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from finefuse.declare.facts import Facts
from finefuse.declare.keys import digest
from finefuse.declare.suite_text import Source
from finefuse.types import Ref

Asked = Ref | bool
"""Whether a suite asks for it, or the data set that it declares."""


def source_data(facts: Facts, asked: Asked, backbone: Ref) -> Ref | None:
    """The data set that a backbone's own head is scored on: that of its pretraining, or a declared one that fits it.

    None where there is none, or a suite doesn't ask.
    """
    own = facts.source(backbone)
    if not isinstance(asked, Ref):
        return own if asked else None
    if own is not None:
        return own if own == asked else None
    return asked if facts.head_outputs(backbone) == facts.task(asked).outputs else None


def source_part(facts: Facts, data: Ref | None) -> dict[str, str]:
    """What of it is part of a row's key; artifacts don't depend on it."""
    return {} if data is None else {"source test": digest(facts.parts("dataset", data))}


def check_source_test(source: Source, facts: Facts, asked: Asked, backbones: Sequence[Ref]) -> None:
    """At least one backbone has such a data set.

    Raises:
        SuiteError: if none has.
    """
    if asked and not any(source_data(facts, asked, backbone) for backbone in backbones):
        told = ", ".join(map(str, backbones))
        if isinstance(asked, Ref):
            what = f"the {facts.task(asked).outputs} outputs of {asked}"
            raise source.error(("source_test",), f"no backbone has a pretrained head for {what}: {told}")
        raise source.error(("source_test",), f"no backbone comes with the data it was pretrained on: {told}")
