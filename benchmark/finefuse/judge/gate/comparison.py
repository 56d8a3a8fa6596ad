"""What `finefuse.compare` gives back: the outcome, and every form it can be written in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finefuse.judge.gate.documents import document
from finefuse.judge.gate.formats import render, write
from finefuse.judge.gate.outcome import Outcome


@dataclass(frozen=True)
class Comparison(Outcome):
    """The outcome of a comparison; a notebook shows it as Markdown."""

    def render(self, format: str = "text") -> str:  # noqa: A002 - as the option is called
        """The comparison as text: text, markdown, json, junit, github, bencher or pytest-benchmark.

        Raises:
            FinefuseError: if there is no such format, or it needs several files.
        """
        return render(self, format)

    def write(self, format: str, file: str | Path) -> list[Path]:  # noqa: A002
        """Write it to a file in one of these formats, or `gh-benchmark`, which writes one for each direction.

        Raises:
            FinefuseError: if there is no such format, or a file can't be written.
        """
        return write(self, format, Path(file))

    def to_markdown(self) -> str:
        """The outcome, what it rests on, and a short table of what is not unchanged."""
        return render(self, "markdown")

    def to_dict(self) -> dict[str, Any]:
        """The same as the JSON document, as an object."""
        return document(self)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()
