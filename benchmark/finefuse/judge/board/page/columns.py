"""The columns of the page's table: one declared list, in the order in which they are shown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import pandas as pd

from finefuse.judge.names import Names

Form = Literal["text", "score", "signed", "count", "seconds", "joules", "bytes", "flag"]
DIGITS = 9
"""Of numbers that are shown."""


class Column(NamedTuple):
    """Columns of the board whose names match `source` as a whole; `{0}` and so on in `title` are its groups.

    `better` is "metric" where the metric that is the last group says which direction is better. `about` explains the
    column; `shown` says that it is shown at first.
    """

    source: str
    title: str
    form: Form
    group: str
    better: str = ""
    about: str = ""
    shown: bool = False


COLUMNS = (
    Column("strategy", "strategy", "text", "names", shown=True),
    Column("pool", "pool", "text", "names", about="the pool of models that are fused", shown=True),
    Column("dataset", "data set", "text", "names"),
    Column("backbone", "backbone", "text", "names"),
    Column("level", "level", "text", "access", about="what is fused: outputs, features or weights"),
    Column("needs", "needs", "text", "access", about="what it is given besides the training data"),
    Column("followed_by", "followed by", "text", "access", about="stages after the fusion, and what each saw"),
    Column("statistics", "BatchNorm", "text", "access", about="where a merged body has its statistics from"),
    Column(r"test\.(.+)\.mean", "{0}", "score", "scores", "metric", "mean over seeds, ± half of a 95 % interval", True),
    Column("gain", "gain", "signed", "scores", "metric", "over the pool's member that is best on val", True),
    Column(r"also\.(.+)\.([^.]+)\.mean", "{1} on {0}", "score", "scores", "metric", "on a further test set"),
    Column(
        r"source\.(?!before\.)(.+)\.mean",
        "source {0}",
        "score",
        "source",
        "metric",
        "on what the backbone was pretrained for, with the head of that time",
    ),
    Column(r"source\.before\.(.+)\.mean", "source {0}, before", "score", "source", "metric", "the same, before tuning"),
    Column(r"last\.(.+)\.mean", "{0}, last", "score", "scores", "metric", "of the last weights"),
    Column(r"best\.(.+)\.mean", "{0}, best on val", "score", "scores", "metric", "of the checkpoint best on val"),
    Column(r"peek\.(.+)\.mean", "{0}, peek", "score", "scores", "metric", "of the checkpoint best on test"),
    Column(r"default\.(.+)\.mean", "{0}, untuned", "score", "scores", "metric", "before the search"),
    Column(
        r"peek_at_test\.(.+)\.mean",
        "{0}, peek at test",
        "score",
        "scores",
        "metric",
        "of the trial best on test, never ranks",
    ),
    Column(r"figure\.(.+)", "{0}", "score", "figures", about="reported by the strategy"),
    Column(r"task\.(.+)\.score\.mean", "{0}", "score", "tasks", about="the score that the task is ranked by"),
    Column(r"task\.(.+)\.normalised\.mean", "{0}, normalised", "score", "tasks", about="by the task's own model's"),
    Column("trials", "trials", "count", "search", about="settings that a search tried"),
    Column("edge", "at the edge", "text", "search", about="parameters whose best value is at the edge of their range"),
    Column("chosen", "chosen on val", "text", "search"),
    Column("seconds", "training", "seconds", "costs", "lower", "time of training or fusing, by the clock", True),
    Column("cpu_seconds", "processor", "seconds", "costs", "lower", "time of processors in training or fusing"),
    Column("seconds_with_members", "with pool", "seconds", "costs", "lower", "time of training, with members", True),
    Column("steps", "steps", "count", "costs", "lower", "optimizer steps"),
    Column("gradients", "gradients", "count", "costs", "lower", "evaluations of gradients"),
    Column("energy.processors", "energy", "joules", "costs", "lower", "energy of all processors"),
    Column("energy.gpu", "energy, GPU", "joules", "costs", "lower", "energy of the GPU"),
    Column("memory", "memory", "bytes", "costs", "lower", "memory by which the process grew, or the peak on the GPU"),
    Column(
        "memory_with_members", "memory with pool", "bytes", "costs", "lower", "the most memory that it or a member took"
    ),
    Column("trainable", "trainable", "count", "costs", "lower", "parameters that were trained"),
    Column("parameters", "parameters", "count", "costs", "lower", "parameters that are deployed"),
    Column("bytes", "size", "bytes", "costs", "lower", "size of all that is deployed"),
    Column("flops", "FLOPs", "count", "costs", "lower", "floating-point operations per example", True),
    Column(r"latency\.(\d+)\.(p\d+)", "latency {1} b{0}", "seconds", "costs", "lower", "time of a batch of {0}, {1}"),
    Column("contended", "contended", "flag", "costs", about="times were taken beside other work"),
    Column("origin", "origin", "text", "costs", about="whether the networks were tuned elsewhere"),
    Column("status", "runs", "text", "runs", about="how many runs are ok, of how many", shown=True),
    Column("reason", "reason", "text", "runs", about="why runs are not ok"),
)


def columns(lines: pd.DataFrame, better: Mapping[str, str], called: Names) -> Iterator[dict[str, Any]]:
    """The columns that have any value, as JSON, each with its `values` and, where it has intervals, `halves`."""
    names = [str(name) for name in lines]
    for column in COLUMNS:
        for name in names:
            found = re.fullmatch(column.source, name)
            if found and (values := _values(lines[name], column.form)):
                yield _json(column, found, values, lines, better) | {"title": _title(column, found, called)}


def _json(
    column: Column, found: re.Match[str], values: list[Any], lines: pd.DataFrame, better: Mapping[str, str]
) -> dict[str, Any]:
    name, groups = found[0], found.groups()
    metric = groups[-1] if groups else ""
    towards = column.better
    if towards == "metric":
        towards = better.get(metric, "higher" if name == "gain" else "")
    halves = _halves(lines, name, metric)
    return {
        "id": name,
        "form": column.form,
        "group": column.group,
        "better": towards,
        "about": column.about.format(*groups),
        "shown": column.shown,
        "values": values,
        **({"halves": halves} if halves else {}),
    }


def _title(column: Column, found: re.Match[str], called: Names) -> str:
    return column.title.format(*map(called.thing, found.groups()))


def _values(column: pd.Series[Any], form: Form) -> list[Any]:
    """The values as JSON; none if no line has one."""
    if form == "text":
        texts = ["" if value is None or value != value else str(value) for value in column]
        return texts if any(texts) else []
    if form == "flag":
        return [bool(value) for value in column] if column.any() else []
    numbers = [number(value) for value in column]
    useful = any(value not in (None, 0) for value in numbers)
    return numbers if useful else []


def _halves(lines: pd.DataFrame, name: str, metric: str) -> list[Any]:
    """Half-widths of intervals: of the ranking metric those of seeds and examples, of a gain and a task Student's."""
    if name == f"test.{metric}.mean":
        firsts = (next(iter(metrics), "") for metrics in lines["metrics"])
        halves = [half if first == metric else math.nan for half, first in zip(lines["interval"], firsts, strict=True)]
    else:
        other = "gain.half" if name == "gain" else f"{name.removesuffix('mean')}half"
        if other == f"{name}half" or other not in lines:
            return []
        halves = lines[other].tolist()
    found = [number(value) if math.isfinite(value) and value > 0 else None for value in halves]
    return found if any(value is not None for value in found) else []


def number(value: Any) -> float | str | None:
    """A number as JSON holds it: null for none, and a text where it is infinite."""
    if value is None or value != value:
        return None
    value = float(value)
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return float(f"{value:.{DIGITS}g}")
