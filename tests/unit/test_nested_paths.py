"""Paths inside of nested plugins start from the suite's folder, and keys know what lies there, not where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from finefuse import Entry, Ref, hookimpl
from finefuse.declare.facts import Facts
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
