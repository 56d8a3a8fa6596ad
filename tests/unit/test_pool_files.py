"""Pools of files: the same jobs and keys as schemes that read them, and one sentence about what can't be meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from finefuse import api, files
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import SuiteError
from finefuse.types import Job
from finefuse_zoo.backbones import _weights
from helpers.runs import FIXTURES

TINY = str(FIXTURES / "plugins" / "tiny.py")
FEW, MANY = {"use": "points", "as": "few"}, {"use": "points", "outputs": 4, "centres": 7, "as": "many"}
SMALL, OTHER = {"use": "tiny", "pretrained": False}, {"use": "tiny", "as": "other"}
SUITE: dict[str, Any] = {"name": "given", "datasets": [FEW], "backbones": [SMALL], "fusions": ["soup"], "latency": []}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are never read here, only looked at."""
    made = tmp_path_factory.mktemp("files")
    for i, name in enumerate(("a", "b", "b-head", "base", "spa ce", "c#")):
        save_file({"x": torch.full((2,), float(i))}, made / f"{name}.safetensors")
    return made


def suite(folder: Path, pool: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A suite with one pool, in which paths are relative to a folder."""
    placed = {"files": [placed_in(folder, one) for one in pool.get("files", ())]} if "files" in pool else {}
    base = {"base": str(folder / pool["base"])} if "base" in pool else {}
    return SUITE | {"pools": {"mine": pool | placed | base}} | changes


def placed_in(folder: Path, one: Any) -> Any:
    if not isinstance(one, dict):
        return str(folder / one) if isinstance(one, str) else one
    return {key: str(folder / value) if key in ("file", "head", "base") else value for key, value in one.items()}


def jobs(what: Any) -> list[Job]:
    return list(api.plan(what, device="cpu", plugins=TINY).jobs)


def from_file(folder: Path, label: str, **more: Any) -> dict[str, Any]:
    base = str(folder / "base.safetensors")
    return {"use": "from-file", "as": label, "file": str(folder / f"{label}.safetensors"), "base": base, **more}


def test_of_one_task_both_forms_give_the_same_jobs(folder: Path) -> None:
    given = ["a.safetensors", {"file": "b.safetensors", "head": "b-head.safetensors", "licence": "MIT"}]
    sugar = suite(folder, {"files": given, "base": "base.safetensors"})
    schemes = [
        from_file(folder, "a"),
        from_file(folder, "b", head=str(folder / "b-head.safetensors"), licence="MIT"),
    ]
    plain = SUITE | {"schemes": schemes, "pools": {"mine": {"of": ["a", "b"]}}}
    assert jobs(sugar) == jobs(plain)


def test_of_several_tasks_and_backbones_too(folder: Path) -> None:
    both = {"datasets": [FEW, MANY], "backbones": [SMALL, OTHER]}
    given = [{"file": "a.safetensors", "task": "few"}, {"file": "b.safetensors", "task": "many"}]
    pool = {"of": ["full"], "files": given, "base": "base.safetensors", "backbone": "other"}
    sugar = suite(folder, pool, **both, schemes=["full"])
    a, b = (
        from_file(folder, name, datasets=[task], backbones=["other"]) for name, task in (("a", "few"), ("b", "many"))
    )
    pools = {"mine": {"of": ["full", "a", "b"], "datasets": ["few", "many"]}}
    plain = SUITE | both | {"schemes": ["full", a, b], "pools": pools}
    assert jobs(sugar) == jobs(plain)
    fused = {str(job.backbone): [name for name, _ in job.fused] for job in jobs(sugar) if job.kind == "fuse"}
    assert fused["other"] == ["full on few", "a on few", "full on many", "b on many"]
    assert [name for name in fused if name != "other"] == ["tiny(pretrained=false)"]


def test_a_file_may_be_in_several_pools(folder: Path) -> None:
    paths = [str(folder / name) for name in ("a.safetensors", "b.safetensors", "base.safetensors")]
    pools = {"two": {"files": paths[:2]}, "three": {"files": paths}}
    planned = jobs(SUITE | {"pools": pools})
    assert [job.label for job in planned if job.kind == "tune"] == ["a", "b", "base"]
    assert [len(job.fused) for job in planned if job.kind == "fuse"] == [2, 3]


def test_members_across_backbones(folder: Path) -> None:
    pool = {
        "files": [
            {"file": "a.safetensors", "backbone": "other"},
            {"file": "b.safetensors", "backbone": "tiny(pretrained=false)"},
        ],
        "backbones": "*",
    }
    planned = jobs(suite(folder, pool, backbones=[SMALL, OTHER], fusions=["mean-probs"]))
    (fused,) = [job for job in planned if job.kind == "fuse"]
    assert [name for name, _ in fused.fused] == ["b on tiny(pretrained=false)", "a on other"]


def test_paths_are_relative_to_the_suite(folder: Path, tmp_path: Path) -> None:
    text = f"""
name = "given"
datasets = ["points"]
backbones = [{{ use = "tiny", pretrained = false }}]
[pools]
mine = {{ files = ["../{folder.name}/a.safetensors"], base = "../{folder.name}/base.safetensors" }}
"""
    beside = folder.parent / "elsewhere"
    beside.mkdir(exist_ok=True)
    (beside / "s.toml").write_text(text)
    (line,) = load_suite(beside / "s.toml", Registry([TINY])).schemes
    assert Path(line.ref.kwargs["file"]).samefile(folder / "a.safetensors")
    assert Path(line.ref.kwargs["base"]).samefile(folder / "base.safetensors")


TWO: dict[str, Any] = {"datasets": [FEW, MANY]}
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nothing": ({}, {}, "pools.mine: the key 'of' is missing"),
    "base alone": ({"of": ["full"], "base": "a"}, {"schemes": ["full"]}, "pools.mine.base: is for pools with `files`"),
    "no file": ({"files": ["no.pt"]}, {}, "pools.mine.files[0]: scheme 'from-file': the weights file "),
    "none": ({"files": []}, {}, "pools.mine.files: must not be empty"),
    "a number": ({"files": [3]}, {}, "pools.mine.files[0]"),
    "another key": (
        {"files": [{"file": "a.safetensors", "license": "MIT"}]},
        {},
        "pools.mine.files[0].license: scheme 'from-file' has no parameter 'license'; did you mean 'licence'?",
    ),
    "a name": (
        {"files": ["c#.safetensors"]},
        {},
        'pools.mine.files[0]: "c#" can\'t be its name in tables; give it one',
    ),
    "twice": ({"files": ["a.safetensors", "a.safetensors"]}, {}, "pools.mine.files[1]: a is given twice"),
    "two things": (
        {"files": [{"file": "a.safetensors", "as": "full"}]},
        {"schemes": ["full"]},
        "pools.mine.files[0]: full is something else already; give one another name with `as`",
    ),
    "an unknown task": (
        {"files": [{"file": "a.safetensors", "task": "fw"}]},
        TWO,
        "pools.mine.files[0].task: no data set of this suite is called \"fw\"; did you mean 'few'?",
    ),
    "two backbones": (
        {"files": ["a.safetensors"], "backbone": "tiny"},
        {"backbones": [SMALL, {"use": "tiny", "as": "large"}]},
        "pools.mine.backbone: tiny means 2 backbones: tiny(pretrained=false), large",
    ),
    "no task": (
        {"files": [{"file": "a.safetensors", "task": "few"}, "b.safetensors"]},
        TWO,
        "pools.mine.files[1]: must say its `task`, one of few, many",
    ),
    "no task across": (
        {"files": ["a.safetensors", "b.safetensors"], "datasets": ["few", "many"]},
        TWO,
        "pools.mine.files[0]: must say its `task`, one of few, many",
    ),
    "a task of another pool": (
        {"files": [{"file": "a.safetensors", "as": f"of {task}", "task": task} for task in ("a", "b", "c")]}
        | {"datasets": ["a", "b"]},
        {"datasets": [FEW | {"as": "a"}, MANY | {"as": "b"}, MANY | {"centres": 9, "as": "c"}]},
        "pools.mine.files[2].task: c is none of the pool's data sets: a, b",
    ),
    "no backbone": (
        {"files": ["a.safetensors"]},
        {"backbones": [SMALL, OTHER]},
        "pools.mine: must say with `backbone` which its files are read into: tiny(pretrained=false), other",
    ),
    "no member": (
        {"of": ["full"], "files": [{"file": "a.safetensors", "task": "few"}], "datasets": ["few", "many"]},
        {**TWO, "schemes": [{"use": "full", "datasets": ["few"]}]},
        "pools.mine.of: has no scheme that is for many",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_can_not_be_meant_is_told(folder: Path, case: str) -> None:
    pool, changes, sentence = WRONG[case]
    with pytest.raises(SuiteError) as caught:
        load_suite(suite(folder, pool, **changes), Registry([TINY]))
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("kind", ["fusions", "metrics"])
def test_only_schemes_are_for_some_backbones(kind: str) -> None:
    item = {"fusions": "soup", "metrics": "accuracy"}[kind]
    with pytest.raises(
        SuiteError, match=rf"^{kind}\[0\].backbones: is for schemes, which may be for some of the backbones"
    ):
        load_suite(SUITE | {"schemes": ["full"], kind: [{"use": item, "backbones": ["tiny"]}]}, Registry([TINY]))


@pytest.mark.parametrize("digest", [files.file_digest, _weights.digest_of])
def test_a_file_that_is_replaced_with_its_old_time_is_noticed(tmp_path: Path, digest: Any) -> None:
    file, long_ago = tmp_path / "a.safetensors", 1_000_000_000
    file.write_bytes(b"one")
    os.utime(file, (long_ago, long_ago))
    before = digest(file)
    file.write_bytes(b"two")
    os.utime(file, (long_ago, long_ago))
    assert digest(file) != before
