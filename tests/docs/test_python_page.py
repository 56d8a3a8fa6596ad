"""docs/python.md has every function of the public face with its signature, and no others."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import finefuse

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
PARTS = re.split(r"^## `finefuse\.(\w+)`$", PAGE, flags=re.MULTILINE)[1:]
SECTIONS = dict(zip(PARTS[::2], PARTS[1::2], strict=True))
FUNCTIONS = [name for name in finefuse.__all__ if inspect.isfunction(getattr(finefuse, name))]


def test_every_function_has_a_section_and_no_other() -> None:
    assert sorted(SECTIONS) == sorted(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_signature_is_told(name: str) -> None:
    signature = inspect.signature(getattr(finefuse, name))
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    given = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    (told,) = re.findall(r"```text\n(.+?)\n```", SECTIONS[name], flags=re.DOTALL)
    assert " ".join(told.split()) == f"finefuse.{name}{given} -> {signature.return_annotation}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_text_begins_as_the_docstring_does(name: str) -> None:
    docstring = inspect.getdoc(getattr(finefuse, name)) or ""
    text = " ".join(SECTIONS[name].split("```")[2].split())
    assert text.startswith(re.split(r"[.:]", docstring)[0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_docstring_says_what_each_argument_is(name: str) -> None:
    function = getattr(finefuse, name)
    told = re.findall(r"^    (\w+): .+", (inspect.getdoc(function) or "").partition("Raises:")[0], flags=re.MULTILINE)
    assert told == list(inspect.signature(function).parameters)
