"""Suite files that can't be read, can't be found or are no TOML."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finefuse.discovery.registry import Registry
from helpers.suites import HEAD, complaint


def test_a_folder(registry: Registry, tmp_path: Path) -> None:
    assert complaint(tmp_path / "..", registry).endswith("is a folder; give the path of a suite file (.toml)")


def test_a_binary_file(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_bytes(bytes(range(256)))
    assert complaint(file, registry) == "s.toml: is a binary file, not a suite (TOML text)"


def test_a_file_that_is_not_utf8(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_bytes(HEAD.encode() + "# Grüße".encode("latin-1"))
    assert complaint(file, registry) == "s.toml:5: is not UTF-8: byte 0xfc; save it as UTF-8"


def test_a_huge_file_is_not_even_read(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "s.toml"
    with file.open("wb") as stream:
        stream.truncate(50_000_000)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    assert complaint(file, registry) == "s.toml: has 50,000,000 bytes, and a suite at most 1,000,000; is it one?"


def test_a_file_that_never_ends(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    os.mkfifo(file)
    assert complaint(file, registry) == "s.toml: is not a regular file; give the path of a suite file (.toml)"


def test_a_file_that_can_not_be_read(registry: Registry, write: Callable[[str], Path], monkeypatch: Any) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert complaint(write(HEAD), registry) == "s.toml: can't be read: Permission denied"


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000])
def test_a_name_that_can_not_be_a_file(name: str, registry: Registry) -> None:
    assert "can't be read: " in complaint(name, registry)


def test_a_name_that_nothing_has(registry: Registry) -> None:
    assert complaint("planed", registry) == "no suite and no file is called \"planed\"; did you mean 'planned'?"
    assert complaint("zzz", registry).startswith('no suite and no file is called "zzz"; there is planned')


BAD_TOML = {
    "[pools": "s.toml:5: is not valid TOML: expected ']' at the end of a table declaration, at column 7",
    "threads = ": "s.toml:5: is not valid TOML: invalid value, at column",
    "threads = 'x": "s.toml: is not valid TOML: ",
    "name.x = 1": "s.toml:5: is not valid TOML: cannot overwrite a value, at column",
    f"seeds = {'[' * 5000}": "s.toml: is nested too deeply to be a suite",
    f"seeds = [{'9' * 5000}]": "s.toml: is not valid TOML: exceeds the limit (4300 digits)",
}


@pytest.mark.parametrize("added", BAD_TOML, ids=lambda text: text[:12])
def test_text_that_is_not_toml(added: str, registry: Registry, write: Callable[[str], Path]) -> None:
    assert complaint(write(HEAD + added + "\n"), registry).startswith(BAD_TOML[added])
