"""Plugins that ask for another finefuse are listed as not usable, with the sentence, and are not loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from finefuse.discovery.asked_for import of_source, refused
from finefuse.discovery.registry import Registry
from helpers.calling import call
from helpers.plugging import write

FUTURE = """
# /// script
# dependencies = ["finefuse>=99", "numpy"]
# ///
raise RuntimeError("it must not be imported")
"""
SENTENCE = "it asks for finefuse>=99, and this is finefuse 0.1.0"


@pytest.mark.parametrize(
    ("requirements", "said"),
    [
        (["finefuse>=99"], "it asks for finefuse>=99, and this is finefuse 0.1.0"),
        (["numpy", "FineFuse <0.1"], "it asks for finefuse<0.1, and this is finefuse 0.1.0"),
        (["finefuse"], ""),
        (["finefuse>=0.1,<0.2"], ""),
        (["finefuse-other>=99", "not a requirement !"], ""),
        (['finefuse>=99; python_version < "3"'], ""),
        (['finefuse>=99; extra == "new"'], ""),
    ],
)
def test_what_is_asked_for_is_held_against_this_version(requirements: list[str], said: str) -> None:
    assert refused(requirements, "0.1.0") == said


def test_a_version_before_its_release_counts() -> None:
    assert refused(["finefuse>=0.1"], "0.2.0.dev1") == ""


@pytest.mark.parametrize("text", ["", "# /// script\n# dependencies = [\n# ///\n", "# /// script\n# x = 1\n# ///\n"])
def test_a_file_need_not_ask(text: str) -> None:
    assert list(of_source(text)) == []


def test_a_file_that_asks_for_a_later_one_is_not_usable_and_not_loaded(tmp_path: Path) -> None:
    file = write(tmp_path, "future.py", FUTURE)
    (info,) = Registry([file], entry_points=False).plugins()
    assert (info.status, info.reason, info.hooks) == ("not usable", SENTENCE, ())


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two distributions: one that asks for a later finefuse, one that is broken."""
    site = tmp_path / "site"
    for name, requires, text in (("future", "finefuse>=99", "1 / 0"), ("broken", "finefuse", "import nowhere_at_all")):
        (site / f"ff_{name}-1.dist-info").mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: ff-{name}\nVersion: 1\nRequires-Dist: {requires}\n"
        (site / f"ff_{name}-1.dist-info" / "METADATA").write_text(metadata)
        (site / f"ff_{name}-1.dist-info" / "entry_points.txt").write_text(f"[finefuse]\n{name} = ff_{name}_plugin\n")
        write(site, f"ff_{name}_plugin.py", text)
    monkeypatch.syspath_prepend(site)


@pytest.mark.usefixtures("installed")
def test_plugins_lists_it_with_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = call(capsys, "plugins")
    assert f"\nff_future_plugin is not usable: {SENTENCE}\n" in outcome.out
    assert "\nff_broken_plugin is broken: importing ff_broken_plugin raised ModuleNotFoundError" in outcome.out


@pytest.mark.usefixtures("installed")
def test_of_other_plugins_there_is_one_line(tmp_path: Path) -> None:
    mine = write(tmp_path, "mine.py", "1 / 0")
    first, last = Registry([mine]).complaints()
    assert first == f"plugin {mine} is broken: importing {mine} raised ZeroDivisionError: division by zero"
    assert last == (
        "2 other plugins are broken or not usable, ff_broken_plugin, ff_future_plugin: see `finefuse plugins`"
    )
