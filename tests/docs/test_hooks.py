"""The examples in the hooks' docstrings, which docs/hooks.md prints, are plugins that work."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from typing_extensions import is_protocol

import finefuse
from finefuse import hookspec, testing
from finefuse.discovery import capabilities, parameters
from finefuse.discovery.registry import Registry
from finefuse.nets import Net
from finefuse.types import Ref, Splits, optional

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")
HOOKS = {name: hook for name, hook in vars(hookspec).items() if name.startswith("finefuse_")}
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
EXAMPLES = {name: "\n".join(BLOCK.findall(inspect.getdoc(hook) or "")) for name, hook in HOOKS.items()}
PRELUDE = BLOCK.findall(PAGE)[0]


_SAID = re.split(r"^### `(\w+)`$", PAGE.split("## What a plugin may declare")[1], flags=re.MULTILINE)[1:]
OPTIONAL = dict(zip(_SAID[::2], map(BLOCK.findall, _SAID[1::2]), strict=True))
"""The examples of what a plugin may declare, by protocol."""
PROTOCOLS = [name for name, one in vars(optional).items() if is_protocol(one) and one.__module__ == optional.__name__]


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., str]:
    """Writes the examples of some hooks, or of all, as one plugin file."""

    def write(*names: str) -> str:
        file = tmp_path / "examples.py"
        file.write_text("\n\n".join([PRELUDE, *(EXAMPLES[name] for name in names or HOOKS)]))
        return str(file)

    return write


def built(door: str, kind: str, name: str) -> object:
    return Registry([door]).build(kind, Ref(name))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", HOOKS)
def test_each_example_is_a_sound_plugin_by_itself(plugin: Callable[..., str], name: str) -> None:
    door = plugin(name)
    (info,) = [info for info in Registry([door]).plugins() if info.name == door]
    assert (info.status, info.reason, info.hooks) == ("ok", "", (name,))


def test_the_dataset_has_every_class_in_every_part_and_a_seed(plugin: Callable[..., str]) -> None:
    blobs = built(plugin("finefuse_datasets"), "dataset", "blobs")
    splits: Splits = blobs.splits(1)  # type: ignore[attr-defined]
    for part in (splits.train, splits.val, splits.test):
        assert part.x.shape == (len(part), *splits.task.input_shape)
        assert set(part.y.tolist()) == set(range(splits.task.outputs))
    assert torch.equal(splits.train.x, blobs.splits(1).train.x)  # type: ignore[attr-defined]
    assert not torch.equal(splits.train.x, blobs.splits(2).train.x)  # type: ignore[attr-defined]


def test_the_backbone_builds_a_net_of_two_stages(plugin: Callable[..., str]) -> None:
    net = built(plugin("finefuse_backbones"), "backbone", "mlp").build(testing.POINTS)  # type: ignore[attr-defined]
    assert isinstance(net, Net)
    assert len(net.stages) == 2
    assert net(torch.zeros(5, 4)).shape == (5, 3)


def test_the_scheme_keeps_the_rules(plugin: Callable[..., str]) -> None:
    testing.check_scheme(built(plugin("finefuse_schemes"), "scheme", "thaw"))


def test_the_fusion_keeps_the_rules(plugin: Callable[..., str]) -> None:
    testing.check_fusion(built(plugin("finefuse_fusions"), "fusion", "loudest"))


def test_the_metric_counts_the_two_likeliest(plugin: Callable[..., str]) -> None:
    top = built(plugin("finefuse_metrics"), "metric", "top-2")
    outputs = torch.tensor([[3.0, 2.0, 1.0]]).expand(3, -1)
    assert top.score(outputs, torch.tensor([0, 1, 2])) == pytest.approx(2 / 3)  # type: ignore[attr-defined]


def test_every_protocol_of_what_a_plugin_may_have_has_a_heading_and_an_example() -> None:
    assert sorted(OPTIONAL) == sorted(PROTOCOLS)
    assert all(len(blocks) == 1 for blocks in OPTIONAL.values())


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_example_is_what_the_protocol_asks_for_and_is_sound(name: str) -> None:
    known = ModuleType(f"example_{name}")
    sys.modules[known.__name__] = known  # dataclasses look their module up
    exec(PRELUDE, vars(known))
    for earlier in list(OPTIONAL)[: list(OPTIONAL).index(name) + 1]:
        before = set(vars(known))
        exec(OPTIONAL[earlier][0], vars(known))
    if name == "Versioned":
        assert isinstance(known, optional.Versioned)
        return
    (cls,) = (vars(known)[one] for one in set(vars(known)) - before)
    by_method = {
        "fuse": "fusion",
        "build": "backbone",
        "splits": "dataset",
        "tune": "scheme",
        "room": "executor",
    }  # backbones tune too
    kind = next(kind for method, kind in by_method.items() if method in dir(cls))
    instance = parameters.make(cls, {"of": "full"} if "of" in cls.__annotations__ else {}, name)
    assert isinstance(instance, getattr(optional, name))
    capabilities.check(kind, instance)  # type: ignore[arg-type]
    if name in ("Prepares", "SaysSteps", "Searchable"):
        testing.check_scheme(instance)
    elif name in ("Alone", "Excepted", "ForKinds", "UsesLabels", "OwnLoop", "Follows"):
        testing.check_fusion(instance)


def test_all_examples_together_carry_out_a_suite(
    plugin: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "examples.toml").write_text(
        """
        name = "examples"
        seeds = [0, 1]
        budget = { epochs = 4 }
        datasets = [{ use = "blobs", spread = 0.5 }]
        backbones = [{ use = "mlp", width = 8 }]
        metrics = ["top-2", "accuracy"]
        schemes = ["thaw", "linear-probe"]
        fusions = ["loudest"]
        latency = [1]
        """
    )
    options = {"plugins": plugin(), "out": tmp_path / "out", "store": tmp_path / "store", "quiet": True, "workers": 1}
    diary = tmp_path / "diary.txt"
    result = finefuse.run("examples", executor="pool", observers={"use": "diary", "file": str(diary)}, **options)
    assert result.ok, [row["reason"] for row in result.rows]
    assert list(result.records["kind"].value_counts().sort_index().items()) == [
        ("fuse", 2),
        ("pool", 2),
        ("pretrain", 1),
        ("time", 3),
        ("tune", 4),
    ]
    lines = result.board.lines.set_index("strategy")
    assert (lines["test.top-2.mean"] >= lines["test.accuracy.mean"]).all()
    assert lines.loc["linear-probe", "test.accuracy.mean"] > 0.8
    assert "<table" in (tmp_path / "out" / "table.html").read_text()
    told = capsys.readouterr().out.splitlines()
    assert sorted(told) == sorted(f"{row['cell']} ok" for row in result.rows)
    lines = diary.read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"examples: {len(result.rows)} of {len(result.rows)} jobs to run"
    assert sorted(lines[1:-1]) == sorted(f"{row['cell']}{text}" for row in result.rows for text in (" begins", ": ok"))
    assert lines[-1] == f"{len(result.rows)} rows"
    again = finefuse.run("examples", **options)
    assert [row["key"] for row in again.rows] == [row["key"] for row in result.rows]


def test_the_imports_that_the_page_takes_for_granted_are_all_used() -> None:
    names = [alias.name for node in ast.walk(ast.parse(PRELUDE)) for alias in getattr(node, "names", ())]
    code = "\n".join([*EXAMPLES.values(), *(block for blocks in OPTIONAL.values() for block in blocks)])
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []
