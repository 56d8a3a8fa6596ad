"""Paths inside of nested plugins start from the suite's folder, and keys know what lies there, not where."""

from __future__ import annotations

import json
import os
import re
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
from finefuse.engine.work.given import refuse_changed_files
from finefuse.errors import FinefuseError, SuiteError
from finefuse.files import content_digest, file_digest, shards_in
from finefuse.types import Level, Need, Spec


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


@dataclass(frozen=True)
class Stacked:
    """A fusion that reads files."""

    mask: Path = Path("none")
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ()

    def fuse(self, of: Any) -> Any:
        raise AssertionError("planning must not fuse")


@pytest.fixture
def zoo() -> Registry:
    @hookimpl
    def finefuse_schemes() -> Any:
        yield Entry("masked", Masked, "")
        yield Entry("both", Both, "")
        yield Entry("deep", Deep, "")

    @hookimpl
    def finefuse_fusions() -> Any:
        yield Entry("stacked", Stacked, "")

    door = SimpleNamespace(finefuse_schemes=finefuse_schemes, finefuse_fusions=finefuse_fusions, __name__="masks")
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


# ------------------------------------------------------------------------------------------------------------- folders
FOLDER = """
name = "x"
datasets = ["digits"]
backbones = ["mlp-s"]
schemes = [{ use = "masked", mask = "masks" }]
"""


@pytest.fixture
def masks(zoo, tmp_path):
    """The address of what a scheme makes that reads a folder, and the folder."""
    suite, within = folder(tmp_path / "one", FOLDER), tmp_path / "one" / "masks"
    (within / "deep").mkdir(parents=True)
    (within / "deep" / "a.bin").write_bytes(b"a")
    return within, lambda: list(keys(suite, zoo).values())[-1]


def test_a_folder_counts_by_all_files_below_it(masks):
    within, key = masks
    found = [key()]
    (within / "deep" / "a.bin").write_bytes(b"another")
    found.append(key())
    (within / "deep" / "a.bin").rename(within / "deep" / "b.bin")
    found.append(key())
    (within / "more").symlink_to(within.parent / "away", target_is_directory=True)
    (within.parent / "away").mkdir()
    (within.parent / "away" / "c.bin").write_bytes(b"c")
    found.append(key())
    (within.parent / "away" / "c.bin").write_bytes(b"d")
    found.append(key())
    assert len(set(found)) == 5
    (within.parent / "away" / "c.bin").write_bytes(b"c")
    assert key() == found[3]


def test_what_has_no_content_is_not_waited_for(masks):
    within, key = masks
    before = key()
    os.mkfifo(within / "pipe")
    (within / "lost").symlink_to(within / "nowhere")
    (within / "round").symlink_to(within, target_is_directory=True)
    assert key() == before


def test_a_folder_elsewhere_with_the_same_files_has_the_same_key(zoo, tmp_path):
    for name in ("one", "two"):
        folder(tmp_path / name, FOLDER)
        (tmp_path / name / "masks").mkdir()
        (tmp_path / name / "masks" / "a.bin").write_bytes(b"a")
    assert len({tuple(keys(tmp_path / name / "s.toml", zoo).values()) for name in ("one", "two")}) == 1


def test_an_index_counts_with_the_shards_it_names(masks):
    within, key = masks
    for file in within.rglob("*.bin"):
        file.unlink()
    (within / "deep").rmdir()
    within.rmdir()
    shard = within.with_name("one.safetensors")
    shard.write_bytes(b"one")
    within.write_text(json.dumps({"weight_map": {"w": shard.name}}))
    before = key()
    shard.write_bytes(b"two")
    assert key() != before


@pytest.mark.parametrize("text", ['{"weight_map": {"w": 3}}', '{"weight_map": []}', "{", '{"a": 1}', "[" * 9999])
def test_other_json_is_a_file_as_any(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    assert shards_in(tmp_path / "a.json") == []
    assert content_digest(tmp_path / "a.json") == file_digest(tmp_path / "a.json")


READERS = {
    "a scheme": ("tune", 'schemes = [{ use = "masked", mask = "masks" }]', "mask of masked"),
    "within another": ("tune", 'schemes = [{ use = "both", of = [{ use = "masked", mask = "masks" }] }]', "of of both"),
    "a trial": (
        "trial",
        'schemes = [{ use = "search", of = "masked", trials = 2, space = { mask = { choices = ["masks"] } } }]',
        "space of search(",
    ),
    "a fusion": (
        "fuse",
        'schemes = ["full"]\nfusions = [{ use = "stacked", mask = "masks" }]\n[pools.all]\nof = ["full"]\ncopies = 2',
        "mask of stacked",
    ),
    "a choice": (
        "trial",
        'schemes = ["full"]\nfusions = [{ use = "stacked", choose = { mask = ["masks", "m.bin"] } }]\n'
        '[pools.all]\nof = ["full"]\ncopies = 2',
        "mask of stacked",
    ),
}


@pytest.mark.parametrize("who", READERS)
def test_a_folder_that_changes_after_the_plan_is_refused(who, zoo, tmp_path):
    kind, line, told = READERS[who]
    suite, within = folder(tmp_path / "one", FOLDER.partition("schemes")[0] + line), tmp_path / "one" / "masks"
    within.mkdir()
    (within / "a.bin").write_bytes(b"a")
    job = next(job for job in make_plan(load_suite(suite, zoo), zoo).jobs if job.kind == kind)
    refuse_changed_files(Facts(zoo), job)
    (within / "a.bin").write_bytes(b"another")
    with pytest.raises(FinefuseError, match=rf"^the {re.escape(told)}.* has changed since the suite was planned"):
        refuse_changed_files(Facts(zoo), job)
