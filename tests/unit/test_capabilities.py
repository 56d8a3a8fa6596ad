"""What plugins say of themselves: a wrong answer is one sentence of `check`, and it is asked for in one module."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from finefuse import Entry, hookimpl
from finefuse.declare.facts import Facts
from finefuse.discovery import capabilities
from finefuse.discovery.capabilities import DeclarationError
from finefuse.discovery.registry import Registry
from finefuse.errors import PluginError
from finefuse.types import PluginKind, Ref
from helpers.plugging import PLUGINS, fixture, module_with, only_info
from helpers.suites import LEAST, complaint

ROOT = Path(__file__).parents[2]
SENTENCES = {
    ("scheme", "needs-text"): "has 'source' for its `needs`, which should be a tuple of texts",
    ("scheme", "needs-unknown"): "says needs 'sauce', and there is only 'source', 'source head'",
    ("scheme", "needs-number"): "has 3 in its `needs`, which should be a tuple of texts",
    ("scheme", "kinds-text"): "has 'classification' for its `kinds`, which should be a tuple of texts",
    ("scheme", "kinds-empty"): "has no kind of task in its `kinds`; leave it out if it is for all of them",
    ("scheme", "nested-text"): "has 'of' for its `nested`, which should be a tuple of texts",
    ("scheme", "nested-nowhere"): "has 'off' in its `nested`, and no such parameter; did you mean 'of'?",
    ("scheme", "nested-number"): "has 0.1 in its 'lr', where `nested` promises a scheme",
    ("scheme", "space-list"): "has ['lr'] for its `space`, which should be a table",
    ("scheme", "space-unknown"): "has 'rate' in its `space`, and no such parameter",
    (
        "scheme",
        "space-number",
    ): "has 0.1 for 'lr' in its `space`, which should be a table with low < high, or with choices",
    ("scheme", "prepare-flag"): "has True for its `prepare`, which should be a method",
    ("scheme", "suggest-text"): "has 'something' for its `suggest`, which should be a method",
    ("scheme", "suggest-alone"): "has a method `suggest`, as searches have, and no method `at_edge`",
    ("scheme", "suggest-of-nothing"): "can't tell its `of`: AttributeError",
    ("scheme", "needs-raises"): "can't tell its `needs`: AttributeError: no such thing",
    ("fusion", "needs-text"): "has 'val' for its `needs`, which should be a tuple of texts",
    (
        "fusion",
        "needs-unknown",
    ): "says needs 'test', and there is only 'val', 'train', 'base'",
    ("fusion", "level-unknown"): "says level 'cloud', and there is only 'output', 'feature', 'weight'",
    ("fusion", "alone-text"): "has 'yes' for its `alone`, which should be True or False",
    ("fusion", "except-for-text"): "has 'order' for its `except_for`, which should be a tuple of texts",
    (
        "fusion",
        "except-for-unknown",
    ): "says except_for 'orders', and there is only 'one member'",
    ("fusion", "kinds-text"): "has 'classification' for its `kinds`, which should be a tuple of texts",
    ("backbone", "head-outputs-text"): "has '1000' for its `head_outputs`, which should be a number or None",
    ("backbone", "head-outputs-none"): "has 0 for its `head_outputs`, which should be 1 or more, or None",
    ("backbone", "head-outputs-flag"): "has True for its `head_outputs`, which should be 1 or more, or None",
    ("backbone", "keep-head-text"): "has 'yes' for its `keep_head`, which should be True or False",
    ("backbone", "refuses-text"): "has 'images' for its `refuses`, which should be a method",
    ("metric", "kinds-text"): "has 'classification' for its `kinds`, which should be a tuple of texts",
    ("metric", "better-text"): "has 'yes' for its `higher_is_better`, which should be True or False",
    ("executor", "parallel-text"): "has 'yes' for its `parallel`, which should be True or False",
    (
        "observer",
        "tells-none",
    ): "has none of the methods of an observer: run_begins, job_begins, job_ends, run_ends,",
    ("observer", "note-text"): "has 'a text' for its `note`, which should be a method",
    ("executor", "parallel-absent"): "can't tell its `parallel`: AttributeError: no such thing",
}
RANGES = ("space-number", "space-upside-down", "space-log-of-zero", "space-misspelled", "space-no-choice")


@pytest.mark.parametrize(("kind", "name"), SENTENCES)
def test_what_a_plugin_says_wrongly_of_itself_is_one_sentence(kind: PluginKind, name: str):
    with pytest.raises(PluginError) as caught:
        Facts(fixture("misdeclared")).check(kind, Ref(name))
    assert str(caught.value).startswith(f"the {kind} {name!r} {SENTENCES[kind, name]}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", RANGES)
def test_a_range_that_is_none_is_one_sentence(name: str):
    with pytest.raises(PluginError, match="for 'lr' in its `space`, which should be a table with low < high, or with"):
        Facts(fixture("misdeclared")).check("scheme", Ref(name))


def test_every_mistake_of_the_fixture_is_tried():
    known = {*SENTENCES, *(("scheme", name) for name in RANGES)}
    registry = fixture("misdeclared")
    assert only_info(registry).status == "ok"
    kinds: list[PluginKind] = ["scheme", "fusion", "backbone", "metric", "executor", "observer"]
    assert {(kind, one.entry.name) for kind in kinds for one in registry.entries(kind)} == known


@pytest.mark.parametrize(("key", "kind"), [("schemes", "scheme"), ("fusions", "fusion"), ("backbones", "backbone")])
def test_a_suite_that_names_it_is_told_so_with_the_key(plugins: ModuleType, key: str, kind: PluginKind):
    registry = Registry([plugins, str(PLUGINS / "misdeclared.py")], entry_points=False)
    name = next(name for known, name in SENTENCES if known == kind)
    said = complaint({**LEAST, key: [name]}, registry)
    assert said == f"{key}[0]: the {kind} {name!r} {SENTENCES[kind, name]}"


NEEDY = {"chain", "frozen-head", "from-file", "search"}
"""Those whose parameters have no defaults."""


def test_every_built_in_scheme_says_what_it_may():
    facts = Facts(Registry())
    ready = [one for one in facts.registry.entries("scheme") if not one.missing and one.entry.name not in NEEDY]
    for one in ready:
        facts.check("scheme", Ref(one.entry.name))
    assert len(ready) > 30


def test_a_version_that_is_no_text_is_told_and_the_hooks_still_work():
    hook = hookimpl(lambda: [Entry("thaw", "good:Thaw")])
    registry = Registry([module_with("numbered", __version__=(1, 2), finefuse_schemes=hook)], entry_points=False)
    assert only_info(registry).reason == "module has (1, 2) for its `__version__`, which should be a text"
    assert [one.entry.name for one in registry.entries("scheme")] == ["thaw"]


def test_by_itself_the_sentence_begins_with_the_class(fixture_module: Callable[[str], ModuleType]):
    wrong = fixture_module("plugins/misdeclared").CLASSES["fusion", "alone-text"]
    with pytest.raises(DeclarationError, match=r"^AloneText has 'yes' for its `alone`, which should be True or False$"):
        capabilities.alone(wrong())


def test_what_is_not_said_has_a_default():
    class Silent:
        pass

    one = Silent()
    assert capabilities.prepares(one) is capabilities.searcher(one) is capabilities.head_outputs(one) is None
    assert capabilities.source_needs(one) == capabilities.except_for(one) == capabilities.kinds(one) == ()
    assert not capabilities.alone(one)
    assert not capabilities.keeps_head(one)


# ------------------------------------------------------------------------------------------------- in one module only

SYSTEM = {
    ("sched_getaffinity", "not every system has it"),
    ("MAP_NORESERVE", "not every system has it"),
    ("setsid", "not every system has it"),
    ("shared", "only Linux tells"),
    ("checkpoint_filter_fn", "some modules of timm"),
    ("encoder", "transformers"),
    ("transformer", "transformers"),
    ("layer", "transformers"),
    ("embeddings", "transformers"),
    ("embeddings_project", "transformers"),
    ("position_embeddings", "transformers"),
    ("image_size", "torchvision's vision transformer"),
    ("n_frames", "pictures of Pillow whose format has frames"),
    ("reset_parameters", "layers of torch"),
    ("_reset_parameters", "layers of torch"),
    ("padding_mode", "layers of torch"),
    ("dilation", "layers of torch"),
    ("groups", "layers of torch"),
    ("weight", "layers of torch"),
    ("bias", "layers of torch"),
    ("in_features", "layers of torch"),
}
"""What is asked of Python, the system and other libraries, and never of a plugin."""


def guesses(file: Path) -> list[str]:
    """Attributes by literal name that a module looks for without knowing that they are there."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        guess = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3)
        name = node.args[1].value if guess and isinstance(node.args[1], ast.Constant) else None
        if isinstance(name, str) and not re.fullmatch("__.*__", name):
            found.append(name)
    return found


def test_nothing_else_looks_for_what_a_plugin_may_have():
    known = {name for name, _ in SYSTEM}
    files = [*(ROOT / "benchmark/finefuse").rglob("*.py"), *(ROOT / "plugins/finefuse_zoo").rglob("*.py")]
    asking = Path(inspect.getsourcefile(capabilities) or "")
    found = {(file.name, name) for file in files if file != asking for name in guesses(file)}
    assert {one for one in found if one[1] not in known} == set()
    assert {name for _, name in found} == known
    assert len(files) > 200


def test_the_guess_is_seen_where_there_is_one(tmp_path: Path):
    file = tmp_path / "guessing.py"
    file.write_text("x = getattr(a, 'alone', False)\ny = hasattr(a, 'prepare')\nz = getattr(a, '__doc__', '')\n")
    assert guesses(file) == ["alone", "prepare"]
