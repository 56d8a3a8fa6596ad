"""The forms that a comparison can be written in, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from finefuse.errors import FinefuseError, did_you_mean
from finefuse.files import write_whole
from finefuse.judge.gate.documents import to_json
from finefuse.judge.gate.exchange import to_bencher, to_gh_benchmark, to_pytest_benchmark
from finefuse.judge.gate.outcome import Outcome
from finefuse.judge.gate.reports import to_github, to_junit
from finefuse.judge.gate.shown import to_markdown, to_text

Render = Callable[[Outcome], str]
FORMATS: Mapping[str, Render | Mapping[str, Render]] = {
    "text": to_text,
    "markdown": to_markdown,
    "json": to_json,
    "junit": to_junit,
    "github": to_github,
    "bencher": to_bencher,
    "gh-benchmark": {
        "-smaller": partial(to_gh_benchmark, better="lower"),
        "-bigger": partial(to_gh_benchmark, better="higher"),
    },
    "pytest-benchmark": to_pytest_benchmark,
}
"""By name; one that needs several files has an ending for the name of each."""


def render(found: Outcome, name: str) -> str:
    """A comparison in one form, as text.

    Raises:
        FinefuseError: if there is no such form, or it needs several files.
    """
    form = _form(name)
    if isinstance(form, Mapping):
        raise FinefuseError(f"the format {name} is two files, so it needs a name: {name}=FILE")
    return form(found)


def write(found: Outcome, name: str, file: Path) -> list[Path]:
    """Write a comparison in one form, and name the files: one, or one for each part of it, named after it.

    Raises:
        FinefuseError: if there is no such form, or a file can't be written.
    """
    form = _form(name)
    parts = form if isinstance(form, Mapping) else {"": form}
    written = []
    for ending, part in parts.items():
        target = file.with_name(f"{file.stem}{ending}{file.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FinefuseError(f"{target}: can't be written: {error.strerror or error}.") from error
        write_whole(target, part(found), errors="backslashreplace")
        written.append(target)
    return written


def read_formats(texts: list[str]) -> list[tuple[str, Path | None]]:
    """What the command line has as `FORMAT` or `FORMAT=FILE`: one at most without a file, markdown if none is.

    Raises:
        FinefuseError: if a form is unknown, or several are to be printed.
    """
    found = []
    for text in texts:
        name, equals, file = text.partition("=")
        form = _form(name)
        if equals and not Path(file).name:
            raise FinefuseError(f"{text!r} names no file: write FORMAT=FILE")
        if isinstance(form, Mapping) and not file:
            raise FinefuseError(f"the format {name} is two files, so it needs a name: {name}=FILE")
        found.append((name, Path(file) if file else None))
    files = [file for _, file in found if file]
    if twice := [file for file in files if files.count(file) > 1]:
        raise FinefuseError(f"two formats can't both be written to {twice[0]}")
    printed = [name for name, file in found if file is None]
    if len(printed) > 1:
        raise FinefuseError(f"{' and '.join(printed)} can't both be printed: write FORMAT=FILE for all but one")
    return found if printed else [("markdown", None), *found]


def _form(name: str) -> Render | Mapping[str, Render]:
    if name not in FORMATS:
        listed = did_you_mean(name, FORMATS) or f"; expected one of {', '.join(FORMATS)}."
        raise FinefuseError(f"there is no format {name!r}{listed}")
    return FORMATS[name]
