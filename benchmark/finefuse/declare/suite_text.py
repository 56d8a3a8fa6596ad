"""The text of a suite, from a file, a name or Python, and errors that give the place in it."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from finefuse.declare.toml_lines import KeyPath, Lines
from finefuse.errors import SuiteError, did_you_mean

MAX_BYTES = 1_000_000
_WHERE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_TWICE = ("Cannot overwrite a value", "Cannot declare", "Duplicate inline table key")


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or else what there is."""
    names = sorted(known)
    listed = f"; there is {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}" if names else ""
    return did_you_mean(word, names) or listed


def show(value: object) -> str:
    """A value as it would be written in a suite, cut to the length of a sentence."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def dotted(path: KeyPath) -> str:
    """`schemes[2].lr`."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")


@dataclass(frozen=True)
class Source:
    """A suite before it is understood: `data` as TOML gives it, and the file and its text, unless it is from Python."""

    data: dict[str, Any]
    file: Path | None = None
    text: str = ""

    @cached_property
    def lines(self) -> Lines:
        """The line of each key."""
        return Lines(self.text)

    @property
    def folder(self) -> Path:
        """What relative paths in the suite are relative to."""
        return (self.file.parent if self.file else Path()).resolve()

    def place(self, path: KeyPath) -> str:
        """A key path for the middle of a sentence, with its line where there is one."""
        line = self.lines.of.get(path)
        return dotted(path) + (f" on line {line}" if line else "")

    def error(self, path: KeyPath, message: str) -> SuiteError:
        """The error for the value at a key path."""
        line = self.lines.find(path) if self.file else None
        return SuiteError(f"{dotted(path)}: {message}" if path else message, file=self.file, line=line)

    def refuse_twins(self, places: Iterable[tuple[KeyPath, str]], hint: str = "") -> None:
        """Refuse a key that is given twice, naming both places."""
        seen: dict[str, KeyPath] = {}
        for path, text in places:
            if text in seen:
                raise self.error(path, f"{text} is given twice, first as {self.place(seen[text])}{hint}")
            seen[text] = path


def open_suite(source: str | Path | Mapping[str, Any], known: Mapping[str, Path], hint: str = "") -> Source:
    """Read a suite: a mapping, the name of a known suite, or the path of a file; `hint` ends what is said of no file.

    Raises:
        SuiteError: with file and line, if it can't be found or read, or isn't TOML.
    """
    if isinstance(source, Mapping):
        return Source(_as_toml(source))
    file = known.get(source, Path(source)) if isinstance(source, str) else source
    try:
        status = file.stat()
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise SuiteError(
                f"no suite and no file is called {show(str(source))}{suggest(str(source), known)}{hint}"
            ) from None
        raise SuiteError(f"can't be read: {error}", file=show(str(file))) from error
    if stat.S_ISDIR(status.st_mode):
        raise SuiteError("is a folder; give the path of a suite file (.toml)", file=file)
    if not stat.S_ISREG(status.st_mode):
        raise SuiteError("is not a regular file; give the path of a suite file (.toml)", file=file)
    if status.st_size > MAX_BYTES:
        raise SuiteError(f"has {status.st_size:,} bytes, and a suite at most {MAX_BYTES:,}; is it one?", file=file)
    text = _read(file)
    return Source(_parse(text, file), file, text)


def _read(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise SuiteError(f"can't be read: {error.strerror}", file=file) from error
    if b"\0" in raw:
        raise SuiteError("is a binary file, not a suite (TOML text)", file=file)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SuiteError(
            f"is not UTF-8: byte 0x{raw[error.start]:02x}; save it as UTF-8", file=file, line=line
        ) from error


def _parse(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise SuiteError("is nested too deeply to be a suite", file=file) from error
    except ValueError as error:
        raise _syntax_error(str(error), text, file) from error


def _syntax_error(message: str, text: str, file: Path) -> SuiteError:
    where = _WHERE.search(message)
    line, column = (int(where[1]), int(where[2])) if where else (None, None)
    rows = text.replace("\r\n", "\n").split("\n")[:line]
    again = Lines("\n".join([*rows[:-1], rows[-1][: column and column - 1]])).again
    if message.startswith(_TWICE) and again:
        path, first, second = again[-1]
        return SuiteError(f"{dotted(path)}: is given twice, first on line {first}", file=file, line=second)
    if where:
        message = f"{message[: where.start()]}, at column {column}"
    return SuiteError(f"is not valid TOML: {message[0].lower()}{message[1:]}", file=file, line=line)


def _as_toml(value: Any) -> Any:
    """Python values as TOML would have given them: mappings as dicts, tuples and ranges as lists, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): _as_toml(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [_as_toml(item) for item in value]
    return str(value) if isinstance(value, Path) else value
