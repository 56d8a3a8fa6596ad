"""Paths inside of nested plugins start from the suite's folder, and keys know what lies there, not where."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from finefuse import Entry, Ref, hookimpl
from finefuse.declare.facts import Facts, piece
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import SuiteError
from finefuse.types import Spec


@dataclass(frozen=True)
class Masked:
    """A scheme that reads files."""

    mask: Path = Path("none")
    more: tuple[Path, ...] = ()

    def tune(self, on: Any) -> None:
        raise AssertionError("planning must not train")


@dataclass(frozen=True)
class Both:
    """A scheme of schemes."""

    of: tuple[Spec, ...] = ()
    nested: ClassVar[tuple[str, ...]] = ("of",)

    def tune(self, on: Any) -> None:
        raise AssertionError("planning must not train")


@pytest.fixture
def zoo() -> Registry:
    @hookimpl
    def finefuse_schemes() -> Any:
        yield Entry("masked", Masked, "")
        yield Entry("both", Both, "")
        yield Entry("deep", Deep, "")

    door = SimpleNamespace(finefuse_schemes=finefuse_schemes, __name__="masks")
    return Registry(("finefuse_zoo.hooks", door), entry_points=False)


TABLE = "label,text\n" + "".join(f"{label},word {i} {label}\n" for label in ("a", "b") for i in range(20))
SOURCE = '{ use = "csv", train = "source.csv", target = "label", text = "text" }'
SUITE = """
name = "x"
datasets = [{ use = "csv", train = "target.csv", target = "label", text = "text" }]
backbones = [{ use = "text-cnn", pretrained_on = SOURCE }]
schemes = ["full", { use = "both", of = [{ use = "masked", mask = "m.bin", more = ["m.bin"] }, "full"] }]
""".replace("SOURCE", SOURCE)


def folder(where: Path, text: str = SUITE) -> Path:
    where.mkdir()
    (where / "target.csv").write_text(TABLE)
    (where / "source.csv").write_text(TABLE)
    (where / "m.bin").write_bytes(b"mask")
    (where / "s.toml").write_text(text)
    return where / "s.toml"


def keys(suite: Path, registry: Registry) -> dict[str, str]:
    return {
        job.cell.replace(str(suite.parent), ""): job.key
        for job in make_plan(load_suite(suite, registry), registry).jobs
    }


def test_they_are_relative_to_the_suite_file(zoo, tmp_path, monkeypatch):
    suite = load_suite(folder(tmp_path / "one"), zoo)
    monkeypatch.chdir("/")
    (backbone,) = suite.backbones
    assert backbone.kwargs["pretrained_on"]["train"] == str(tmp_path / "one" / "source.csv")
    nested = suite.schemes[1].ref.kwargs["of"]
    assert nested == [
        {"use": "masked", "mask": str(tmp_path / "one" / "m.bin"), "more": [str(tmp_path / "one" / "m.bin")]},
        "full",
    ]


def test_a_search_and_a_grid_are_anchored_too(zoo, tmp_path):
    text = SUITE.partition("schemes")[0] + (
        'schemes = [{ use = "search", of = { use = "masked", mask = "m.bin" }, space = { more = { choices = [[]] } } },'
        ' { use = "both", grid = { of = [[{ use = "masked", mask = "m.bin" }], ["full"]] } }]'
    )
    search, first, _ = (line.ref.kwargs["of"] for line in load_suite(folder(tmp_path / "one", text), zoo).schemes)
    assert search["mask"] == first[0]["mask"] == str(tmp_path / "one" / "m.bin")


CHOICES = """
[[schemes]]
use = "search"
of = "masked"
trials = 3
sampler = "grid"
space = { mask = { choices = ["m.bin", "/far/away.bin"] }, more = { choices = [["m.bin", "n.bin"], []] } }

[[schemes]]
use = "search"
as = "of both"
of = { use = "both" }
sampler = "grid"
space = { of = { choices = [["masked"], [{ use = "masked", mask = "m.bin" }]] } }
"""


def searching(where: Path) -> Path:
    suite = folder(where, SUITE.partition("schemes")[0] + CHOICES)
    (where / "n.bin").write_bytes(b"another mask")
    return suite


def test_choices_of_a_search_are_anchored(zoo, tmp_path, monkeypatch):
    suite = load_suite(searching(tmp_path / "one"), zoo)
    monkeypatch.chdir("/")
    masked, both = (line.ref.kwargs["space"] for line in suite.schemes)
    here, beside = str(tmp_path / "one" / "m.bin"), str(tmp_path / "one" / "n.bin")
    assert masked == {"mask": {"choices": [here, "/far/away.bin"]}, "more": {"choices": [[here, beside], []]}}
    assert both == {"of": {"choices": [["masked"], [{"use": "masked", "mask": here}]]}}


def test_choices_are_in_keys_by_their_content(zoo, tmp_path):
    one, two = searching(tmp_path / "one"), searching(tmp_path / "two")
    before = keys(one, zoo)
    assert list(before.values()) == list(keys(two, zoo).values())
    (two.parent / "m.bin").write_bytes(b"other")
    changed = {cell for cell, key in keys(two, zoo).items() if key != before[cell]}
    assert changed == {cell for cell in before if not cell.startswith("pretrain")}


def test_ranges_without_files_are_in_keys_as_they_are(zoo):
    facts = Facts(zoo)
    ref = Ref.of("search", of="full", space={"lr": {"low": 0.1, "high": 0.2}})
    value = zoo.resolved("scheme", ref)["space"]
    assert facts.parts("scheme", ref)["scheme search: space"] == piece(value)


@dataclass(frozen=True)
class Deep:
    """A scheme with files and schemes in tables and in lists of lists."""

    files: dict[str, Path] = field(default_factory=dict)
    rows: tuple[tuple[Path, ...], ...] = ()
    parts: dict[str, Spec] = field(default_factory=dict)

    def tune(self, on: Any) -> None:
        raise AssertionError("planning must not train")


def test_tables_and_lists_of_lists_are_anchored(zoo, tmp_path):
    parts = '{ one = { use = "masked", mask = "m.bin" }, two = "full" }'
    given = f'schemes = [{{ use = "deep", files = {{ a = "m.bin" }}, rows = [["m.bin"], []], parts = {parts} }}]'
    one, two = (folder(tmp_path / name, SUITE.partition("schemes")[0] + given) for name in ("one", "two"))
    here = str(tmp_path / "one" / "m.bin")
    assert load_suite(one, zoo).schemes[0].ref.kwargs == {
        "files": {"a": here},
        "rows": [[here], []],
        "parts": {"one": {"use": "masked", "mask": here}, "two": "full"},
    }
    before = list(keys(one, zoo).values())
    assert before == list(keys(two, zoo).values())
    (two.parent / "m.bin").write_bytes(b"other")
    assert before[-1] != list(keys(two, zoo).values())[-1]


def test_a_key_knows_the_content_and_not_the_folder(zoo, tmp_path):
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two")
    assert list(keys(one, zoo).values()) == list(keys(two, zoo).values())
    (two.parent / "source.csv").write_text(TABLE + "a,another\n")
    assert not set(keys(one, zoo).values()) & set(keys(two, zoo).values())
    (one.parent / "m.bin").write_bytes(b"other")
    facts = Facts(zoo)
    scheme = load_suite(one, zoo).schemes[1].ref
    parts = facts.parts("scheme", scheme)
    (one.parent / "m.bin").write_bytes(b"a third one")
    assert parts["scheme both: of"] != Facts(zoo).parts("scheme", scheme)["scheme both: of"]


@pytest.mark.parametrize(
    "given", ['"nothing"', '{ use = "nothing" }', '{ train = "x.csv" }', "3", '{ use = "csv", trian = "x" }']
)
def test_what_names_no_plugin_is_one_sentence(given, zoo, tmp_path):
    text = SUITE.replace(SOURCE, given)
    with pytest.raises(SuiteError) as caught:
        load_suite(folder(tmp_path / "one", text), zoo)
    assert "s.toml:4: backbones[0]" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_plain_spec_adds_to_a_key_is_the_spec(zoo):
    ref = Ref.of("text-cnn", pretrained_on={"use": "letters", "per_class": 20})
    facts = Facts(zoo)
    assert (
        facts.parts("backbone", ref)["backbone text-cnn: pretrained_on"]
        == facts.parts("backbone", Ref.of("text-cnn", pretrained_on={"per_class": 20, "use": "letters"}))[
            "backbone text-cnn: pretrained_on"
        ]
    )
