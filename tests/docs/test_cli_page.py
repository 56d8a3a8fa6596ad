"""docs/cli.md has every verb with its arguments and options, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from finefuse.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
VERBS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def sections() -> dict[str, str]:
    """What the page says under the heading of each verb, by heading."""
    parts = re.split(r"^## `finefuse (.+)`$", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def heading(verb: str) -> str:
    arguments = [p for p in VERBS[verb].params if p.param_type_name == "argument"]
    return " ".join([verb, *(p.metavar if p.required else f"[{p.metavar}]" for p in arguments)])


def options(verb: str) -> list[str]:
    """As the first column of a table has them."""
    found = [p for p in VERBS[verb].params if p.param_type_name == "option"]
    return [", ".join(f"`{' '.join(filter(None, [name, p.metavar]))}`" for name in p.opts) for p in found]


def test_the_headings_are_the_verbs_in_the_order_of_the_help() -> None:
    assert list(sections()) == [heading(verb) for verb in VERBS]


def test_the_tables_have_the_verbs_options() -> None:
    found = {v: re.findall(r"^\| (`-.*?) \|", sections()[heading(v)], flags=re.MULTILINE) for v in VERBS}
    assert found == {verb: options(verb) for verb in VERBS}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if options(verb)])
def test_defaults_are_told(verb: str) -> None:
    told = dict(re.findall(r"^\| (`-.*?) \| (.*) \|$", sections()[heading(verb)], flags=re.MULTILINE))
    found = [p for p in VERBS[verb].params if p.param_type_name == "option"]
    for name, option in zip(options(verb), found, strict=True):
        if "[default: " in option.help or isinstance(option.default, str | float):
            assert "Default: " in told[name] or told[name].startswith("As for `run`"), name
        if isinstance(option.default, float):
            assert f"Default: {option.default}." in told[name]


def test_the_text_begins_as_the_help_does() -> None:
    for verb, command in VERBS.items():
        text = " ".join(re.sub(r"\[(.+?)\]\(.+?\)", r"\1", sections()[heading(verb)]).split())
        assert text.startswith(command.help.splitlines()[0].rstrip(".")), verb


def test_the_exit_codes_are_those_of_the_help() -> None:
    epilog = str(typer.main.get_command(app).epilog)  # type: ignore[attr-defined]
    for code, meaning in re.findall(r"(\d) (\w+ \w+)", epilog):
        assert re.search(rf"^\| {code} \| .*{meaning}", PAGE, flags=re.MULTILINE), (code, meaning)
