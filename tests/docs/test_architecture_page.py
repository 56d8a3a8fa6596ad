"""ARCHITECTURE.md lists the core's modules, all of them, and the layers that import-linter holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
CORE = ROOT / "benchmark" / "finefuse"


def test_every_module_of_the_core_is_listed_and_no_other() -> None:
    tree = PAGE.split("## The house")[1].split("```")[1].split("plugins/finefuse_zoo/")[0]
    listed = re.findall(r"\b\w+\.py\b", tree)
    rooms = {path.parent for path in CORE.rglob("*.py")} - {CORE / name for name in ("cli", "testing", "types")}
    files = [path.name for room in rooms for path in room.glob("*.py") if room == CORE or path.name != "__init__.py"]
    assert sorted(listed) == sorted(name for name in files if name != "__main__.py")
    assert {path.name for path in CORE.iterdir() if (path / "__init__.py").exists()} <= set(re.findall(r"(\w+)/", tree))


def test_the_kinds_of_the_zoo_are_listed() -> None:
    zoo = {path.name for path in (ROOT / "plugins" / "finefuse_zoo").iterdir() if (path / "__init__.py").exists()}
    assert zoo <= set(re.findall(r"(\w+)/", PAGE))


def test_the_layers_are_those_that_are_held() -> None:
    text = re.sub(r"\s", "", PAGE.split("Who may import whom")[1].split("```")[1].split("the core never")[0])
    told = [[set(layer.split("|")) for layer in part.split(">")] for part in text.split("intheengine:")]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert told == [[{name.split(".")[-1].strip() for name in layer.split("|")} for layer in each] for each in layers]


def test_what_plugins_may_import_is_all_that_the_contract_does_not_forbid() -> None:
    page = (ROOT / "docs" / "plugin.md").read_text(encoding="utf-8")
    table = page.split("## What a plugin may import")[1].split("\n## ")[0]
    public = set(re.findall(r"^\| `(finefuse[.\w]*)`", table, flags=re.MULTILINE))
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (forbidden,) = (set(one["forbidden_modules"]) for one in contracts if one.get("source_modules") == ["finefuse_zoo"])
    rooms = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    modules = {f"finefuse.{name}" for name in rooms if not name.startswith("__")}
    assert {name for name in forbidden if name.count(".") == 1} == modules - public
    assert public <= modules | {"finefuse"}
    for room in ("types", "matching"):
        inside = {f"finefuse.{room}.{path.stem}" for path in (CORE / room).glob("*.py")}
        assert inside - forbidden == {f"finefuse.{room}.__init__"}
