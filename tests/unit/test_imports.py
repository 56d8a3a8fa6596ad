from __future__ import annotations

import importlib
import importlib.util
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import make_dataclass
from pathlib import Path
from types import ModuleType

import pytest

from finefuse.discovery.imports import Import, imports_of, source_digests
from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError

Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    """Writes files below a folder that is on the module path."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
        importlib.invalidate_caches()
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        if str(vars(sys.modules[name]).get("__file__")).startswith(str(tmp_path)):
            del sys.modules[name]


CLASS = "class Scheme: pass\n"


def rests_on(module: str) -> set[str]:
    return set(source_digests(importlib.import_module(module).Scheme))


@pytest.mark.parametrize(
    ("statement", "files"),
    [
        ("import pkg.a.leaf", {"pkg/__init__.py", "pkg/a/__init__.py", "pkg/a/leaf.py"}),
        ("import pkg.a.leaf as leaf", {"pkg/__init__.py", "pkg/a/__init__.py", "pkg/a/leaf.py"}),
        ("from pkg.a import leaf", {"pkg/a/leaf.py"}),
        ("from pkg.a import leaf as other", {"pkg/a/leaf.py"}),
        ("from pkg.a.leaf import VALUE", {"pkg/a/leaf.py"}),
        ("from pkg.a import CONSTANT", {"pkg/a/__init__.py"}),
        ("from pkg.a import *", {"pkg/a/__init__.py"}),
        ("from . import sibling", {"pkg/schemes/sibling.py"}),
        ("from .sibling import VALUE", {"pkg/schemes/sibling.py"}),
        ("from . import HERE", {"pkg/schemes/__init__.py"}),
        ("from .. import TOP", {"pkg/__init__.py"}),
        ("from ..a import leaf, CONSTANT", {"pkg/a/leaf.py", "pkg/a/__init__.py"}),
        ("from ..a.leaf import VALUE", {"pkg/a/leaf.py"}),
        ("def f():\n    from .sibling import VALUE\n    return VALUE", {"pkg/schemes/sibling.py"}),
        (
            "class C:\n    def f(self):\n        import pkg.a.leaf",
            {"pkg/__init__.py", "pkg/a/__init__.py", "pkg/a/leaf.py"},
        ),
        ("try:\n    from . import sibling\nexcept ImportError:\n    pass", {"pkg/schemes/sibling.py"}),
        ("import os, json\nfrom finefuse.types import Ref\nimport finefuse", set()),
        ("from .namespace.deep import VALUE", {"pkg/schemes/namespace/deep.py"}),
    ],
)
def test_every_form_of_import_is_followed(tree: Tree, statement: str, files: set[str]):
    tree(
        {
            "pkg/__init__.py": "TOP = 1",
            "pkg/a/__init__.py": "CONSTANT = 1",
            "pkg/a/leaf.py": "VALUE = 1",
            "pkg/a/unused.py": "",
            "pkg/schemes/__init__.py": "HERE = 1",
            "pkg/schemes/sibling.py": "VALUE = 2",
            "pkg/schemes/namespace/deep.py": "VALUE = 3",
            "pkg/schemes/mine.py": f"{statement}\n{CLASS}",
        }
    )
    assert rests_on("pkg.schemes.mine") - {"pkg/schemes/mine.py"} == files


def test_imports_are_followed_through_files_and_round_in_circles(tree: Tree):
    tree(
        {
            "ring/__init__.py": "",
            "ring/one.py": f"from . import two\n{CLASS}",
            "ring/two.py": "from .three import f",
            "ring/three.py": "def f():\n    from ring import one, three\n    return one, three",
        }
    )
    assert rests_on("ring.one") == {"ring/one.py", "ring/two.py", "ring/three.py"}


def test_an_edit_changes_only_the_digest_of_its_file(tree: Tree):
    files = {"edit/__init__.py": "", "edit/mine.py": f"from .help import f\n{CLASS}", "edit/help.py": "f = 1"}
    tree(files)
    before = source_digests(importlib.import_module("edit.mine").Scheme)
    tree({"edit/help.py": "f = 22"})
    after = source_digests(sys.modules["edit.mine"].Scheme)
    assert [name for name in before if before[name] != after[name]] == ["edit/help.py"]
    tree({"edit/help.py": "f = 1", "edit/unrelated.py": "g = 1"})
    assert source_digests(sys.modules["edit.mine"].Scheme) == before


def test_line_endings_do_not_matter(tree: Tree):
    folder = tree({"ends.py": CLASS * 2})
    before = source_digests(importlib.import_module("ends").Scheme)
    (folder / "ends.py").write_bytes((CLASS * 2).replace("\n", "\r\n").encode())
    assert source_digests(sys.modules["ends"].Scheme) == before


def test_nothing_is_imported_to_find_out(tree: Tree):
    tree(
        {
            "shy/__init__.py": "",
            "shy/mine.py": f"def f():\n    from . import loud\n{CLASS}",
            "shy/loud.py": "raise RuntimeError('imported')",
            "shy/wrong.py": "def (:",
        }
    )
    assert rests_on("shy.mine") == {"shy/mine.py", "shy/loud.py"}
    assert "shy.loud" not in sys.modules


def test_a_module_that_does_not_parse_still_counts(tree: Tree):
    tree(
        {
            "odd/__init__.py": "",
            "odd/mine.py": f"def f():\n    from . import wrong\n{CLASS}",
            "odd/wrong.py": "from . import mine, (",
        }
    )
    assert rests_on("odd.mine") == {"odd/mine.py", "odd/wrong.py"}


def test_a_package_in_one_file(tree: Tree):
    tree({"single/__init__.py": f"from .help import f\nimport single.more\n{CLASS}", "single/help.py": "f = 1"})
    (Path(sys.path[0]) / "single" / "more.py").write_text("")
    assert rests_on("single") == {"single/__init__.py", "single/help.py", "single/more.py"}


def test_digests_do_not_depend_on_where_the_package_lies(tree: Tree, tmp_path: Path):
    folder = tree({"moved/__init__.py": "", "moved/mine.py": CLASS})
    before = source_digests(importlib.import_module("moved.mine").Scheme)
    (folder / "moved").rename(folder / "aside")
    (folder / "deep").mkdir()
    (folder / "aside").rename(folder / "deep" / "moved")
    del sys.modules["moved"], sys.modules["moved.mine"]
    sys.path.insert(0, str(folder / "deep"))
    importlib.invalidate_caches()
    assert source_digests(importlib.import_module("moved.mine").Scheme) == before
    sys.path.remove(str(folder / "deep"))


# ------------------------------------------------------------------------------------------------------ loose files


def test_a_loose_file_rests_on_what_it_imports_from_its_folder(tree: Tree):
    plugin = """
        from dataclasses import dataclass
        from finefuse import Entry, hookimpl
        import torch
        import beside
        @dataclass(frozen=True)
        class Scheme:
            def tune(self, on):
                import bundle.part
        @hookimpl
        def finefuse_schemes():
            yield Entry("loose", Scheme)
    """
    folder = tree(
        {
            "loose.py": plugin,
            "beside.py": "import further",
            "further.py": "",
            "bundle/__init__.py": "",
            "bundle/part.py": "from . import other",
            "bundle/other.py": "",
            "bystander.py": "",
            "finefuse/__init__.py": "",
        }
    )
    registry = Registry([str(folder / "loose.py")], entry_points=False)
    found = source_digests(registry.target("scheme", "loose"))
    bundle = {"bundle/__init__.py", "bundle/part.py", "bundle/other.py"}
    assert set(found) == {"loose.py", "beside.py", "further.py", *bundle}


def test_a_single_installed_module_does_not_rest_on_its_neighbours(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    folder = tree({"site-packages/lone.py": f"import neighbour\n{CLASS}", "site-packages/neighbour.py": ""})
    monkeypatch.syspath_prepend(folder / "site-packages")
    assert rests_on("lone") == {"lone.py"}


def test_the_core_is_known_by_its_version_not_by_its_source():
    assert source_digests(FinefuseError) == {}


# --------------------------------------------------------------------------------------------- classes without a file


def test_a_class_without_a_file_is_known_by_its_source(monkeypatch: pytest.MonkeyPatch):
    module = ModuleType("a_notebook")
    monkeypatch.setitem(sys.modules, "a_notebook", module)
    sources = ["class Cell:\n    lr = 1\n", "class Cell:\n    lr = 2\n", "class Cell:\n    lr = 1\n"]
    found = []
    for source in sources:
        exec(source, vars(module))
        monkeypatch.setattr("inspect.getsource", lambda cls, text=source: text)
        found.append(source_digests(module.Cell))
    assert list(found[0]) == ["a_notebook.Cell"]
    assert found[0] == found[2] != found[1]


def test_a_class_without_any_source_never_repeats():
    def make() -> type:
        return make_dataclass("Made", ["lr"], namespace={"__module__": "nowhere_at_all"})

    one, other = make(), make()
    assert source_digests(one) == source_digests(one)
    assert source_digests(one) != source_digests(other)
    assert list(source_digests(one)) == ["nowhere_at_all.Made"]


def test_imports_of_lists_them():
    text = "import a.b, c\nfrom . import d\nfrom ..e import f as g, h\ndef i():\n    from j import *"
    assert imports_of(text) == (
        Import(0, "a.b"),
        Import(0, "c"),
        Import(1, "", ("d",)),
        Import(2, "e", ("f", "h")),
        Import(0, "j", ("*",)),
    )
    assert imports_of("def (:") == imports_of(b"\x00") == imports_of(b"\xff\xfe") == ()
