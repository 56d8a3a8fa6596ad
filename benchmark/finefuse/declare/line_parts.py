"""What goes into the addresses of the jobs of one line of the board."""

from __future__ import annotations

from typing import Any

from finefuse.declare.facts import Facts
from finefuse.declare.keys import address
from finefuse.declare.strategy import Strategy
from finefuse.types import Job, PluginKind

Parts = dict[str, str]


class LineParts:
    """The parts that the jobs of one line of the board share: those of the artifacts, and those of the scoring."""

    def __init__(self, parts: Parts, scoring: Parts, **fields: Any) -> None:
        self.parts, self.scoring, self.fields = parts, scoring, fields
        self.pairs = tuple((parts | scoring).items())

    def job(self, own: Parts, /, **fields: Any) -> Job:
        """A job with additional parts of its own."""
        artifact = address(self.parts | own)
        key = address({"artifact": artifact} | self.scoring)
        return Job(**self.fields, **fields, artifact=artifact, key=key, parts=(*self.pairs, *own.items()))


def strategy_parts(facts: Facts, kind: PluginKind, of: Strategy) -> Parts:
    """The parts of a line's scheme or fusion, of the search for its parameters, and of the stages that follow it."""
    parts = dict(facts.parts(kind, of.ref))
    if of.search:
        parts |= facts.parts("scheme", of.search, kind)
    for i, stage in enumerate(of.followed_by):
        parts |= {f"stage {i}: {name}": value for name, value in facts.parts(kind, stage).items()}
    return parts
