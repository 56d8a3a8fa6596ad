"""What every built-in plugin promises: the rules for authors, the protocols, cheap reading, small files."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import torch

import finefuse_zoo
from finefuse import Classification, Ref, Regression, testing
from finefuse.discovery.registry import Provided, Registry
from finefuse.engine.randomness import seeded
from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.nets import Net
from finefuse.testing.report import conform
from finefuse.types import Budget, Crew, Data, PluginKind, Recipe, Splits, Task

REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)
ZOO = Path(finefuse_zoo.__file__).parent
EXAMPLES: dict[str, dict[str, Any]] = {
    "chain": {"of": ["linear-probe", "full"], "plus": ["l2-sp"]},
    "frozen-head": {"of": "full"},
    "search": {"of": "head-sgd", "trials": 2},
    "from-file": {"file": __file__},
}
"""Parameters of strategies that have no defaults for all of them."""
OFFLINE: dict[str, dict[str, Any]] = {name: {"weights": "none"} for name in ("torchvision", "timm")}
"""Parameters of backbones that would download their weights."""
PICTURE_FILES: dict[str, dict[str, Any]] = {}
"""Parameters of data sets that read files, filled in when the files are made."""
ENCODERS: dict[str, dict[str, Any]] = {}
"""Parameters of backbones that read files, filled in when the files are made."""
PICTURES = Classification(4, "image", (3, 32, 32))
TEXTS = Classification(4, "text", (12,))
TASKS = {
    "mlp-table": Regression(1, "tabular", (5,)),
    **dict.fromkeys(("text-cnn", "text-transformer", "hf-text"), TEXTS),
}
"""What backbones are tried on that are not pretrained by the suite; the others get pictures."""
RULES_NOT_KEPT: dict[str, dict[str, str]] = {
    "search": dict.fromkeys(testing.SCHEME_CHECKS, "the core gives it the trials, which these rules can't"),
    "from-file": dict.fromkeys(testing.SCHEME_CHECKS, "there is no file of weights for the small tasks"),
    "text-head": dict.fromkeys(testing.SCHEME_CHECKS, "networks of the small tasks have no tower for text"),
    "as-is": dict.fromkeys(testing.SCHEME_CHECKS, "the source head of the small tasks has other outputs"),
}
"""Rules of `finefuse.testing` that a built-in strategy doesn't keep, and why that is right."""
COUNTS = "every-parameter-counts"
"""The rule that takes longest, tried apart from the others."""
IDLE = {
    "greedy-ensemble": "the small members agree so much that a few picks decide",
    "greedy-soup": "no soup of the small members is better than the best of them",
    "recalibrate": "one task has one set of statistics",
    "repair": "the small members are in one order already",
    "task-gate": "there is one task, and nothing to route between",
}
"""Strategies with a parameter that changes nothing on the small tasks, and why that is right."""
COMPOSERS = {"chain.py", "search.py"}
"""Not methods but ways to put methods together; they may be longer."""
CODE_LINES = 45
"""Of a file that holds one strategy or family: neither blank nor import nor docstring."""


def provided(*kinds: PluginKind) -> list[Provided[Any]]:
    return [one for kind in kinds or get_args(PluginKind) for one in REGISTRY.entries(kind)]


def each(*kinds: PluginKind) -> pytest.MarkDecorator:
    found = provided(*kinds)
    return pytest.mark.parametrize("one", found, ids=[f"{one.kind}:{one.entry.name}" for one in found])


def given(one: Provided[Any]) -> Ref:
    """What is tried: the plugin with default parameters, or those that it can't do without."""
    examples = {"dataset": PICTURE_FILES, "backbone": ENCODERS}.get(one.kind, EXAMPLES)
    return Ref.of(one.entry.name, **examples.get(one.entry.name, {}))


def build(one: Provided[Any]) -> Any:
    """An instance; what needs a package that isn't installed is passed over."""
    if one.missing:
        pytest.skip(f"{one.entry.name} {one.missing}")
    return REGISTRY.build(one.kind, given(one))


@pytest.fixture(scope="module", autouse=True)
def _picture_files(tmp_path_factory: pytest.TempPathFactory, fixture_module: Callable[[str], Any]) -> Iterator[None]:
    """Small data sets on disk, and a cache folder of their own."""
    folder, images = tmp_path_factory.mktemp("pictures"), fixture_module("images")
    trees = {part: str(images.tree(folder / part, "abc", 8, seed=n)) for n, part in enumerate(("train", "test"))}
    PICTURE_FILES["folder"] = {**trees, "size": 8}
    PICTURE_FILES["torchvision"] = {"name": "EuroSAT", "root": str(images.eurosat(folder, 8))}
    PICTURE_FILES["huggingface"] = {"classes": 3, "path": trees["train"], "size": 8}
    rows = [f"{'abc'[n % 3]},text number {n}" for n in range(60)]
    (folder / "texts.csv").write_text("kind,said\n" + "\n".join(rows) + "\n")
    files = [(file, part) for part, tree in trees.items() for file in sorted(Path(tree).rglob("*.*"))]
    pictures = [f"{file},{file.parent.name},{part}" for file, part in files]
    (folder / "pictures.csv").write_text("path,label,split\n" + "\n".join(pictures) + "\n")
    PICTURE_FILES["manifest"] = {"file": str(folder / "pictures.csv"), "size": 8}
    PICTURE_FILES["csv"] = {"train": str(folder / "texts.csv"), "target": "kind", "text": "said", "max_tokens": 5}
    ENCODERS["hf-text"] = {"path": str(tiny_encoder(folder / "encoder"))}
    ENCODERS["clip"] = {"path": str(tiny_clip(folder / "clip"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINEFUSE_CACHE", str(folder / "cache"))
        patch.setenv("HF_HOME", str(folder / "hf"))
        yield


def tiny_encoder(folder: Path) -> Path:
    """A folder with a BERT of one layer, if transformers is installed."""
    if find_spec("transformers") is not None:
        from transformers import BertConfig, BertModel

        with seeded(0):
            BertModel(
                BertConfig(
                    vocab_size=40, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
                )
            ).save_pretrained(folder)
    return folder


def tiny_clip(folder: Path) -> Path:
    """A folder with a CLIP of few parameters, if transformers is installed."""
    if find_spec("transformers") is not None:
        from helpers.clips import clip

        clip(folder)
    return folder


# ------------------------------------------------------------------------------------------------- all


def test_every_plugin_says_what_it_is() -> None:
    for one in provided():
        cls = REGISTRY.target(one.kind, one.entry.name)
        doc = inspect.getdoc(cls) or ""
        assert 0 < len(one.entry.summary) <= 60, one.entry
        assert not one.entry.summary.endswith("."), one.entry
        assert len(doc.split()) >= 3, f"{cls.__qualname__} needs a docstring that says what it does"
        assert doc.splitlines()[0].endswith("."), f"{cls.__qualname__}: the first line of a docstring is a sentence"
        assert not doc.startswith(f"{cls.__name__}("), f"{cls.__qualname__}: dataclasses write this where there is none"


@each()
def test_its_parameters_can_be_shown_and_keyed(one: Provided[Any]) -> None:
    instance = build(one)
    assert instance == build(one)
    resolved = REGISTRY.resolved(one.kind, given(one))
    assert json.loads(json.dumps(resolved, allow_nan=False)) == resolved
    assert {parameter.name for parameter in REGISTRY.parameters(one.kind, one.entry.name)} == set(resolved)


READ = """
import sys
from finefuse import Ref
from finefuse.discovery.registry import Registry
from finefuse.types import PluginKind
from typing import get_args
registry = Registry(("finefuse_zoo.hooks",), entry_points=False)
heavy = {"torch._C", "torchvision", "torchmetrics", "sklearn", "scipy", "pandas", "peft", "optuna", "PIL"}
for kind in get_args(PluginKind):
    for one in registry.entries(kind):
        registry.target(kind, one.entry.name)
        registry.parameters(kind, one.entry.name)
        loaded = heavy & set(sys.modules)
        assert not loaded, f"{kind} {one.entry.name} imports {loaded}"
        needed = [p for p in registry.parameters(kind, one.entry.name) if p.default == "required"]
        needed = needed or one.entry.name in ("clip", "hf-text")  # a path, or a name on the hub
        if kind in ("dataset", "backbone") and not needed:
            instance = registry.build(kind, Ref.of(one.entry.name))
            assert isinstance(instance.fingerprint(), str)
            instance.task if kind == "dataset" else (instance.source, instance.budget())
            loaded = heavy & set(sys.modules)
            assert not loaded, f"asking {kind} {one.entry.name} imports {loaded}"
"""


def test_reading_and_asking_for_plans_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def code_lines(file: Path) -> int:
    """How many lines of a file are neither blank nor comment nor import nor docstring."""
    text = file.read_text(encoding="utf-8")
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom) or (isinstance(node, ast.Expr) and _is_text(node.value)):
            skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") for n, line in lines if n not in skipped)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@pytest.mark.parametrize("folder", ["schemes", "fusions", "metrics", "reporters"])
def test_a_strategy_is_small_and_stays_so(folder: str) -> None:
    sizes = {file.name: code_lines(file) for file in (ZOO / folder).glob("[a-z]*.py") if file.name not in COMPOSERS}
    assert {name: size for name, size in sizes.items() if size > CODE_LINES} == {}
    assert folder == "reporters" or sum(sizes.values()) / len(sizes) < CODE_LINES / 2


# ------------------------------------------------------------------------------------------------- schemes and fusions


@each("scheme")
def test_a_scheme_keeps_the_rules_for_authors(one: Provided[Any]) -> None:
    testing.check_scheme(build(one), skip={*RULES_NOT_KEPT.get(one.entry.name, {}), COUNTS})


@each("fusion")
def test_a_fusion_keeps_the_rules_for_authors(one: Provided[Any]) -> None:
    testing.check_fusion(build(one), skip={*RULES_NOT_KEPT.get(one.entry.name, {}), COUNTS})


@pytest.mark.slow
@each("scheme", "fusion")
def test_every_parameter_of_a_strategy_counts(one: Provided[Any]) -> None:
    if one.entry.name in RULES_NOT_KEPT:
        pytest.skip(RULES_NOT_KEPT[one.entry.name][COUNTS])
    checks = testing.CHECKS[one.kind]
    why = {COUNTS: IDLE[one.entry.name]} if one.entry.name in IDLE else {}
    conform(build(one), {COUNTS: checks[COUNTS]}, expected=why)


def test_every_exception_names_a_rule_and_a_strategy_that_exist() -> None:
    known = {one.entry.name for one in provided("scheme", "fusion")}
    assert RULES_NOT_KEPT.keys() <= known
    rules = {*testing.SCHEME_CHECKS, *testing.FUSION_CHECKS}
    assert all(set(reasons) <= rules and all(reasons.values()) for reasons in RULES_NOT_KEPT.values())


# ------------------------------------------------------------------------------------------------- data and networks


@each("dataset")
def test_a_data_set_makes_disjoint_splits_that_depend_on_the_seed_alone(one: Provided[Any]) -> None:
    dataset = build(one)
    with untouched():
        splits = dataset.splits(3)
    torch.manual_seed(99)
    again, other = dataset.splits(3), dataset.splits(4)
    assert same(splits.train, again.train)
    assert same(splits.val, again.val)
    assert same(splits.test, again.test)
    assert not same(splits.train, other.train)
    assert dataset.fingerprint() == build(one).fingerprint() != ""
    parts = [splits.train, splits.val, splits.test]
    rows = [{x.numpy().tobytes() for x in part.x} for part in parts]
    assert len(rows[0] | rows[1] | rows[2]) == sum(map(len, rows))
    assert isinstance(splits, Splits)
    assert splits.task == dataset.task
    for part in parts:
        fits(part, dataset.task)


def fits(part: Data, task: Task) -> None:
    """Inputs and targets have the shapes and types of the task."""
    assert len(part) > 0
    assert part.x.shape == (len(part), *task.input_shape)
    assert part.x.isfinite().all()
    if task.kind == "classification":
        assert part.y.dtype == torch.int64
        assert set(part.y.tolist()) == set(range(task.outputs))
    else:
        assert part.y.dtype == torch.float32
        assert part.y.shape == (len(part), task.outputs)


@each("backbone")
def test_a_backbone_builds_a_net_for_its_source_and_for_its_targets(one: Provided[Any]) -> None:
    backbone = replace(build(one), **OFFLINE.get(one.entry.name, {}))
    assert isinstance(backbone.fingerprint(), str)
    assert isinstance(backbone.budget(), Budget)
    tried = TASKS.get(one.entry.name, PICTURES)
    first = tried if backbone.source is None else REGISTRY.build("dataset", backbone.source).task
    for task in (first, replace(first, outputs=first.outputs + 2)):
        torch.manual_seed(0)
        net, x = backbone.build(task).eval(), torch.randn(5, *task.input_shape)
        x = torch.randint(2, 40, x.shape) if task.modality == "text" else x
        assert isinstance(net, Net)
        assert isinstance(net.recipe, Recipe)
        with torch.no_grad():
            features, outputs = net.features(x), net(x)
            assert outputs.shape == (5, task.outputs)
            assert torch.equal(net.head(features), outputs)


# ------------------------------------------------------------------------------------------------- metrics and the rest


@each("metric")
def test_a_metric_is_one_number_that_only_depends_on_its_arguments(one: Provided[Any]) -> None:
    metric = build(one)
    assert set(metric.kinds) <= {"classification", "regression"}
    assert metric.kinds
    assert isinstance(metric.higher_is_better, bool)
    for kind in metric.kinds:
        outputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
        good = torch.arange(40) % 3 if kind == "classification" else outputs + 0.01
        sharp = 9.0 * torch.nn.functional.one_hot(good, 3) if kind == "classification" else outputs
        before = outputs.clone()
        with untouched():
            bad_score, good_score = metric.score(outputs.roll(1, 0), good), metric.score(sharp, good)
        assert type(bad_score) is float
        assert metric.score(outputs.roll(1, 0), good) == bad_score
        assert (good_score > bad_score) == metric.higher_is_better
        assert torch.equal(outputs, before)


@pytest.fixture
def board(fixture_module: Callable[[str], Any]) -> Any:
    builder = fixture_module("records_builder")
    return make_leaderboard("tiny", [builder.row(label=label, seed=s) for label in ("full", "lp") for s in (0, 1)])


@each("reporter")
def test_a_reporter_writes_what_it_names_and_leaves_the_board_alone(
    one: Provided[Any], board: Any, tmp_path: Path
) -> None:
    before = board.lines.copy(deep=True)
    paths = [Path(path) for path in build(one).write(board, tmp_path)]
    assert paths
    assert sorted(paths) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert all(path.read_bytes().strip() for path in paths)
    pd.testing.assert_frame_equal(board.lines, before)


@each("executor")
def test_an_executor_carries_out_calls_and_stops_twice(one: Provided[Any]) -> None:
    if one.entry.name == "ray":
        pytest.skip("it needs a cluster: tests/unit/test_ray.py")
    executor = build(one)
    assert isinstance(executor.parallel, bool)
    executor.start(Crew(1, 1, 0))
    try:
        futures = [executor.submit(json.loads, f'{{"number": {number}}}', 60.0) for number in range(3)]
        assert all(isinstance(future, Future) for future in futures)
        assert [future.result() for future in futures] == [{"number": number} for number in range(3)]
    finally:
        executor.stop()
        executor.stop()


@contextmanager
def untouched() -> Iterator[None]:
    """Fails if torch's global generator was used inside."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())


def same(one: Data, two: Data) -> bool:
    return one.x.shape == two.x.shape and torch.equal(one.x, two.x) and torch.equal(one.y, two.y)
