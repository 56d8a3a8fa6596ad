"""Scores of one network on several tasks: of each, as the mean, and by those of the tasks' own models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from finefuse.engine.measure.scores import pack, pack_numbers, score_fields, tensor_digest
from finefuse.rows import CLOSE
from finefuse.types import Metric, Record, Splits
from finefuse.types.aggregate import Aggregate, ratio

NORMALISED = "normalised"
"""The ranking score of a pool across data sets."""
Outputs = Mapping[str, Mapping[str, Tensor]]
"""Outputs by task and by "val" and "test"."""


def crossing_fields(
    metrics: Mapping[str, Metric],
    splits: Mapping[str, Splits],
    outputs: Outputs,
    own: Outputs,
    aggregate: Aggregate,
) -> Record:
    """The fields of a row that say how good outputs are for each task, and by those of the tasks' `own` models.

    `normalised` is one figure of all tasks by `aggregate`, for each task by the first metric that is for it; the means
    of other metrics are there if they are for all tasks. `correct` has the bits of all test examples, task after task.
    """
    ours = {name: score_fields(metrics, splits[name], outputs[name], {}) for name in splits}
    theirs = {name: score_fields(metrics, splits[name], own[name], {}) for name in splits}
    fields: Record = {"tasks": list(splits), "ranked_by": [ours[name]["metrics"][0] for name in splits]}
    fields |= _means(metrics, ours, "test", "test.") | _means(metrics, ours, "val", "val.")
    for part in ("test", "val"):
        fields[f"{part}.{NORMALISED}"] = _figure(ours, theirs, part, aggregate)
        fields |= {f"task.{name}.{part}.{NORMALISED}": _ratio(ours[name], theirs[name], part) for name in splits}
    fields |= {"aggregate": [aggregate.by, aggregate.zero], "examples_of": {n: r["examples"] for n, r in ours.items()}}
    for name, row in ours.items():
        fields |= {
            f"task.{name}.n_test": row["n_test"],
            f"better.{row['metrics'][0]}": row[f"better.{row['metrics'][0]}"],
        }
        for metric in row["metrics"]:
            fields |= {f"task.{name}.{part}.{metric}": row[f"{part}.{metric}"] for part in ("test", "val")}
            fields[f"task.{name}.own.{metric}"] = theirs[name][f"test.{metric}"]
    return fields | _by_example(fields, splits, {name: outputs[name]["test"] for name in splits})


def crossing_bounds(
    metrics: Mapping[str, Metric],
    splits: Mapping[str, Splits],
    own: Outputs,
    untouched: Outputs,
    aggregate: Aggregate,
) -> Record:
    """Means over the tasks of what bounds the fusions: `single`, each task's own model, and the `untouched` body."""
    theirs = {name: score_fields(metrics, splits[name], own[name], {}) for name in splits}
    before = {name: score_fields(metrics, splits[name], untouched[name], {}) for name in splits}
    fields: Record = {"tasks": list(splits), "ranked_by": [theirs[name]["metrics"][0] for name in splits]}
    for bound, rows in {"single": theirs, "untouched": before}.items():
        fields[f"{bound}.test.{NORMALISED}"] = _figure(rows, theirs, "test", aggregate)
        fields |= _means(metrics, rows, "test", f"{bound}.test.")
        for name, row in rows.items():
            fields |= {f"task.{name}.{bound}.{metric}": row[f"test.{metric}"] for metric in row["metrics"]}
    return fields


def _figure(ours: Mapping[str, Record], theirs: Mapping[str, Record], part: str, aggregate: Aggregate) -> float:
    ranked = [(row, theirs[name], row["metrics"][0]) for name, row in ours.items()]
    scores = [row[f"{part}.{metric}"] for row, _, metric in ranked]
    own = [row[f"{part}.{metric}"] for _, row, metric in ranked]
    return aggregate.figure(scores, own, [row[f"better.{metric}"] for row, _, metric in ranked])


def _ratio(ours: Record, theirs: Record, part: str) -> float:
    metric = ours["metrics"][0]
    return ratio(ours[f"{part}.{metric}"], theirs[f"{part}.{metric}"], ours[f"better.{metric}"])


def _means(metrics: Mapping[str, Metric], rows: Mapping[str, Record], part: str, prefix: str) -> Record:
    """The names and directions of the metrics that all tasks have, and their means."""
    common = [metric for metric in metrics if all(metric in row["metrics"] for row in rows.values())]
    fields: Record = {"metrics": [NORMALISED, *common], f"better.{NORMALISED}": "higher"}
    for metric in common:
        values = [row[f"{part}.{metric}"] for row in rows.values()]
        fields[f"{prefix}{metric}"] = sum(values) / len(values)
        fields[f"better.{metric}"] = next(iter(rows.values()))[f"better.{metric}"]
    return fields


def _by_example(fields: Record, splits: Mapping[str, Splits], test: Mapping[str, Tensor]) -> Record:
    """Bits, or losses, of the test examples of all tasks, where all have them; and digests."""
    right = [one.task.right(test[name], one.test.y) for name, one in splits.items()]
    found: Record = {"n_test": sum(len(one.test) for one in splits.values())}
    bits = [one for one in right if one is not None]
    if len(bits) == len(right):
        share = float(torch.cat(bits).double().mean())
        found["correct"] = pack(torch.cat(bits))
        found["shares"] = [m for m in fields["metrics"][1:] if abs(fields[f"test.{m}"] - share) <= CLOSE]
    elif not bits:
        losses = [one.task.losses(test[name], one.test.y) for name, one in splits.items()]
        found["losses"] = pack_numbers(torch.cat(losses))
    examples: Sequence[Tensor] = [tensor for one in splits.values() for tensor in (one.test.x, one.test.y)]
    return found | {"examples": tensor_digest(*examples), "outputs": tensor_digest(*test.values())}
