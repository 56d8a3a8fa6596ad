"""What the jobs of one line of the board share, and what tells several tunings by one scheme apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finefuse.declare.facts import Facts, piece
from finefuse.declare.keys import COUNTING, Shared
from finefuse.declare.strategy import Strategy
from finefuse.types import Job, PluginKind

Parts = dict[str, str]
Members = tuple[tuple[str, str], ...]
COUNTED = {"counting of FLOPs": COUNTING}


class LineParts:
    """The parts that the jobs of one line of the board share: those of the artifacts, and those of the scoring."""

    def __init__(self, parts: Parts, scoring: Parts, **fields: Any) -> None:
        self.parts, self.scoring, self.fields = parts, scoring, fields
        self.pairs = tuple((parts | scoring).items())
        self._artifacts, self._keys = Shared(parts), Shared(scoring)

    def job(self, own: Parts, /, **fields: Any) -> Job:
        """A job with additional parts of its own."""
        artifact = self._artifacts.address(own)
        key = self._keys.address({"artifact": artifact})
        return Job(**self.fields, **fields, artifact=artifact, key=key, parts=(*self.pairs, *own.items()))


@dataclass(frozen=True)
class Variant:
    """One of the tunings by a scheme: its seed and copy, and after a fusion the network it starts from."""

    seed: int
    member: int
    round: int = 0
    pool: str = ""
    start: str = ""
    fusion: str = ""

    @property
    def parts(self) -> Parts:
        """The parts that distinguish it from other tunings by the same scheme."""
        again = {"round": piece(self.round), "start": self.start} if self.start else {}
        return {"seed": piece(self.seed), "member": piece(self.member)} | again

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of its job."""
        return {name: getattr(self, name) for name in ("seed", "member", "round", "pool", "start")}


def strategy_parts(facts: Facts, kind: PluginKind, of: Strategy) -> Parts:
    """The parts of a line's scheme or fusion, of the search for its parameters, and of the stages that follow it."""
    parts = dict(facts.parts(kind, of.ref))
    if of.search:
        parts |= facts.parts("scheme", of.search, kind)
    for i, stage in enumerate(of.followed_by):
        parts |= {f"stage {i}: {name}": value for name, value in facts.parts(kind, stage).items()}
    return parts
