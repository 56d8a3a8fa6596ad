"""The line of each key in a TOML text. `tomllib` keeps no line numbers, and error messages need them."""

from __future__ import annotations

import re
import tomllib
from collections import Counter

KeyPath = tuple[str | int, ...]
"""`("schemes", 2, "lr")` is the key `lr` in the third item of `schemes`."""

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""+'  # strings over several lines
    r"|'''.*?'''+"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*|\n|[\[\]{},=]"
    r"|[^\s\[\]{},=#\"']+",  # bare keys, numbers, dates
    re.DOTALL,
)


class Lines:
    """The line of every key and list item in a text that `tomllib` can read, or could up to where it was cut.

    `of` maps key paths to lines, counted from 1. `again` holds the keys and headers that were met before, with their
    old and new lines, the latest last.
    """

    def __init__(self, text: str) -> None:
        self.of: dict[KeyPath, int] = {}
        self.again: list[tuple[KeyPath, int, int]] = []
        self._tokens: list[tuple[str, int]] = []
        line = 1
        for match in _TOKEN.finditer(text):
            token = match.group()
            if not token.startswith("#"):
                self._tokens.append((token, line))
            line += token.count("\n")
        self._tokens.append(("", line))
        self._at = 0
        self._document()

    def find(self, path: KeyPath) -> int | None:
        """The line of a key, or of the innermost table or list around it that has one."""
        while path and path not in self.of:
            path = path[:-1]
        return self.of.get(path)

    def _take(self, *wanted: str) -> bool:
        if self._tokens[self._at][0] not in wanted:
            return False
        self._at += 1
        return True

    def _peek(self, *wanted: str) -> bool:
        return self._tokens[self._at][0] in ("", *wanted)

    def _document(self) -> None:
        table: KeyPath = ()
        seen: Counter[KeyPath] = Counter()
        while not self._peek():
            if self._take("\n"):
                continue
            if self._take("["):
                several = self._take("[")
                table = self._key((), "]", seen)
                if several:
                    self._take("]")
                    table = (*table, seen[table])
                    seen[table[:-1]] += 1
                    self.of.setdefault(table, self._tokens[self._at - 1][1])
            else:
                self._value(self._key(table, "="))

    def _key(self, table: KeyPath, end: str, seen: Counter[KeyPath] | None = None) -> KeyPath:
        """Read a dotted key up to `end`; in a header, a list of tables means its last table."""
        path, line = table, self._tokens[self._at][1]
        while not self._peek(end):
            token, _ = self._tokens[self._at]
            self._at += 1
            if token[0] in "\"'":
                path = (*path, tomllib.loads(f"k={token}")["k"])
            else:
                for part in filter(None, token.split(".")):
                    if seen and seen[path]:
                        path = (*path, seen[path] - 1)
                    path = (*path, part)
        self._take(end)
        for depth in range(len(table) + 1, len(path)):
            self.of.setdefault(path[:depth], line)
        if path in self.of:
            self.again.append((path, self.of[path], line))
        self.of.setdefault(path, line)
        return path

    def _value(self, path: KeyPath) -> None:
        if self._take("["):
            item = 0
            while not self._peek("]", "}"):
                if self._take("\n"):
                    continue
                if self._take(","):
                    item += 1
                    continue
                self.of[(*path, item)] = self._tokens[self._at][1]
                self._value((*path, item))
            self._take("]")
        elif self._take("{"):
            while not self._peek("}"):
                if not self._take(",", "\n"):
                    self._value(self._key(path, "="))
            self._take("}")
        else:
            while not self._peek(",", "]", "}", "\n"):
                self._at += 1
