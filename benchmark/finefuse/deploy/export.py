"""Writes what a row measured to a file that can be deployed without finefuse, with a model card beside it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from finefuse.deploy.all_tasks import Columns, Part, described, joined, parts_of, told
from finefuse.deploy.card import CardFacts, card
from finefuse.deploy.formats import AGREEMENT, Written, difference, write
from finefuse.deploy.usage import LISTED, Example, Usage
from finefuse.deploy.wanted import card_of
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Door
from finefuse.engine.measure.cost import parameter_count
from finefuse.engine.order import Order
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.store.origin import job_of, settings_of
from finefuse.engine.work.crossing import deployed_for_tasks, network
from finefuse.engine.work.deployed import deployed
from finefuse.engine.work.loading import split_seed
from finefuse.engine.work.switches import current, in_force
from finefuse.engine.work.workbench import Workbench
from finefuse.errors import FinefuseError
from finefuse.nets import CHUNK, CombineOutputs, evaluation
from finefuse.types import Dataset, Description, Member, Record
from finefuse.version import __version__

ELSEWHERE = 1e-2
"""How far outputs computed on two kinds of device may differ: some GPUs round products to ten bits."""


def export(row: Record, file: Path, *, store: Path, device: str, doors: tuple[Door, ...], task: str = "") -> None:
    """Write the module that the row measured, and its card, whole or not at all.

    Of several tasks it is that for one, or without `task` one whose outputs for all stand side by side.

    Raises:
        FinefuseError: in one sentence, if its artifacts are gone, it is no longer what was measured, or the format
            can't hold it.
    """
    bench = bench_of(row, store, device, doors)
    with in_force(bench.order.settings, device), current(device):
        made = made_again(row, bench, task, weights_alone=file.suffix == ".safetensors")
    made.model.cpu()
    made.model.to(memory_format=torch.contiguous_format)
    with _drafts(file) as (draft, words):
        try:
            written = write(made.model, made.bench.splits.test.x[:CHUNK].cpu(), draft)
        except FinefuseError as error:
            raise FinefuseError(f"{row['cell']}: {error}") from error
        words.write_text(card(made.row, file, _facts(bench, made, written)), encoding="utf-8")


@dataclass(frozen=True)
class Made:
    """What goes into a file: the module, what a row says of it, a bench with its inputs, and what was checked.

    Of a file for all tasks `parts` are these.
    """

    model: nn.Module
    row: Record
    bench: Workbench
    checks: Sequence[str]
    parts: Sequence[Part] = ()


def made_again(row: Record, bench: Workbench, task: str, *, weights_alone: bool) -> Made:
    """The module that a row measured, held against the outputs that were measured."""
    if not bench.order.job.tasks:
        model = deployed(bench)
        return Made(model, row, bench, [_unchanged(bench, model, row, "test")])
    if task:
        row, bench, model, part = _for_task(row, bench, task)
        return Made(model, row, bench, [_unchanged(bench, model, row, part)])
    parts = parts_of(bench)
    try:
        model = joined(bench, deployed_for_tasks(bench), weights_alone=weights_alone)
    except FinefuseError as error:
        raise FinefuseError(f"{row['cell']}: {error}") from error
    checks = [
        f"{part.name}, {_unchanged(part.bench, Columns(model, part.start, part.stop), row, part.stored)}"
        for part in parts
    ]
    return Made(model, row, parts[0].bench, checks, parts)


def _for_task(row: Record, bench: Workbench, task: str) -> tuple[Record, Workbench, nn.Module, str]:
    """Of a row of several tasks: what it says of one, its bench and network, and the name of its outputs."""
    i = row["tasks"].index(task)
    ref, splits = list(bench.crossed.items())[i]
    model = network(deployed_for_tasks(bench), ref)
    prefix = f"task.{task}.own."
    metrics = [name.removeprefix(prefix) for name in row if name.startswith(prefix)]
    scores = {f"{of}.{m}": row[f"task.{task}.{of}.{m}"] for m in metrics for of in ("test", "val")}
    about = {"metrics": metrics, "dataset": task, "n_test": len(splits.test), "parameters": parameter_count(model)}
    return row | scores | about, bench.one(ref), model.eval(), f"{i}.test"


def bench_of(row: Record, store: Path, device: str, doors: tuple[Door, ...]) -> Workbench:
    """What the row's job was done with, from what the store says of its artifact.

    Raises:
        FinefuseError: if that isn't there, or what it is fused from, or was kept without digests.
    """
    artifacts, address = Artifacts(store), row["artifact"]
    lacking = [address]
    if artifacts.has(address):
        origin = artifacts.origin(address)
        job = job_of(origin["job"])
        needed = job.inputs if job.kind == "fuse" and (job.level != "weight" or not job.base) else ()
        lacking = [artifact for artifact in needed if not artifacts.has(artifact)]
        if not lacking:
            settings = settings_of(origin["settings"])
            return Workbench(Order(job, row["suite"], settings, (), device, str(store), doors))
    which = "its artifact" if lacking == [address] else "an artifact that it is made of"
    again = f"run the suite {row['suite']!r} again with a new --store and --out"
    if any(map(artifacts.unchecked, lacking)):
        raise FinefuseError(
            f"{row['cell']}: {which} in the store {store} was kept by a former version, without digests, so that "
            f"nothing can tell whether it is still what was measured; {again}."
        )
    raise FinefuseError(
        f"{row['cell']}: {which} is not in the store {store}; {again}, or name the --store that it was run with."
    )


def _unchanged(bench: Workbench, model: nn.Module, row: Record, part: str) -> str:
    """Compare the module with the stored test outputs, and say how close it is."""
    stored = bench.store.outputs(row["artifact"])[part][:CHUNK]
    real = bench.fusion_trainer.outputs(model, bench.splits.test.x[:CHUNK]).cpu()
    same = row["device"].split(":")[0] == bench.order.device.split(":")[0]
    within = AGREEMENT if same else ELSEWHERE
    apart = difference(real, stored) if real.shape == stored.shape else float("inf")
    if apart == float("inf") or not torch.allclose(real, stored, atol=within, rtol=within, equal_nan=True):
        raise FinefuseError(
            f"{row['cell']}: made again it gives other test outputs than were measured, by up to {apart:.2g}; its "
            f"data, code or packages have changed since, so run the suite {row['suite']!r} again."
        )
    where = "" if same else f", which {row['device']} computed"
    return f"made again: within {apart:.1g} of the test outputs that were measured{where}"


def _facts(bench: Workbench, made: Made, written: Written) -> CardFacts:
    job, precision, splits, model = bench.order.job, bench.order.settings.precision, made.bench.splits, made.model
    members = [name for name, _ in job.fused]
    alone: Sequence[object] = model.members if isinstance(model, CombineOutputs) else ()
    narrower = [] if precision == "fp32" else [f"in {precision}; the file computes in float32"]
    benches = [part.bench for part in made.parts] or [made.bench]
    remarks = [said for one in benches for said in capabilities.remarks(dataset_of(one))]
    return CardFacts(
        task=splits.task,
        dtype=str(splits.test.x.dtype).removeprefix("torch."),
        fixed=written.fixed,
        checks=(*made.checks, *narrower, *filter(None, [written.check])),
        members=members,
        deployed=[part.name for part in alone if isinstance(part, Member)] or members,
        usage=_usage(made),
        val_used=_val_used(bench),
        remarks=tuple(dict.fromkeys(remarks)),
        versions=f"finefuse {__version__}, torch {torch.__version__}",
        tasks=told(made.row, made.parts),
    )


def dataset_of(bench: Workbench) -> Dataset:
    """The data set of a job."""
    job = bench.order.job
    assert job.dataset is not None
    plugin: Dataset = bench.registry.build("dataset", job.dataset)
    return plugin


def _description(bench: Workbench) -> Description:
    job = bench.order.job
    assert job.dataset is not None
    plugin = dataset_of(bench)
    return capabilities.description(plugin, split_seed(job.dataset, job.seed, plugin))


def _usage(made: Made) -> Usage:
    """How the data set makes its inputs, and an example with the outputs that the module has for it."""
    x, parts = made.bench.splits.test.x, made.parts
    about = described(parts, [_description(part.bench) for part in parts]) if parts else _description(made.bench)
    shape, dtype = tuple(x.shape[1:]), str(x.dtype).removeprefix("torch.")
    if about.encode:
        listed = _encoded(about)
        one = torch.tensor(listed, dtype=x.dtype)
    else:
        one = _by_formula(shape, x.dtype)
        listed = one.tolist() if one.numel() <= LISTED else None
    with evaluation(made.model):
        outputs = made.model(one[None])[0].tolist()
    return Usage(about, Example(shape, dtype, outputs, listed))


def _encoded(about: Description) -> Any:
    """What the function that the card prints gives for the example, so that they can't differ."""
    names: dict[str, Any] = {}
    exec(about.encode, names)
    return names["encode"](about.example, about.inputs)


def _by_formula(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """What `formula` says."""
    whole = dtype in (torch.uint8, torch.int64)
    values = torch.arange(prod(shape)) % (2 if dtype == torch.int64 else 251)
    return (values if whole else values.double() / 251).reshape(shape).to(dtype)


def _val_used(bench: Workbench) -> bool:
    """Whether the job, or one that made what it started from or fused, was given val or chose by it."""
    job = bench.order.job
    by_choice = bool(job.trials) or (job.kind == "tune" and bench.order.settings.selection == "best-val")
    if "val" in job.needs or by_choice:
        return True
    made_of = [*filter(None, [job.start]), *(artifact for _, artifact in job.fused)]
    return any(_val_used(bench.maker(artifact)) for artifact in made_of if bench.store.has(artifact))


@contextmanager
def _drafts(file: Path) -> Iterator[tuple[Path, Path]]:
    """Where to write the file and its card, which get their names at the end, or are removed if anything went wrong."""
    draft = file.with_name(f".{uuid.uuid4().hex}{file.suffix}")
    drafts = draft, card_of(draft)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield drafts
        drafts[1].replace(card_of(file))
        drafts[0].replace(file)
    except OSError as error:
        raise FinefuseError(f"{file}: can't be written: {error.strerror or error}.") from error
    finally:
        for path in drafts:
            path.unlink(missing_ok=True)
