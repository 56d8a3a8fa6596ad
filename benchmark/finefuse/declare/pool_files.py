"""Pools of files: a scheme for each network that was tuned elsewhere, as a suite could have written them itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finefuse.declare.pools import EVERY, named
from finefuse.declare.schema import LABEL, FileShape, PoolShape
from finefuse.declare.strategy import Strategy
from finefuse.declare.suite_text import Source, show, suggest
from finefuse.declare.toml_lines import KeyPath
from finefuse.types import Ref

Reads = Callable[[KeyPath, str, Mapping[str, Any]], Strategy]
"""Gives the scheme that reads a file, from its place in the suite, its label and its parameters."""
Plain = Mapping[str, Sequence[Ref]]


def with_files(
    source: Source, pools: Mapping[str, PoolShape], schemes: Sequence[Strategy], plain: Plain, reads: Reads
) -> tuple[tuple[Strategy, ...], dict[str, PoolShape]]:
    """The schemes, with one for each file of a pool, and the pools as if they named these.

    Files of several tasks make a pool across data sets. A label may stand for the same file in several pools.

    Raises:
        SuiteError: about files that don't say enough, and about labels that mean two things.
    """
    known = {scheme.label: scheme for scheme in schemes}
    shapes = dict(pools)
    for name, shape in pools.items():
        if shape.of is None and shape.files is None:
            raise source.error(("pools", name), "the key 'of' is missing")
        for key in ("base", "backbone"):
            if getattr(shape, key) is not None and shape.files is None:
                raise source.error(("pools", name, key), "is for pools with `files`")
        if shape.files is not None:
            shapes[name] = _with_members(source, name, shape, known, plain, reads)
    return tuple(known.values()), shapes


def _with_members(
    source: Source, name: str, shape: PoolShape, known: dict[str, Strategy], plain: Plain, reads: Reads
) -> PoolShape:
    """The pool with labels in place of its files, which `known` gets the schemes of."""
    labels: list[str] = []
    tasks = _tasks(source, name, shape, plain["datasets"])
    for i, (file, task) in enumerate(zip(shape.files or (), tasks, strict=True)):
        path = ("pools", name, "files", i)
        label = _label(source, path, file)
        base = {} if shape.base is None else {"base": shape.base}
        scheme = replace(
            reads(path, label, base | file.params),
            datasets=() if task is None else (task,),
            backbones=_backbone(source, path, shape, file, plain["backbones"]),
        )
        if known.setdefault(label, scheme) != scheme:
            raise source.error(path, f"{label} is something else already; give one another name with `as`")
        labels.append(label)
    source.refuse_twins(((("pools", name, "files", i), label) for i, label in enumerate(labels)))
    across = list(dict.fromkeys(str(task) for task in tasks if task is not None))
    datasets = shape.datasets or (across if len(across) > 1 else None)
    of = [*(shape.of or ()), *(label for label in labels if label not in (shape.of or ()))]
    return shape.model_copy(update={"of": [EVERY] if EVERY in of else of, "datasets": datasets})


def _label(source: Source, path: KeyPath, file: FileShape) -> str:
    """What a member is called: as it says, or as its file without the ending."""
    label = file.as_ or Path(file.file).stem
    if not re.fullmatch(LABEL, label):
        raise source.error(path, f"{show(label)} can't be its name in tables; give it one with `as`")
    return label


def _tasks(source: Source, name: str, shape: PoolShape, datasets: Sequence[Ref]) -> list[Ref | None]:
    """The data set that each file of a pool was tuned for; None for all."""
    found: list[Ref | None] = []
    across = named(source, ("pools", name, "datasets"), shape.datasets or (), datasets, "data set")
    for i, file in enumerate(shape.files or ()):
        path = ("pools", name, "files", i, "task")
        task = None if file.task is None else _one(source, path, file.task, datasets, "data set")
        if task and across and task not in across:
            raise source.error(path, f"{task} is none of the pool's data sets: {', '.join(map(str, across))}")
        found.append(task)
    if len(datasets) > 1 and None in found and (shape.datasets or any(found)):
        told = ", ".join(map(str, datasets))
        raise source.error(("pools", name, "files", found.index(None)), f"must say its `task`, one of {told}")
    return found


def _backbone(
    source: Source, path: KeyPath, shape: PoolShape, file: FileShape, backbones: Sequence[Ref]
) -> tuple[Ref, ...]:
    """The backbone that a file is read into, as it or its pool says; none where a suite has only one."""
    given, where = (file.backbone, path) if file.backbone is not None else (shape.backbone, path[:2])
    if given is not None:
        return (_one(source, (*where, "backbone"), given, backbones, "backbone"),)
    if len(backbones) > 1:
        told = ", ".join(map(str, backbones))
        raise source.error(path[:2], f"must say with `backbone` which its files are read into: {told}")
    return ()


def _one(source: Source, path: KeyPath, given: str, known: Sequence[Ref], what: str) -> Ref:
    """The one data set or backbone of a suite that is meant, by its label, or by its plugin if only one has it."""
    fitting = [ref for ref in known if str(ref) == given] or [ref for ref in known if ref.name == given]
    if len(fitting) != 1:
        told = f"means {len(fitting)} {what}s" if fitting else f"no {what} of this suite is called {show(given)}"
        hint = f": {', '.join(map(str, fitting))}" if fitting else suggest(given, map(str, known))
        raise source.error(path, f"{f'{given} ' if fitting else ''}{told}{hint}")
    return fitting[0]
