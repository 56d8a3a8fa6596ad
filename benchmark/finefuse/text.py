"""Text that a terminal or a file can take: what controls is shown as an escape, wherever a message came from."""

from __future__ import annotations

import html
import logging


def printable(text: object) -> str:
    """Text in which lines and tabs stay, and all else that can't be seen is an escape, ESC and bidi marks too."""
    lines = str(text).split("\n")
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in lines)


def single_line(text: object) -> str:
    """The same on one line."""
    return " ".join(printable(text).split("\n"))


def plain(text: object) -> str:
    """The same on one line, every run of white space a blank: what a cell of a table holds."""
    return printable(" ".join(str(text).split()))


def escaped(text: object) -> str:
    """Text as HTML and SVG take it, without what can't be shown."""
    return html.escape(plain(text))


def shown(record: logging.LogRecord) -> bool:
    """A filter for a logger: lets everything pass, printable."""
    record.msg, record.args = printable(record.getMessage()), None
    return True


def _shown(character: str) -> str:
    return character if character.isprintable() or character == "\t" else ascii(character)[1:-1]
