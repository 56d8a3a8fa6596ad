"""The scripts of the page: put together without a tool, short, and never reading text as HTML."""

from __future__ import annotations

import re
from typing import Any

import pytest

from finefuse_zoo.reporters._bundle import FOLDER, bundle
from helpers.scripts import Script

SOURCES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.js"))}
EXPORTED = re.compile(r"^export (?:async function|function|const|class) (\w+)", re.MULTILINE)
IMPORTED = re.compile(r"^import \{([^}]*)\} from \"\./(\w+)\.js\";$", re.MULTILINE)


@pytest.fixture(scope="module")
def text() -> Script:
    return Script("text")


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_imported_is_exported_and_used(name: str) -> None:
    source = SOURCES[name]
    for names, module in IMPORTED.findall(source):
        for imported in names.split(","):
            assert imported.strip() in EXPORTED.findall(SOURCES[f"{module}.js"]), (imported, module)
            assert len(re.findall(rf"\b{imported.strip()}\b", source)) > 1, f"{imported} is not used"
    assert len(re.findall(r"^import ", source, re.MULTILINE)) == len(IMPORTED.findall(source))


@pytest.mark.parametrize("name", SOURCES)
def test_scripts_are_short_and_make_elements_of_text_only(name: str) -> None:
    assert SOURCES[name].count("\n") <= 400
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", SOURCES[name])
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?://(?!www\.w3\.org)", SOURCES[name])


def test_a_bundle_has_each_module_once_after_what_it_needs() -> None:
    whole = bundle("main")
    names = re.findall(r"^const (\w+)Module = \(", whole, re.MULTILINE)
    assert sorted(names) == sorted(name.removesuffix(".js") for name in SOURCES)
    for name in names:
        needed = [module for _, module in IMPORTED.findall(SOURCES[f"{name}.js"])]
        assert all(names.index(module) < names.index(name) for module in needed)
    assert "</script" not in whole.lower()
    assert not re.search(r"^(import|export) ", whole, re.MULTILINE)


@pytest.mark.parametrize(
    ("form", "value", "told"),
    [
        ("score", 0.93456, "0.9346"),
        ("score", -0.5, "−0.5000"),
        ("score", 12345.678, "12346"),
        ("score", None, ""),
        ("score", "Infinity", "∞"),
        ("signed", 0.01, "+0.0100"),
        ("signed", -0.01, "−0.0100"),
        ("seconds", 0.0000123, "12.3 µs"),
        ("seconds", 0.0123, "12.3 ms"),
        ("seconds", 1.234, "1.23 s"),
        ("seconds", 7200, "120 min"),
        ("bytes", 1_500_000, "1.50MB"),
        ("count", 77_100, "77.1k"),
        ("count", 3, "3"),
        ("joules", 42.5, "42.5 J"),
        ("flag", True, "~"),
        ("text", "a", "a"),
    ],
)
def test_numbers_as_people_read_them(text: Script, form: str, value: Any, told: str) -> None:
    assert text("show(form, value)", form=form, value=value) == told


def test_what_hides_is_shown_as_pythons_texts_show_it(text: Script) -> None:
    from finefuse.text import printable

    for hostile in ("a\u202eb", "\x1b[31m", "\x00", "a\u2028b", "zero\u200bwidth", "\U000e0041", "plain é 漢\n\t|"):
        assert text("visible(name)", name=hostile) == printable(hostile)


def test_cells_of_csv_are_quoted_and_never_formulas(text: Script) -> None:
    rows = [["a,b", 'say "hi"', "two\nlines"], ["=1+1", "@x", "-2"], [-1.5, None, "+cmd|' /C calc'!A0"]]
    expected = '"a,b","say ""hi""","two\nlines"\r\n\'=1+1,\'@x,-2\r\n-1.5,,\'+cmd|\' /C calc\'!A0\r\n'
    assert text("csv(rows)", rows=rows) == expected


def test_words_are_quoted_for_a_shell(text: Script) -> None:
    assert text("[quoted('full'), quoted('a b'), quoted(\"it's\")]") == ["full", "'a b'", "'it'\\''s'"]
