"""What `finefuse.compare` gives back: the outcome, and every form it can be written in."""

from __future__ import annotations

from dataclasses import dataclass

from finefuse.judge.gate.outcome import Outcome
from finefuse.judge.gate.shown import to_markdown, to_text


@dataclass(frozen=True)
class Comparison(Outcome):
    """The outcome of a comparison; a notebook shows it as Markdown."""

    def to_markdown(self) -> str:
        """The outcome, what it rests on, and a short table of what is not unchanged."""
        return to_markdown(self)

    def to_text(self) -> str:
        """The same without markup."""
        return to_text(self)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()
